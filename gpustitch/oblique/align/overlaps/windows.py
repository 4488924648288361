"""Windows: their size in an overlap, and where each of them lies in the moving tile."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gpustitch.array import Device
from gpustitch.array.stated import Shaped
from gpustitch.model import ZYX, Box, Match, Volume
from gpustitch.model.arrays import HostArray, Integers
from gpustitch.oblique.align.ascend import Summit, ascend, peak_of_correlation
from gpustitch.oblique.align.overlaps.device_bytes import smooth_and_climb_bytes
from gpustitch.oblique.align.overlaps.together import Placed, walked_together
from gpustitch.oblique.align.points import Centres, Overlap, is_covered
from gpustitch.ops.smooth import gaussian_radius, smooth
from gpustitch.running.threads import Workers, ordered_map

# Shortest side that windows shrink to, and the part of an overlap's side that one may take: others must fit beside it.
_SHORTEST_PX = 3
_PART = 0.6
# In narrow overlaps smoothing is less, so that a window is so many of its standard deviations from where a tile ends,
# but never less than this, voxels: what a Gaussian draws on beyond the end of one tile, the other tile has.
_REACH = 2.5
_LEAST_SIGMA_PX = 0.5
# Most reads for one match: voxels are read again where a window has walked to the edge of the voxels read.
_FETCHES = 10
# Windows of one batch: on a CPU the batches keep all threads busy, on a device one holds what its memory allows.
_CPU_BATCH = 4
_BATCH_BYTES = 2**28


@dataclass(frozen=True)
class Windows:
    """The size of windows (z, y, x), odd, smoothing (z, y, x) in voxels, and voxels read around a window to move in.

    ``margin_px`` is the least distance (z, y, x) of a window from where a tile ends.
    """

    shape: ZYX
    sigma_px: tuple[float, float, float]
    border_px: ZYX
    margin_px: ZYX = (1, 1, 1)

    @property
    def half(self) -> ZYX:
        """Half of the window, not counting its centre."""
        z, y, x = (n // 2 for n in self.shape)
        return z, y, x


@dataclass(frozen=True)
class Found:
    """Where a window lies in the moving tile, and how far the peak of its correlation reaches, as in ``Between``."""

    match: Match
    spread: tuple[tuple[float, float, float], ...]


def fitting(overlap: Overlap, largest: Windows, *, shrinks: bool) -> tuple[Windows, Centres]:
    """Windows that fit into an overlap, and where their centres may lie; nowhere if none fits.

    A window takes at most 0.6 of each side of the overlap if it ``shrinks``, so that several fit. Where there is room,
    smoothing draws on covered voxels alone.
    """
    room = overlap.shape
    shape, sigma, border = largest.shape, largest.sigma_px, largest.border_px
    if shrinks:
        z, y, x = (min(n, _odd(max(_SHORTEST_PX, _PART * (r - 2)))) for n, r in zip(shape, room, strict=True))
        shape = (z, y, x)
        beside = [(r - n) // 2 for r, n in zip(room, shape, strict=True)]
        z_px, y_px, x_px = (min(s, max(_LEAST_SIGMA_PX, b / _REACH)) for s, b in zip(sigma, beside, strict=True))
        sigma = (z_px, y_px, x_px)
    windows = Windows(shape, sigma, border)
    while True:
        for part in (1.0, 0.5, 0.0):
            # One voxel beside a window is what a step needs.
            if shrinks:
                spare = [(r - n) // 2 for r, n in zip(room, windows.shape, strict=True)]
                # All that smoothing draws on: little of a bright object at the end of a tile is much beside dim ones.
                full = [gaussian_radius(s) for s in sigma]
                margin = [max(1, min(math.ceil(part * m), b)) for m, b in zip(full, spare, strict=True)]
            else:
                margin = [1 + int(part * gaussian_radius(s)) for s in sigma]
            centres = Centres(overlap, [h + m for h, m in zip(windows.half, margin, strict=True)])
            if not centres.is_empty:
                return dataclasses.replace(windows, margin_px=(margin[0], margin[1], margin[2])), centres
        z, y, x = windows.shape
        if not shrinks or x <= _SHORTEST_PX:
            return windows, centres
        # Holes in the coverage leave less room along the stage's motion.
        windows = Windows((z, y, _odd(max(_SHORTEST_PX, x / 2))), sigma, border)


def _odd(n: float) -> int:
    whole = int(n)
    return whole if whole % 2 else whole - 1


def match_windows(
    overlap: Overlap, windows: Windows, points: Integers, workers: Workers, *, shared_only: bool = False
) -> list[Found]:
    """Follow the window about each of the ``points`` (n, 3) uphill; walks out of the moving tile are left out.

    With ``shared_only`` nothing is read that only one of the tiles has. Then smoothing meets the end of the data at the
    same place in both. Otherwise what is cut off in one tile alone displaces windows near the end of an overlap.
    """
    boxes = overlap.shared if shared_only else (_grid(overlap.fixed), _grid(overlap.moving))
    # Where the whole overlap told the offset, it may be off by a voxel; without, by anything.
    beside = [h + (max(1, m - 1) if shared_only else 1) for h, m in zip(windows.half, windows.margin_px, strict=True)]
    size = _CPU_BATCH
    if workers.device.is_cuda:
        size = _on_device(windows, (overlap.fixed.dtype, overlap.moving.dtype), workers.device)
    batches = [points[first : first + size] for first in range(0, len(points), size)]
    # On a CPU batches keep all threads busy. On a device they follow each other, and threads read.
    n_readers, n_batches = (workers.n, 1) if workers.device.is_cuda else (1, workers.n)
    follow = functools.partial(_follow, overlap, windows, Workers(n_readers, workers.device), boxes, beside)
    return [m for found in ordered_map(follow, batches, n_batches) for m in found]


def _on_device(windows: Windows, dtypes: Sequence[np.dtype[Any]], device: Device) -> int:
    """How many windows a device takes at once."""
    sides = [
        (n + 2 * max(gaussian_radius(s), b + 1))
        for n, s, b in zip(windows.shape, windows.sigma_px, windows.border_px, strict=True)
    ]
    dtype = dtypes[0] if len(set(dtypes)) == 1 else np.dtype(np.float32)
    voxels, places = Shaped((2, math.prod(sides)), dtype), Shaped((2, 6), np.dtype(np.int64))
    one = voxels.nbytes + places.nbytes + smooth_and_climb_bytes(voxels, places, (), windows.shape)
    most = _BATCH_BYTES if device.memory_bytes is None else min(_BATCH_BYTES, device.memory_bytes // 2)
    return max(1, most // one)


def _grid(volume: Volume) -> Box:
    return Box.of_shape(volume.coverage.shape)


def _follow(
    overlap: Overlap,
    windows: Windows,
    workers: Workers,
    boxes: tuple[Box, Box],
    beside: Sequence[int],
    points: Integers,
) -> list[Found]:
    """All windows of a batch walk together; those that reach the edge of what was read go on with what lies beyond."""
    half, found = windows.half, {}
    walking: dict[int, tuple[Placed, ZYX]] = {}
    fixed = _fixed(overlap.fixed, boxes[0], windows, points, workers.n)
    for i, ((z, y, x), window) in enumerate(zip(points.tolist(), fixed, strict=True)):
        # A frame that could not be read just now is no longer covered.
        if is_covered(overlap.fixed.coverage, (z, y, x), half):
            walking[i] = window, (z - overlap.offset[0], y - overlap.offset[1], x - overlap.offset[2])
    grid = boxes[1]
    for _ in range(_FETCHES):
        walking = {i: w for i, w in walking.items() if grid.contains(_window(w[1], [h + 1 for h in half]))}
        if not walking:
            break
        around = [
            _window(place, [h + 1 + b for h, b in zip(half, windows.border_px, strict=True)]).intersect(grid)
            for _, place in walking.values()
        ]
        moving = [
            Placed(voxels, _begin(place, box, half))
            for voxels, (_, place), box in zip(
                _read(overlap.moving, around, workers.n), walking.values(), around, strict=True
            )
        ]
        summits = _walked([window for window, _ in walking.values()], moving, windows, workers.device)
        further = {}
        for (i, (window, _)), box, summit in zip(walking.items(), around, summits, strict=True):
            z, y, x = (p + b + h for p, b, h in zip(summit.position, box.start, half, strict=True))
            if not summit.settled:
                further[i] = window, (z, y, x)
            elif is_covered(overlap.moving.coverage, (z, y, x), beside):
                between = peak_of_correlation(summit.around)
                a, b, c = points[i].tolist()
                dz, dy, dx = between.place
                found[i] = Found(Match((a, b, c), (z + dz, y + dy, x + dx), summit.correlation), between.spread)
        walking = further
    return [found[i] for i in sorted(found)]


def _fixed(volume: Volume, within: Box, windows: Windows, points: Integers, n_readers: int) -> list[Placed]:
    """Windows with their surroundings, so that no edge of an array falls on them where they are smoothed."""
    radii = [gaussian_radius(s) for s in windows.sigma_px]
    boxes = [_window(centre, windows.half) for centre in points.tolist()]
    around = [box.pad(radii).intersect(within) for box in boxes]
    return [
        Placed(voxels, _begin_of(box, there))
        for voxels, box, there in zip(_read(volume, around, n_readers), boxes, around, strict=True)
    ]


def _read(volume: Volume, boxes: Sequence[Box], n_readers: int) -> Iterable[HostArray]:
    return map(volume.read, boxes) if n_readers == 1 else ordered_map(volume.read, boxes, n_readers)


def _walked(fixed: Sequence[Placed], moving: Sequence[Placed], windows: Windows, device: Device) -> list[Summit]:
    """Where windows end that walk uphill, after all is smoothed."""
    sigma_px, shape = windows.sigma_px, windows.shape
    if device.is_cuda:
        return walked_together(fixed, moving, sigma_px, shape, device)
    smoothed = [smooth(f.voxels, sigma_px, Box.of_shape(shape, f.start).slices((0, 0, 0))) for f in fixed]
    return ascend(smoothed, [smooth(m.voxels, sigma_px) for m in moving], [m.start for m in moving])


def _begin(place: ZYX, box: Box, half: ZYX) -> ZYX:
    return _begin_of(_window(place, half), box)


def _begin_of(window: Box, box: Box) -> ZYX:
    z, y, x = (a - b for a, b in zip(window.start, box.start, strict=True))
    return z, y, x


def _window(centre: Sequence[int] | npt.NDArray[np.int64], half: Sequence[int]) -> Box:
    starts = [int(c) - h for c, h in zip(centre, half, strict=True)]
    return Box.of_shape([2 * h + 1 for h in half], starts)
