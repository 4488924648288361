"""Quality of sections told from spacing before anything is fitted: one lowers similarity alike at all lags, one not.

A damaged section i multiplies its similarities to all others by one factor, so that of a run of damaged sections every
pair loses ``log q_i + log q_j``, whatever its lag. Wider spacing costs the more the larger the lag. Both are looked for
at once, as deviations from what is usual at a lag.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import scipy

from gpustitch.model.arrays import Bools, Floats, Integers
from gpustitch.ops.robust import MAD_TO_SIGMA, median

# Similarities below this one are noise: they only say that a pair's is no larger.
_LEAST_SIMILARITY, _MOST_SIMILARITY = 0.01, 0.999
# Lags count up to the first one whose usual similarity is below this.
_LEAST_USUAL = 0.05
# Rounds in which weights settle that make squares absolute values, and the residuals below which they stay squares.
_ROUNDS = 20
_SQUARE_BELOW = 0.02
# How much absolute values count against those of the residuals of pairs: of a log quality, and of a spacing beyond the
# usual one, as the loss that it means.
_PRIOR = 0.3
# How much pairs count that are just farther apart than lags tell of.
_BEYOND = 0.2
# Where the curve has no slope, spacing still costs so much, in log similarity per section.
_LEAST_SLOPE = 1e-3


@dataclass(frozen=True)
class Qualities:
    """Log qualities of n sections, and what neither quality nor spacing explains of the logs of similarities.

    Attributes
    ----------
    log
        float64 (n,): log quality against the usual one, 0 for a section without partners.
    unexplained
        float64 (n,): median over a section's partners of the absolute value of what is left over.
    scatter
        1.4826 times the median of that over all pairs; 0 if no lag can be looked at.
    """

    log: Floats
    unexplained: Floats
    scatter: float


def log_qualities(similarity: Floats, counts: Floats, lags: int, fade: int = 0) -> Qualities:
    """Log quality of each section against the usual one, before positions are known.

    Parameters
    ----------
    similarity, counts
        (range, n): ``[d - 1, i]`` is the similarity of sections i and i + d, and the weight of the pair, 0 for none.
    lags
        Number of lags that are looked at, at most the range.
    fade
        Pairs farther apart than lags tell of count less with this power of their distance. With 0 sections beside a
        wide gap may lose quality with it, with 4 they do not.

    Notes
    -----
    The log of a pair's similarity is taken as the sum of both sections' log qualities and of the usual log similarity
    at their distance, which lags tell. The absolute values of what is left over, of log qualities and of what spacings
    other than 1 cost are minimised together, by reweighted least squares: a few deviating pairs, sections and spacings
    explain what they can.
    """
    n = similarity.shape[1]
    usual = _Usual.of(similarity, counts)
    pairs = [_Lag.of(d, similarity, counts) for d in range(1, min(lags, len(usual.logs) - 1) + 1)]
    if not pairs:
        return Qualities(np.zeros(n), np.zeros(n), 0.0)
    # Displacement and log quality of each section in turn.
    found = np.zeros(2 * n)
    for _ in range(_ROUNDS):
        band, right = np.zeros((2 * len(pairs) + 2, 2 * n)), np.zeros(2 * n)
        for each in pairs:
            each.add(band, right, found, usual, fade)
        _add_priors(band, found, -float(usual.slopes.mean()))
        found = scipy.linalg.solveh_banded(
            band, right, lower=True, overwrite_ab=True, overwrite_b=True, check_finite=False
        )
    return _judged(found, pairs, usual)


def _judged(found: Floats, pairs: list[_Lag], usual: _Usual) -> Qualities:
    """The result, from the last displacements and log qualities."""
    n = len(found) // 2
    rows = np.full((2 * len(pairs), n), np.nan)
    for row, each in zip(rows.reshape(-1, 2, n), pairs, strict=True):
        left_over = each.left_over(found, usual)[0]
        # A bound that holds leaves nothing over.
        row[0, each.first] = np.where(each.is_bound & (left_over > 0), 0, np.abs(left_over))
        row[1, each.first + each.lag] = row[0, each.first]
    known = np.isfinite(rows).any(axis=0)
    unexplained = np.zeros(n)
    unexplained[known] = np.nanmedian(rows[:, known], axis=0)
    scatter = MAD_TO_SIGMA * float(np.nanmedian(rows)) if known.any() else 0.0
    return Qualities(found[1::2].copy(), unexplained, scatter)


@dataclass(frozen=True)
class _Usual:
    """Log of the usual similarity at lags 0, 1 ..., falling, and what it rises from each to the next one, below 0."""

    logs: Floats
    slopes: Floats

    @classmethod
    def of(cls, similarity: Floats, counts: Floats) -> _Usual:
        """By medians, up to the first lag at which there is nearly no similarity."""
        found: list[float] = []
        for values, count in zip(similarity, counts, strict=True):
            usual = median(values[count > 0]) if (count > 0).any() else 0.0
            if usual < _LEAST_USUAL:
                break
            found.append(float(np.log(min(usual, _MOST_SIMILARITY))))
        first = min(2 * found[0] - found[1], 0.0) if len(found) > 1 else 0.0
        slopes = np.minimum(np.diff([first, *found]), -_LEAST_SLOPE)
        return cls(first + np.concatenate([[0.0], np.cumsum(slopes)]), slopes)

    def at(self, distance: Floats) -> tuple[Floats, Floats]:
        """The log at distances, in sections, and its slope there; continued straight at the end."""
        low = np.minimum(distance.astype(np.int64), len(self.slopes) - 1)
        slope = self.slopes[low]
        return self.logs[low] + slope * (distance - low), slope


_Places: TypeAlias = "slice | Integers"


@dataclass(frozen=True)
class _Lag:
    """Pairs (m,) of sections ``first`` and ``first + lag``: weight, and the log of their similarity or a bound."""

    lag: int
    first: Integers
    log: Floats
    is_bound: Bools
    count: Floats

    @classmethod
    def of(cls, lag: int, similarity: Floats, counts: Floats) -> _Lag:
        """Those of a lag."""
        first = np.flatnonzero(counts[lag - 1] > 0)
        level = similarity[lag - 1, first]
        log = np.log(np.clip(level, _LEAST_SIMILARITY, _MOST_SIMILARITY))
        count = counts[lag - 1, first]
        return cls(lag, first, log, level < _LEAST_SIMILARITY, count / median(count) if len(count) else count)

    def left_over(self, found: Floats, usual: _Usual) -> tuple[Floats, Floats]:
        """What the displacements and log qualities found do not explain, and the slope at the distance they make."""
        (i, j), (after_i, after_j) = self._places(0), self._places(1)
        expected, slope = usual.at(np.maximum(found[j] - found[i] + self.lag, 0))
        return self.log - found[after_i] - found[after_j] - expected, slope

    def _places(self, unknown: int) -> tuple[_Places, _Places]:
        """Where an unknown of both sections of each pair stands; pairs without a gap are a slice of them."""
        first, count = self.first, len(self.first)
        if count and first[-1] - first[0] == count - 1:
            start = 2 * int(first[0]) + unknown
            stop = start + 2 * count - 1
            return slice(start, stop, 2), slice(start + 2 * self.lag, stop + 2 * self.lag, 2)
        return 2 * first + unknown, 2 * (first + self.lag) + unknown

    def add(self, band: Floats, right: Floats, found: Floats, usual: _Usual, fade: int) -> None:
        """Add these pairs to the normal equations, reweighted by what ``found`` leaves over."""
        far = 2 * self.lag
        (i, j), (after_i, after_j) = self._places(0), self._places(1)
        left_over, g = self.left_over(found, usual)
        apart = found[j] - found[i]
        w = self.count / np.maximum(np.abs(left_over), _SQUARE_BELOW)
        w[self.is_bound & (left_over > 0)] = 0
        beyond = (apart + self.lag) / len(usual.slopes)
        is_beyond = beyond > 1
        w[is_beyond] *= _BEYOND / beyond[is_beyond] ** fade
        value = w * (left_over + found[after_i] + found[after_j] + g * apart)
        sloped = w * g
        steep, pull = sloped * g, g * value
        for k, after_k, sign in ((i, after_i, -1), (j, after_j, 1)):
            band[0, k] += steep
            band[0, after_k] += w
            band[1, k] += sign * sloped
            right[k] += sign * pull
            right[after_k] += value
        band[far, i] -= steep
        band[far + 1, i] -= sloped
        band[far - 1, after_i] += sloped
        band[far, after_i] += w


def _add_priors(band: Floats, found: Floats, cost: float) -> None:
    """Most sections are of the usual quality, and most spacings are 1; nothing tells where the series begins."""
    band[0, 1::2] += _PRIOR / np.maximum(np.abs(found[1::2]), _SQUARE_BELOW)
    pull = _PRIOR * cost * cost / np.maximum(cost * np.abs(np.diff(found[0::2])), _SQUARE_BELOW)
    band[0, 0:-2:2] += pull
    band[0, 2::2] += pull
    band[2, 0:-2:2] -= pull
    band[0, 0] += 1
