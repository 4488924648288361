"""How far a section's similarities can be relied upon."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from gpustitch.model.zspacing import Floats, Integers
from gpustitch.ops.zspacing_normal import FLOOR, Expected

# A section whose residuals are this many times those of the others begins to lose weight.
TOLERATED = 3.0
LEAST = 1e-6


def first_quality(similarity: Floats, counts: Floats, lags: int) -> Floats:
    """Log of each section's similarities (range, n) against what is usual at the same lag: the median over neighbours.

    Only sections that stand out as worse differ from 0; smaller differences cannot be told from spacing yet.
    """
    n = similarity.shape[1]
    both = np.full((2 * lags, n), np.nan)
    for d in range(lags):
        some = (counts[d] > 0) & (similarity[d] > 0.05)
        if some.any():
            logs = np.log(similarity[d, some])
            both[2 * d, some] = logs - np.median(logs)
            both[2 * d + 1, np.flatnonzero(some) + d + 1] = both[2 * d, some]
    found = np.zeros(n)
    known = np.isfinite(both).any(axis=0)
    if not known.any():
        return found
    found[known] = np.nanmedian(both[:, known], axis=0)
    usual = 1.4826 * float(np.median(np.abs(found[known])))
    return np.where(found < -4 * usual - 0.02, found, 0)


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

    Square roots keep a bad neighbour from counting for more than it should.
    """
    residual, some = expected.residual[:lags], expected.counts[:lags] > 0
    roots = np.sqrt(np.abs(residual) / np.maximum(1 - expected.similarity[:lags] ** 2, FLOOR))
    typical = (both_ways(roots, some) / np.maximum(both_ways(np.ones_like(roots), some), 1)) ** 2
    usual = np.median(typical[~alone]) + 1e-9
    return np.where(alone, LEAST, np.minimum(1, (TOLERATED * usual / np.maximum(typical, 1e-12)) ** 2))
