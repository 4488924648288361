"""What the written volume shows of its tiles: places, sheets, stripes, and what no tile covers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from gpustitch.model import Box, Coverage, ObliqueScan, PlacedVolume
from gpustitch.oblique.deskew.tile import ObliqueTile
from gpustitch.oblique.report.written import covers, middle_of, seen, sheet, uncovered
from tests.oblique.report.scenes import ArrayTile, texture


def volume_with(tile: PlacedVolume, at: tuple[int, int, int], size: tuple[int, int, int], seed: int) -> ArrayTile:
    """A volume of another texture that holds a tile at a place."""
    voxels = texture(size, seed + 1000)
    part = tile.volume.voxels  # type: ignore[attr-defined]
    voxels[tuple(slice(a, a + n) for a, n in zip(at, part.shape, strict=True))] = 0.4 * part + 30
    return ArrayTile(voxels)


@pytest.mark.parametrize(("seed", "off"), [(1, (0, 0, 0)), (2, (2, 0, -3)), (3, (0, -3, 1))])
def test_a_tile_is_seen_where_the_volume_has_it(seed: int, off: tuple[int, int, int]) -> None:
    tile = PlacedVolume("a", ArrayTile(texture((40, 60, 64), seed)), (5.0, 10.0, 12.0))
    z, y, x = (round(p) + d for p, d in zip(tile.origin_px, off, strict=True))
    assert seen(tile, volume_with(tile, (z, y, x), (60, 90, 100), seed)).off_px == off


def test_a_tile_that_the_volume_does_not_hold_is_not_seen() -> None:
    tile = PlacedVolume("a", ArrayTile(texture((40, 60, 64), 4)), (5.0, 10.0, 12.0))
    assert seen(tile, ArrayTile(texture((60, 90, 100), 5))).off_px is None


def oblique(frames: np.ndarray, origin: tuple[float, float, float]) -> PlacedVolume:
    scan = ObliqueScan(*frames.shape, pixel_um=2**0.5, step_um=1.0)
    return PlacedVolume("t", ObliqueTile(_Stack(frames), scan), origin)


class _Stack:
    absent: frozenset[int] = frozenset()

    def __init__(self, frames: np.ndarray) -> None:
        self._frames, self.shape, self.dtype = frames, frames.shape, frames.dtype

    def read(self, start: int, stop: int, rows: slice = slice(None), columns: slice = slice(None)) -> np.ndarray:
        return self._frames[start:stop, rows, columns]


@pytest.mark.parametrize("seed", [11, 12])
def test_a_sheet_of_the_volume_is_the_frame_that_was_written(seed: int) -> None:
    frames = np.random.default_rng(seed).integers(50, 900, (40, 30, 36)).astype(np.uint16)
    tile = oblique(frames, (4.0, 6.0, 2.0))
    whole = np.zeros((44, 40, 90), np.uint16)
    shape = tile.volume.coverage.shape
    whole[4 : 4 + shape[0], 6 : 6 + shape[1], 2 : 2 + shape[2]] = tile.volume.read(Box.of_shape(shape))
    for number in (0, 17, 39):
        found = sheet(tile, frames[number], number, ArrayTile(whole))  # type: ignore[arg-type]
        np.testing.assert_array_equal(found.written, found.raw)


def test_stripes_are_measured_in_the_volume() -> None:
    rng = np.random.default_rng(13)
    rows, columns = 120, 200
    even = 500 + rng.normal(0, 5, (4, rows, columns))
    striped = even * (1 + 0.08 * np.repeat(rng.choice([-1, 1], rows // 2), 2)[:, None])
    left = []
    for frames in (even, striped):
        tile = oblique(frames.astype(np.float32), (0.0, 0.0, 0.0))
        shape = tile.volume.coverage.shape
        volume = ArrayTile(tile.volume.read(Box.of_shape(shape)))
        left.append(sheet(tile, frames[1].astype(np.float32), 1, volume).stripes)
    assert left[0] is not None and left[1] is not None
    assert left[0] < 1 and left[1] == pytest.approx(8, abs=2.5)


@pytest.mark.parametrize("seed", range(3))
def test_what_is_covered_is_what_the_coverage_says(seed: int) -> None:
    rng = np.random.default_rng(seed)
    absent = tuple(int(n) for n in rng.choice(30, 3, replace=False))
    cover = Coverage(30, 9, 12, float(rng.uniform(0.5, 1.5)), absent)
    tile = PlacedVolume("a", _Covered(cover), (0.0, 0.0, 0.0))
    z, y, x = (np.arange(n, dtype=np.float64) for n in cover.shape)
    np.testing.assert_array_equal(covers(tile, z, y, x), cover.mask(Box.of_shape(cover.shape)))
    assert not (covers(tile, z, y, x, 1.0) & ~covers(tile, z, y, x)).any()


class _Covered:
    def __init__(self, coverage: Coverage) -> None:
        self.coverage = coverage


def test_a_gap_between_tiles_is_told_from_corners() -> None:
    tile = PlacedVolume("a", ArrayTile(np.ones((10, 20, 30), np.float32)), (0.0, 0.0, 0.0))
    others = {"a": tile, "b": replace(tile, name="b", origin_px=(0.0, 25.0, 0.0))}
    no_corner, gap = uncovered(others, (10, 45, 30), 45)
    assert gap == pytest.approx(100 * 5 / 45, abs=0.5) and no_corner == pytest.approx(gap)
    apart = others | {"b": replace(tile, name="b", origin_px=(0.0, 20.0, 15.0))}
    share, gap = uncovered(apart, (10, 40, 45), 45)
    assert gap == 0 and share == pytest.approx(100 / 3, abs=2)


def test_the_median_of_nothing_is_not_known() -> None:
    assert middle_of([None, None]) is None and middle_of([None, 3.0, 5.0, 4.0]) == 4.0
