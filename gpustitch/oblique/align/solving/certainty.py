"""How sure solved positions are: the interval of each that holds 95 % of what links and stage leave possible."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy

from gpustitch.model.arrays import Floats, Integers
from gpustitch.oblique.align.solving.mixture import Choice

# Half width of the 95 % interval of a normal distribution, in standard deviations.
_HALF_95 = 1.959964
# What is less probable than this, compared with all, is left out.
_LEAST_WEIGHT = 1e-4
_BISECTIONS = 25


def weights_of(choices: Sequence[Choice]) -> Floats:
    """Probability of each choice."""
    log = np.array([choice.log_posterior for choice in choices])
    weight = np.exp(log - log.max())
    return np.asarray(weight / weight.sum())


def positions_on(choice: Choice, axis: int) -> Floats:
    """Positions on one of ``choice.axes``, less the commanded ones, averaged over all scales, shape (n,)."""
    posterior = choice.axes[axis]
    weight, scales = _scales(choice.log_evidence[axis])
    return np.asarray(weight @ posterior.means(scales))


def standard_errors(position: Floats, choices: Sequence[Choice], weights: Floats, axis: int) -> Floats:
    """Standard error of each position relative to the mean of all tiles, voxels, shape (n,).

    It is the half width of the 95 % interval about ``position`` over 1.96. Where one choice of links is likely and
    scales are known, that is the standard deviation.
    """
    means, deviations, parts = [], [], []
    for choice, weight in zip(choices, weights.tolist(), strict=True):
        part, scales = _scales(choice.log_evidence[axis])
        means.append(choice.axes[axis].means(scales))
        deviations.append(np.sqrt(np.maximum(choice.axes[axis].variances(scales), 1e-12)))
        parts.append(weight * part)
    mean = np.concatenate(means)
    off = mean - mean.mean(axis=1, keepdims=True) - (position - position.mean())
    return half_width(off, np.concatenate(deviations), np.concatenate(parts)) / _HALF_95


def _scales(log_evidence: Floats) -> tuple[Floats, Integers]:
    weight = np.exp(log_evidence - log_evidence.max())
    weight /= weight.sum()
    kept = np.flatnonzero(weight > _LEAST_WEIGHT)
    return weight[kept] / weight[kept].sum(), kept


def half_width(off: Floats, deviation: Floats, weight: Floats) -> Floats:
    """Half width of the interval about 0 with 95 % of a mixture of m normal distributions, for each of n tiles."""
    kept = weight > _LEAST_WEIGHT * weight.max()
    off, deviation, weight = off[kept], deviation[kept], weight[kept] / weight[kept].sum()
    low = np.zeros(off.shape[1])
    high = (np.abs(off) + 4 * deviation).max(axis=0)
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        above, below = (scipy.special.ndtr((end - off) / deviation) for end in (middle, -middle))
        held = weight @ (above - below)
        low, high = np.where(held < 0.95, middle, low), np.where(held < 0.95, high, middle)
    return np.asarray(high)
