"""How far a section's similarities can be relied upon."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from gpustitch.errors import AlignmentError
from gpustitch.model.arrays import Floats, Integers
from gpustitch.ops.robust import MAD_TO_SIGMA
from gpustitch.sections.faults.qualities import log_qualities
from gpustitch.sections.positions.normal import FLOOR, Expected

# A section whose residuals are this many times those of the others begins to lose weight.
TOLERATED = 3.0
# Weight of a section that has none: above 0, for equations that can be solved.
LEAST = 1e-6
# A section stands out if its log quality is below 0 by so many standard deviations, of all and of what is left over,
# and this much more.
_OUTSTANDING, _LEAST_LOSS = 4.0, 0.02
# Log qualities below this cannot be told from one another: noise is as similar.
_WORST = -2.0


def first_quality(similarity: Floats, counts: Floats, lags: int) -> Floats:
    """Log quality (n,) of sections before positions are fitted: of their similarities against the usual ones at a lag.

    Parameters
    ----------
    similarity, counts
        (range, n): ``[d - 1, i]`` is the similarity of sections i and i + d, and the weight of the pair.
    lags
        Number of lags that are looked at, at most the range.

    Notes
    -----
    See :func:`~gpustitch.sections.faults.qualities.log_qualities`: a run of damaged sections differs from a stretch of
    wide spacing. Only sections that stand out as worse differ from 0.
    """
    judged = log_qualities(similarity, counts, lags)
    found = judged.log
    partners = number_of_partners(counts) > 0
    if not partners.any():
        return found
    found -= np.median(found[partners])
    usual = float(np.hypot(MAD_TO_SIGMA * np.median(np.abs(found[partners])), judged.scatter))
    outstanding = partners & (found < -_OUTSTANDING * usual - _LEAST_LOSS)
    return np.where(outstanding, np.maximum(found, _WORST), 0)


def number_of_partners(counts: Floats) -> Integers:
    """Number of sections (n,) that each one was compared with."""
    some = counts > 0
    return both_ways(some.astype(np.float64), some).astype(np.int64)


def both_ways(values: Floats, some: npt.NDArray[np.bool_]) -> Floats:
    """Sum over the pairs (lags, n) that are used, at both of their sections."""
    used = np.where(some, values, 0)
    total: Floats = used.sum(axis=0)
    for d in range(1, min(len(used), len(total) - 1) + 1):
        total[d:] += used[d - 1, : len(total) - d]
    return total


def trust_in_sections(expected: Expected, lags: int, alone: npt.NDArray[np.bool_]) -> Floats:
    """Weights (n,), 1 for most: less the larger a section's residuals are against those of the others.

    Residuals of the first ``lags`` lags are looked at; sections that are ``alone``, bool (n,), have the least weight.
    Square roots keep a bad neighbour from counting for more than it should.
    """
    residual, some = expected.residual[:lags], expected.counts[:lags] > 0
    roots = np.sqrt(np.abs(residual) / np.maximum(1 - expected.similarity[:lags] ** 2, FLOOR))
    typical = (both_ways(roots, some) / np.maximum(both_ways(np.ones_like(roots), some), 1)) ** 2
    usual = np.median(typical[~alone]) + 1e-9
    return np.where(alone, LEAST, np.minimum(1, (TOLERATED * usual / np.maximum(typical, 1e-12)) ** 2))


def check_evidence(
    half_strip: Floats, least: float, weights: Floats | None, pair_weights: Floats | None, said_by: Sequence[object]
) -> None:
    """Raise AlignmentError if similarities above ``least`` and weights, ``said_by`` files, leave no pair."""
    beside = half_strip[:, 1:]
    if not np.isfinite(beside).any():
        return  # which is said of the similarities themselves
    first, distance = np.nonzero(beside > least)
    if not first.size:
        raise AlignmentError(
            f"no two sections are more similar than {np.nanmax(beside):.4g}, not above the {least:g} that counts "
            "(`minimum_correlation`); there is nothing to estimate positions from"
        )
    second = first + distance + 1
    counts = np.ones(len(first)) if weights is None else weights[first] * weights[second]
    if pair_weights is not None:
        counts = counts * pair_weights[first, second]
    if not counts.any():
        raise AlignmentError(f"{' and '.join(map(str, said_by))}: no pair of sections has a weight above 0")
