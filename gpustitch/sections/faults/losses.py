"""Losses of similarity, -log of it: a curve of them by distance, an own one of each section, and votes of third ones.

The similarity of two sections is taken as ``q_i * q_j * exp(-h(distance))``: noise and damage of a section lower all
of its coefficients by the same factor, its quality. So losses add up: ``-log(q_i) - log(q_j) + h(distance)``, the own
losses of both sections and that of the :class:`LossCurve`. All of this serves :mod:`gpustitch.sections.faults.find`;
positions are found with another curve, :mod:`gpustitch.sections.texture.curve`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import scipy

from gpustitch.model.arrays import Floats, Integers
from gpustitch.ops.robust import MAD_TO_SIGMA, MEDIAN_ERROR, median, median_and_scatter

# Sections on either side that quality and order are judged by.
NEAR = 8
# Pairs that a point of the curve needs, and its width in sections.
_LEAST_PAIRS = 8
_BIN = 0.5
# A curve ends at this many times the usual distance of the pairs farthest apart: beyond, only gaps would tell of it.
_REACH = 1.25
# Similarities below this are taken as this: a logarithm of nothing is needed.
_LEAST_SIMILARITY = 1e-3
# Times that the curve and the own losses are found from one another.
_ROUNDS = 4
# Sections whose median quality a section is held against.
QUALITY_WINDOW = 15
# Votes whose own scatter means something.
_LEAST_VOTES = 3
# Sections that can tell where another one lies, and how finely it is looked for.
_LEAST_WITNESSES = 5
_STEP = 0.25


@dataclass(frozen=True)
class LossBand:
    """Losses of sections near each other, on both sides.

    ``loss``, float64 (n, 2 * max_lag + 1): ``[i, max_lag + d]`` is that of i and i + d, d from -max_lag to max_lag; NaN
    for d = 0, where there is no similarity, and beyond the ends of the series.
    """

    loss: Floats

    @property
    def max_lag(self) -> int:
        """Greatest distance of two sections."""
        return int(self.loss.shape[1] // 2)

    def neighbours(self) -> Integers:
        """Number of the other section of each entry, (n, 2 * max_lag + 1), clipped to the series."""
        n = len(self.loss)
        return np.asarray(np.clip(np.arange(n)[:, None] + np.arange(-self.max_lag, self.max_lag + 1), 0, n - 1))


@dataclass(frozen=True)
class LossCurve:
    """Loss by distance: rising values at rising distances in sections, and the scatter of pairs around them.

    Arrays are float64 (points,). Between points it is linear, beyond the last one flat.
    """

    distance: Floats
    loss: Floats
    scatter: Floats

    def at(self, distance: Floats) -> Floats:
        """The loss at distances."""
        return np.asarray(np.interp(distance, self.distance, self.loss))

    def scatter_at(self, distance: Floats) -> Floats:
        """Standard deviation of the losses of pairs at distances."""
        return np.asarray(np.interp(distance, self.distance, self.scatter))

    def distance_of(self, loss: Floats) -> Floats:
        """Distance at which the loss is reached; NaN stays."""
        return np.where(np.isnan(loss), np.nan, np.interp(loss, self.loss, self.distance))

    def weight(self, distance: Floats) -> Floats:
        """Inverse variance of a distance read from the curve; 0 where the curve is flat or has ended."""
        steps = np.diff(self.distance)
        slope = np.diff(self.loss) / steps
        segment = np.clip(np.searchsorted(self.distance, distance) - 1, 0, len(slope) - 1)
        weight = (slope[segment] / self.scatter_at(distance)) ** 2
        return np.where(np.isnan(distance) | (distance >= self.distance[-1]), 0.0, weight)


def loss_band_of(half_strip: Floats) -> LossBand:
    """Losses, in both directions, of a half strip (n, max_lag + 1) of similarities."""
    n, width = half_strip.shape
    max_lag = min(width - 1, n - 1)
    with np.errstate(invalid="ignore"):
        loss = -np.log(np.clip(half_strip, _LEAST_SIMILARITY, 1.0))
    both = np.full((n, 2 * max_lag + 1), np.nan)
    for d in range(1, max_lag + 1):
        both[: n - d, max_lag + d] = loss[: n - d, d]
        both[d:, max_lag - d] = loss[: n - d, d]
    return LossBand(both)


def fit_curve_and_quality(band: LossBand, positions: Floats, weights: Floats) -> tuple[LossCurve, Floats]:
    """The curve of loss by distance, and each section's own loss (-log of its quality against those around it).

    Parameters
    ----------
    band
        Losses.
    positions
        (n,) estimated positions, in sections. Single wrong ones do no harm: all averages are medians.
    weights
        (n,) how much each section counts in the quality of others.

    Returns
    -------
    The curve, of distances that the range reaches where no sections are missing, and own losses float64 (n,), NaN for
    sections without any similarity.

    Notes
    -----
    Own losses are taken against their running median: to a curve, a slow change of quality looks much like one of the
    distances, and the two would drift apart. For the same reason the first and the last section have none.
    """
    other = band.neighbours()
    distance = np.abs(positions[other] - positions[:, None])
    distance[distance > _REACH * np.median(distance[: -band.max_lag, -1])] = np.nan
    near = np.abs(np.arange(-band.max_lag, band.max_lag + 1)) <= NEAR
    own = np.zeros(len(positions))
    for _ in range(_ROUNDS):
        curve = _curve(distance, band.loss - own[:, None] - own[other])
        left_over = band.loss - own[other] - curve.at(distance)
        noise = np.maximum(curve.scatter_at(distance), median(curve.scatter))
        weight = np.where(near & np.isfinite(left_over), weights[other] * noise**-2, 0.0)
        own = weighted_medians(left_over, weight)
        own -= local_median(own, QUALITY_WINDOW, own_ends=True)
    return curve, own


def corrected(band: LossBand, own: Floats) -> Floats:
    """Losses of ``band`` as they were if all sections had the same quality."""
    return band.loss - own[:, None] - own[band.neighbours()]


def displacements(
    loss: Floats, own: Floats, curve: LossCurve, positions: Floats, weights: Floats
) -> tuple[Floats, Floats]:
    """How far after each section the next one lies, by the votes of the sections on either side.

    Parameters
    ----------
    loss
        Corrected losses (n, 2 * max_lag + 1), as of :func:`corrected`.
    own
        Own losses (n,) that they were corrected for.
    curve
        The curve of loss by distance.
    positions
        (n,) estimated positions: on which side of two sections a third one lies.
    weights
        (n,) how much each section's vote counts.

    Returns
    -------
    float64 (n - 1,): displacements, negative where the order is wrong, NaN without votes; and their standard
    errors.

    Notes
    -----
    A section below both sees the displacement as the difference of its distances to them, one above with the opposite
    sign; one between them has no vote. The mean of the sides' medians is taken: an error of a section's quality
    cancels in it. Seen from one side only, as beside a wide gap, being farther away and being of lower quality are the
    same. So the step that the two own losses would make is an error there.
    """
    n, max_lag = len(loss), loss.shape[1] // 2
    distance = curve.distance_of(loss)
    variance = 1 / np.maximum(curve.weight(distance), 1e-300)
    before = np.arange(1, min(NEAR, max_lag - 1) + 1)
    if not len(before):
        return np.full(n - 1, np.nan), np.full(n - 1, np.nan)
    one = max_lag + np.concatenate([-before, before + 1])
    two = one - 1
    voter = np.clip(np.arange(n - 1)[:, None] + one - max_lag, 0, n - 1)
    seen = distance[:-1, one] - distance[1:, two]
    weight = weights[voter] / (variance[:-1, one] + variance[1:, two])
    weight[np.isnan(seen) | (weight < 1e-200)] = 0
    pair = np.sort(np.stack([positions[:-1], positions[1:]]), axis=0)[:, :, None]
    sides = [
        _vote(-seen, np.where(positions[voter] < pair[0], weight, 0)),
        _vote(seen, np.where(positions[voter] > pair[1], weight, 0)),
    ]
    found = np.array([side[0] for side in sides])
    error = np.array([side[1] for side in sides])
    n_sides = np.isfinite(found).sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        middle = np.nansum(found, axis=0) / n_sides
        spread = np.sqrt(np.nansum(error**2, axis=0)) / n_sides
    usual = median(np.abs(np.diff(positions)))
    by_quality = curve.distance_of(curve.at(np.full(n - 1, usual)) + np.abs(np.diff(own))) - usual
    by_quality[[0, -1]] = 0  # own losses of the first and the last section are none
    spread = np.where(n_sides == 1, np.hypot(spread, by_quality), spread)
    return np.where(n_sides > 0, middle, np.nan), spread


def position_among(loss: Floats, positions: Floats, curve: LossCurve, around: float, span: float) -> float:
    """Where a section fits that may have been recorded in the wrong place: ``around`` if nowhere clearly better.

    Parameters
    ----------
    loss, positions
        (m,) its losses against other sections, corrected for their quality but not for its own, and their positions.
    curve
        The curve of loss by distance.
    around, span
        Positions from ``around - span`` to ``around + span`` are tried.

    Notes
    -----
    A section fits where its losses differ from the curve by the same amount, its own loss. A damaged one fits nowhere.
    """
    known = np.isfinite(loss)
    if known.sum() < _LEAST_WITNESSES:
        return around
    tried = np.append(np.arange(around - span, around + span, _STEP), around)
    left_over = loss[known] - curve.at(np.abs(tried[:, None] - positions[known]))
    spread = median_and_scatter(left_over.T)[1]
    best = int(np.argmin(spread))
    better = spread[best] < 0.5 * spread[-1] and spread[best] < 4 * median(curve.scatter)
    return float(tried[best]) if better else around


def local_median(values: Floats, window: int, own_ends: bool = False) -> Floats:
    """Running median, NaN taken as the whole series' median.

    Mirrored at the ends; with ``own_ends`` the first and the last value are repeated beyond them, which makes them
    their own medians.
    """
    middle = np.nanmedian(values) if np.isfinite(values).any() else 0.0
    filled = np.where(np.isfinite(values), values, middle)
    mode: Literal["nearest", "mirror"] = "nearest" if own_ends else "mirror"
    return np.asarray(scipy.ndimage.median_filter(filled, min(window, len(values)), mode=mode))


def weighted_medians(values: Floats, weights: Floats) -> Floats:
    """Weighted median of each row, NaN where a row has no weight; values without weight may be NaN."""
    order = np.argsort(np.where(weights > 0, values, np.inf), axis=1, kind="stable")
    sorted_values = np.take_along_axis(values, order, axis=1)
    below = np.cumsum(np.take_along_axis(weights, order, axis=1), axis=1)
    half = below[:, -1:] / 2
    first = np.argmax(below >= half, axis=1)
    after = np.argmax(below > half * (1 + 1e-12), axis=1)
    rows = np.arange(len(values))
    middle = (sorted_values[rows, first] + sorted_values[rows, after]) / 2
    return np.where(below[:, -1] > 0, middle, np.nan)


def _vote(votes: Floats, weight: Floats) -> tuple[Floats, Floats]:
    """Weighted median of the votes of one side, and its standard error; that of the curve counts for few votes."""
    middle = weighted_medians(votes, weight)
    scatter = MAD_TO_SIGMA * weighted_medians(np.abs(votes - middle[:, None]), weight)
    count = weight.sum(axis=1) ** 2 / np.maximum(np.square(weight).sum(axis=1), 1e-300)
    error = MEDIAN_ERROR * scatter / np.sqrt(np.maximum(count, 1))
    with np.errstate(divide="ignore"):
        of_curve = MEDIAN_ERROR / np.sqrt(weight.sum(axis=1))
    return middle, np.where(count < _LEAST_VOTES, np.maximum(error, of_curve), error)


def _curve(distance: Floats, loss: Floats) -> LossCurve:
    """Medians of the loss in bins of distance, joined where sparse, made to rise, and continued straight to 0."""
    known = np.isfinite(loss) & np.isfinite(distance)
    d, y = distance[known], loss[known]
    order = np.argsort(d, kind="stable")
    edges = np.flatnonzero(np.diff(np.floor(d[order] / _BIN + 0.5), prepend=-1.0))
    points, start = [], 0
    for stop in (*edges[1:], len(order)):
        here = order[start:stop]
        if len(here) >= _LEAST_PAIRS:
            middle, scatter = median_and_scatter(y[here])
            points.append((median(d[here]), float(middle), float(scatter)))
            start = stop
    if len(points) < 2:
        span = float(d.max()) if len(d) else 1.0
        level = float(np.median(y)) if len(y) else 1.0
        return LossCurve(np.array([0.0, span or 1.0]), np.array([0.0, level]), np.array([1.0, 1.0]))
    x, middle, scatter = np.array(points).T
    rising = (np.maximum.accumulate(middle) + np.minimum.accumulate(middle[::-1])[::-1]) / 2
    if x[0] > 0:
        slope = (rising[1] - rising[0]) / (x[1] - x[0])
        x, rising = np.concatenate([[0.0], x]), np.concatenate([[rising[0] - slope * x[0]], rising])
        scatter = np.concatenate([scatter[:1], scatter])
    floor = 0.1 * median(scatter) + 1e-6 * (rising[-1] - rising[0]) + 1e-12
    return LossCurve(x, rising, np.hypot(scatter, floor))
