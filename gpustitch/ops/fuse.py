"""Fusion: one block of the mosaic from the tiles that cover it.

:func:`plan_block` says which box of which tile is needed; :func:`fuse_block` turns these boxes into the block.
Tiles are moved by their sub-voxel positions by linear interpolation (positions that are whole copy exactly) and
blended by :func:`gpustitch.ops.blend.weights`. A voxel whose interpolation needs a neighbour that its tile does not
cover is not covered by that tile; one that no tile covers is 0.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gpustitch.array import Array, namespace
from gpustitch.model import Box, PlacedVolume
from gpustitch.ops.blend import Footprint, differing_axes, weights
from gpustitch.ops.resample import add_weighted, resample

# A slanted tile's columns drift from plane to plane; over this many planes the drift is small beside an overlap.
_PLANES = 16
# Pieces of a cell narrower than this cost more to start than to compute with one tile too many.
_LEAST_WIDTH = 8
# Voxels of a cell of several tiles, for which there are half a dozen arrays of weights and sums.
_WEIGHTED_VOXELS = 1 << 17


@dataclass(frozen=True)
class Cell:
    """A part of a block of which each of ``tiles`` covers all planes and rows, and perhaps not all columns."""

    box: Box
    tiles: tuple[int, ...]


@dataclass(frozen=True)
class BlockPlan:
    """How a block is fused: its cells, and the box (in a tile's own grid) that must be read of each tile."""

    box: Box
    tiles: tuple[PlacedVolume, ...]
    footprints: Mapping[int, Footprint]
    cells: tuple[Cell, ...]
    reads: Mapping[int, Box]

    @property
    def is_empty(self) -> bool:
        """Whether no tile covers any of the block."""
        return not self.cells


def plan_block(box: Box, tiles: Sequence[PlacedVolume]) -> BlockPlan:
    """Cut ``box`` (mosaic voxels) into cells, and say what to read of each tile.

    The boxes to read may reach beyond a tile's grid by some columns: these must be read as 0, as
    :meth:`gpustitch.model.Volume.read` does.
    """
    prints = {
        number: Footprint.of(tile, box.start[0], box.stop[0])
        for number, tile in enumerate(tiles)
        if _may_cover(tile, box)
    }
    cells: list[Cell] = []
    for z in _cut(box.start[0], box.stop[0], [p.depths for p in prints.values()], _PLANES):
        planes = slice(z[0] - box.start[0], z[1] - box.start[0])
        deep = {n: p for n, p in prints.items() if p.depths[0] <= z[0] and z[1] <= p.depths[1]}
        spans = {n: _envelope(p.columns[planes]) for n, p in deep.items()}
        for y in _cut(box.start[1], box.stop[1], [p.rows for p in deep.values()]):
            here = {n: spans[n] for n, p in deep.items() if p.rows[0] <= y[0] and y[1] <= p.rows[1]}
            for x in _cut(box.start[2], box.stop[2], list(here.values()), least=_LEAST_WIDTH):
                found = tuple(n for n, span in here.items() if span[0] < x[1] and x[0] < span[1])
                if found:
                    cells.extend(_cells(Box((z[0], y[0], x[0]), (z[1], y[1], x[1])), found))
    reads = {n: _needed(p, box, [cell.box for cell in cells if n in cell.tiles]) for n, p in prints.items()}
    reads_of = {n: need for n, need in reads.items() if need is not None}
    return BlockPlan(box, tuple(tiles), prints, tuple(cells), reads_of)


def fuse_block(
    plan: BlockPlan, voxels: Mapping[int, Array], gains: Mapping[int, npt.NDArray[np.float32]] | None = None
) -> Array:
    """The voxels of a block.

    Parameters
    ----------
    plan
        Of :func:`plan_block`; not an empty one.
    voxels
        For each tile in ``plan.reads`` the voxels of that box, all of one dtype.
    gains
        Factor for each row of a tile, for the tiles that need one (see :mod:`gpustitch.ops.intensity`).

    Returns
    -------
    array
        Shape ``plan.box.shape``, dtype of the tiles. Whole numbers are rounded and clipped to their range.

    Raises
    ------
    ValueError
        If the voxels are not of the boxes that were asked for, or of several dtypes.
    """
    _check(plan, voxels)
    like = next(iter(voxels.values()))
    xp = namespace(*voxels.values())
    axes = {(i, j): differing_axes(plan.tiles[i], plan.tiles[j]) for i, j in itertools.permutations(voxels, 2)}
    out: Array = xp.zeros(plan.box.shape, like.dtype)
    for cell in plan.cells:
        start = cell.box.start[0] - plan.box.start[0]
        parts = [
            _Part(n, plan.footprints[n].planes(start, start + cell.box.shape[0]), plan.reads[n], voxels[n])
            for n in _by_position(cell.tiles, plan.tiles)
        ]
        target = xp.empty(cell.box.shape, like.dtype)
        if len(parts) == 1 and not (gains and parts[0].number in gains):
            parts[0].resample_into(target, cell.box)
        else:
            _blend_into(target, cell.box, parts, axes, gains or {})
        out[cell.box.slices(plan.box.start)] = target
    return out


@dataclass(frozen=True)
class _Part:
    """One tile of a cell: its footprint on the cell's planes and the voxels of ``box`` in the tile's grid."""

    number: int
    footprint: Footprint
    box: Box
    voxels: Array

    def resample_into(self, out: Array, cell: Box) -> None:
        xp = namespace(self.voxels)
        columns, fractions = self._columns(cell)
        (z, y), (fz, fy) = self._start(cell)
        resample(self.voxels, xp.asarray(columns), xp.asarray(fractions), out, z, y, fz, fy)

    def blend_into(self, out: Array, total: Array, weight: Array, cell: Box) -> None:
        xp = namespace(self.voxels)
        columns, fractions = self._columns(cell)
        (z, y), (fz, fy) = self._start(cell)
        add_weighted(self.voxels, xp.asarray(columns), xp.asarray(fractions), weight, total, out, z, y, fz, fy)

    def _columns(self, cell: Box) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
        whole = np.floor(self.footprint.shift_x)
        covered = np.clip(self.footprint.columns - cell.start[2], 0, cell.shape[2])
        covered[:, 1] = np.maximum(covered[:, 0], covered[:, 1])
        first = whole + (cell.start[2] - self.box.start[2])
        columns = np.concatenate([covered, first[:, None]], axis=1).astype(np.int32)
        return columns, (self.footprint.shift_x - whole).astype(np.float32)

    def _start(self, cell: Box) -> tuple[tuple[int, int], tuple[float, float]]:
        shifts = self.footprint.shift_z, self.footprint.shift_y
        whole = [int(np.floor(shift)) for shift in shifts]
        z, y = (cell.start[a] + whole[a] - self.box.start[a] for a in (0, 1))
        return (z, y), (shifts[0] - whole[0], shifts[1] - whole[1])


def _blend_into(
    out: Array,
    cell: Box,
    parts: Sequence[_Part],
    axes: Mapping[tuple[int, int], tuple[bool, bool, bool]],
    gains: Mapping[int, npt.NDArray[np.float32]],
) -> None:
    xp = namespace(out)
    pairs = [[axes.get((a.number, b.number), (False, False, False)) for b in parts] for a in parts]
    shares = weights([part.footprint for part in parts], pairs, cell, out)
    total = xp.zeros(cell.shape, np.float32)
    for part, share in zip(parts, shares, strict=True):
        gain = gains.get(part.number)
        if gain is not None:
            rows = np.arange(cell.start[1], cell.stop[1]) + part.footprint.shift_y
            share = share * xp.asarray(np.interp(rows, np.arange(len(gain)), gain), dtype=np.float32)[None, :, None]
        part.blend_into(out, total, share, cell)


def _cells(box: Box, tiles: tuple[int, ...]) -> Iterator[Cell]:
    """One cell, or where weights are computed several whose weights stay in cache."""
    rows = box.shape[1]
    if len(tiles) > 1:
        rows = max(1, _WEIGHTED_VOXELS // (box.shape[0] * box.shape[2]))
    for start in range(box.start[1], box.stop[1], rows):
        stop = min(start + rows, box.stop[1])
        yield Cell(Box((box.start[0], start, box.start[2]), (box.stop[0], stop, box.stop[2])), tiles)


def _check(plan: BlockPlan, voxels: Mapping[int, Array]) -> None:
    if plan.is_empty:
        raise ValueError(f"no tile covers {plan.box}")
    if set(voxels) != set(plan.reads):
        raise ValueError(f"fusing {plan.box} takes tiles {sorted(plan.reads)}, not {sorted(voxels)}")
    for number, need in plan.reads.items():
        if voxels[number].shape != need.shape:
            name = plan.tiles[number].name
            raise ValueError(f"tile {name}: {need} is of shape {need.shape}, not {voxels[number].shape}")
    dtypes = {str(array.dtype) for array in voxels.values()}
    if len(dtypes) > 1:
        raise ValueError(f"tiles of one mosaic must be of one dtype, not {sorted(dtypes)}")


def _by_position(numbers: Sequence[int], tiles: Sequence[PlacedVolume]) -> list[int]:
    """In an order that does not depend on the one in which the tiles were given, so that sums do not either."""
    return sorted(numbers, key=lambda n: (tiles[n].origin_px, tiles[n].name))


def _may_cover(tile: PlacedVolume, box: Box) -> bool:
    """Whether the box around the tile meets ``box``; spares most tiles of a large mosaic the exact question."""
    coverage = tile.volume.coverage
    depth = coverage.n_columns - 1
    drifts = (0.0, (coverage.shear + tile.shear_px) * depth)
    reach = ((0.0, depth), (0.0, coverage.n_rows - 1), (min(drifts), max(drifts) + coverage.n_frames - 1))
    return all(
        start - 1 <= origin + last and origin + first <= stop
        for start, stop, origin, (first, last) in zip(box.start, box.stop, tile.origin_px, reach, strict=True)
    )


def _envelope(columns: npt.NDArray[np.int64]) -> tuple[int, int]:
    full = columns[columns[:, 1] > columns[:, 0]]
    return (int(full[:, 0].min()), int(full[:, 1].max())) if len(full) else (0, 0)


def _cut(
    start: int, stop: int, ranges: Sequence[tuple[int, int]], run: int | None = None, least: int = 1
) -> list[tuple[int, int]]:
    """Cut ``start`` to ``stop`` at the bounds of the ranges, into pieces of ``least`` to ``run`` where possible."""
    bounds = sorted({bound for pair in ranges for bound in pair if start < bound < stop})
    kept = [start]
    for bound in bounds:
        if bound - kept[-1] >= least and stop - bound >= least:
            kept.append(bound)
    if run is not None:
        kept = sorted({at for a, b in itertools.pairwise([*kept, stop]) for at in range(a, b, run)})
    return list(itertools.pairwise([*kept, stop]))


def _needed(footprint: Footprint, box: Box, cells: Sequence[Box]) -> Box | None:
    """The voxels of a tile's grid that its interpolation on the cells needs."""
    if not cells:
        return None
    z, y = ((min(c.start[a] for c in cells), max(c.stop[a] for c in cells)) for a in (0, 1))
    low, high = [], []
    for cell in cells:
        shift = footprint.shift_x[cell.start[0] - box.start[0] : cell.stop[0] - box.start[0]]
        low.append(cell.start[2] + int(np.floor(shift.min())))
        high.append(cell.stop[2] + int(np.ceil(shift.max())))
    shifts = footprint.shift_z, footprint.shift_y
    return Box(
        (z[0] + int(np.floor(shifts[0])), y[0] + int(np.floor(shifts[1])), min(low)),
        (z[1] + int(np.ceil(shifts[0])), y[1] + int(np.ceil(shifts[1])), max(high)),
    )
