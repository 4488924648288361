"""Tiles that lie over one another stay together, whichever y voxel size is gone on with."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from gpustitch.array import CPU
from gpustitch.model import Mosaic, ObliqueScan, TilePath, Volume
from gpustitch.oblique.align import stage as align
from gpustitch.oblique.align.link import link_tiles
from gpustitch.oblique.align.matching import MatchOptions
from gpustitch.oblique.align.points import Overlap
from gpustitch.oblique.align.stage import AlignOptions
from gpustitch.oblique.deskew.tile import ObliqueTile
from gpustitch.oblique.mosaic.file import read_alignment
from gpustitch.oblique.mosaic.placing import place
from gpustitch.running.threads import Workers
from tests.oblique.align.test_stage import FAST, tissue
from tests.oblique.deskew.test_sweep import Holed

PIXEL, STEP = 1.8, 1.8 / 2**0.5
NOMINAL = 1.03 * PIXEL
N_FRAMES, ROWS, COLUMNS = 90, 56, 44
FEW = (200, 64, 48)
SLANTED = ObliqueScan(*FEW, 1.8, 1.8 / math.sqrt(2), 45.0)
DEEP, ALONG = 28, 36  # columns and rows from tile to tile


@pytest.fixture(scope="module")
def mosaic() -> tuple[Mosaic, dict[str, Volume], dict[str, np.ndarray]]:
    """2 x 2 tiles (z, y) of one specimen, de-obliqued with a pixel size 3 % too large, and where they begin in it."""
    specimen = tissue((COLUMNS + DEEP, ROWS + ALONG, N_FRAMES + COLUMNS + DEEP), seed=7)
    paths, volumes, begins = [], {}, {}
    for z in (0, DEEP):
        for y in (0, ALONG):
            cut = specimen[z : z + COLUMNS, y : y + ROWS]
            frames = np.stack([[cut[c, :, f + c + z // 4] for c in range(COLUMNS)] for f in range(N_FRAMES)])
            tile = TilePath(Path(f"{z}_{y}"), (0.0, round(y * PIXEL, 1), round(z * STEP, 1)))
            paths.append(tile)
            volumes[tile.name] = ObliqueTile(
                Holed(frames.swapaxes(1, 2)), ObliqueScan(N_FRAMES, ROWS, COLUMNS, NOMINAL, STEP)
            )
            begins[tile.name] = np.array([z, y, z // 4])
    return Mosaic(tuple(paths)), volumes, begins


@pytest.mark.parametrize(
    "changed",
    [
        {"y_size": "auto", "stage_repeatability_um": 0.3},
        {"y_size": "measured"},
        {"y_size": "nominal"},
        {"y_size": "measured", "z_offset": DEEP},
    ],
    ids=str,
)
def test_what_two_tiles_saw_meets_in_the_mosaic(mosaic, changed: dict, tmp_path: Path) -> None:
    tiles, volumes, begins = mosaic
    file = tmp_path / "align.json"
    matching = dataclasses.replace(FAST, search_px=(4, 4, 4))
    result = align.run(
        align.plan(AlignOptions(mosaic=tiles, volumes=volumes, matching=matching, output=file, **changed))
    )
    assert all(not link.reason for link in result.placement.links) and len(result.placement.links) == 4
    assert result.spacing.y_um == (NOMINAL if changed["y_size"] == "nominal" else pytest.approx(PIXEL, rel=5e-3))
    found = read_alignment(file)
    for origins in (result.placement.origin_px, found.placement(result.spacing).origin_px):
        placed = place(tiles, [volumes[tile.name] for tile in tiles.tiles], origins, result.spacing)
        bead = np.array([DEEP + 6, ALONG + 9, 80])
        shown = []
        for tile in placed.tiles:
            z, y, x = bead - begins[tile.name]
            slant = volumes[tile.name].coverage.shear + tile.shear_px
            shown.append(np.array(tile.origin_px) + [z, y, x - z + slant * z])
        assert np.ptp(shown, axis=0).max() < 0.2
    # A residual is that of the solution, in the grid of the solution.
    more = found.slant - volumes[tiles.tiles[0].name].coverage.shear
    for link in result.placement.links:
        apart = np.subtract(*(result.placement.origin_px[name] for name in (link.moving, link.fixed)))
        z, y, x = link.offset_px
        np.testing.assert_allclose(
            result.placement.residual_px[link.fixed, link.moving], apart - [z, y, x + more * z], atol=1e-6
        )
        offsets = [np.subtract(match.fixed_px, match.moving_px) for match in link.matches]
        np.testing.assert_allclose(np.median(offsets, axis=0), link.offset_px, atol=0.3)


def test_tiles_are_looked_for_in_their_own_slant(mosaic) -> None:
    """A stated step that is half of the tiles' own makes a grid that slants twice as much."""
    tiles, volumes, _ = mosaic
    x_um = (
        (DEEP // 4 - DEEP + 2 * NOMINAL / PIXEL * DEEP) * STEP / 2
    )  # where the second plane of tiles lies in that grid
    paths, moved = [], {}
    for tile in tiles.tiles:
        _, y, z = tile.stage_um
        paths.append(dataclasses.replace(tile, stage_um=(round(x_um, 1) if z else 0.0, y, z)))
        moved[paths[-1].name] = volumes[tile.name]
    matching = dataclasses.replace(FAST, search_px=(4, 4, 4))
    options = AlignOptions(mosaic=Mosaic(tuple(paths)), volumes=moved, matching=matching, x_step_um=STEP / 2)
    result = align.run(align.plan(options))
    assert all(not link.reason for link in result.placement.links) and len(result.placement.islands) == 1
    assert result.spacing.x_um == STEP / 2


@pytest.mark.parametrize(("apart", "seed"), [(32, 0), (38, 0), (32, 1)])
def test_windows_decide_though_few_planes_are_shared(apart: int, seed: int) -> None:
    """The place that is found lies elsewhere along x than the same frames do, by a shear for each plane."""
    rng = np.random.default_rng(seed)
    off = rng.integers(-2, 3, 3)  # frame, row, column
    first = np.full(3, 4)
    second = first + (0, 0, apart) + off
    specimen = ndimage.gaussian_filter(rng.standard_normal(np.add(FEW, (8, 8, 8 + apart))), 2)
    light = 400 * np.maximum(1 + 0.2 * specimen / specimen.std(), 0)
    tiles = []
    for at in (first, second):
        seen = light[tuple(slice(a, a + n) for a, n in zip(at, FEW, strict=True))]
        tiles.append(ObliqueTile(Holed(rng.poisson(seen).astype(np.uint16)), SLANTED))
    stated = (apart, 0, round(SLANTED.shear * apart))
    link, count = link_tiles(
        Overlap(tiles[0], tiles[1], stated), ("a", "b"), MatchOptions(), (6, 6, 6), rng, Workers(1, CPU)
    )
    frame, row, column = second - first
    assert not link.reason and count.agreeing >= 5
    np.testing.assert_allclose(link.offset_px, (column, row, frame + SLANTED.shear * column), atol=0.1)
