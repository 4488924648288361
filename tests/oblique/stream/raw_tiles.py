"""Placed tiles of raw frames, made for the tests of fusing frame by frame, and the twin's arguments for them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from gpustitch.model import Box, ObliqueScan, PlacedVolume
from gpustitch.oblique.deskew.tile import ObliqueTile
from gpustitch.oblique.fuse.blend import Footprint
from gpustitch.oblique.fuse.tables import Tables
from gpustitch.oblique.stream.fuse_frames import fuse_frames
from gpustitch.oblique.stream.sheet import Taps, along_sheet, box_of, drift_of, stacked

Gains = Mapping[int, npt.NDArray[np.float32]]
MOST = {"uint8": 255, "uint16": 65535, "float32": 1000}


class ArrayFrames:
    """Frames in memory; absent ones read as 0."""

    def __init__(self, array: npt.NDArray[Any], absent: Sequence[int]) -> None:
        self.array = array
        self.shape, self.dtype, self.absent = array.shape, array.dtype, frozenset(absent)
        self.array[list(absent)] = 0

    def read(self, start: int, stop: int, rows: slice = slice(None), columns: slice = slice(None)) -> npt.NDArray[Any]:
        """Frames start <= f < stop."""
        return self.array[start:stop, rows, columns].copy()


def placed(
    frames: npt.NDArray[Any],
    origin: Sequence[float],
    shear: float = 1.0,
    *,
    shear_px: float = 0.0,
    absent: Sequence[int] = (),
) -> PlacedVolume:
    """A tile of these frames (frame, row, column); ``shear`` in columns per plane."""
    scan = ObliqueScan(*frames.shape, 1.8, 1.8 * math.cos(math.pi / 4) / shear, 45.0, absent=tuple(absent))
    position = (float(origin[0]), float(origin[1]), float(origin[2]))
    return PlacedVolume(str(position), ObliqueTile(ArrayFrames(frames, absent), scan), position, shear_px)


def noise(
    shape: tuple[int, int, int], origin: Sequence[float], shear: float = 1.0, *, seed: int = 0, **more: Any
) -> PlacedVolume:
    """A tile of noise of full range, ``dtype`` uint16 unless given."""
    dtype = more.pop("dtype", "uint16")
    values = np.random.default_rng(seed).random(shape) * MOST[dtype]
    return placed((values if dtype == "float32" else np.rint(values)).astype(dtype), origin, shear, **more)


def extent(tiles: Sequence[PlacedVolume]) -> tuple[int, int, int]:
    """Shape of a mosaic that holds all tiles, and some voxels more."""
    ends = [[o + n for o, n in zip(t.origin_px, t.volume.coverage.shape, strict=True)] for t in tiles]
    drawn = max(0.0, *(t.shear_px * t.volume.coverage.shape[0] for t in tiles))
    z, y, x = (math.ceil(max(end[axis] for end in ends)) + 1 for axis in range(3))
    return z, y, x + math.ceil(drawn)


def drift(tiles: Sequence[PlacedVolume]) -> npt.NDArray[np.int64]:
    """Of all planes of the mosaic."""
    return drift_of(tiles[0].volume.coverage.shear + tiles[0].shear_px, extent(tiles)[0])


def whole(tiles: Sequence[PlacedVolume]) -> Box:
    """The box (z, y, f) of the sheet that holds the mosaic."""
    (n_planes, n_rows, n_columns), moved = extent(tiles), drift(tiles)
    return Box((0, 0, -int(moved.max())), (n_planes, n_rows, n_columns - int(moved.min())))


def arguments_of(tiles: Sequence[PlacedVolume], part: Box | None = None, gains: Gains | None = None) -> dict[str, Any]:
    """The twin's arguments for a part (z, y, f) of the sheet. Each run of frames is given its own frames, no others."""
    part = part or whole(tiles)
    ranges = list(zip(part.start, part.stop, strict=True))
    moved = drift(tiles)[part.start[0] : part.stop[0]]
    box = box_of(*ranges, moved)
    order = sorted(range(len(tiles)), key=lambda n: (tiles[n].origin_px, tiles[n].name))
    footprints = {n: Footprint.of(tiles[n], *ranges[0]) for n in order}
    prints = [(n, p, run) for n in order for p, run in _runs(footprints[n], tiles[n])]
    tables = along_sheet(
        Tables.of(box, [tiles[n] for n, _, _ in prints], [p for _, p, _ in prints]),
        box,
        part.start[2],
        part.shape[2],
        moved,
    )
    windows = [_window(tiles[n], footprints[n], part) for n, _, _ in prints]
    factors = {place: gains[n] for place, (n, _, _) in enumerate(prints) if gains and n in gains}
    tables = tables.in_boxes(windows, factors)
    starts, shares = stacked([Taps.of(tiles[n], footprints[n], part.start[0], moved) for n, _, _ in prints])
    starts += part.start[2] - np.array([run[0] for _, _, run in prints])[:, None, None]
    frames = [
        np.ascontiguousarray(tiles[n].volume.frames.array[slice(*run)][:, w.slices()[1], w.slices()[0]])  # type: ignore[attr-defined]
        for (n, _, run), w in zip(prints, windows, strict=True)
    ]
    of_tables = {field.name: getattr(tables, field.name) for field in dataclasses.fields(tables)}
    out = np.full(part.shape[::-1], 77, frames[0].dtype)
    return {"frames": frames, "starts": starts, "shares": shares, **of_tables, "out": out}


def fused_by_frames(tiles: Sequence[PlacedVolume], gains: Gains | None = None) -> npt.NDArray[Any]:
    """The mosaic (z, y, x), by way of the sheet."""
    arguments = arguments_of(tiles, gains=gains)
    fuse_frames(**arguments)
    shape, first = extent(tiles), whole(tiles).start[2]
    volume = np.empty(shape, arguments["out"].dtype)
    for z, moved in enumerate(drift(tiles)):
        volume[z] = arguments["out"][np.arange(shape[2]) - moved - first, :, z].T
    return volume


def _runs(footprint: Footprint, tile: PlacedVolume) -> list[tuple[Footprint, tuple[int, int]]]:
    coverage = tile.volume.coverage
    return list(zip(footprint.by_runs(coverage), coverage.runs, strict=True))


def _window(tile: PlacedVolume, footprint: Footprint, part: Box) -> Box:
    """The columns and rows of frames that voxels of the part are made of; one at least."""
    cover = tile.volume.coverage
    ranges = []
    for axis, (shift, n) in enumerate(((footprint.shift_z, cover.n_columns), (footprint.shift_y, cover.n_rows))):
        first = min(max(math.floor(part.start[axis] + shift), 0), n - 1)
        ranges.append((first, min(max(math.ceil(part.stop[axis] - 1 + shift) + 1, first + 1), n)))
    return Box((ranges[0][0], ranges[1][0], 0), (ranges[0][1], ranges[1][1], cover.n_frames))
