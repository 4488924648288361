"""Sizes of blocks and chunks that a comparison tries."""

from __future__ import annotations

import itertools

import pytest

from gpustitch.sections.similarity.blocks import sizes_to_try


@pytest.mark.parametrize("n_workers", [1, 3, 16, 2**31, 10**30])
@pytest.mark.parametrize(("n", "chunk", "depth"), [(2, None, 1), (40, None, 1), (40, 7, 1), (1000, None, 16)])
def test_no_more_chunks_are_held_than_there_are_planes_and_trying_ends(n_workers, n, chunk, depth):
    sizes = list(itertools.islice(sizes_to_try(n, chunk, depth, 16, n_workers, 1 << 16), 2000))
    assert len(sizes) < 2000
    assert sizes[0][2] == min(n_workers, n) + 1
    assert [*sizes[-1][1:]] == [chunk or 1, 2]
