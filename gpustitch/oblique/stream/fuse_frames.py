"""Fuse tiles frame by frame, in the grid of the sheet (:mod:`gpustitch.oblique.stream.sheet`)."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from gpustitch.array import Array, kernel
from gpustitch.model import Box
from gpustitch.model.arrays import Floats32
from gpustitch.oblique.fuse.blend import FADE, weights
from gpustitch.oblique.fuse.tables import Tables, cut
from gpustitch.oblique.stream.sheet import N_TAPS

# Pixels of a part of a frame: the few float32 arrays of this size that are worked on fit a core's level-2 cache.
_PIXELS_IN_CACHE = 1 << 14
# Most voxels whose weights are held.
_WEIGHTED_VOXELS = 1 << 18


@kernel("fuse_frames.cu", T="out: uint8 uint16 float32", tile=(1, 32, 128), threads=(128,))
def fuse_frames(
    frames: Sequence[Array],
    starts: Array,
    shares: Array,
    bounds: Array,
    columns: Array,
    edges: Array,
    planes: Array,
    rows: Array,
    axes: Array,
    out: Array,
) -> None:
    """Fuse n tiles on Z planes, Y rows and F frames of the grid of the sheet.

    Parameters
    ----------
    frames
        Frames (frame, row, column) of each tile, in the order of summation.
    starts, shares
        int64 and float32, shapes (n, 2, Z) and (n, 2, 3, Z): the taps of the tiles
        (:class:`gpustitch.oblique.stream.sheet.Taps`), counted from the first of ``frames``.
    bounds, columns, edges, planes, rows, axes
        Tables of the tiles' geometry (:class:`gpustitch.oblique.fuse.tables.Tables`), with columns counted along f.
        Elements 4 and 5 of ``bounds`` are the column and the row of ``frames`` at z = 0 and y = 0.
    out
        Shape (F, Y, Z), dtype of the frames. Written whole. A voxel that one tile without gain covers is its
        interpolated value. Other covered voxels are sums with the weights of
        :func:`gpustitch.oblique.fuse.blend.weights`, times gains. A voxel that no tile covers is 0. Whole numbers are
        rounded (ties to even) and clipped.

    Notes
    -----
    Arithmetic is in float32. Where one frame has a share of 1 the voxel is its pixel. A NaN reaches only the voxels in
    which its pixel has a share.
    """
    tables = Tables(bounds, columns, edges, planes, rows, axes)
    taps = _TapsOf(starts, shares)
    for cell in _cells(tables, (out.shape[2], out.shape[1], out.shape[0])):
        z, y, f = cell.box.slices()
        part = out[f, y, z]
        if not cell.tiles:
            part[...] = 0
            continue
        sources = [_Source(frames[n], taps.of(n, cell.box), tables, n, cell.box) for n in cell.tiles]
        gains = [tables.gains(n, cell.box) for n in cell.tiles]
        if len(sources) > 1 or gains[0] is not None:
            _blend_into(part, sources, _shares(cell, tables, gains))
        elif not (cell.is_full and sources[0].copy_into(part)):
            _resample_into(part, sources[0], None if cell.is_full else _covered(cell, tables, cell.tiles[0]))


@dataclass(frozen=True)
class _Cell:
    """A part of the output: ``tiles`` cover all its planes and rows, and all of its frames if it ``is_full``."""

    box: Box
    tiles: tuple[int, ...]
    is_full: bool


def _cells(tables: Tables, shape: tuple[int, int, int]) -> Iterator[_Cell]:
    """Cut the output (z, y, f) so that each part has its tiles; parts without tiles are included."""
    n_tiles = len(tables.bounds)
    fade = int(FADE) + 1
    depths, heights = ([(a, b) for a, b in tables.bounds[:, pair].tolist()] for pair in (slice(0, 2), slice(2, 4)))
    for z in cut(shape[0], _with_rims(depths, fade)):
        deep = [n for n in range(n_tiles) if depths[n][0] <= z[0] and z[1] <= depths[n][1]]
        spans = {n: _spans(tables.columns[n, z[0] : z[1]]) for n in deep}
        bounds = [pair for inner, outer in spans.values() for pair in (inner, outer) if pair[1] > pair[0]]
        rims = _with_rims(bounds, fade) if len(deep) > 1 else bounds
        frames = cut(shape[2], rims)
        for y in cut(shape[1], [heights[n] for n in deep]):
            here = [n for n in deep if heights[n][0] <= y[0] and y[1] <= heights[n][1]]
            for f in frames:
                found = tuple(n for n in here if spans[n][1][0] < f[1] and f[0] < spans[n][1][1])
                is_full = all(spans[n][0][0] <= f[0] and f[1] <= spans[n][0][1] for n in found)
                yield from _in_parts(Box((z[0], y[0], f[0]), (z[1], y[1], f[1])), found, is_full)


def _with_rims(ranges: Sequence[tuple[int, int]], fade: int) -> list[tuple[int, int]]:
    """The ranges, and those within their rims: inside, no tile fades."""
    return [*ranges, *((a + fade, b - fade) for a, b in ranges)] if len(ranges) > 1 else list(ranges)


def _spans(columns: Array) -> tuple[tuple[int, int], tuple[int, int]]:
    """The half-open ranges of f that are covered on all planes, and on some."""
    full = columns[columns[:, 1] > columns[:, 0]]
    if not len(full):
        return (0, 0), (0, 0)
    inner = (int(columns[:, 0].max()), int(columns[:, 1].min())) if len(full) == len(columns) else (0, 0)
    return inner, (int(full[:, 0].min()), int(full[:, 1].max()))


def _in_parts(box: Box, tiles: tuple[int, ...], is_full: bool) -> Iterator[_Cell]:
    """The box in parts of so few rows that they stay in cache, and of so few frames that weights take little."""
    depth, n_rows, n_frames = box.shape
    height = max(1, _PIXELS_IN_CACHE // depth) if tiles else n_rows
    length = max(1, _WEIGHTED_VOXELS // (depth * min(height, n_rows))) if len(tiles) > 1 else n_frames
    for y, f in itertools.product(range(0, n_rows, height), range(0, n_frames, length)):
        start = (box.start[0], box.start[1] + y, box.start[2] + f)
        stop = (box.stop[0], min(start[1] + height, box.stop[1]), min(start[2] + length, box.stop[2]))
        yield _Cell(Box(start, stop), tiles, is_full)


# A frame, a column and its share, of all planes or of each.
Tap = tuple[int, int, "Array | np.float32"]


class _TapsOf:
    """The taps of each tile on the planes of a cell; cells of the same planes share them."""

    def __init__(self, starts: Array, shares: Array) -> None:
        self._starts, self._shares = starts, shares
        self._known: dict[tuple[int, int, int], list[Tap]] = {}

    def of(self, tile: int, box: Box) -> list[Tap]:
        """Taps with a share on some plane, by frame; a share that is the same everywhere is one number."""
        key = tile, box.start[0], box.stop[0]
        if key not in self._known:
            planes = slice(*key[1:])
            self._known[key] = list(_dense(self._starts[tile, :, planes], self._shares[tile, :, :, planes]))
        return self._known[key]


def _dense(start: Array, share: Array) -> Iterator[Tap]:
    used = [(d, j) for d in range(2) for j in range(N_TAPS) if share[d, j].any()]
    for tap in range(int(start.min()), int(start.max()) + N_TAPS):
        for d in range(2):
            total = np.zeros(start.shape[1], np.float32)
            for j in (j for of, j in used if of == d):
                total += (start[d] == tap - j) * share[d, j]
            if total.any():
                yield tap, d, (total[0] if (total == total[0]).all() else total)


class _Source:
    """One tile's interpolated values on a cell, frame by frame; frames in float32 are kept while they are needed."""

    def __init__(self, frames: Array, taps: Sequence[Tap], tables: Tables, tile: int, box: Box) -> None:
        depth, n_rows, _ = box.shape
        self._frames, self._is_float = frames, frames.dtype.kind == "f"
        bounds = tables.bounds[tile]
        self._column, self._row = int(bounds[4]) + box.start[0], int(bounds[5]) + box.start[1]
        self._along_y = np.float32(tables.planes[tile, 0, 1])
        self._first = box.start[2]
        self._shape = n_rows, depth
        self._taps = taps
        self._width = depth + max(d for _, d, _ in self._taps)
        self._kept: dict[int, Floats32] = {}
        self._spare: list[Floats32] = []

    def copy_into(self, out: Array) -> bool:
        """Copy the pixels if every voxel is one; otherwise return False."""
        if len(self._taps) > 1 or self._along_y > 0 or not np.isscalar(self._taps[0][2]):
            return False
        first = self._first + self._taps[0][0]
        rows, columns = slice(self._row, self._row + self._shape[0]), slice(self._column, self._column + self._width)
        out[...] = self._frames[first : first + len(out), rows, columns]
        return True

    def at(self, f: int, out: Floats32, room: Floats32) -> Floats32:
        """Values of frame ``f`` of the cell; they lie in ``out``, or must not be changed."""
        low = self._first + f
        for number in [n for n in self._kept if n < low + self._taps[0][0]]:
            self._spare.append(self._kept.pop(number))
        parts = [(self._plane(low + tap)[:, d : d + self._shape[1]], share) for tap, d, share in self._taps]
        if len(parts) == 1 and np.isscalar(parts[0][1]):
            return parts[0][0]
        if len(parts) == 2 and not self._is_float:
            # Two shares that sum to 1: one product.
            (a, _), (b, share) = parts
            np.subtract(b, a, out=out)
            np.multiply(out, share, out=out)
            return np.add(out, a, out=out)
        self._times(*parts[0], out)
        for plane, share in parts[1:]:
            self._times(plane, share, room)
            np.add(out, room, out=out)
        return out

    def _times(self, plane: Floats32, share: Array | np.float32, out: Floats32) -> None:
        np.multiply(plane, share, out=out)
        if self._is_float and not np.isscalar(share):
            np.copyto(out, 0, where=np.broadcast_to(share == 0, out.shape))  # what is not finite stays where it is

    def _plane(self, number: int) -> Floats32:
        """A frame's pixels as float32, moved along y; zeros where there is no such frame, for nothing needs it."""
        if number not in self._kept:
            n_rows = self._shape[0] + (self._along_y > 0)
            plane = self._spare.pop() if self._spare else np.empty((n_rows, self._width), np.float32)
            if 0 <= number < len(self._frames):
                columns = slice(self._column, self._column + self._width)
                source = self._frames[number, self._row : self._row + n_rows, columns]
                plane[:, source.shape[1] :] = 0
                np.copyto(plane[:, : source.shape[1]], source)
            else:
                plane[...] = 0
            if self._along_y > 0:
                with np.errstate(invalid="ignore"):  # infinity less infinity
                    step = plane[1:] - plane[:-1]
                    step *= self._along_y
                    plane[:-1] += step
            self._kept[number] = plane
        return self._kept[number][: self._shape[0]]


def _resample_into(out: Array, source: _Source, covered: Array | None) -> None:
    """Write the values of one tile frame by frame; 0 where it is not ``covered``."""
    values, room = np.empty((2, *out.shape[1:]), np.float32)
    for f, part in enumerate(out):
        found = source.at(f, values, room)
        if out.dtype.kind in "ui":
            found = np.rint(found, out=values)
        np.copyto(part, found, casting="unsafe")
        if covered is not None:
            part[:, ~covered[f, 0]] = 0


def _blend_into(out: Array, sources: Sequence[_Source], shares: Sequence[Array]) -> None:
    """Write the weighted sum of several tiles frame by frame."""
    values, room, total = np.empty((3, *out.shape[1:]), np.float32)
    is_whole = out.dtype.kind == "u"  # so nothing is below 0
    most = np.float32(np.iinfo(out.dtype).max if is_whole else np.inf)
    for f, part in enumerate(out):
        for number, (source, of_frames) in enumerate(zip(sources, shares, strict=True)):
            share = of_frames[f if len(of_frames) > 1 else 0]
            found = source.at(f, values, room)
            np.multiply(found, share, out=room if number else total)
            if not is_whole:
                # What is not finite stays where it is.
                np.copyto(room if number else total, 0, where=np.broadcast_to(share == 0, total.shape))
            if number:
                np.add(total, room, out=total)
        if is_whole:
            np.rint(total, out=total)
            np.minimum(total, most, out=total)
        np.copyto(part, total, casting="unsafe")


def _covered(cell: _Cell, tables: Tables, tile: int) -> Array:
    """Which planes of the cell a tile covers on each frame, shape (frames, 1, planes)."""
    f = np.arange(cell.box.start[2], cell.box.stop[2])[:, None]
    first, stop = tables.columns[tile, cell.box.start[0] : cell.box.stop[0], :2].T
    return np.asarray((f >= first) & (f < stop))[:, None, :]


def _shares(cell: _Cell, tables: Tables, gains: Sequence[Array | None]) -> list[Array]:
    """Weight times gain of each tile, shape (frames, rows, planes) of the cell, or 1 where nothing changes."""
    near = []
    for tile in cell.tiles:
        along_z, along_y, along_x = tables.near(tile, cell.box)
        near.append((along_z.transpose(2, 1, 0), along_y.transpose(2, 1, 0), along_x.transpose(2, 1, 0)))
    covered = [_covered(cell, tables, tile) for tile in cell.tiles]
    order = list(cell.tiles)
    shares = weights(near, covered, tables.axes[np.ix_(order, order)])
    return [
        share if gain is None else share * gain.transpose(2, 1, 0) for share, gain in zip(shares, gains, strict=True)
    ]
