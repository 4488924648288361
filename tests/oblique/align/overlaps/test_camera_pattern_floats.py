"""A pattern of the camera is found and taken away whatever the size of the floats."""

from __future__ import annotations

import numpy as np
import pytest

from gpustitch.io.volumes.array import ArrayVolume
from gpustitch.model import Box, Volume
from gpustitch.oblique.align.overlaps.camera_pattern import Cleared, find_still
from gpustitch.oblique.deskew.tile import ObliqueTile
from tests.oblique.align.overlaps.test_camera_pattern import SCAN, SHAPE, Taken, fixed, taken
from tests.oblique.deskew.test_sweep import Holed

BOX = Box((3, 5, 100), (40, 60, 140))
MEMBERS = [(1.0, "float32"), (1 / 65535, "float32"), (1e-30, "float32"), (1e30, "float32"), (1e200, "float64")]


@pytest.fixture(scope="module")
def counts() -> Taken:
    return taken(fixed(np.random.default_rng(1)), 5)


def times(made: Taken, factor: float, dtype: str, *, raw: bool) -> dict[str, Volume]:
    """The tiles as floats: as raw frames, or upright as on a disk."""
    volumes: dict[str, Volume] = {}
    for name, tile in made.volumes.items():
        if raw:
            frames = tile.read_along_sheet(Box.of_shape(SHAPE[::-1])).transpose(2, 1, 0)
            floats = (frames.astype(np.float64) * factor).astype(dtype)
            volumes[name] = ObliqueTile(Holed(floats), SCAN)
        else:
            voxels = tile.read(Box.of_shape(tile.coverage.shape)).astype(np.float64)
            floats = (voxels * factor).astype(dtype)
            volumes[name] = ArrayVolume(floats, tile.spacing, tile.coverage)
    return volumes


def found(made: Taken, volumes: dict[str, Volume]) -> tuple[float, np.ndarray]:
    """The pattern's share, and a part of a tile without it."""
    still, _ = find_still(volumes, {tile.name: tile.stage_um for tile in made.mosaic.tiles}, 2.5)
    assert still is not None
    return still.share, Cleared(volumes[made.mosaic.tiles[0].name], still.halves[0]).read(BOX)


@pytest.mark.filterwarnings("error", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("raw", [True, False])
def test_floats_of_any_size_show_the_pattern_that_counts_show(counts: Taken, raw: bool) -> None:
    share, cleared = found(counts, counts.volumes if raw else times(counts, 1, "uint16", raw=False))
    for factor, dtype in MEMBERS[: -1 if raw else None]:  # raw frames have no float64
        same, floats = found(counts, times(counts, factor, dtype, raw=raw))
        assert same == pytest.approx(share, rel=1e-4)
        scale = np.median(floats) / np.median(cleared)
        np.testing.assert_allclose(floats, cleared * scale, atol=1e-4 * np.abs(cleared).max() * scale)


@pytest.mark.filterwarnings("error", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("wrong", [1e30, -1e30, np.inf, np.nan])
def test_frames_with_a_pixel_that_is_no_light_tell_nothing(counts: Taken, wrong: float) -> None:
    """Some frames of each tile have such a pixel; the others show the pattern."""
    rng = np.random.default_rng(0)
    share, _ = found(counts, counts.volumes)
    volumes: dict[str, Volume] = {}
    for name, tile in counts.volumes.items():
        frames = tile.read_along_sheet(Box.of_shape(SHAPE[::-1])).transpose(2, 1, 0).astype(np.float32)
        frames[rng.random(len(frames)) < 0.2, 40, 20] = wrong
        volumes[name] = ObliqueTile(Holed(frames), SCAN)
    assert found(counts, volumes)[0] == pytest.approx(share, rel=0.2)
