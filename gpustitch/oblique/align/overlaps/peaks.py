"""Peaks of the correlation of a whole overlap, judged against those of mirror images."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy

from gpustitch.model import ZYX
from gpustitch.model.arrays import Floats, Integers, PxZYX
from gpustitch.oblique.align.ascend import Between, peak_of_correlation
from gpustitch.oblique.align.shifts.maps import Maps

# A lone object fits all of them: a tile that is turned over fits one, so many times as well as the others.
_ONE_MIRROR = 2.0
# Most peaks that are kept, and how far they are apart, binned voxels.
_KEPT = 4
APART = 3
# Places that correlate by this part as much as a peak, or by this part of its Fisher's z, and lead to it without a gap,
# are one place.
_ALIKE, _ALIKE_Z = 0.9, 0.75
_LEAST_INDEPENDENT = 4.0  # Voxels without which a correlation says nothing.
# Peaks lower than this, in standard deviations, are noise whatever the mirror images say.
_LOWEST = 4.0
_MEDIAN_SQUARE = 0.4549  # Median of the square of a normal variable.

Spread = tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Peak:
    """An offset (z, y, x) of the moving tile, in voxels, at which the overlap correlates.

    ``height`` is the correlation in standard deviations of what voxels without a true match give. ``spread`` (3, 3) is
    the covariance of the peak, voxels squared, 0 for one at the end of the reach. ``is_drawn_out`` says that places far
    from it, and all between, fit nearly as well: along fibres and layers they do.
    """

    offset_px: PxZYX
    spread: Spread
    correlation: float
    height: float
    is_drawn_out: bool
    confidence: float

    def odds_against(self, offset_px: PxZYX) -> float:
        """Twice the natural logarithm of how much better this offset fits than another one near it, about."""
        r = min(self.correlation, 0.9999)
        off = np.subtract(offset_px, self.offset_px)
        r_there = r * math.exp(-0.5 * float(off @ np.linalg.pinv(np.array(self.spread)) @ off))
        n_independent = (self.height / math.atanh(r)) ** 2
        return n_independent * math.log((1 - r_there**2) / (1 - r**2))


@dataclass(frozen=True)
class Found:
    """Peaks of an overlap, the highest first.

    ``mirrored`` is the highest peak of the mirror images, as a height, ``mirror`` its axes if no other fits so well.
    ``n_voxels`` is how many voxels of each tile were read, ``binning`` how many voxels (z, y, x) were taken as one.
    """

    peaks: tuple[Peak, ...]
    mirrored: float
    n_voxels: int
    binning: ZYX
    mirror: tuple[int, ...] = ()


def judged_peaks(
    maps: Maps,
    images: Sequence[tuple[int, ...]],
    offsets: Sequence[npt.NDArray[np.int64]],
    within: Sequence[npt.NDArray[np.bool_]],
    n_voxels: int,
    binning: ZYX,
    slant: float,
) -> Found:
    """Peaks of the first map ``within`` reach on each axis; the other maps are those of mirror images.

    The flank of a peak is no other place that fits: what leads up to a peak is taken away with it.
    """
    squares = np.concatenate([np.empty(0), *((r * r * n)[n > 0] for r, n in maps[1:])])
    # So many voxels are as good as one that is independent of the others.
    alike = max(1.0, float(np.median(squares)) / _MEDIAN_SQUARE) if squares.size else 1.0
    heights = [_height(r, n / alike) for r, n in maps]
    turned = sorted(zip((float(h.max()) for h in heights[1:]), images[1:], strict=True), reverse=True)
    (mirrored, mirror), (next_best, _) = [*turned, (0.0, ()), (0.0, ())][:2]
    mirror = mirror if mirrored > _ONE_MIRROR * next_best else ()
    found: list[tuple[PxZYX, Spread, float, float, bool]] = []
    rest, correlation = np.zeros_like(heights[0]), np.where(heights[0] > 0, maps[0][0], 0)
    rest[np.ix_(*within)] = heights[0][np.ix_(*within)]
    summits, index = _summits(heights[0]), np.arange(rest.size).reshape(rest.shape)
    while len(found) < _KEPT and rest.max() > 0:
        at = np.unravel_index(int(np.argmax(rest)), rest.shape)
        place, spread = place_of_peak(maps[0][0], at, offsets, binning)
        # Somewhat lower ones are still offered.
        is_drawn_out = bool(rest[at] > 0.9 * _LOWEST) and _is_drawn_out(correlation, at, slant)
        found.append((place, spread, float(correlation[at]), float(rest[at]), is_drawn_out))
        beside = tuple(slice(max(0, i - APART), i + APART + 1) for i in at)
        rest[beside] = 0
        # On a steep slant one peak has several summits beside each other. A place at the end of the reach is none.
        if summits[at] == index[at]:
            rest[np.isin(summits, index[beside][summits[beside] == index[beside]])] = 0
    confidence = _confidence([height for *_, height, _ in found], mirrored)
    peaks = tuple(Peak(*f, c) for f, c in zip(found, confidence, strict=True))
    return Found(peaks, mirrored, n_voxels, binning, mirror)


def _summits(heights: Floats) -> Integers:
    """Of each place where the steepest way up ends, as an index into the flat map; at a summit that is its own."""
    beyond = np.pad(heights, 1, constant_values=-np.inf)
    index = np.pad(np.arange(heights.size).reshape(heights.shape), 1)
    best, leads = heights.copy(), np.arange(heights.size).reshape(heights.shape)
    for step in itertools.product(range(3), repeat=3):
        at = tuple(slice(s, s + n) for s, n in zip(step, heights.shape, strict=True))
        is_higher = beyond[at] > best
        best[is_higher], leads[is_higher] = beyond[at][is_higher], index[at][is_higher]
    flat: Integers = leads.reshape(-1)
    while not np.array_equal(further := flat[flat], flat):
        flat = further
    return flat.reshape(heights.shape)


def _is_drawn_out(correlation: Floats, at: Sequence[np.intp], slant: float) -> bool:
    """Whether places further from a peak than peaks are apart belong to it.

    How far is measured in the upright grid, by which the bins' own is displaced by ``slant`` bins of x from one of z to
    the next: along a flat sheet, all that is round is drawn out.
    """
    best = min(float(correlation[tuple(at)]), 0.9999)
    alike = correlation >= min(_ALIKE * best, math.tanh(_ALIKE_Z * math.atanh(best)))
    group, _ = scipy.ndimage.label(alike, np.ones((3, 3, 3)))
    places = np.argwhere(group == group[tuple(at)]).astype(np.float64) - np.array(at)
    places[:, 2] += slant * places[:, 0]
    return bool(np.abs(places).max() > APART)


def _height(correlation: Floats, n_independent: Floats) -> Floats:
    """Fisher's z in standard deviations; 0 where too little is shared."""
    z = np.arctanh(np.clip(correlation, -0.9999, 0.9999)) * np.sqrt(np.maximum(n_independent - 3, 0))
    return np.where(n_independent >= _LEAST_INDEPENDENT, z, 0)


def place_of_peak(
    correlation: Floats, at: Sequence[np.intp], offsets: Sequence[npt.NDArray[np.int64]], binning: ZYX
) -> tuple[PxZYX, Spread]:
    """The offset of a peak and its spread, between bins where the peak is not at the end of the reach."""
    between = Between((0.0, 0.0, 0.0), ((0.0, 0.0, 0.0),) * 3)
    if all(0 < i < n - 1 for i, n in zip(at, correlation.shape, strict=True)):
        between = peak_of_correlation(correlation[tuple(slice(i - 1, i + 2) for i in at)])
    z, y, x = (float(o[i]) - n * b for o, i, n, b in zip(offsets, at, binning, between.place, strict=True))
    a, b, c = (
        tuple(v * m * n for v, n in zip(row, binning, strict=True))
        for row, m in zip(between.spread, binning, strict=True)
    )
    return (z, y, x), (a, b, c)


def _confidence(heights: Sequence[float], mirrored: float) -> list[float]:
    """How sure each peak is, from its height against the highest other peak, mirror images included; sum below 1.

    A peak a third higher than any other has even odds. One of 1.6 times their height is 90 % sure.
    """
    others = [max(mirrored, _LOWEST, *heights[:i], *heights[i + 1 :]) for i in range(len(heights))]
    odds = [math.exp(min(30.0, 8 * (h / other - 4 / 3))) for h, other in zip(heights, others, strict=True)]
    total = 1 + sum(odds)
    return [v / total for v in odds]
