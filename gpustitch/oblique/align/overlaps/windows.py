"""Windows: their size in an overlap, and where each of them lies in the moving tile."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gpustitch.array import CPU, Array, Device
from gpustitch.array.packed import sent_type
from gpustitch.array.stated import Shaped
from gpustitch.model import ZYX, Box, Match, Volume
from gpustitch.model.arrays import HostArray, Integers, PxZYX
from gpustitch.oblique.align.ascend import Summit, ascend, peaks_of_correlation
from gpustitch.oblique.align.overlaps.device_bytes import smooth_and_climb_bytes
from gpustitch.oblique.align.overlaps.together import Placed, walked_together
from gpustitch.oblique.align.points import Centres, Overlap, are_covered
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
# A window that begins where the whole overlap fits hardly walks: first so many voxels on each side are smoothed.
_BESIDE_PX = 3
# Windows of one batch: on a CPU each thread has one, of so many windows at least, and of so many voxels at most. On a
# device one batch holds what its memory allows, and so many bytes at most.
_LEAST_BATCH, _BATCH_VOXELS = 4, 2**20
_BATCH_BYTES = 2**28


# Windows of this size are tried after larger ones.
_SMALLER_PX = 21
# A window whose peak seems to be further away than a voxel, and by more than this, does not know where it is.
_BEYOND_PX = 1.0
# The level about a voxel is that of a Gaussian so many times as wide as the smoothing.
_WIDE = 4.0


@dataclass(frozen=True)
class Windows:
    """The size of windows (z, y, x), odd, smoothing (z, y, x) in voxels, and voxels read around a window to move in.

    ``margin_px`` is the least distance (z, y, x) of a window from where a tile ends. ``level_free`` windows are
    compared less the level about each voxel, on the host.
    """

    shape: ZYX
    sigma_px: tuple[float, float, float]
    border_px: ZYX
    margin_px: ZYX = (1, 1, 1)
    level_free: bool = False

    @property
    def reach_px(self) -> ZYX:
        """How far from a voxel its smoothing draws on others."""
        z, y, x = (gaussian_radius(_WIDE * s if self.level_free else s) for s in self.sigma_px)
        return z, y, x

    @property
    def half(self) -> ZYX:
        """Half of the window, not counting its centre."""
        z, y, x = (n // 2 for n in self.shape)
        return z, y, x


@dataclass(frozen=True)
class Found:
    """Where a window lies in the moving tile; the rest as in ``Between``."""

    match: Match
    spread: tuple[tuple[float, float, float], ...]
    beyond: PxZYX = (0.0, 0.0, 0.0)

    @property
    def offset_px(self) -> PxZYX:
        """Fixed less moving place."""
        z, y, x = (a - b for a, b in zip(self.match.fixed_px, self.match.moving_px, strict=True))
        return z, y, x

    @property
    def is_known(self) -> bool:
        """Whether its correlation has a peak there: along fibres it stops anywhere, and knows the slope at most."""
        return max(self.beyond) <= _BEYOND_PX

    def is_near(self, place: ZYX, near_px: PxZYX | None) -> bool:
        """Whether it leads within ``near_px`` voxels of an offset; None for wherever."""
        offsets = zip(self.offset_px, place, near_px or (math.inf,) * 3, strict=True)
        return all(abs(a - b) <= n for a, b, n in offsets)


def ladder(stated_px: ZYX | None, largest_px: ZYX) -> tuple[ZYX, ...]:
    """Sizes (z, y, x) of windows to try, from the largest down; a stated one alone."""
    if stated_px is not None:
        return (stated_px,)
    z, y, x = largest_px
    return largest_px, (min(z, _SMALLER_PX), min(y, _SMALLER_PX), min(x, _SMALLER_PX))


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
    windows = Windows(shape, sigma, border, level_free=largest.level_free)
    if windows.level_free:
        z, y, x = (max(b, r) for b, r in zip(border, windows.reach_px, strict=True))
        windows = dataclasses.replace(windows, border_px=(z, y, x))
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
        windows = dataclasses.replace(windows, shape=(z, y, _odd(max(_SHORTEST_PX, x / 2))))


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
    if windows.level_free:
        workers = dataclasses.replace(workers, device=CPU)
    boxes = overlap.shared if shared_only else (_grid(overlap.fixed), _grid(overlap.moving))
    # Where the whole overlap told the offset, it may be off by a voxel; without, by anything.
    beside = [h + (max(1, m - 1) if shared_only else 1) for h, m in zip(windows.half, windows.margin_px, strict=True)]
    dtypes = overlap.fixed.dtype, overlap.moving.dtype
    size = _of_batch(len(points), windows, dtypes, workers)
    batches = [points[first : first + size] for first in range(0, len(points), size)]
    # On a CPU batches keep all threads busy. On a device they follow each other, and threads read.
    n_readers, n_batches = (workers.n, 1) if workers.device.is_cuda else (1, workers.n)
    walked = functools.partial(_nearby if shared_only and not windows.level_free else _one_by_one, windows)
    if workers.device.is_cuda:
        walked = functools.partial(_together, windows, workers.device)
    follow = functools.partial(_follow, overlap, windows, walked, n_readers, boxes, beside)
    return [m for found in ordered_map(follow, batches, n_batches) for m in found]


def _of_batch(n_points: int, windows: Windows, dtypes: Sequence[np.dtype[Any]], workers: Workers) -> int:
    """How many windows are read, and walk, at once."""
    sides = [
        (n + 2 * max(r, b + 1)) for n, r, b in zip(windows.shape, windows.reach_px, windows.border_px, strict=True)
    ]
    if not workers.device.is_cuda:
        return max(_LEAST_BATCH, min(-(-n_points // workers.n), _BATCH_VOXELS // math.prod(sides)))
    voxels, places = Shaped((2, math.prod(sides)), sent_type(dtypes)), Shaped((2, 6), np.dtype(np.int64))
    one = voxels.nbytes + places.nbytes + smooth_and_climb_bytes(voxels, places, (), windows.shape)
    memory = workers.device.memory_bytes
    most = _BATCH_BYTES if memory is None else min(_BATCH_BYTES, memory // 2)
    return max(1, most // one)


def _grid(volume: Volume) -> Box:
    return Box.of_shape(volume.coverage.shape)


def _follow(
    overlap: Overlap,
    windows: Windows,
    walked: Callable[[Sequence[Placed], Sequence[Placed]], list[Summit]],
    n_readers: int,
    boxes: tuple[Box, Box],
    beside: Sequence[int],
    points: Integers,
) -> list[Found]:
    """All windows of a batch walk together; those that reach the edge of what was read go on with what lies beyond."""
    half = windows.half
    fixed = _fixed(overlap.fixed, boxes[0], windows, points, n_readers)
    # A frame that could not be read just now is no longer covered.
    stand = are_covered(overlap.fixed.coverage, points, half)
    walking: dict[int, tuple[Placed, ZYX]] = {
        i: (window, (z, y, x))
        for i, (window, (z, y, x)) in enumerate(zip(fixed, (points - np.array(overlap.offset)).tolist(), strict=True))
        if stand[i]
    }
    settled: dict[int, tuple[ZYX, Summit]] = {}
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
                _read(overlap.moving, around, n_readers), walking.values(), around, strict=True
            )
        ]
        summits = walked([window for window, _ in walking.values()], moving)
        further = {}
        for (i, (window, _)), box, summit in zip(walking.items(), around, summits, strict=True):
            z, y, x = (p + b + h for p, b, h in zip(summit.position, box.start, half, strict=True))
            if summit.settled:
                settled[i] = (z, y, x), summit
            else:
                further[i] = window, (z, y, x)
        walking = further
    inside = are_covered(overlap.moving.coverage, [place for place, _ in settled.values()], beside)
    return _found({i: settled[i] for i, yes in zip(settled, inside, strict=True) if yes}, points)


def _found(settled: Mapping[int, tuple[ZYX, Summit]], points: Integers) -> list[Found]:
    """Where windows about some of the points lie between voxels, in the order of the points."""
    order = sorted(settled)
    peaks = peaks_of_correlation([settled[i][1].around for i in order])
    found = []
    for (z, y, x), (place, summit), between in zip(
        points[order].tolist(), (settled[i] for i in order), peaks, strict=True
    ):
        dz, dy, dx = between.place
        moving = place[0] + dz, place[1] + dy, place[2] + dx
        found.append(Found(Match((z, y, x), moving, summit.correlation), between.spread, between.beyond))
    return found


def _fixed(volume: Volume, within: Box, windows: Windows, points: Integers, n_readers: int) -> list[Placed]:
    """Windows with their surroundings, so that no edge of an array falls on them where they are smoothed."""
    boxes = [_window(centre, windows.half) for centre in points.tolist()]
    around = [box.pad(windows.reach_px).intersect(within) for box in boxes]
    return [
        Placed(voxels, _begin_of(box, there))
        for voxels, box, there in zip(_read(volume, around, n_readers), boxes, around, strict=True)
    ]


def _read(volume: Volume, boxes: Sequence[Box], n_readers: int) -> Iterable[HostArray]:
    return map(volume.read, boxes) if n_readers == 1 else ordered_map(volume.read, boxes, n_readers)


def _together(windows: Windows, device: Device, fixed: Sequence[Placed], moving: Sequence[Placed]) -> list[Summit]:
    return walked_together(fixed, moving, windows.sigma_px, windows.shape, device)


def _one_by_one(windows: Windows, fixed: Sequence[Placed], moving: Sequence[Placed]) -> list[Summit]:
    """Where windows end that walk uphill, after all is smoothed."""
    smoothed = [_smoothed(windows, f, (0, 0, 0)) for f in fixed]
    return ascend(smoothed, [_less_noise(windows, m.voxels) for m in moving], [m.start for m in moving])


def _nearby(windows: Windows, fixed: Sequence[Placed], moving: Sequence[Placed]) -> list[Summit]:
    """The same, sooner where windows hardly walk: first no more is smoothed than some steps need."""
    beside = [tuple(min(_BESIDE_PX, a) for a in m.start) for m in moving]
    smoothed = [_smoothed(windows, f, (0, 0, 0)) for f in fixed]
    around = [_smoothed(windows, m, begin) for m, begin in zip(moving, beside, strict=True)]
    found = ascend(smoothed, around, [(z, y, x) for z, y, x in beside])
    summits = []
    for window, whole, begin, summit in zip(smoothed, moving, beside, found, strict=True):
        if summit.settled:
            z, y, x = (p + a - b for p, a, b in zip(summit.position, whole.start, begin, strict=True))
            summits.append(dataclasses.replace(summit, position=(z, y, x)))
        else:
            summits += ascend([window], [_less_noise(windows, whole.voxels)], [whole.start])
    return summits


def _smoothed(windows: Windows, placed: Placed, beside: Sequence[int]) -> Array:
    """A window, smoothed together with its surroundings, and as many voxels ``beside`` it on either side."""
    cut = [slice(a - b, a + n + b) for a, n, b in zip(placed.start, windows.shape, beside, strict=True)]
    return _less_noise(windows, placed.voxels, cut)


def _less_noise(windows: Windows, voxels: Array, cut: Sequence[slice] = (slice(None),) * 3) -> Array:
    """Voxels smoothed; less the level about each, if windows are free of levels."""
    smoothed: Array = smooth(voxels, windows.sigma_px, cut)
    if windows.level_free:
        smoothed = smoothed - smooth(voxels, [_WIDE * s for s in windows.sigma_px], cut)
    return smoothed


def _begin(place: ZYX, box: Box, half: ZYX) -> ZYX:
    return _begin_of(_window(place, half), box)


def _begin_of(window: Box, box: Box) -> ZYX:
    z, y, x = (a - b for a, b in zip(window.start, box.start, strict=True))
    return z, y, x


def _window(centre: Sequence[int] | npt.NDArray[np.int64], half: Sequence[int]) -> Box:
    starts = [int(c) - h for c, h in zip(centre, half, strict=True)]
    return Box.of_shape([2 * h + 1 for h in half], starts)
