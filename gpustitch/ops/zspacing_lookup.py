"""Piecewise linear curves given at 0, 1, 2 ...: their values, and where they take a value."""

from __future__ import annotations

import numpy as np

from gpustitch.model.zspacing import Floats, Integers


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
