"""Windows: their size in an overlap, and where each of them lies in the moving tile."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gpustitch.array import CPU, Array, Device, on, to_device
from gpustitch.model import ZYX, Box, Match, Volume
from gpustitch.model.arrays import Integers
from gpustitch.oblique.align.ascend import ascend, peak_of_correlation
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
    batches = _batches(len(points), windows, workers)
    boxes = overlap.shared if shared_only else (_grid(overlap.fixed), _grid(overlap.moving))
    # Where the whole overlap told the offset, it may be off by a voxel; without, by anything.
    beside = [h + (max(1, m - 1) if shared_only else 1) for h, m in zip(windows.half, windows.margin_px, strict=True)]
    follow = functools.partial(_follow, overlap, windows, workers.device, boxes, beside)
    return [m for found in ordered_map(follow, (points[b] for b in batches), workers.n) for m in found]


def _batches(n: int, windows: Windows, workers: Workers) -> Iterator[slice]:
    size = _CPU_BATCH
    if workers.device != CPU:
        voxels = math.prod(s + 2 * b + 2 for s, b in zip(windows.shape, windows.border_px, strict=True))
        size = max(1, _BATCH_BYTES // (8 * voxels))
    for first in range(0, n, size):
        yield slice(first, first + size)


def _grid(volume: Volume) -> Box:
    return Box.of_shape(volume.coverage.shape)


def _follow(
    overlap: Overlap,
    windows: Windows,
    device: Device,
    boxes: tuple[Box, Box],
    beside: Sequence[int],
    points: Integers,
) -> list[Found]:
    """All windows of a batch walk together; those that reach the edge of what was read go on with what lies beyond."""
    half, found = windows.half, {}
    walking: dict[int, tuple[Array, ZYX]] = {}
    for i, (z, y, x) in enumerate(points.tolist()):
        fixed = _smoothed(overlap.fixed, boxes[0], (z, y, x), windows, device)
        # A frame that could not be read just now is no longer covered.
        if is_covered(overlap.fixed.coverage, (z, y, x), half):
            walking[i] = fixed, (z - overlap.offset[0], y - overlap.offset[1], x - overlap.offset[2])
    grid = boxes[1]
    for _ in range(_FETCHES):
        walking = {i: w for i, w in walking.items() if grid.contains(_window(w[1], [h + 1 for h in half]))}
        if not walking:
            break
        around = [
            _window(place, [h + 1 + b for h, b in zip(half, windows.border_px, strict=True)]).intersect(grid)
            for _, place in walking.values()
        ]
        with on(device):
            moving = [smooth(to_device(overlap.moving.read(box), device), windows.sigma_px) for box in around]
            starts = [_begin(place, box, half) for (_, place), box in zip(walking.values(), around, strict=True)]
            summits = ascend([fixed for fixed, _ in walking.values()], moving, starts)
        further = {}
        for (i, (fixed, _)), box, summit in zip(walking.items(), around, summits, strict=True):
            z, y, x = (p + b + h for p, b, h in zip(summit.position, box.start, half, strict=True))
            if not summit.settled:
                further[i] = fixed, (z, y, x)
            elif is_covered(overlap.moving.coverage, (z, y, x), beside):
                between = peak_of_correlation(summit.around)
                a, b, c = points[i].tolist()
                dz, dy, dx = between.place
                found[i] = Found(Match((a, b, c), (z + dz, y + dy, x + dx), summit.correlation), between.spread)
        walking = further
    return [found[i] for i in sorted(found)]


def _begin(place: ZYX, box: Box, half: ZYX) -> ZYX:
    z, y, x = (p - h - b for p, h, b in zip(place, half, box.start, strict=True))
    return z, y, x


def _smoothed(volume: Volume, within: Box, centre: ZYX, windows: Windows, device: Device) -> Array:
    """The window, smoothed together with its surroundings, so that no edge of an array falls on it."""
    window = _window(centre, windows.half)
    around = window.pad([gaussian_radius(s) for s in windows.sigma_px]).intersect(within)
    voxels = volume.read(around)
    with on(device):
        return smooth(to_device(voxels, device), windows.sigma_px, window.slices(around.start))


def _window(centre: Sequence[int] | npt.NDArray[np.int64], half: Sequence[int]) -> Box:
    starts = [int(c) - h for c, h in zip(centre, half, strict=True)]
    return Box.of_shape([2 * h + 1 for h in half], starts)
