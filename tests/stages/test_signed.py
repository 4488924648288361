"""Signed voxels in operations on unsigned ones."""

from __future__ import annotations

import numpy as np
import pytest

from gpustitch.ops.pyramid import downsample
from gpustitch.stages.signed import signed_too


@pytest.mark.parametrize("shape", [(8, 6, 4), (7, 5, 3), (1, 1, 1)])
def test_means_of_int16_are_rounded_as_those_of_whole_numbers(shape):
    voxels = np.random.default_rng(0).integers(-32768, 32768, shape).astype(np.int16)
    voxels.flat[:3] = (-32768, 32767, 0)[: voxels.size]
    even = np.pad(voxels.astype(np.float64), [(0, n % 2) for n in shape], mode="edge")
    cells = even.reshape([m for n in even.shape for m in (n // 2, 2)]).mean((1, 3, 5))
    made = signed_too(downsample)(voxels)
    assert made.dtype == np.int16
    np.testing.assert_array_equal(made, np.rint(cells))


def test_small_means_around_zero():
    voxels = np.zeros((2, 2, 2 * 17), np.int16)
    for cell in range(17):
        voxels[0, 0, 2 * cell] = cell - 8
    np.testing.assert_array_equal(signed_too(downsample)(voxels)[0, 0], np.rint((np.arange(17) - 8) / 8))


def test_other_types_are_passed_on():
    voxels = np.random.default_rng(0).integers(0, 65536, (4, 4, 4)).astype(np.uint16)
    np.testing.assert_array_equal(signed_too(downsample)(voxels), downsample(voxels))
