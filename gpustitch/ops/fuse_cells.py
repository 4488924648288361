"""Cutting a block of the mosaic into cells, so that on a CPU each is fused while it is in cache."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gpustitch.model import ZYX, Box

# A slanted tile's columns drift from plane to plane; over this many planes the drift is small beside an overlap.
_PLANES = 16
# Pieces of a cell narrower than this cost more to start than to compute with one tile too many.
_LEAST_WIDTH = 8
# Voxels of a cell of several tiles, for which there are half a dozen arrays of weights and sums.
_WEIGHTED_VOXELS = 1 << 17

Range = tuple[int, int]


@dataclass(frozen=True)
class Cell:
    """A part of a block of which each of ``tiles`` covers all planes and rows, and perhaps not all columns."""

    box: Box
    tiles: tuple[int, ...]


def cells(bounds: npt.NDArray[np.int32], columns: npt.NDArray[np.int32], shape: ZYX) -> Iterator[Cell]:
    """Cut a block into cells; those without tiles are among them, so that together they are the block.

    Parameters
    ----------
    bounds, columns
        What the tiles cover: :class:`gpustitch.ops.fuse_tables.Tables`.
    shape
        Of the block.
    """
    depths, rows = [[(a, b) for a, b in bounds[:, cut].tolist()] for cut in (slice(0, 2), slice(2, 4))]
    for z in _cut(shape[0], depths, _PLANES):
        deep = [n for n, (first, stop) in enumerate(depths) if first <= z[0] and z[1] <= stop]
        spans = {n: _envelope(columns[n, z[0] : z[1]]) for n in deep}
        for y in _cut(shape[1], [rows[n] for n in deep]):
            here = {n: spans[n] for n in deep if rows[n][0] <= y[0] and y[1] <= rows[n][1]}
            for x in _cut(shape[2], list(here.values()), least=_LEAST_WIDTH):
                found = tuple(n for n, span in here.items() if span[0] < x[1] and x[0] < span[1])
                yield from _in_cache(Box((z[0], y[0], x[0]), (z[1], y[1], x[1])), found)


def _in_cache(box: Box, tiles: tuple[int, ...]) -> Iterator[Cell]:
    """One cell, or where weights are computed several whose weights stay in cache."""
    rows = box.shape[1]
    if len(tiles) > 1:
        rows = max(1, _WEIGHTED_VOXELS // (box.shape[0] * box.shape[2]))
    for start in range(box.start[1], box.stop[1], rows):
        stop = min(start + rows, box.stop[1])
        yield Cell(Box((box.start[0], start, box.start[2]), (box.stop[0], stop, box.stop[2])), tiles)


def _envelope(columns: npt.NDArray[np.int32]) -> Range:
    full = columns[columns[:, 1] > columns[:, 0]]
    return (int(full[:, 0].min()), int(full[:, 1].max())) if len(full) else (0, 0)


def _cut(length: int, ranges: Sequence[Range], run: int | None = None, least: int = 1) -> list[Range]:
    """Cut 0 to ``length`` at the bounds of the ranges, into pieces of ``least`` to ``run`` where possible."""
    bounds = sorted({bound for pair in ranges for bound in pair if 0 < bound < length})
    kept = [0]
    for bound in bounds:
        if bound - kept[-1] >= least and length - bound >= least:
            kept.append(bound)
    if run is not None:
        kept = sorted({at for a, b in itertools.pairwise([*kept, length]) for at in range(a, b, run)})
    return list(itertools.pairwise([*kept, length]))
