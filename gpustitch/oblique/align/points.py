"""Where windows of two overlapping tiles may lie, and which points to compare."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gpustitch.model import ZYX, Box, Coverage, Volume
from gpustitch.model.arrays import Integers
from gpustitch.model.geometry import WHOLE_FRAME
from gpustitch.oblique.align.blob_lists import Blobs, blobs_of_boxes
from gpustitch.oblique.align.blobs import find_blobs
from gpustitch.running.threads import Workers, ordered_map

# Voxels that the filters need around a box in which blobs are sought.
_BLOB_CONTEXT_PX = 8
# Most boxes searched at a time, and for each wanted point.
_PATCHES_AT_ONCE = 24
_PATCHES_PER_POINT = 2

Run = tuple[int, int]  # half-open range of frames


@dataclass(frozen=True)
class Overlap:
    """Two volumes; ``offset`` is the assumed place (z, y, x) of the first voxel of ``moving`` in ``fixed``'s grid."""

    fixed: Volume
    moving: Volume
    offset: ZYX

    @property
    def shared(self) -> tuple[Box, Box]:
        """The box that both grids share, in voxels of ``fixed`` and in voxels of ``moving``; it may be empty."""
        both = Box.of_shape(self.fixed.coverage.shape).intersect(Box.of_shape(self.moving.coverage.shape, self.offset))
        return both, both.shift([-o for o in self.offset])

    @property
    def shape(self) -> ZYX:
        """Shape (z, y, x) of the box that both grids share; along x the widest overlap of coverage on one plane."""
        z, y, _ = self.shared[0].shape
        centres = Centres(self, (0, 0, 0))
        return z, y, max(0, math.floor(centres.widest_x + 1)) if z and y else 0


def nearest_voxel(position: Sequence[float]) -> ZYX:
    """The whole voxel nearest to a position or offset (z, y, x); of two the greater."""
    z, y, x = (math.floor(v + 0.5) for v in position)
    return z, y, x


class Centres:
    """The centres of windows that lie within the coverage of both tiles: voxels of the fixed grid.

    Parameters
    ----------
    overlap
        The tiles.
    half
        Half window (z, y, x), not counting the centre.
    """

    def __init__(self, overlap: Overlap, half: Sequence[int]) -> None:
        self._tiles = ((overlap.fixed.coverage, (0, 0, 0)), (overlap.moving.coverage, overlap.offset))
        self._half = tuple(half)
        planes, rows = (self._range(axis) for axis in (0, 1))
        self._rows = rows
        z = np.arange(planes[0], planes[1] + 1)
        spans = [self._x_bounds(z, *runs) for runs in self._meeting_runs(z)]
        first, last = np.array(spans).reshape(len(spans), 2, z.size).swapaxes(0, 1)
        self.widest_x = float((last - first).max()) if first.size else -1.0
        low, high = (np.ceil(first - WHOLE_FRAME).astype(np.int64), np.floor(last + WHOLE_FRAME).astype(np.int64))
        has_room = high >= low
        # The rows of voxels that hold the centres: each plane, and the first and last centre along x.
        self._z, self._first, self._last = np.broadcast_to(z, low.shape)[has_room], low[has_room], high[has_room]

    def _range(self, axis: int) -> tuple[int, int]:
        """First and last centre along z or y."""
        half = self._half[axis]
        starts = [offset[axis] + half for _, offset in self._tiles]
        stops = [offset[axis] + coverage.shape[axis] - 1 - half for coverage, offset in self._tiles]
        return max(starts), min(stops)

    def _meeting_runs(self, z: npt.NDArray[np.int64]) -> Iterator[tuple[Run, Run]]:
        """Pairs of a run of frames of each tile that may hold a window's centre on one of the planes ``z``."""
        if not z.size:
            return
        (a, _), (b, offset) = self._tiles
        # Frame f of the second tile lies beside frame f + drift of the first.
        drift = offset[2] + b.shear * (z - offset[0]) - a.shear * z
        others = b.runs
        starts, stops = np.array(others).reshape(-1, 2).T
        for run in a.runs:
            low = int(np.searchsorted(stops, run[0] - drift.max() - 1))
            high = int(np.searchsorted(starts, run[1] - drift.min() + 1))
            for other in others[low:high]:
                yield run, other

    def _x_bounds(self, z: npt.NDArray[np.int64], *runs: Run) -> npt.NDArray[np.float64]:
        """First and last centre along x on the planes ``z``, shape (2, planes), within a run of frames of each tile.

        The window's corners meet a sheared run's edge first.
        """
        first, last = np.full(z.shape, -np.inf), np.full(z.shape, np.inf)
        depth, _, width = self._half
        for (coverage, offset), (start, stop) in zip(self._tiles, runs, strict=True):
            place = z - offset[0]
            first = np.maximum(first, coverage.x_bounds(place + depth)[0] + start + offset[2] + width)
            last = np.minimum(last, coverage.x_bounds(place - depth)[0] + stop - 1 + offset[2] - width)
        return np.stack([first, last])

    @property
    def is_empty(self) -> bool:
        """Whether there is no centre."""
        return self._rows[1] < self._rows[0] or self._z.size == 0

    @property
    def bounds(self) -> Box:
        """The smallest box around all centres."""
        if self.is_empty:
            return Box((0, 0, 0), (0, 0, 0))
        y = self._rows
        return Box(
            (int(self._z.min()), y[0], int(self._first.min())),
            (int(self._z.max()) + 1, y[1] + 1, int(self._last.max()) + 1),
        )

    def contains(self, points: npt.ArrayLike) -> npt.NDArray[np.bool_]:
        """Which points (n, 3) are centres, shape (n,)."""
        places = np.asarray(points).reshape(-1, 3)
        inside = np.ones(len(places), np.bool_)
        for coverage, offset in self._tiles:
            inside &= are_covered(coverage, places - np.array(offset), self._half)
        return inside

    def sample(self, rng: np.random.Generator, count: int) -> Integers:
        """``count`` random centres, each as likely as any other, shape (count, 3)."""
        room = self._last - self._first + 1
        rows = rng.choice(room.size, count, p=room / room.sum())
        y = rng.integers(self._rows[0], self._rows[1] + 1, count)
        return np.column_stack([self._z[rows], y, rng.integers(self._first[rows], self._last[rows] + 1)])


def are_covered(coverage: Coverage, centres: npt.ArrayLike, half: Sequence[int]) -> npt.NDArray[np.bool_]:
    """About which ``centres`` (n, 3) a whole window is covered, shape (n,)."""
    z, y, x = np.asarray(centres).reshape(-1, 3).T
    depth, height, width = half
    n_planes, n_rows, _ = coverage.shape
    inside = (z >= depth) & (z < n_planes - depth) & (y >= height) & (y < n_rows - height)
    first, last = x - width - coverage.shear * (z + depth), x + width - coverage.shear * (z - depth)
    return np.asarray(inside & coverage.holds(first, last))


def draw_points(
    volume: Volume, centres: Centres, window: Sequence[int], count: int, rng: np.random.Generator, workers: Workers
) -> Integers:
    """At most ``count`` blobs of ``volume`` at places among ``centres``, drawn with probability ~ their contrast.

    Blobs are sought in boxes of shape ``window`` about random places, until twice ``count`` are found. The number of
    boxes is at most twice ``count`` (or one batch), and never more than fill the overlap twice. If fewer than
    ``count`` blobs are found, random places are added. Shape (n, 3), (z, y, x) in voxels of ``volume``, sorted.
    """
    found: dict[tuple[int, ...], float] = {}
    searched = 0
    boxes_in_all = math.ceil(centres.bounds.size / math.prod(window))
    most = min(max(_PATCHES_AT_ONCE, _PATCHES_PER_POINT * count), 2 * boxes_in_all)
    while len(found) < 2 * count and searched < most:
        places = centres.sample(rng, min(_PATCHES_AT_ONCE, max(4, (count + 1) // 2), most - searched))
        searched += len(places)
        boxes = [_patch(volume, centres, window, place) for place in places.tolist()]
        for blobs in _blobs(volume, centres, boxes, workers):
            found.update(blobs)
    points = np.array(sorted(found), np.int64).reshape(-1, 3)
    if len(points) < count:
        return np.unique(np.concatenate([points, centres.sample(rng, count - len(points))]), axis=0)
    contrast = np.array([found[tuple(p)] for p in points.tolist()])
    return points[np.sort(rng.choice(len(points), count, replace=False, p=contrast / contrast.sum()))]


def _patch(volume: Volume, centres: Centres, window: Sequence[int], place: Sequence[int]) -> Box:
    box = Box.of_shape(window, [p - w // 2 for p, w in zip(place, window, strict=True)])
    wanted = box.intersect(centres.bounds).pad((_BLOB_CONTEXT_PX,) * 3)
    return wanted.intersect(Box.of_shape(volume.coverage.shape))


def _blobs(
    volume: Volume, centres: Centres, boxes: Sequence[Box], workers: Workers
) -> Iterator[dict[tuple[int, ...], float]]:
    """Of each box the blobs that may be points, with their contrast."""
    spacing, device = volume.spacing, workers.device
    if device.is_cuda:
        # Threads read, and all boxes are searched at once.
        voxels = list(ordered_map(volume.read, boxes, workers.n))
        found: Iterable[Blobs] = blobs_of_boxes(voxels, spacing, device)
    else:
        found = ordered_map(lambda box: find_blobs(volume.read(box), spacing), boxes, workers.n)
    for box, (positions, contrast) in zip(boxes, found, strict=True):
        positions = positions + np.array(box.start)
        allowed = centres.contains(positions)
        yield {tuple(p): float(c) for p, c in zip(positions[allowed].tolist(), contrast[allowed], strict=True)}
