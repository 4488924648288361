"""Percentile bins of every pixel over frames, band by band: of all frames, and of halves and quarters of them.

The halves take turns of consecutive frames, which show much the same tissue. What both halves agree on is light; where
they differ it is tissue and noise. A quarter is what a half has of the first or of the last frames. Halves and quarters
hold every so many rows and columns, as what is smooth shows there too. Of frames with many pixels, so do the
percentiles of all frames.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gpustitch.array import Array, Device, namespace, on, to_device, to_host
from gpustitch.errors import DamagedInputError
from gpustitch.model import Frames, read_into
from gpustitch.model.arrays import HostArray, Integers32
from gpustitch.oblique.flat.histogram import count_between, percentile_bin
from gpustitch.running.progress import SILENT, Progress, tracked
from gpustitch.running.threads import ordered_map

FRAMES_PER_READ = 32
# Which quarter takes each turn of consecutive frames. The first two are one half and the last two the other: brightness
# that drifts evenly, or bends, is the same in both. The inner quarters are of the first frames, the outer of the last.
_QUARTERS = (1, 2, 2, 1, 3, 0, 0, 3)
# Halves and quarters.
_N_PARTS = 6
# Pixels of a frame that the halves hold, about, and at least so many that a smooth model is fitted to.
_JUDGED_PIXELS, _FITTED_PIXELS = 1 << 16, 1 << 18
# Step between frames checked for values beyond the bins.
_FRAMES_SAMPLED = 8


@dataclass(frozen=True)
class Chosen:
    """Frames to take percentiles of: ``numbers`` of each source, read in bands of ``band_rows`` by ``n_workers``.

    Percentiles are those of every ``grid``-th row and column: :func:`steps_of`.
    """

    sources: Sequence[Frames]
    numbers: Sequence[npt.NDArray[np.int64]]
    band_rows: int
    n_workers: int
    device: Device
    grid: int = 1

    @property
    def n_frames(self) -> int:
        """Number of frames taken."""
        return sum(len(numbers) for numbers in self.numbers)

    @property
    def frame_shape(self) -> tuple[int, int]:
        """Rows and columns of a frame as the camera wrote it."""
        return self.sources[0].shape[1], self.sources[0].shape[2]

    @property
    def absent(self) -> frozenset[tuple[int, int]]:
        """Numbers of sources and of their frames that are not there, as far as is known."""
        return frozenset((of, number) for of, source in enumerate(self.sources) for number in source.absent)

    @property
    def step(self) -> int:
        """The halves hold every so many rows and columns."""
        return steps_of(self.frame_shape)[1]

    @property
    def peak_bytes(self) -> int:
        """Most memory held at once, in bytes."""
        rows, columns = self.frame_shape
        of_frames = held_frames(self.n_frames, self.grid)
        if self.step > self.grid:
            of_frames += self.n_frames // self.step**2
        band = (of_frames + FRAMES_PER_READ) * self.band_rows * columns * self.sources[0].dtype.itemsize
        return self.n_workers * band + 8 * rows * columns + 48 * (rows // self.step + 1) * (columns // self.step + 1)

    def few(self, most: int) -> Iterator[HostArray]:
        """At most so many of the frames, evenly chosen, one after the other; unreadable ones are left out."""
        ends = np.cumsum([len(numbers) for numbers in self.numbers])
        for place in np.unique(np.linspace(0, self.n_frames - 1, min(most, self.n_frames)).astype(np.int64)):
            of = int(np.searchsorted(ends, place, side="right"))
            source, number = self.sources[of], int(self.numbers[of][place - ends[of]])
            frame = source.read(number, number + 1)[0]
            if number not in source.absent:
                yield frame


def steps_of(shape: tuple[int, int]) -> tuple[int, int]:
    """Between rows, and columns, of frames of a shape that a model is fitted to, and of those that it is judged by.

    The second is a multiple of the first.
    """
    n_pixels = math.prod(shape)
    judged = max(1, round(math.sqrt(n_pixels / _JUDGED_PIXELS)))
    fitted = (step for step in range(judged, 0, -1) if judged % step == 0 and n_pixels >= step**2 * _FITTED_PIXELS)
    return next(fitted, 1), judged


def held_frames(n_frames: int, grid: int) -> int:
    """As many whole frames as ``n_frames`` take of which every ``grid``-th row and column is held."""
    return -(-n_frames // grid**2)


@dataclass(frozen=True)
class Binning:
    """Which values count, in which bins, and which percentile is taken."""

    percentile: float
    n_bins: int
    values_per_bin: int
    background: int

    @property
    def end(self) -> int:
        """Least value beyond the bins."""
        return self.n_bins * self.values_per_bin


@dataclass(frozen=True)
class Percentiles:
    """Percentile bin of each pixel, and in how many frames its value counted; both int32 (rows, columns)."""

    bins: Integers32
    count: Integers32

    @classmethod
    def empty(cls, rows: int, columns: int) -> Percentiles:
        """Of pixels that counted in no frame."""
        return cls(np.zeros((rows, columns), np.int32), np.zeros((rows, columns), np.int32))

    def put(self, first: int, part: Percentiles) -> None:
        """Fill in the rows from ``first`` on."""
        rows = slice(first, first + len(part.bins))
        self.bins[rows], self.count[rows] = part.bins, part.count


@dataclass(frozen=True)
class Parts:
    """Percentiles of the two halves and of the four quarters; the first half is the first two quarters."""

    halves: tuple[Percentiles, Percentiles]
    quarters: tuple[Percentiles, Percentiles, Percentiles, Percentiles]

    @property
    def all(self) -> tuple[Percentiles, ...]:
        """Halves, then quarters."""
        return *self.halves, *self.quarters

    @classmethod
    def of(cls, found: Sequence[Percentiles]) -> Parts:
        """Those in the order of `all`."""
        first, second, *quarters = found
        one, two, three, four = quarters
        return cls((first, second), (one, two, three, four))


@dataclass(frozen=True)
class Found:
    """Percentiles of all frames in every ``grid``-th row and column, and of halves and quarters in every ``step``-th.

    ``lit`` and ``beyond`` count, in some frames, values from the background up and those beyond the bins.
    """

    whole: Percentiles
    parts: Parts
    step: int
    lit: int
    beyond: int
    grid: int = 1


def find_percentiles(chosen: Chosen, binning: Binning, progress: Progress = SILENT) -> Found:
    """Percentiles of the chosen frames, each of which is read once. The orientation is that of the frames.

    A frame that turns out to be unreadable in one band counts in none: all bands are then read again without it.

    Raises
    ------
    DamagedInputError
        If no frame can be read.
    """
    absent = chosen.absent
    found = _find(chosen, binning, progress)
    while len(chosen.absent) > len(absent):
        absent = chosen.absent
        found = _find(chosen, binning, progress)
    return found


def _find(chosen: Chosen, binning: Binning, progress: Progress) -> Found:
    (rows, columns), steps = chosen.frame_shape, (chosen.grid, *[chosen.step] * _N_PARTS)
    parts = tuple(Percentiles.empty(-(-rows // step), -(-columns // step)) for step in steps)
    lit = beyond = 0
    starts = range(0, rows, chosen.band_rows)
    bands = ordered_map(lambda start: _band(chosen, binning, start), starts, chosen.n_workers)
    for start, band in zip(starts, tracked(bands, progress, "Illumination", len(starts), "bands"), strict=True):
        for part, step, of_band in zip(parts, steps, (band.whole, *band.parts.all), strict=True):
            part.put(-(-start // step), of_band)
        lit, beyond = lit + band.lit, beyond + band.beyond
    return Found(parts[0], Parts.of(parts[1:]), chosen.step, lit, beyond, chosen.grid)


def _band(chosen: Chosen, binning: Binning, start: int) -> Found:
    rows = slice(start, min(start + chosen.band_rows, chosen.frame_shape[0]))
    frames, sizes = _read(chosen, rows)
    grid, step = chosen.grid, chosen.step
    # Of the rows that are there: they are those of the grid, from the first one in the band on.
    first = (-(-start // step) * step - -(-start // grid) * grid) // grid
    with on(chosen.device):
        whole, parts = percentiles_of(to_device(frames, chosen.device), sizes, binning, first, step // grid)
    sampled = frames[::_FRAMES_SAMPLED]
    lit, beyond = (int(np.count_nonzero(sampled >= least)) for least in (binning.background, binning.end))
    return Found(whole, parts, step, lit, beyond, grid)


def percentiles_of(
    frames: Array, sizes: tuple[int, ...], binning: Binning, first: int = 0, step: int = 1
) -> tuple[Percentiles, Parts]:
    """Percentiles of all frames (frames, rows, columns), and those of halves and quarters.

    Parameters
    ----------
    frames
        Counts of the camera, unsigned integers.
    sizes
        Number of frames of each of the four quarters, which lie one after the other.
    binning
        Bins, percentile.
    first, step
        The parts have every ``step``-th row from ``first`` on, and every ``step``-th column.
    """
    some = (slice(first, None, step), slice(None, None, step))
    ends = [0, *np.cumsum(sizes).tolist()]
    cuts = [(ends[0], ends[2]), (ends[2], ends[4]), *itertools.pairwise(ends)]
    whole = _percentiles(frames, binning)
    return whole, Parts.of([_percentiles(frames[a:b, *some] if step > 1 else frames[a:b], binning) for a, b in cuts])


def _percentiles(frames: Array, binning: Binning) -> Percentiles:
    _, rows, columns = frames.shape
    if not frames.size:
        return Percentiles.empty(rows, columns)
    xp = namespace(frames)
    frames = xp.ascontiguousarray(frames)
    count, bins = (xp.empty((rows, columns), np.int32) for _ in range(2))
    count_between(frames, count, binning.background, binning.end)
    percentile_bin(frames, count, bins, binning.percentile, binning.n_bins, binning.values_per_bin, binning.background)
    return Percentiles(to_host(bins), to_host(count))


def _read(chosen: Chosen, rows: slice) -> tuple[HostArray, tuple[int, ...]]:
    """The frames' rows and columns on the grid, quarter by quarter; and how many frames each quarter has."""
    grid, dtype = chosen.grid, chosen.sources[0].dtype.newbyteorder("=")
    shape = (rows.stop - rows.start, chosen.frame_shape[1])
    on_grid = (slice(None), slice(-rows.start % grid, None, grid), slice(None, None, grid))
    room = np.empty((FRAMES_PER_READ, *shape), dtype)
    frames = np.empty((chosen.n_frames, *room[on_grid].shape[1:]), dtype)
    turns = np.arange(chosen.n_frames) * min(len(_QUARTERS), chosen.n_frames) // chosen.n_frames
    quarter = np.array(_QUARTERS)[turns]
    place = np.empty(chosen.n_frames, np.int64)
    place[np.argsort(quarter, kind="stable")] = np.arange(chosen.n_frames)
    quarter = np.sort(quarter)
    at, lost = 0, []
    for source, numbers in zip(chosen.sources, chosen.numbers, strict=True):
        for first, stop in _runs(numbers):
            into = place[at : at + stop - first]
            read_into(source, first, stop, rows, slice(None), room[: stop - first])
            frames[into] = room[: stop - first][on_grid]
            lost += [into[number - first] for number in source.absent.intersection(range(first, stop))]
            at += stop - first
    if lost:
        frames, quarter = np.delete(frames, lost, axis=0), np.delete(quarter, lost)
    if not len(frames):
        raise DamagedInputError(f"none of the {chosen.n_frames} frames chosen for the flat can be read")
    return frames, tuple(np.bincount(quarter, minlength=4).tolist())


def _runs(indices: npt.NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Half-open runs of consecutive frames, each at most one read long."""
    for run in np.split(indices, np.flatnonzero(np.diff(indices) != 1) + 1):
        for first in range(0, len(run), FRAMES_PER_READ):
            part = run[first : first + FRAMES_PER_READ]
            yield int(part[0]), int(part[-1]) + 1
