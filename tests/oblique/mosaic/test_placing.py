"""Placement of tiles: spacing, slant, what is missing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpustitch.errors import MosaicError, ParameterError
from gpustitch.io.volumes.array import ArrayVolume
from gpustitch.model import Coverage, Mosaic, Spacing, TilePath, column_step_um
from gpustitch.oblique.mosaic.placing import check_angle, cropped, mosaic_spacing, place, place_opened, stage_origins


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


@given(
    st.tuples(*[st.floats(-0.5, 0.5)] * 3),
    st.tuples(*[st.floats(0, 0.3)] * 3),
    st.tuples(*[st.integers(0, 40)] * 3),
)
def test_a_place_that_cannot_be_told_from_whole_voxels_is_whole(
    off: tuple[float, float, float], sigma: tuple[float, float, float], whole: tuple[int, int, int]
) -> None:
    tiles, spacing = mosaic((0.0, 0.0, 0.0), (5.0, 0.0, 0.0)), volume().spacing
    first, second = (tile.name for tile in tiles.tiles)
    at = tuple(w + 1 + o for w, o in zip(whole, off, strict=True))
    origins = {first: (0.0, 0.0, 0.0), second: (at[0], at[1], at[2])}
    placed = place(tiles, [volume()] * 2, origins, spacing, {second: sigma})
    for found, exact, error in zip(placed.tiles[1].origin_px, at, sigma, strict=True):
        is_settled = abs(exact - round(exact)) <= min(error, 1 / 16)
        assert found == (round(exact) if is_settled else exact)
    assert place(tiles, [volume()] * 2, origins, spacing).tiles[1].origin_px == at  # nothing says how sure they are


@pytest.mark.parametrize("sigma_um", [0.001, 0.05])
def test_positions_of_an_alignment_are_whole_within_its_standard_errors(tmp_path: Path, sigma_um: float) -> None:
    tiles, file = mosaic((0.0, 0.0, 0.0), (5.0, 0.0, 0.0)), tmp_path / "align.json"
    keys = ["[0.0, 0.0, 0.0]", "[5.0, 0.0, 0.0]"]
    places = [[0.0, 0.0, 0.0], [5 * 1.3 + 0.02, 3.5 * 1.7, 2 * 1.2 - 0.02]]
    errors = {"standard_error_um": [sigma_um] * 3, "support": "loop"}
    content = {"alignments": dict(zip(keys, places, strict=True)), "tiles": dict.fromkeys(keys, errors)}
    file.write_text(json.dumps({"schema": 1, "voxel_size": 1.7, "x_step_size": 1.3} | content))
    found = place_opened(tiles, [volume()] * 2, alignment=file).tiles[1].origin_px
    assert found == pytest.approx((2, 3.5, 5) if sigma_um > 0.02 else (2 - 0.02 / 1.2, 3.5, 5 + 0.02 / 1.3), abs=1e-12)
