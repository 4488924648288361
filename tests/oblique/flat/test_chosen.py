"""Tests of which frames a flat is made from."""

from __future__ import annotations

import numpy as np
import pytest

from gpustitch.errors import ParameterError
from gpustitch.oblique.flat.chosen import choose_frames


def test_choose_frames_counts_from_the_start_of_each_file():
    parts = choose_frames([3, 0, 4], None)
    assert [part.tolist() for part in parts] == [[0, 1, 2], [], [0, 1, 2, 3]]
    parts = choose_frames([30, 7, 63], 20)
    joined = np.concatenate([part + start for part, start in zip(parts, (0, 30, 37), strict=True)])
    np.testing.assert_array_equal(joined, np.sort(np.random.RandomState(1234).choice(100, 20, replace=False)))


def test_choose_frames_absent_frames_are_not_chosen():
    parts = choose_frames([3, 2, 4], None, [{1}, {0, 1}, ()])
    assert [part.tolist() for part in parts] == [[0, 2], [], [0, 1, 2, 3]]
    with pytest.raises(ParameterError, match="no frames"):
        choose_frames([1, 2], 7, [{0}, {0, 1}])


@pytest.mark.parametrize("n_frames", [6, 7, 5000])
def test_choose_frames_takes_all_where_there_are_no_more(n_frames):
    parts = choose_frames([3, 2, 4], n_frames, [{1}, {0, 1}, ()])
    assert [part.tolist() for part in parts] == [[0, 2], [], [0, 1, 2, 3]]
