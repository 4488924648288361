"""The grid of the sheet: how planes drift, and which frames make a voxel."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpustitch.model import Box
from gpustitch.oblique.fuse.blend import Footprint
from gpustitch.oblique.fuse.tables import Tables
from gpustitch.oblique.stream.sheet import Taps, along_sheet, box_of, drift_of
from tests.oblique.stream.raw_tiles import noise

SLOPES = st.floats(0.05, 4.0)
PLACES = st.tuples(*[st.floats(-3.0, 3.0)] * 3)


@given(SLOPES, st.integers(1, 300))
def test_planes_drift_as_the_tiles_lean(slope: float, n_planes: int) -> None:
    drift, lean = drift_of(slope, n_planes), slope * np.arange(n_planes)
    assert drift.dtype == np.int64
    assert drift[0] == 0
    assert np.all((np.diff(drift) == np.floor(slope)) | (np.diff(drift) == np.ceil(slope)))
    assert np.all(np.abs(drift - lean) <= 1)


@pytest.mark.parametrize("slope", [1, 2, 3])
def test_whole_slopes_drift_by_just_them(slope: int) -> None:
    np.testing.assert_array_equal(drift_of(float(slope), 50), slope * np.arange(50))


@settings(max_examples=50)
@given(SLOPES, PLACES, st.integers(0, 5))
def test_shares_are_a_mean_of_the_frames_where_the_voxel_lies(
    slope: float, origin: tuple[float, float, float], first_plane: int
) -> None:
    """The frame of mosaic voxel (z, x) is ``x - origin - slope * (z - origin)`` whatever the interpolation."""
    tile, depth = noise((3, 3, 3), origin, slope), 40
    drift = drift_of(slope, first_plane + depth)[first_plane:]
    taps = Taps.of(tile, Footprint.of(tile, first_plane, first_plane + depth), first_plane, drift)
    assert taps.share.min() >= 0
    np.testing.assert_allclose(taps.share.sum(axis=(0, 1)), 1, atol=1e-6)
    frames = taps.start[:, None] + np.arange(3)[:, None]
    shear = tile.volume.coverage.shear
    place = drift - origin[2] - shear * (first_plane + np.arange(depth) - origin[0])
    np.testing.assert_allclose((taps.share * frames).sum(axis=(0, 1)), place, atol=1e-4)
    used = frames[taps.share > 0]
    assert taps.reach[0] <= used.min()
    assert used.max() < taps.reach[1]


def test_whole_places_need_one_frame() -> None:
    tile = noise((3, 3, 3), (1, 2, 3), 2.0)
    taps = Taps.of(tile, Footprint.of(tile, 0, 9), 0, drift_of(2.0, 9))
    assert np.count_nonzero(taps.share) == 9
    assert taps.reach == (-1, 0)


@settings(max_examples=30)
@given(SLOPES, PLACES, st.integers(-9, 9), st.integers(1, 12))
def test_tables_along_the_sheet_cover_the_same_voxels(
    slope: float, origin: tuple[float, float, float], first: int, n_frames: int
) -> None:
    tile, drift = noise((7, 3, 5), origin, slope), drift_of(slope, 9)
    box = box_of((0, 9), (0, 4), (first, first + n_frames), drift)
    footprint = Footprint.of(tile, 0, 9)
    tables = Tables.of(box, [tile], [footprint])
    sheared = along_sheet(tables, box, first, n_frames, drift)
    for z, f in np.ndindex(9, n_frames):
        x = first + f + drift[z]
        assert box.start[2] <= x < box.stop[2]
        assert (sheared.columns[0, z, 0] <= f < sheared.columns[0, z, 1]) == (
            footprint.columns[z, 0] <= x < footprint.columns[z, 1]
        )
        np.testing.assert_allclose(f - sheared.edges[0, z, 0], x - footprint.first_x[z], atol=1e-9)
    assert np.all(tables.columns[..., 2] == sheared.columns[..., 2])


def test_a_box_holds_the_voxels_of_its_frames() -> None:
    assert box_of((2, 4), (1, 3), (5, 8), np.array([4, 6])) == Box((2, 1, 9), (4, 3, 14))
