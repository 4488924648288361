"""Placement of tiles: spacing, slant, what is missing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpustitch.errors import MosaicError, ParameterError
from gpustitch.io.volumes.array import ArrayVolume
from gpustitch.model import Coverage, Mosaic, Spacing, TilePath, column_step_um
from gpustitch.oblique.mosaic.placing import check_angle, cropped, mosaic_spacing, place, stage_origins


def mosaic(*stages: tuple[float, float, float]) -> Mosaic:
    return Mosaic(tuple(TilePath(Path(f"t{n}"), stage) for n, stage in enumerate(stages)))


def volume(spacing: Spacing = Spacing(1.2, 1.7, 1.3), dtype: str = "uint16", shear: float = 0.9) -> ArrayVolume:
    coverage = Coverage(20, 10, 8, shear)
    return ArrayVolume(np.ones(coverage.shape, dtype), spacing, coverage)


def test_least_coordinate_is_zero_and_the_grid_holds_all() -> None:
    tiles = mosaic((100.0, -50.0, 0.0), (113.0, -50.0, 0.0), (100.0, -40.0, 0.0))
    volumes = [volume()] * 3
    spacing = mosaic_spacing(tiles, volumes)
    placed = place(tiles, volumes, stage_origins(tiles, spacing), spacing)
    origins = np.array([tile.origin_px for tile in placed.tiles])
    np.testing.assert_allclose(origins, [(0, 0, 0), (0, 0, 10), (0, 10 / 1.7, 0)], atol=1e-9)
    assert placed.shape == (8, 16, 27 + 10)
    assert placed.notes == ("no tile near x 113, y -40, z 0 um: the volume is empty there",)
    assert cropped(placed, (1, 2, 3)).tiles[1].origin_px == pytest.approx((-1, -2, 7))


def test_places_that_differ_by_little_are_one() -> None:
    tiles = mosaic((0.0, 0.0, 0.0), (0.3, 15.0, 0.0), (20.1, 0.2, 0.0), (20.4, 14.7, 0.0))
    placed = place(tiles, [volume()] * 4, stage_origins(tiles, volume().spacing), volume().spacing)
    assert placed.notes == ()


def test_another_spacing_changes_the_slant() -> None:
    tiles, volumes = mosaic((0.0, 0.0, 0.0)), [volume()]
    spacing = mosaic_spacing(tiles, volumes, x_step_um=1.3 * 1.1, y_voxel_um=1.7 * 1.02)
    assert spacing.zyx_um == pytest.approx((1.2 * 1.02, 1.7 * 1.02, 1.3 * 1.1))
    placed = place(tiles, volumes, {tiles.tiles[0].name: (0, 0, 0)}, spacing)
    assert placed.tiles[0].shear_px == pytest.approx(0.9 * (1.02 / 1.1 - 1))
    same = place(tiles, volumes, {tiles.tiles[0].name: (0, 0, 0)}, mosaic_spacing(tiles, volumes, 1.3, 1.7))
    assert same.tiles[0].shear_px == 0


def test_tiles_that_differ_are_refused() -> None:
    tiles = mosaic((0.0, 0.0, 0.0), (0.0, 15.0, 0.0))
    with pytest.raises(MosaicError, match="t1 has voxels of"):
        mosaic_spacing(tiles, [volume(), volume(Spacing(1.2, 1.7, 1.4))])
    with pytest.raises(MosaicError, match="t1 has uint8 voxels"):
        mosaic_spacing(tiles, [volume(), volume(dtype="uint8")])
    with pytest.raises(ParameterError, match="y voxel size"):
        mosaic_spacing(tiles, [volume()] * 2, y_voxel_um=0)


@given(st.floats(5, 85), st.floats(5, 85), st.floats(0.1, 10))
def test_an_alignment_of_another_sheet_angle_is_refused(aligned: float, angle: float, pixel: float) -> None:
    """Angles that the rounded spacing of a volume brings are no others."""
    file = Path("align.json")
    check_angle(None, angle, file)
    check_angle(angle, Spacing(round(column_step_um(pixel, angle)[1], 5), pixel, 1.0).sheet_angle_deg, file)
    if abs(aligned - angle) > 1:
        with pytest.raises(MosaicError, match="degrees, but the tiles are of one at"):
            check_angle(aligned, angle, file)
