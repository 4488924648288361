from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpustitch.errors import ParameterError
from gpustitch.io.write.pyramid_layout import (
    block_shape_of,
    check_block,
    chunk_within,
    level_shape,
    precomputed_info,
    pyramid_bytes,
)
from gpustitch.model import Spacing, level_factors
from gpustitch.ops.pyramid import downsample
from tests.io.volumes.stored_volumes import ours, read

EVEN = level_factors(Spacing(1, 1, 1), 16)


def test_bytes_of_all_levels_are_counted():
    assert pyramid_bytes((5, 4, 3), np.uint16, EVEN[:3]) == 2 * (60 + 3 * 2 * 2 + 2)
    assert level_shape((5, 4, 3), EVEN[1]) == (3, 2, 2)
    assert math.prod(level_shape((1, 1, 1), EVEN[9])) == 1


def test_a_block_that_would_not_fit_in_memory_is_refused() -> None:
    block = block_shape_of(EVEN[:7], (100, 100, 100))
    assert block == (1600, 1600, 1600)
    with pytest.raises(ParameterError, match=r"8\.2 GB"):
        check_block(block, (3000, 3000, 3000), np.uint16)
    check_block(block, (300, 300, 300), np.uint16)
    check_block(block_shape_of(EVEN[:7]), (10**6, 10**6, 10**6), np.uint16)


@settings(max_examples=60, deadline=None)
@given(st.tuples(*[st.integers(1, 40)] * 3), st.tuples(*[st.integers(1, 3000)] * 3))
def test_a_chunk_is_hardly_longer_than_the_volume_and_there_are_as_many(shape, chunk) -> None:
    found = chunk_within(shape, chunk)
    assert all(f <= c and f < 2 * n for f, c, n in zip(found, chunk, shape, strict=True))
    for factor in (1, 2, 4):
        lengths = [-(-n // factor) for n in shape]
        assert [-(-n // c) for n, c in zip(lengths, found, strict=True)] == [
            -(-n // c) for n, c in zip(lengths, chunk, strict=True)
        ]


@pytest.mark.parametrize("options", [{}, {"shard_bytes": 0}, {"writer": "direct"}])
@pytest.mark.parametrize("chunk", [(1000, 1000, 1000), (1000, 4, 7), (3000, 2, 1000)])
def test_chunks_far_beyond_the_volume_take_no_memory_and_give_its_voxels(tmp_path, chunk, options) -> None:
    voxels = np.random.default_rng(0).integers(1, 250, (9, 12, 30)).astype(np.uint16)
    ours(tmp_path / "v", voxels, chunk_shape=chunk, **options)
    (size,) = json.loads((tmp_path / "v" / "info").read_text())["scales"][0]["chunk_sizes"]
    assert math.prod(size) <= 8 * voxels.size
    for level, expected in enumerate((voxels, downsample(voxels))):
        np.testing.assert_array_equal(read(tmp_path / "v", level=level), expected)


@pytest.mark.parametrize("seed", range(4))
def test_each_level_begins_at_its_voxel_nearest_to_the_corner(seed):
    rng = np.random.default_rng(seed)
    spacing, place = Spacing(*rng.uniform(0.1, 9, 3).tolist()), rng.uniform(-900, 900, 3)
    info = precomputed_info((40, 50, 60), np.dtype("uint8"), spacing, 3, (16, 16, 16), tuple(place.tolist()))
    corner_nm = 1000 * (place - np.array(spacing.zyx_um) / 2)[::-1]
    for scale in info["scales"]:
        off = np.array(scale["voxel_offset"]) * scale["resolution"] - corner_nm
        assert (np.abs(off) <= (0.5 + 1e-9) * np.array(scale["resolution"])).all()
    without = precomputed_info((40, 50, 60), np.dtype("uint8"), spacing, 3, (16, 16, 16))
    assert {tuple(scale["voxel_offset"]) for scale in without["scales"]} == {(0, 0, 0)}
