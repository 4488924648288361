"""Similarity as a falling function of distance, fitted to pairs of sections by least squares."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy

from gpustitch.model.arrays import Floats, Integers

# Width of a bin of distances, in sections: fine against the half section between knots.
BIN = 0.125
# Points of the tabulated curve per section, between which it is linear.
FINE = 64
# Weight of the mean squared third difference of the spline's coefficients against the mean squared residual: it settles
# coefficients that no pair tells.
STIFFNESS = 1e-4
# A curve falls, if by nothing that counts: the sign of its slope says on which side a section lies.
_LEAST_SLOPE = 1e-12
# Degree of the spline; knots, in sections: the least distance of two, and their distance as a part of where they lie.
_DEGREE, _LEAST_STEP, _STEP = 3, 0.5, 1 / 8


@dataclass(frozen=True)
class Curve:
    """Similarity against distance, float64 (points,) at 0, 1 / FINE, 2 / FINE ... sections; never rising.

    ``slopes`` are per section, at most 0. Beyond the last point both stay as they are there.
    """

    values: Floats
    slopes: Floats

    def at(self, distance: Floats) -> tuple[Floats, Floats]:
        """Similarity at distances of at least 0, in sections, and its slope; of their shape."""
        place = np.minimum(distance * FINE, len(self.values) - 1.001)
        low = place.astype(np.int64)
        place -= low
        high = low + 1
        found = []
        for table in (self.values, self.slopes):
            start = table.take(low)
            found.append(start + place * (table.take(high) - start))
        return found[0], found[1]

    def inverse(self, similarity: Floats) -> Floats:
        """Distance at which the curve has fallen to a similarity; 0 above its start and its length below its end."""
        return np.interp(-similarity, -self.values, np.arange(len(self.values)) / FINE)


def fit_curve(distance: Floats, similarity: Floats, weight: Floats) -> Curve:
    """The falling cubic spline nearest to the similarities of pairs.

    Parameters
    ----------
    distance, similarity, weight
        float64 of one shape; distances in sections, pairs of weight 0 do not count.

    Notes
    -----
    Pairs are averaged in bins of distance first. Two bins share each pair, so that the curve does not jump. The
    spline is a sum of falling steps with factors of at least 0; its knots lie the further apart the greater the
    distance.
    """
    weight = weight.ravel()
    distance = np.where(weight > 0, distance.ravel(), 0)
    place = distance * (1 / BIN)
    low = place.astype(np.int64)
    part = (place - low) * weight
    rest = weight - part
    similarity = np.where(weight > 0, similarity.ravel(), 0)
    n_bins = int(low.max()) + 2
    sums = []
    for values in (None, distance, similarity):
        below, above = (rest, part) if values is None else (rest * values, part * values)
        found = np.bincount(low, below, n_bins)
        found[1:] += np.bincount(low, above, n_bins - 1)
        sums.append(found)
    some = sums[0] > 1e-9 * sums[0].max()
    total, at, mean = sums[0][some], sums[1][some] / sums[0][some], sums[2][some] / sums[0][some]
    knots, every, bend = _basis(n_bins)
    longest = knots[-1]
    root = np.sqrt(total / total.sum())
    basis = every(at)
    # Coefficients are sums of falling steps; the last step is the level at the end, which may have either sign.
    design = np.cumsum(np.concatenate([root[:, None] * basis, bend]), axis=1)
    design = np.concatenate([design, -design[:, -1:]], axis=1)
    factors = scipy.optimize.nnls(design, np.concatenate([root * mean, np.zeros(len(bend))]))[0]
    factors[-2] -= factors[-1]
    spline = scipy.interpolate.BSpline(knots, np.cumsum(factors[-2::-1])[::-1], _DEGREE)
    fine = np.arange(int(longest * FINE) + 1) / FINE
    return Curve(spline(fine), np.minimum(spline(fine, 1), -_LEAST_SLOPE))


@functools.lru_cache(maxsize=256)
def _basis(n_bins: int) -> tuple[Floats, Callable[[Floats], Floats], Floats]:
    """Knots of the curve over some bins, all its splines at places, and how much each bends: alike for each fit."""
    knots = _knots(BIN * n_bins)
    count = len(knots) - _DEGREE - 1
    bend = np.diff(np.eye(count), 3, axis=0) * np.sqrt(STIFFNESS / count)
    knots.flags.writeable = bend.flags.writeable = False
    return knots, scipy.interpolate.BSpline(knots, np.eye(count), _DEGREE), bend


def _knots(longest: float) -> Floats:
    """Knots from 0 to the longest distance: half a section apart up to 4 sections, then an eighth of the distance."""
    inner = [0.0]
    while inner[-1] < longest:
        inner.append(inner[-1] + max(_LEAST_STEP, inner[-1] * _STEP))
    return np.array([0.0] * _DEGREE + inner + [inner[-1]] * _DEGREE)


def inverse(rising: Floats, values: Floats) -> Floats:
    """Where a sorted sequence (m,) takes the values, from 0 to m - 1; NaN outside. The last of equal places counts."""
    outside = ~((values >= rising[0]) & (values <= rising[-1]))
    low = np.clip(np.searchsorted(rising, values, side="right") - 1, 0, len(rising) - 2)
    with np.errstate(invalid="ignore", divide="ignore"):
        place: Floats = low + (values - rising[low]) / np.diff(rising)[low]
    place[outside] = np.nan
    return place


def inverse_of_curves(curves: Floats, values: Floats) -> Floats:
    """Where the curve (1 or n, m) of each section takes the values (..., n), from 0 to m - 1.

    Values must be from a curve's first to its last. Where it is not rising the place is the one that halving the
    sequence leads to; it is NaN next to a NaN of the curve.
    """
    count, m = curves.shape
    if count == 1 and bool((np.diff(curves[0]) > 0).all()):
        return inverse(curves[0], values)
    flat = curves.ravel()
    base = np.arange(count) * m if count > 1 else np.zeros(1, np.int64)
    low, high = np.zeros(values.shape, np.int64), np.full(values.shape, m - 1)
    for _ in range(m.bit_length()):
        middle = (low + high) >> 1
        above = flat.take(base + middle) > values
        high = np.where(above, middle, high)
        low = np.where(above, low, middle)
    low = np.minimum(low, m - 2)
    below = flat.take(base + low)
    with np.errstate(invalid="ignore", divide="ignore"):
        place: Floats = low + (values - below) / (flat.take(base + low + 1) - below)
    return place


def on_curves(curves: Floats, sections: slice, distance: Floats) -> Floats:
    """The curves' (1 or n, m) values at distances of the sections, continued at their ends."""
    count, m = curves.shape
    low = np.minimum(distance.astype(np.int64), m - 2)
    part = distance - low
    base: Integers = low if count == 1 else low + np.arange(count)[sections] * m
    flat = curves.ravel()
    values: Floats = flat.take(base) * (1 - part) + flat.take(base + 1) * part
    return values


def linear(values: Floats, targets: Floats) -> Floats:
    """The values mapped as near to the targets as a factor and an offset bring them (least squares)."""
    centred = values - values.mean()
    slope = (centred * (targets - targets.mean())).sum() / (centred * centred).sum()
    mapped: Floats = centred * slope + targets.mean()
    return mapped
