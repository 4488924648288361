"""Offsets matched in one slant and used in another: what two tiles saw meets in the mosaic, as fusion puts it."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpustitch.errors import DamagedInputError
from gpustitch.io.volumes.array import ArrayVolume
from gpustitch.io.volumes.sidecar import SIDECAR
from gpustitch.io.write.format import Writing
from gpustitch.io.write.precomputed import PrecomputedWriter
from gpustitch.model import (
    Box,
    Candidate,
    Link,
    Mosaic,
    ObliqueScan,
    PlacedVolume,
    Placement,
    Spacing,
    TilePath,
    tile_name,
)
from gpustitch.oblique.mosaic.file import AlignmentRecord, read_alignment, write_alignment
from gpustitch.oblique.mosaic.placing import mosaic_spacing, place, place_found
from gpustitch.oblique.mosaic.slant import more_slant, slant_of, slanted, slanted_link

PIXEL, STEP = 1.8, 1.28


def in_mosaic(tile: PlacedVolume, begins_um: np.ndarray, bead_um: np.ndarray, angle_deg: float = 45.0) -> np.ndarray:
    """Where the mosaic shows a bead (z, y, x) that a tile saw which begins at a true place (z, y, x), um."""
    sine, cosine = math.sin(math.radians(angle_deg)), math.cos(math.radians(angle_deg))
    z, y, x = bead_um - begins_um
    column = z / (PIXEL * sine)
    frame = (x - column * PIXEL * cosine) / STEP
    own = tile.volume.spacing
    slant = slant_of(tile.volume, own) + tile.shear_px
    return np.array(tile.origin_px) + [column, y / PIXEL, frame + slant * column]


def seen(pixel_um: float, angle_deg: float = 45.0, is_oblique: bool = True) -> ArrayVolume:
    """A small tile that was de-obliqued with a pixel size."""
    scan = ObliqueScan(6, 2, 4, pixel_um, STEP, angle_deg)
    shape = scan.shape
    return ArrayVolume(np.zeros(shape, np.uint16), scan.spacing, scan.coverage if is_oblique else None)


@given(
    st.floats(1.7, 1.9), st.floats(1.7, 1.9), st.floats(0.9, 1.1), st.floats(30, 60), st.floats(0, 3000), st.booleans()
)
def test_a_bead_meets_itself_whatever_size_is_gone_on_with(
    made_um: float, used_um: float, of_step: float, angle: float, deep_um: float, is_oblique: bool
) -> None:
    begins = [np.zeros(3), np.array([deep_um, 40.0, 33.0])]
    volumes = [seen(made_um, angle, is_oblique)] * 2
    tiles = Mosaic(tuple(TilePath(Path(f"t{n}"), (0.0, 100.0 * n, 0.0)) for n in range(2)))
    # What matching finds in the grid of the tiles.
    columns = deep_um / (PIXEL * math.sin(math.radians(angle)))
    frames = (33.0 - columns * PIXEL * math.cos(math.radians(angle))) / STEP
    own = volumes[0].spacing
    found = Link("a", "b", (columns, 40.0 / PIXEL, frames + slant_of(volumes[0], own) * columns), (0, 0, 0), ())
    spacing = mosaic_spacing(tiles, volumes, STEP * of_step, used_um)
    more = more_slant(volumes[0], spacing)
    link = slanted_link(found, more)
    first_name, second_name = (tile.name for tile in tiles.tiles)
    placed = place(tiles, volumes, {first_name: (0, 0, 0), second_name: link.offset_px}, spacing)
    bead = begins[1] + [20.0, 10.0, 30.0]
    first, second = (in_mosaic(t, b, bead, angle) for t, b in zip(placed.tiles, begins, strict=True))
    np.testing.assert_allclose(first, second, atol=1e-6)
    np.testing.assert_allclose(slanted_link(link, -more).offset_px, found.offset_px, atol=1e-9)
    assert is_oblique or more == 0


def test_candidates_slant_with_their_link_and_matches_stay() -> None:
    link = Link("a", "b", (40.0, 1.0, 2.0), (0, 0, 0), (), "no", None, (Candidate((20.0, 3.0, 4.0), (1, 1, 1), 0.5),))
    moved = slanted_link(link, 0.03)
    assert moved.offset_px == pytest.approx((40, 1, 3.2)) and moved.candidates[0].offset_px == pytest.approx(
        (20, 3, 4.6)
    )
    assert (moved.reason, moved.candidates[0].confidence) == ("no", 0.5)
    assert slanted_link(link, 0) is link and slanted((1.0, 2.0, 3.0), -1.0) == (1, 2, 2)


def write_tiles(root: Path, stages_um: list[tuple[float, float, float]], pixel_um: float, is_oblique: bool) -> None:
    """Small volumes on disk that state their spacing and, if told, how they were scanned."""
    volume = seen(pixel_um)
    for x, y, z in stages_um:
        path = root / f"{round(10 * x)}" / f"{round(10 * x)}_{round(10 * y)}" / f"{round(10 * z)}"
        shape = volume.coverage.shape
        with PrecomputedWriter(path, shape, np.uint16, volume.spacing, Writing(levels=1)) as writer:
            for box in Box.of_shape(shape).blocks(writer.block_shape):
                writer.write(box, np.ones(box.shape, np.uint16))
        if is_oblique:
            (path / SIDECAR).write_text(json.dumps({"scan": dataclasses.asdict(ObliqueScan(6, 2, 4, pixel_um, STEP))}))


@pytest.mark.parametrize("used_um", [1.8, 1.854])
def test_channels_inherit_the_positions_whatever_size_they_were_made_with(used_um: float, tmp_path: Path) -> None:
    """The alignment is of tiles made with 1.854 um; 1.8 um is true."""
    begins = {(0.0, 0.0, 0.0): np.zeros(3), (0.0, 1.8, 100.0): np.array([103.0, 1.2, 5.0])}
    stages = list(begins)
    names = [tile_name(stage) for stage in stages]
    own = seen(1.854)
    spacing = Spacing(used_um * math.sqrt(0.5), used_um, STEP)
    slant = slant_of(own, spacing)
    position = {}
    for name, (z, y, x) in zip(names, begins.values(), strict=True):
        column = z / (PIXEL * math.sqrt(0.5))
        position[name] = (column, y / PIXEL, (x - column * PIXEL * math.sqrt(0.5)) / STEP + slant * column)
    placement, stage_um = Placement(position, {}, (), ()), dict(zip(names, stages, strict=True))
    record = AlignmentRecord(
        placement, stage_um, dict.fromkeys(names, (0, 0, 0)), spacing,
        1.854, 1.8, 0.01, {}, True, False, slant=slant, slant_of_links=slant_of(own, own.spacing),
    )  # fmt: skip
    file = tmp_path / "align.json"
    write_alignment(file, record)
    assert read_alignment(file).slant == slant
    old = json.loads(file.read_text())
    del old["slant"], old["slant_of_links"]
    bead = np.array([120.0, 2.0, 60.0])
    for made_um in (1.854, 1.8):
        for is_oblique in (True, False):
            root = tmp_path / f"{made_um}{is_oblique}"
            write_tiles(root, stages, made_um, is_oblique)
            for stated_um in (None, 1.83):
                placed = place_found(root, alignment=file, y_voxel_um=stated_um)
                first, second = (in_mosaic(t, b, bead) for t, b in zip(placed.tiles, begins.values(), strict=True))
                np.testing.assert_allclose(first, second, atol=0.01)
            if used_um == made_um:  # a file that states no slant is of the grid of the tiles that it was made of
                (tmp_path / "old.json").write_text(json.dumps(old))
                placed = place_found(root, alignment=tmp_path / "old.json")
                first, second = (in_mosaic(t, b, bead) for t, b in zip(placed.tiles, begins.values(), strict=True))
                np.testing.assert_allclose(first, second, atol=0.01)


@pytest.mark.parametrize("slant", ["steep", -1.0, [1]])
def test_a_slant_that_is_no_number_is_refused(slant: object, tmp_path: Path) -> None:
    file = tmp_path / "align.json"
    file.write_text(json.dumps({"voxel_size": 1.8, "alignments": {"[0, 0, 0]": [0, 0, 0]}, "slant": slant}))
    with pytest.raises(DamagedInputError):
        read_alignment(file)
