"""Tables for fusing one block of the mosaic: the part that each tile covers, and how the tile's grid lies there.

All tables are in voxels of the block: its first voxel is (0, 0, 0).
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gpustitch.array import Array
from gpustitch.model import ZYX, Box, PlacedVolume
from gpustitch.oblique.fuse.blend import Footprint, Near, differing_axes
from gpustitch.oblique.fuse.shifted import Place

# Tables that are moved together begin at multiples of this many bytes, the alignment of their largest elements.
_ALIGNMENT = 8


@dataclass(frozen=True)
class Tables:
    """Geometry of n tiles on a block of Z planes and Y rows.

    Parameters
    ----------
    bounds
        int32, shape (n, 7). Elements 0 and 1: half-open range of the planes of the block that a tile covers. 2 and 3:
        the same for rows. 4 and 5: whole part, along z and y, of the place of the block's first voxel in the tile's
        voxels. 6: 1 if the tile has gains.
    columns
        int32, shape (n, Z, 3). Elements 0 and 1: half-open range of covered columns on each plane, stop >= start. 2:
        whole part of the place of the block's first column in the tile's voxels.
    edges
        float64, shape (n, Z, 2): the tile's two edges along x on each plane, from which distances are measured.
    planes
        float32, shape (n, Z, 4). Elements 0 to 2: fractions (z, y, x) of the place of a plane's voxels in the tile's
        voxels, 0 <= fraction < 1. Those of z and y are the same on all planes. 3: distance of the plane to the nearer
        edge along z.
    rows
        float32, shape (n, Y, 2): distance of each row to the nearer edge along y, and the factor of its brightness.
    axes
        uint8, shape (n, n, 3): 1 for the axes (z, y, x) in which two tiles differ.

    Notes
    -----
    A tile covers a voxel if it covers the voxel's plane, row and column. A voxel's place in the tile is its index plus
    the whole part plus the fraction. The tile's voxels hold all neighbours that a covered voxel's interpolation needs.
    An axis whose fraction is 0 needs no second neighbour.
    """

    bounds: Array
    columns: Array
    edges: Array
    planes: Array
    rows: Array
    axes: Array

    @classmethod
    def of(cls, box: Box, tiles: Sequence[PlacedVolume], prints: Sequence[Footprint]) -> Tables:
        """The tables of ``box`` (mosaic voxels), with places in the tiles' whole grids and without gains.

        ``prints`` are the tiles' footprints on the planes of the box.
        """
        axes = np.zeros((len(tiles), len(tiles), 3), np.uint8)
        for i, j in itertools.permutations(range(len(tiles)), 2):
            axes[i, j] = differing_axes(tiles[i], tiles[j])
        return cls(
            bounds=np.array([_bounds(p, box) for p in prints], np.int32),
            columns=np.array([_columns(p, box) for p in prints], np.int32),
            edges=np.array([np.stack([p.first_x, p.last_x], axis=1) - box.start[2] for p in prints]),
            planes=np.array([_planes(p, box) for p in prints], np.float32),
            rows=np.array([_rows(p, box) for p in prints], np.float32),
            axes=axes,
        )

    def in_boxes(self, boxes: Sequence[Box], gains: Mapping[int, npt.NDArray[np.float32]]) -> Tables:
        """The same tables with places in a box of each tile's grid, and gains for the rows of some tiles."""
        bounds, columns, rows = self.bounds.copy(), self.columns.copy(), self.rows.copy()
        for tile, box in enumerate(boxes):
            if tile in gains:
                place = np.arange(rows.shape[1]) + (bounds[tile, 5] + float(self.planes[tile, 0, 1]))
                rows[tile, :, 1] = np.interp(place, np.arange(len(gains[tile])), gains[tile])
                bounds[tile, 6] = 1
            bounds[tile, 4:6] -= np.array(box.start[:2], np.int32)
            columns[tile, :, 2] -= np.int32(box.start[2])
        return dataclasses.replace(self, bounds=bounds, columns=columns, rows=rows)

    def needed(self, tile: int, cells: Sequence[Box]) -> Box:
        """The box of the tile's voxels that interpolation on the cells needs."""
        low = [cell.start[2] + int(self._start_x(tile, cell).min()) for cell in cells]
        high = [cell.stop[2] + int(self._end_x(tile, cell).max()) for cell in cells]
        starts = self.bounds[tile, 4:6].tolist()
        more = (self.planes[tile, 0, :2] > 0).tolist()
        z, y = (
            (min(c.start[a] for c in cells) + start, max(c.stop[a] for c in cells) + start + second)
            for a, (start, second) in enumerate(zip(starts, more, strict=True))
        )
        return Box((z[0], y[0], min(low)), (z[1], y[1], max(high)))

    def place(self, tile: int, cell: Box) -> Place:
        """The place of a cell's first voxel in the tile's voxels."""
        z, y = (start + at for start, at in zip(self.bounds[tile, 4:6].tolist(), cell.start[:2], strict=True))
        fractions = self.planes[tile, cell.start[0] : cell.stop[0], :3]
        start_x = self._start_x(tile, cell) + np.int32(cell.start[2])
        return Place((z, y), start_x, (float(fractions[0, 0]), float(fractions[0, 1])), fractions[:, 2])

    def covered(self, tile: int, cell: Box) -> npt.NDArray[np.int32]:
        """Half-open range of covered columns on each plane of a cell, counted from the cell's first column."""
        columns = self.columns[tile, cell.start[0] : cell.stop[0], :2]
        return np.clip(columns - np.int32(cell.start[2]), 0, cell.shape[2])

    def near(self, tile: int, cell: Box) -> Near:
        """Distances to the tile's nearer edge along z, y and x."""
        planes, rows = slice(cell.start[0], cell.stop[0]), slice(cell.start[1], cell.stop[1])
        x = np.arange(cell.start[2], cell.stop[2], dtype=np.float64)
        first, last = self.edges[tile, planes, :1], self.edges[tile, planes, 1:]
        along_x = np.minimum(x - first, last - x).astype(np.float32)
        return self.planes[tile, planes, 3, None, None], self.rows[tile, None, rows, 0, None], along_x[:, None, :]

    def gains(self, tile: int, cell: Box) -> npt.NDArray[np.float32] | None:
        """Factors of the rows of a cell, shape (1, rows, 1); None for a tile without gains."""
        if not self.bounds[tile, 6]:
            return None
        return self.rows[tile, None, cell.start[1] : cell.stop[1], 1, None]

    def moved_to(self, xp: Any) -> Tables:
        """The tables as arrays of the library ``xp``, moved in one transfer: each costs as much as a small kernel."""
        names = [field.name for field in dataclasses.fields(self)]
        arrays = [np.ascontiguousarray(getattr(self, name)) for name in names]
        ends = np.cumsum([-(-array.nbytes // _ALIGNMENT) * _ALIGNMENT for array in arrays]).tolist()
        packed = np.zeros(ends[-1], np.uint8)
        starts = [0, *ends[:-1]]
        for start, array in zip(starts, arrays, strict=True):
            packed[start : start + array.nbytes] = array.reshape(-1).view(np.uint8)
        moved = xp.asarray(packed)
        parts = {
            name: moved[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
            for name, start, array in zip(names, starts, arrays, strict=True)
        }
        return Tables(**parts)

    def _start_x(self, tile: int, cell: Box) -> npt.NDArray[np.int32]:
        return self.columns[tile, cell.start[0] : cell.stop[0], 2]

    def _end_x(self, tile: int, cell: Box) -> npt.NDArray[np.int32]:
        return self._start_x(tile, cell) + (self.planes[tile, cell.start[0] : cell.stop[0], 2] > 0)


def _bounds(footprint: Footprint, box: Box) -> list[int]:
    ranges = [
        min(max(bound - box.start[axis], 0), box.shape[axis])
        for axis, pair in enumerate((footprint.depths, footprint.rows))
        for bound in pair
    ]
    shifts = footprint.shift_z, footprint.shift_y
    return [*ranges, *(int(np.floor(shift)) + box.start[axis] for axis, shift in enumerate(shifts)), 0]


def _columns(footprint: Footprint, box: Box) -> npt.NDArray[np.float64]:
    covered = np.clip(footprint.columns - box.start[2], 0, box.shape[2])
    covered[:, 1] = np.maximum(covered[:, 0], covered[:, 1])
    return np.concatenate([covered, np.floor(footprint.shift_x)[:, None] + box.start[2]], axis=1)


def _planes(footprint: Footprint, box: Box) -> npt.NDArray[np.float64]:
    z = np.arange(box.start[0], box.stop[0], dtype=np.float64)
    shifts = np.broadcast_arrays(footprint.shift_z, footprint.shift_y, footprint.shift_x)
    near = np.minimum(z - footprint.z_edges[0], footprint.z_edges[1] - z)
    return np.stack([*(shift - np.floor(shift) for shift in shifts), near], axis=1)


def _rows(footprint: Footprint, box: Box) -> npt.NDArray[np.float64]:
    y = np.arange(box.start[1], box.stop[1], dtype=np.float64)
    near = np.minimum(y - footprint.y_edges[0], footprint.y_edges[1] - y)
    return np.stack([near, np.ones_like(near)], axis=1)


# Most planes of a cell: a slanted tile's columns drift over so few planes by little beside an overlap.
_PLANES = 16
# Least columns of a cell: a narrower cell costs more to start than to compute with one tile too many.
_LEAST_WIDTH = 8
# Most voxels of a cell of several tiles: half a dozen arrays of weights and sums have this size.
_WEIGHTED_VOXELS = 1 << 17

Range = tuple[int, int]


@dataclass(frozen=True)
class Cell:
    """A part of a block: each of ``tiles`` covers all its planes and rows, and some or all of its columns."""

    box: Box
    tiles: tuple[int, ...]


def cells(bounds: npt.NDArray[np.int32], columns: npt.NDArray[np.int32], shape: ZYX) -> Iterator[Cell]:
    """Cut a block into cells; cells without tiles are included, so that all cells together are the block.

    Parameters
    ----------
    bounds, columns
        Coverage of the tiles: :class:`gpustitch.oblique.fuse.tables.Tables`.
    shape
        Shape (z, y, x) of the block.
    """
    depths, rows = [[(a, b) for a, b in bounds[:, cut].tolist()] for cut in (slice(0, 2), slice(2, 4))]
    for z in cut(shape[0], depths, _PLANES):
        deep = [n for n, (first, stop) in enumerate(depths) if first <= z[0] and z[1] <= stop]
        spans = {n: _envelope(columns[n, z[0] : z[1]]) for n in deep}
        for y in cut(shape[1], [rows[n] for n in deep]):
            here = {n: spans[n] for n in deep if rows[n][0] <= y[0] and y[1] <= rows[n][1]}
            for x in cut(shape[2], list(here.values()), least=_LEAST_WIDTH):
                found = tuple(n for n, span in here.items() if span[0] < x[1] and x[0] < span[1])
                yield from _in_cache(Box((z[0], y[0], x[0]), (z[1], y[1], x[1])), found)


def _in_cache(box: Box, tiles: tuple[int, ...]) -> Iterator[Cell]:
    """One cell; for several tiles, whose weights take memory, as many cells as keep the weights in cache."""
    rows = box.shape[1]
    if len(tiles) > 1:
        rows = max(1, _WEIGHTED_VOXELS // (box.shape[0] * box.shape[2]))
    for start in range(box.start[1], box.stop[1], rows):
        stop = min(start + rows, box.stop[1])
        yield Cell(Box((box.start[0], start, box.start[2]), (box.stop[0], stop, box.stop[2])), tiles)


def _envelope(columns: npt.NDArray[np.int32]) -> Range:
    full = columns[columns[:, 1] > columns[:, 0]]
    return (int(full[:, 0].min()), int(full[:, 1].max())) if len(full) else (0, 0)


def cut(length: int, ranges: Sequence[Range], run: int | None = None, least: int = 1) -> list[Range]:
    """Cut 0 to ``length`` at the bounds of the ranges, into pieces from ``least`` to ``run`` long where possible."""
    bounds = sorted({bound for pair in ranges for bound in pair if 0 < bound < length})
    kept = [0]
    for bound in bounds:
        if bound - kept[-1] >= least and length - bound >= least:
            kept.append(bound)
    if run is not None:
        kept = sorted({at for a, b in itertools.pairwise([*kept, length]) for at in range(a, b, run)})
    return list(itertools.pairwise([*kept, length]))
