"""Section positions as Fiji's z-spacing estimates them, step by step (Hanslovsky, Bogovic and Saalfeld, ISBI 2015).

Sections are kept sorted by position. An update takes the mean ``curve`` of similarity against distance, and ``factors``
that bring each section's similarities to it. Then each section ``votes`` for the positions of its neighbours, and all
move. Arrays are lag-major: ``[d, k]`` belongs to the sorted sections k and k + d, or k - d.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from gpustitch.model.arrays import Bools, Floats, Integers
from gpustitch.sections.model import EstimateOptions
from gpustitch.sections.positions.band import from_before, is_in_order, pairs, put_sorted, sorted_band
from gpustitch.sections.texture.curve import inverse, inverse_of_curves, linear, on_curves


@dataclass(frozen=True)
class Step:
    """What an update leaves: arrays (n,) in the order of the input, positions in sections.

    ``curves``, (1 or n, range + 1), are minus the similarity at distance 0 to range, as the plugin has them: they rise.
    """

    positions: Floats
    factors: Floats
    order: Integers
    curves: Floats
    voted: Bools


@dataclass
class _Weights:
    """Weights by place along z, whichever section is there: of votes, and of pairs (n, or n x n)."""

    votes: Floats
    estimate: Floats | None

    def of_pairs(self, k: Integers, j: Integers) -> Floats | float:
        """Weight of the pairs of places k and j, of their shape; one number if all weigh the same."""
        if self.estimate is None:
            return 1.0
        if self.estimate.ndim == 1:
            return self.estimate[k] * self.estimate[j]
        return self.estimate[k, j]


def compat_steps(
    band: Floats,
    options: EstimateOptions,
    start: Floats,
    factors: Floats,
    vote_weights: Floats,
    estimate_weights: Floats | None,
) -> Iterator[Step]:
    """Updates of the positions, one after the other, without end.

    Parameters
    ----------
    band
        Similarities, (range + 2, n), see :mod:`gpustitch.sections.positions.band`.
    start, factors
        float64 (n,): positions and quality factors to start from.
    vote_weights, estimate_weights
        float64 (n,) of each place, and (n,) or (n, n) of the pairs of places that make the curve and the factors, or
        None. Weights stay where they are when sections change places, as in the plugin.

    Notes
    -----
    Sums are taken in another order than in the plugin; positions of all its golden cases agree to 1e-11 after 100
    updates. With the greatest range, n - 1, rounding decides whether the pair of the first and the last section counts.
    """
    n, max_lag = len(start), options.max_lag
    weights = _Weights(vote_weights, estimate_weights)
    nodes, sweeps = _Nodes(n, options.local_estimates), _Sweeps(n, options)
    order = np.argsort(start, kind="stable")
    positions, scaled, in_order = start[order], band.copy(), factors[order]
    while True:
        found = nodes.spread(_curve(scaled, order, positions, weights, nodes, options))
        similarity = sorted_band(band, order)
        in_order = sweeps.factors(similarity, positions, in_order, found, weights)
        put_sorted(scaled, order, _scale(similarity, in_order))
        moves = _votes(sorted_band(scaled, order), positions, found, weights.votes, options)
        moved = _update(positions, moves, start[order], options)
        unsorted, values = np.empty(n), np.empty(n)
        voted = np.empty(n, bool)
        unsorted[order], values[order], voted[order] = moved, in_order, np.isfinite(moves)
        order = np.argsort(unsorted, kind="stable")
        positions, in_order = unsorted[order], values[order]
        yield Step(unsorted, values, order, found[:, : max_lag + 1], voted)


class _Nodes:
    """Places along the series that have a curve of their own; sections between two of them have a mix of both.

    ``at`` is float64 (n,), the place of each section counted in nodes; ``feeds`` (n, nodes) is 1 where a section's
    similarities are part of a node's curve.
    """

    def __init__(self, n: int, local_estimates: int) -> None:
        radius = max(n // local_estimates, 1)
        count = max(n // radius, 1)
        self.at = np.clip((np.arange(n) - radius) / radius, 0, count - 1)
        below = np.minimum(self.at.astype(np.int64), count - 1)
        self.feeds = np.zeros((n, count))
        self.feeds[np.arange(n), below] = 1
        between = (self.at > 0) & (self.at < count - 1)
        self.feeds[between, below[between] + 1] = 1

    def spread(self, curves: Floats) -> Floats:
        """The curve of each section (n, range + 1), or the only one (1, range + 1)."""
        if len(curves) == 1:
            return curves
        low = np.minimum(self.at.astype(np.int64), len(curves) - 2)
        part = (self.at - low)[:, None]
        mixed = curves[low] * (1 - part) + curves[low + 1] * part
        return np.where(part == 0, curves[low], np.where(part == 1, curves[low + 1], mixed))


def _curve(
    scaled: Floats, order: Integers, positions: Floats, weights: _Weights, nodes: _Nodes, options: EstimateOptions
) -> Floats:
    """Mean similarity, negative, at distance 0 to range: (nodes, range + 1)."""
    n, max_lag = len(positions), options.max_lag
    steps = np.empty((2, max_lag + 1, n))
    steps[:, 0] = positions
    for k in range(max_lag):
        np.add(steps[0, k], 1, out=steps[0, k + 1])
        np.subtract(steps[1, k], 1, out=steps[1, k + 1])
    place = inverse(positions, steps)
    values = _interpolated(scaled, order, place, bool((positions == np.arange(n)).all()))
    accepted = _falling(values, 0.0, options.force_monotonicity)
    if weights.estimate is None:
        weight = accepted.astype(np.float64)
    else:
        weight = np.where(accepted, _interpolated_weights(weights, place), 0)
    total = np.where(accepted, values, 0) * weight
    with np.errstate(invalid="ignore"):
        curves = -(total.sum(axis=0) @ nodes.feeds) / (weight.sum(axis=0) @ nodes.feeds)
    curves[0] = -1
    return np.ascontiguousarray(curves.T)


def _interpolated(scaled: Floats, order: Integers, place: Floats, is_start: bool) -> Floats:
    """Similarity of each section and a place between two sections; NaN where one of the four around it is.

    The row after the section's own counts as well although its weight is 0; so the last section has no values. At the
    start places are whole and taken as they are.
    """
    n = len(order)
    outside = ~((place >= 0) & (place <= n - 1 if is_start else place < n - 1))
    low = np.where(outside, 0, place).astype(np.int64)
    row = np.broadcast_to(np.arange(n), place.shape)
    straight = is_in_order(order)

    def at(k: Integers, j: Integers) -> Floats:
        return pairs(scaled, k, j) if straight else pairs(scaled, order[k], order[j])

    values = at(row, low)
    if not is_start:
        part = place - low
        below, right = np.minimum(row + 1, n - 1), np.minimum(low + 1, n - 1)
        outside |= row == n - 1
        outside |= np.isnan(at(below, low)) | np.isnan(at(below, right))
        values = values * (1 - part) + at(row, right) * part
    values[outside] = np.nan
    return values


def _interpolated_weights(weights: _Weights, place: Floats) -> Floats | float:
    """Weight of each place along z and a place between two, the last one continued."""
    n = place.shape[-1]
    row = np.broadcast_to(np.arange(n), place.shape)
    low = np.where(np.isnan(place), 0, place).astype(np.int64)
    part = place - low
    return weights.of_pairs(row, low) * (1 - part) + weights.of_pairs(row, np.minimum(low + 1, n - 1)) * part


def _falling(values: Floats, minimum: float, monotonic: bool) -> Bools:
    """Values (..., distance, n) above the minimum and, if monotonic, below all such values at smaller distances."""
    accepted = values > minimum
    if monotonic:
        least = np.minimum.accumulate(np.where(accepted, values, np.inf), axis=-2)
        accepted[..., 1:, :] &= values[..., 1:, :] < least[..., :-1, :]
    return accepted


class _Sweeps:
    """Factors that bring the similarities of each section to the curve, by sweeps from the first to the last.

    Neighbours are those at -range to range - 1. Sweep t may be at section i when sweep t - 1 is range sections ahead:
    all sweeps run at once, one behind the other. Arrays stay the same from update to update, and with them the views
    of what each step multiplies: making these takes as long as multiplying.
    """

    def __init__(self, n: int, options: EstimateOptions) -> None:
        max_lag, sweeps = options.max_lag, options.inner_iterations
        self._options = options
        # Rows (n, 1, 2 range) of both sides of the quotient; factors and their squares, a range of ones around them.
        self._sides = np.empty((2, n, 1, 2 * max_lag))
        padded = np.ones((2, n + 2 * max_lag))
        self._both: Floats = padded[:, max_lag : max_lag + n]
        around = sliding_window_view(padded, 2 * max_lag, axis=1)[..., None]
        self._steps = []
        for step in range(n + (sweeps - 1) * max_lag if sweeps else 0):
            first = step - min(sweeps - 1, step // max_lag) * max_lag
            last = step - max(0, -(-(step - n + 1) // max_lag)) * max_lag
            rows = slice(first, last + 1, max_lag)
            factor, square = self._both[:, rows]
            found = np.empty((2, len(factor)))
            self._steps.append((self._sides[:, rows], around[:, rows], found[..., None, None], *found, factor, square))

    def factors(
        self, similarity: Floats, positions: Floats, factors: Floats, curves: Floats, weights: _Weights
    ) -> Floats:
        """The factors (n,) after all sweeps, from those before them."""
        if not self._steps:
            return factors
        keep = self._options.inner_regularization
        products, squares = _windows(similarity, positions, curves, weights, self._options.max_lag)
        self._sides[:, :, 0] = (1 - keep) * products, squares
        self._both[:] = factors, factors * factors
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            for sides, around, found, above, below, factor, square in self._steps:
                np.matmul(sides, around, found)
                np.divide(above, below, above)
                np.multiply(factor, keep, below)
                np.add(above, below, above)
                np.copyto(factor, above, where=above == above)
                np.multiply(factor, factor, square)
        made: Floats = self._both[0].copy()
        return made


def _windows(
    similarity: Floats, positions: Floats, curves: Floats, weights: _Weights, max_lag: int
) -> tuple[Floats, Floats]:
    """(n, 2 range) of neighbours -range to range - 1: similarity times the curve at their distance, and squared."""
    n = len(positions)
    products, squares = np.zeros((2 * max_lag, n)), np.zeros((2 * max_lag, n))
    place = np.arange(n)
    for d in range(1, min(max_lag, n - 1) + 1):
        pair = similarity[d, : n - d]
        distance = positions[d:] - positions[: n - d]
        weight = weights.of_pairs(place[: n - d], place[d:])
        usable = (pair > 0) & (distance < max_lag)
        for row, start in ((max_lag - d, d), (max_lag + d, 0)):
            if row == 2 * max_lag:
                continue
            expected = -on_curves(curves, slice(start, start + n - d), distance)
            ok = usable & ~np.isnan(expected)
            products[row, start : start + n - d] = np.where(ok, weight * pair * expected, 0)
            squares[row, start : start + n - d] = np.where(ok, weight * pair * pair, 0)
    return np.ascontiguousarray(products.T), np.ascontiguousarray(squares.T)


def _scale(similarity: Floats, factors: Floats) -> Floats:
    """Similarities times the factors of both sections; distance 0 stays."""
    n = len(factors)
    scaled = similarity.copy()
    for d in range(1, min(len(similarity) - 1, n)):
        scaled[d, : n - d] *= factors[: n - d] * factors[d:]
    return scaled


def _votes(scaled: Floats, positions: Floats, curves: Floats, weights: Floats, options: EstimateOptions) -> Floats:
    """Mean move that its neighbours want of each section, (n,); not finite where there is no vote.

    A section finds each similarity on its own curve: the distance there should be that to its neighbour. Votes for the
    section before are not multiplied by the voter's weight, though their number is.
    """
    n, rows = len(positions), slice(1, options.max_lag + 1)
    after, before = scaled[rows], from_before(scaled)[rows]
    after_ok, after_at = _wanted(after, curves, options)
    before_ok, before_at = _wanted(before, curves, options)
    unclear = np.isnan(after_at) & after_ok, np.isnan(before_at) & before_ok
    after_ok &= ~unclear[0]
    if unclear[0].any() or unclear[1].any():
        before_ok |= np.isnan(before) & _seen_before(*unclear)
        before_at = np.where(np.isnan(before), np.nan, before_at)
    moves, total = np.zeros(n), np.zeros(n)
    for d in range(1, min(len(after), n - 1) + 1):
        here, there = slice(0, n - d), slice(d, n)
        wanted = weights[here] * (positions[here] + after_at[d - 1, here] - positions[there])
        moves[there] += np.where(after_ok[d - 1, here], wanted, 0)
        total[there] += np.where(after_ok[d - 1, here], weights[here], 0)
        wanted = positions[there] - before_at[d - 1, there] - positions[here]
        moves[here] += np.where(before_ok[d - 1, there], wanted, 0)
        total[here] += np.where(before_ok[d - 1, there], weights[there], 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return moves / total


def _wanted(values: Floats, curves: Floats, options: EstimateOptions) -> tuple[Bools, Floats]:
    """Whether a section has a vote at a distance, and how far away it wants its neighbour (NaN if unclear)."""
    accepted = _falling(values, options.minimum_correlation, options.force_monotonicity)
    accepted &= (-values >= curves[:, 0]) & ~(-values > curves[:, -1])
    return accepted, inverse_of_curves(curves, np.where(accepted, -values, -1))


def _seen_before(after: Bools, before: Bools) -> Bools:
    """Where a voter had an unclear vote earlier: it goes by distance, and at each one to the section after first."""
    seen = np.logical_or.accumulate(after, axis=0)
    seen[1:] |= np.logical_or.accumulate(before, axis=0)[:-1]
    return seen


def _update(positions: Floats, moves: Floats, start: Floats, options: EstimateOptions) -> Floats:
    """Positions after the moves, regularised, in the same order."""
    n, pull = len(positions), options.coordinate_regularizer
    wanted = pull * start + (1 - pull) * (positions + (1 - options.outer_regularization) * moves)
    moved: Floats = np.where(np.isfinite(moves), wanted, positions)
    if not options.allow_reordering and (moved[:-1] > moved[1:]).any():
        for k in range(1, n):
            if moved[k - 1] > moved[k]:
                moved[k] = moved[k - 1] + options.minimum_section_thickness
    if options.regularization == "border":
        moved -= moved[0]
        moved *= (n - 1) / moved[-1]
    if options.regularization == "identity":
        moved = linear(moved, np.arange(n, dtype=np.float64))
    return moved
