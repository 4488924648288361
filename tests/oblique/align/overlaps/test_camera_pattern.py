"""What stands still in the camera's picture holds no tile in place."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from scipy import ndimage

from gpustitch.io.volumes.array import ArrayVolume
from gpustitch.model import Box, Mosaic, ObliqueScan, Spacing, TilePath, Volume
from gpustitch.oblique.align import stage as align
from gpustitch.oblique.align.overlaps.camera import CameraView
from gpustitch.oblique.align.overlaps.camera_pattern import Cleared, find_still, pattern_bytes
from gpustitch.oblique.align.stage import AlignOptions, AlignResult
from gpustitch.oblique.deskew.tile import ObliqueTile
from tests.oblique.deskew.test_sweep import Holed

pytestmark = pytest.mark.long

SHAPE = (360, 96, 48)
PITCH = (230, 72)
SCAN = ObliqueScan(*SHAPE, 1.8, 1.8 / math.sqrt(2), 45.0)
OFFSET, LEVEL = 100.0, 400.0
Pattern = tuple[np.ndarray, np.ndarray]


class Taken(NamedTuple):
    """Tiles by name, where the stage has them, and the true frame, row and column of their first pixels."""

    mosaic: Mosaic
    volumes: dict[str, Volume]
    true: dict[str, np.ndarray]


def dust(rng: np.random.Generator) -> Pattern:
    rows, columns = np.indices(SHAPE[1:])
    gain = np.ones(SHAPE[1:])
    for _ in range(25):
        radius, row, column = rng.uniform(2, 6), rng.uniform(0, SHAPE[1]), rng.uniform(0, SHAPE[2])
        gain *= 1 - 0.25 * ((rows - row) ** 2 + (columns - column) ** 2 < radius**2)
    return ndimage.gaussian_filter(gain, 0.7), np.zeros_like(gain)


def hot(rng: np.random.Generator) -> Pattern:
    more = rng.exponential(3000, SHAPE[1:]) * (rng.random(SHAPE[1:]) < 4e-3)
    return np.ones_like(more), more


def stripes(axis: int) -> Callable[[np.random.Generator], Pattern]:
    def made(rng: np.random.Generator) -> Pattern:
        line = ndimage.gaussian_filter1d(rng.normal(size=SHAPE[1 + axis]), 1)
        gain = 1 + 0.12 * np.expand_dims(line / line.std(), 1 - axis)
        return np.broadcast_to(gain, SHAPE[1:]), np.zeros(SHAPE[1:])

    return made


def fixed(rng: np.random.Generator) -> Pattern:
    gain = ndimage.gaussian_filter(rng.normal(size=SHAPE[1:]), 1.5)
    return 1 + 0.12 * gain / gain.std(), np.zeros_like(gain)


def nothing(rng: np.random.Generator) -> Pattern:
    return np.ones(SHAPE[1:]), np.zeros(SHAPE[1:])


KINDS = {"dust": dust, "hot": hot, "rows": stripes(0), "columns": stripes(1), "fixed": fixed}


def taken(pattern: Pattern, seed: int, off_px: int = 4) -> Taken:
    """Four tiles of one specimen, each up to some pixels from where the stage has it."""
    rng = np.random.default_rng([seed, 1])
    whole = np.array(SHAPE) + (PITCH[0], PITCH[1], 0) + 2 * off_px
    specimen = ndimage.gaussian_filter(rng.standard_normal(whole, np.float32), 3)
    specimen *= np.float32(0.13 / specimen.std())
    gain, more = pattern
    paths, volumes, true = [], {}, {}
    for row, column in np.ndindex(2, 2):
        at = np.array([column * PITCH[0], row * PITCH[1], 0]) + rng.integers(0, 2 * off_px + 1, 3)
        light = LEVEL * (1 + specimen[tuple(slice(a, a + n) for a, n in zip(at, SHAPE, strict=True))])
        image = light * gain + more
        noisy = image + np.sqrt(0.45 * image + 12) * rng.standard_normal(SHAPE) + OFFSET
        frames = np.clip(np.rint(noisy), 0, 65535).astype(np.uint16)
        tile = TilePath(Path(f"{row}{column}"), (column * PITCH[0] * SCAN.step_um, row * PITCH[1] * 1.8, 0.0))
        paths.append(tile)
        volumes[tile.name], true[tile.name] = ObliqueTile(Holed(frames), SCAN), at
    return Taken(Mosaic(tuple(paths)), volumes, true)


def aligned(made: Taken) -> tuple[AlignResult, list[np.ndarray]]:
    """The alignment, and the error of each accepted link along z, y, x."""
    options = AlignOptions(mosaic=made.mosaic, volumes=made.volumes, n_workers=1, allow_unaligned=True)
    result = align.run(align.plan(options))
    errors = []
    for link in result.placement.links:
        if not link.reason:
            frame, row, column = made.true[link.moving] - made.true[link.fixed]
            errors.append(np.abs(np.subtract(link.offset_px, (column, row, frame + SCAN.shear * column))))
    return result, errors


@pytest.mark.parametrize("kind", KINDS)
def test_a_pattern_of_the_camera_holds_no_tile(kind: str) -> None:
    result, errors = aligned(taken(KINDS[kind](np.random.default_rng(2)), 1))
    assert result.record.provenance["camera_pattern"] > 0.02
    assert len(errors) == 4 and np.max(errors) < 1


@pytest.mark.parametrize("seed", range(3))
def test_none_is_found_where_there_is_none(seed: int) -> None:
    made = taken(nothing(np.random.default_rng(0)), seed)
    stage = {tile.name: tile.stage_um for tile in made.mosaic.tiles}
    assert find_still(made.volumes, stage, 2.5)[0] is None


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_left_of_it_is_little(kind: str) -> None:
    gain, more = pattern = KINDS[kind](np.random.default_rng(7))
    made = taken(pattern, 3)
    still, n_bytes = find_still(made.volumes, {t.name: t.stage_um for t in made.mosaic.tiles}, 2.5)
    assert still is not None and n_bytes > 0
    frame = (LEVEL * gain + more + OFFSET).astype(np.float32)
    tile = ObliqueTile(Holed(np.repeat(frame[None], 3, axis=0)), ObliqueScan(3, *SHAPE[1:], 1.8, SCAN.step_um, 45.0))
    rest = []
    for half in still.halves:
        cleared = CameraView(Cleared(tile, half)).read(Box.of_shape((SHAPE[2], SHAPE[1], 3)))[:, :, 1]
        shown = [image - ndimage.uniform_filter(image, 30) for image in (frame.T, cleared)]
        assert np.std(shown[1]) < 0.35 * np.std(shown[0])
        before, after = (ndimage.gaussian_filter(v, 1) - ndimage.gaussian_filter(v, 4) for v in (frame.T, cleared))
        rest.append(abs((before * after).sum() / np.square(before).sum()))
    # A rest of the pattern itself, the same in both halves, would pull tiles together.
    assert min(rest) < 0.01


def test_upright_and_along_the_sheet_the_same_is_taken_away() -> None:
    made = taken(fixed(np.random.default_rng(1)), 0)
    still, _ = find_still(made.volumes, {t.name: t.stage_um for t in made.mosaic.tiles}, 2.5)
    assert still is not None
    tile = made.volumes[made.mosaic.tiles[0].name]
    cleared = Cleared(tile, still.halves[0])
    box = Box((3, 5, 100), (40, 60, 140))
    expected = (tile.read(box) - still.halves[0].more[3:40, 5:60, None]) / still.halves[0].gain[3:40, 5:60, None]
    np.testing.assert_allclose(cleared.read(box), expected, rtol=1e-5)
    outside = cleared.read(Box((-2, -3, 100), (4, 4, 110)))
    assert not outside[:2].any() and not outside[:, :3].any() and outside[2:, 3:].any()
    assert cleared.dtype == outside.dtype == np.float32 and cleared.coverage == tile.coverage


def test_volumes_on_a_disk_show_it_too() -> None:
    for kind, is_there in ((fixed, True), (nothing, False)):
        made = taken(kind(np.random.default_rng(1)), 5)
        volumes: dict[str, Volume] = {
            name: ArrayVolume(tile.read(Box.of_shape(tile.coverage.shape)), tile.spacing, tile.coverage)
            for name, tile in made.volumes.items()
        }
        result, errors = aligned(made._replace(volumes=volumes))
        assert (result.record.provenance["camera_pattern"] > 0) == is_there
        assert len(errors) == 4 and np.max(errors) < 1


@pytest.mark.parametrize(("seed", "off_um"), [(0, 3.0), (1, -4.0), (2, 6.0)])
def test_a_specimen_that_is_alike_along_the_way_is_no_pattern(seed: int, off_um: float) -> None:
    """Rows whose distance is nearly a multiple of a period show it nearly at the same pixels."""
    rng = np.random.default_rng(seed)
    volumes, stage = {}, {}
    for row, column in np.ndindex(2, 2):
        y, z = np.indices(SHAPE[1:]) * np.array([1.8, 1.8 * math.sqrt(0.5)])[:, None, None] + row * off_um
        image = LEVEL * (1 + 0.2 * np.cos(2 * np.pi * y / 14) * np.cos(2 * np.pi * z / 14))
        frames = rng.poisson(np.broadcast_to(image, SHAPE)).astype(np.uint16)
        volumes[f"{row}{column}"] = ObliqueTile(Holed(frames), SCAN)
        stage[f"{row}{column}"] = (column * PITCH[0] * SCAN.step_um, row * PITCH[1] * 1.8, 0.0)
    assert find_still(volumes, stage, 2.5)[0] is None


def test_nothing_is_looked_for_where_nothing_can_tell() -> None:
    made = taken(fixed(np.random.default_rng(1)), 0)
    stage = {tile.name: tile.stage_um for tile in made.mosaic.tiles}
    alone = dict(list(made.volumes.items())[:1])
    assert find_still(alone, stage, 2.5) == (None, 0)
    flat = {name: ArrayVolume(np.zeros((4, 5, 6), np.uint16), Spacing(1, 1, 1)) for name in made.volumes}
    assert find_still(flat, stage, 2.5) == (None, 0)
    empty = {name: ObliqueTile(Holed(np.zeros(SHAPE, np.uint16)), SCAN) for name in made.volumes}
    assert find_still(empty, stage, 2.5)[0] is None
    assert pattern_bytes(2048, 2048) < 2**29
