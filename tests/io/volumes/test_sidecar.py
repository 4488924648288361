"""Directions of axes of volumes at other voxel sizes: columns as long as voxels, and one corner for all levels."""

from __future__ import annotations

import numpy as np
import pytest

from gpustitch.io.volumes.sidecar import affine_of_level, affine_with
from gpustitch.model import Spacing


@pytest.mark.parametrize("seed", range(4))
def test_levels_keep_directions_and_their_outer_corner(seed: int) -> None:
    rng = np.random.default_rng(seed)
    turned, _ = np.linalg.qr(rng.standard_normal((3, 3)))
    fine, coarse = (Spacing(*sizes.tolist()) for sizes in rng.uniform(0.2, 40, (2, 3)))
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = turned * np.array(fine.zyx_um[::-1]) / 1000, rng.uniform(-9, 9, 3)
    before = affine.copy()
    same, level = affine_with(affine, coarse), affine_of_level(affine, coarse)
    np.testing.assert_array_equal(affine, before)
    np.testing.assert_allclose(affine_with(affine, fine), affine)
    for found in (same, level):
        np.testing.assert_allclose(1000 * np.linalg.norm(found[:3, :3], axis=0), coarse.zyx_um[::-1])
        np.testing.assert_allclose(found[:3, :3] / np.linalg.norm(found[:3, :3], axis=0), turned)
    np.testing.assert_array_equal(same[:3, 3], affine[:3, 3])
    corner = np.array([-0.5, -0.5, -0.5, 1])
    np.testing.assert_allclose(level @ corner, affine @ corner)
