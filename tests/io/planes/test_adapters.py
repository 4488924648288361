"""Planes made of others."""

from __future__ import annotations

import numpy as np
import pytest

from gpustitch.io.planes.adapters import ArrayPlanes, ChosenPlanes


@pytest.mark.parametrize("seed", range(3))
def test_chosen_planes_are_those_of_the_stack_in_any_order(seed):
    rng = np.random.default_rng(seed)
    stack = rng.integers(0, 1000, (12, 5, 7)).astype(np.uint16)
    chosen = np.concatenate([rng.permutation(12), np.arange(4, 9)])
    planes = ChosenPlanes(ArrayPlanes(stack), chosen)
    assert planes.shape == (17, 5, 7) and planes.dtype == np.uint16
    np.testing.assert_array_equal(planes.read(0, 17), stack[chosen])
    np.testing.assert_array_equal(planes.read(3, 14, slice(1, 4), slice(2, 6)), stack[chosen[3:14], 1:4, 2:6])


def test_absent_planes_stay_absent():
    stack = ArrayPlanes(np.zeros((4, 2, 2)))
    stack.absent = frozenset({1})
    assert ChosenPlanes(stack, np.array([3, 1, 0, 1])).absent == {1, 3}
