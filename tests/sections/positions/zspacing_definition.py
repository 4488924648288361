"""What Fiji's z-spacing computes, pair by pair in plain loops: the definition of the compatible estimator."""

from __future__ import annotations

import math

import numpy as np

from gpustitch.sections.positions.compat import Step


def inverse(rising, value):
    """Where the sequence takes the value: None outside, NaN next to a NaN."""
    if value < rising[0] or value > rising[-1]:
        return None
    low, high = 0, len(rising) - 1
    while (middle := (low + high) >> 1) != low:
        low, high = (low, middle) if rising[middle] > value else (middle, high)
    with np.errstate(all="ignore"):
        return low + (value - rising[low]) / (rising[low + 1] - rising[low])


def definition(strip, options, start, factors, vote_weights, of_pairs):
    """Updates, without end. Arguments are those of ``compat_steps``, similarities a half strip."""
    n, max_lag = len(start), options.max_lag
    similarity = np.full((n, n), np.nan)
    for d in range(max_lag + 1):
        i = np.arange(n - d)
        similarity[i, i + d] = similarity[i + d, i] = strip[: n - d, d]
    weights = np.ones((n, n)) if of_pairs is None else of_pairs
    weights = np.outer(weights, weights) if weights.ndim == 1 else weights
    scaled = similarity.copy()
    order = np.argsort(start, kind="stable")
    c, s = start[order].copy(), factors[order].copy()
    while True:
        curves = _curves(scaled[np.ix_(order, order)], c, weights, options)
        sections = curves if len(curves) > 1 else np.repeat(curves, n, axis=0)
        _sweeps(similarity[np.ix_(order, order)], c, s, sections, weights, options)
        for k in range(n):
            for j in range(max(k - max_lag, 0), min(k + max_lag, n - 1) + 1):
                if j != k:
                    scaled[order[k], order[j]] = s[k] * s[j] * similarity[order[k], order[j]]
        moves = _votes(scaled[np.ix_(order, order)], c, sections, vote_weights, options)
        moved = _moved(c, moves, start[order], options)
        positions, values, voted = np.empty(n), np.empty(n), np.empty(n, bool)
        positions[order], values[order], voted[order] = moved, s, np.isfinite(moves)
        order = np.argsort(positions, kind="stable")
        c, s = positions[order], values[order]
        yield Step(positions, values, order, curves, voted)


def _curves(a, c, weights, options):
    n, max_lag = len(c), options.max_lag
    radius = max(n // options.local_estimates, 1)
    count = max(n // radius, 1)
    total, weight = np.zeros((count, max_lag + 1)), np.zeros((count, max_lag + 1))
    whole = (c == np.arange(n)).all()
    for z in range(n):
        t = (z - radius) / radius
        nodes = [0] if t <= 0 else [count - 1] if t >= count - 1 else [math.floor(t), math.floor(t) + 1]
        for sign in (1, -1):
            p, last = c[z], math.inf
            for k in range(max_lag + 1):
                x = inverse(c, p)
                p += sign
                if x is None or math.isnan(x):
                    continue
                f = math.floor(x)
                value = _bilinear(a, z, x) if not whole else a[z, f]
                if value > 0 and (value < last or not options.force_monotonicity):
                    last = value
                    w = weights[z, f] * (1 - (x - f)) + weights[z, min(f + 1, n - 1)] * (x - f)
                    total[nodes, k] += w * value
                    weight[nodes, k] += w
    with np.errstate(all="ignore"):
        nodes = -total / weight
    nodes[:, 0] = -1
    if count == 1:
        return nodes
    t = np.clip((np.arange(n) - radius) / radius, 0, count - 1)
    return np.stack([np.interp(t, np.arange(count), column) for column in nodes.T], axis=1)


def _bilinear(a, z, x):
    f, t = math.floor(x), x - math.floor(x)
    if z + 1 >= len(a) or f + 1 >= len(a):
        return math.nan
    return a[z, f] * (1 - t) + a[z, f + 1] * t + 0 * (a[z + 1, f] + a[z + 1, f + 1])


def _sweeps(similarity, c, s, curves, weights, options):
    n, max_lag, keep = len(c), options.max_lag, options.inner_regularization
    for _ in range(options.inner_iterations):
        for i in range(n):
            product = square = 0.0
            for j in range(max(i - max_lag, 0), min(i + max_lag, n)):
                distance = abs(c[j] - c[i])
                if j == i or not distance < max_lag or not similarity[i, j] > 0:
                    continue
                k = math.floor(distance)
                expected = -(curves[i, k] * (1 - (distance - k)) + curves[i, k + 1] * (distance - k))
                if not math.isnan(expected):
                    product += weights[i, j] * s[j] * similarity[i, j] * expected
                    square += weights[i, j] * (s[j] * similarity[i, j]) ** 2
            if square != 0:
                s[i] = (1 - keep) * product / square + keep * s[i]


def _votes(a, c, curves, weights, options):
    n, total, weight = len(c), np.zeros(len(c)), np.zeros(len(c))
    for i in range(n):
        last = {1: math.inf, -1: math.inf}
        for d in range(1, options.max_lag + 1):
            for sign in (1, -1):
                j = i + sign * d
                if not 0 <= j < n or not a[i, j] > options.minimum_correlation:
                    continue
                if options.force_monotonicity and a[i, j] >= last[sign]:
                    continue
                last[sign] = a[i, j]
                place = inverse(curves[i], -a[i, j])
                if place is None or (sign == 1 and math.isnan(place)):
                    continue
                total[j] += (weights[i] if sign == 1 else 1) * (c[i] + sign * place - c[j])
                weight[j] += weights[i]
    with np.errstate(all="ignore"):
        return total / weight


def _moved(c, moves, start, options):
    n, pull = len(c), options.coordinate_regularizer
    wanted = pull * start + (1 - pull) * (c + (1 - options.outer_regularization) * moves)
    moved = np.where(np.isfinite(moves), wanted, c)
    for j in range(1, n):
        if not options.allow_reordering and moved[j - 1] > moved[j]:
            moved[j] = moved[j - 1] + options.minimum_section_thickness
    if options.regularization == "border":
        return (moved - moved[0]) * (n - 1) / (moved[-1] - moved[0])
    if options.regularization == "identity":
        return np.polyval(np.polyfit(moved, np.arange(n), 1), moved)
    return moved
