"""The same place of an overlap in both tiles."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from gpustitch.oblique.report.crops import crop_of, flattened
from gpustitch.oblique.report.placement import Remeasured
from tests.oblique.report.scenes import ArrayTile, row_of_tiles


@pytest.mark.parametrize(("seed", "gain"), [(1, 1.0), (2, 0.5)])
def test_crops_show_the_same_where_tiles_lie_right(seed: int, gain: float) -> None:
    tiles = row_of_tiles(seed, noise=2.0)
    a, b = tiles
    voxels = tiles[b].volume.voxels  # type: ignore[attr-defined]
    tiles[b] = replace(tiles[b], volume=ArrayTile(gain * voxels))
    at, off = (0.0, 50.0, 0.0), (0.0, 43.0, 0.0)
    crop = crop_of(Remeasured(a, b, at, off), tiles)
    assert crop is not None and crop.by_stage is not None
    fixed, moving, stage = flattened([crop.fixed, crop.moving, crop.by_stage])
    assert np.corrcoef(fixed.ravel(), moving.ravel())[0, 1] > 0.95 > np.corrcoef(fixed.ravel(), stage.ravel())[0, 1]
    assert crop.ratio(0.0) == pytest.approx(gain, rel=0.02)
    z, y, x = crop.where_px
    assert 0 <= z < 40 and 50 <= y < 80 and 0 <= x < 90


def test_tiles_that_share_nothing_have_no_crop() -> None:
    tiles = row_of_tiles(3)
    a, b = tiles
    assert crop_of(Remeasured(a, b, (0.0, 79.0, 0.0), (0.0, 79.0, 0.0)), tiles) is None


def test_dark_tiles_have_no_ratio() -> None:
    tiles = row_of_tiles(4)
    a, b = tiles
    crop = crop_of(Remeasured(a, b, (0.0, 50.0, 0.0), (0.0, 50.0, 0.0)), tiles)
    assert crop is not None and crop.ratio(1e6) is None and crop.light(1e6) == (0.0, 0.0)
