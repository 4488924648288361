"""Which rows and columns of a tile's frames a band of the mosaic needs, and which of them later bands need again."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from gpustitch.model import Box, PlacedVolume
from gpustitch.oblique.fuse.blend import Footprint

_NOTHING = Box((0, 0, 0), (0, 0, 0))


@dataclass(frozen=True)
class Kept:
    """A part of the corrected frames of a tile that is kept for later bands.

    ``box`` are its columns, rows and frames. ``first`` and ``last`` are the numbers of the bands that need the tile;
    the last one ends at row ``stop`` of the mosaic.
    """

    tile: int
    box: Box
    first: int
    last: int
    stop: int


def window_of(tile: PlacedVolume, band: Box) -> Box:
    """The columns and rows of a tile's frames (and all frames) that a band of the mosaic needs; may be empty.

    It may reach a pixel beyond the frames: at a place that is whole but for rounding that pixel has a tiny share.
    """
    cover = tile.volume.coverage
    footprint = Footprint.of(tile, band.start[0], band.start[0])
    for axis, (first, stop) in enumerate((footprint.depths, footprint.rows)):
        if max(first, band.start[axis]) >= min(stop, band.stop[axis]):
            return _NOTHING  # no voxel there is covered, though a row or column may lie half there
    shifts = footprint.shift_z, footprint.shift_y
    low = [math.floor(start + shift) for start, shift in zip(band.start[:2], shifts, strict=True)]
    high = [math.ceil(stop - 1 + shift) + 1 for stop, shift in zip(band.stop[:2], shifts, strict=True)]
    of_band = Box((low[0], low[1], 0), (high[0], high[1], cover.n_frames))
    inside = _frames_of(tile)
    return _NOTHING if of_band.intersect(inside).is_empty else of_band.intersect(inside.pad((1, 1, 0)))


def inside_of(tile: PlacedVolume, band: Box) -> Box:
    """The part of :func:`window_of` that the frames have."""
    return window_of(tile, band).intersect(_frames_of(tile))


def kept_of(tiles: Sequence[PlacedVolume], bands: Sequence[Box]) -> Iterator[Kept]:
    """What is kept of each tile that several bands need: the bands follow one another along y."""
    for number, tile in enumerate(tiles):
        inside = {n: box for n, box in enumerate(inside_of(tile, band) for band in bands) if not box.is_empty}
        if len(inside) > 1:
            first, second, *_ = inside
            last, box = max(inside), inside[second]
            kept = Box(box.start, (box.stop[0], inside[last].stop[1], box.stop[2]))
            yield Kept(number, kept, first, last, bands[last].stop[1])


def _frames_of(tile: PlacedVolume) -> Box:
    cover = tile.volume.coverage
    return Box((0, 0, 0), (cover.n_columns, cover.n_rows, cover.n_frames))
