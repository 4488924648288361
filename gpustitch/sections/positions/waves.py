"""Long waves of section positions, which similarities tell least about, held against what equal spacing allows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy

from gpustitch.model.arrays import Floats, Integers
from gpustitch.ops.robust import MAD_TO_SIGMA

# Wavelengths in sections: of the shortest wave that is held back, and of the shortest that may be no spacing at all.
SHORTEST, SLOW = 10, 50
# Waves whose error in samples is computed; those between go with them. So many of the waves that are not held.
SAMPLES, SHORT_SAMPLES = 8, 4
# Least error in samples, as a part of what the equations say: expected similarities need not be those of any texture.
# Waves of more than LONG sections err no less than these: a little less noise in the curve makes much information.
LEAST_PART, LONG = 0.25, 20
# Waves at most, the longest ones: memory and time go with their number.
MOST = 300
# Degrees of freedom of the distribution of spacings: a few are far from the others, as at a gap.
FREEDOM = 4.0
# Probability of slow waves that are still taken as chance.
CHANCE = 1e-2
# Rounds in which weights and centre of the spacings settle.
_ROUNDS = 10
# Sections squared: keeps spacings that are all the same from having no variance.
_LEAST_VARIANCE = 1e-12


@dataclass(frozen=True)
class Held:
    """Positions with their long waves held back; arrays float64 (n,), in the order of the positions given.

    Attributes
    ----------
    positions
        In sections.
    more
        By how much the variance of each position is larger than the covariance says, as long waves err more.
    stated
        Variance of the waves that may be held, as the covariance says, in sections squared.
    shorter
        Variance of the shorter waves, as a part of what the covariance says.
    less
        By how much it is smaller again for holding them; both in sections squared.
    usual
        Standard deviation of the long waves that independent spacings make.
    doubtful
        Height of the slow waves at each section if spacings would not make such by chance; else 0.
    """

    positions: Floats
    more: Floats
    stated: Floats
    shorter: float
    less: Floats
    usual: Floats
    doubtful: Floats


def held_waves(
    positions: Floats,
    order: Integers,
    times: Callable[[Floats], Floats],
    of_prior: Callable[[Floats], Floats] | None = None,
    in_samples: Callable[[Floats], Floats] | None = None,
) -> Held:
    """Weigh the long waves of the positions by their error against what independent spacings make.

    Parameters
    ----------
    positions, order
        (n,): positions, and the sections in order of position.
    times
        Product of the positions' covariance matrix and columns (n, m).
    of_prior
        Covariance (m, m) of columns (n, m) that is made by what is known of spacings without similarities; none by
        default.
    in_samples
        Variance (m,) of columns (n, m) that the similarities' error makes in samples of planes
        (:mod:`gpustitch.sections.positions.sampling`); by default what the covariance says.

    Notes
    -----
    Errors of positions add up along the series, and so do differences of spacing. Of independent spacings, whose
    spread is seen in neighbours, the covariance P of waves is known; with their error E the best estimate is
    ``P (P + E)^-1`` of what was found (Wiener). Offset and scale stay.

    Slow waves far beyond P and the error of the covariance are a change of thickness along the series or one of the
    texture: similarities cannot tell which. They stay, and are returned as doubtful.
    """
    n = len(positions)
    count = min(2 * n // SHORTEST, n - 2, MOST)
    if count < 1:
        none = np.zeros(n)
        return Held(positions, none, none, 1.0, none, none, none)
    phase = np.pi * (np.arange(n) + 0.5) / n
    cosines = np.cos(np.arange(2, count + 2)[:, None] * phase)
    waves = np.linalg.qr(np.concatenate([np.ones((1, n)), positions[order][None], cosines]).T)[0][:, 2:]
    centre, variance = of_spacings(np.diff(positions[order]))
    # Each spacing moves all sections after it.
    moved = waves[::-1].cumsum(axis=0)[::-1][1:]
    expected = (moved * variance[:, None]).T @ moved
    placed = np.empty_like(waves)
    placed[order] = waves
    stated = placed.T @ times(placed)
    known = np.zeros_like(stated) if of_prior is None else of_prior(placed)
    larger, shorter = np.ones(count), 1.0
    if in_samples is not None:
        some = np.unique(np.geomspace(1, count, SAMPLES).round().astype(np.int64)) - 1
        data = np.diagonal(stated - known)[some]
        parts = np.sqrt(np.maximum(in_samples(placed[:, some]) / np.maximum(data, _LEAST_VARIANCE), LEAST_PART**2))
        larger = np.exp(np.interp(np.log(np.arange(count) + 2), np.log(some + 2), np.log(parts)))
        larger[: 2 * n // LONG - 1] = np.maximum(larger[: 2 * n // LONG - 1], 1)
        shorter = _of_shorter(count + 2, order, times, in_samples)
    error = (stated - known) * larger[:, None] * larger + known
    gain = np.linalg.solve(expected + stated, expected).T
    rest = np.eye(count) - gain
    left = rest @ expected @ rest.T + gain @ error @ gain.T
    height = -centre * (waves.T @ np.arange(n))
    doubtful = np.zeros(n)
    slow = min(max(2 * n // SLOW - 1, 1), count)
    seen = height[:slow] @ np.linalg.solve((expected + stated)[:slow, :slow], height[:slow])
    if seen > scipy.special.chdtri(slow, CHANCE):
        doubtful = np.abs(placed[:, :slow] @ height[:slow])
    return Held(
        positions + placed @ (gain @ height - height),
        ((placed @ (error - stated)) * placed).sum(axis=1),
        ((placed @ stated) * placed).sum(axis=1),
        shorter,
        ((placed @ (error - left)) * placed).sum(axis=1),
        np.sqrt(((placed @ expected) * placed).sum(axis=1)),
        doubtful,
    )


def _of_shorter(
    first: int, order: Integers, times: Callable[[Floats], Floats], in_samples: Callable[[Floats], Floats]
) -> float:
    """Variance of the waves from the first one that is not held on, as a part of what the covariance says."""
    n = len(order)
    if first >= n:
        return 1.0
    some = np.unique(np.geomspace(first, n - 1, SHORT_SAMPLES).round().astype(np.int64))
    waves = np.empty((n, len(some)))
    waves[order] = np.cos(some * np.pi * (np.arange(n) + 0.5)[:, None] / n) * np.sqrt(2 / n)
    stated = (waves * times(waves)).sum(axis=0)
    # There are the more waves the shorter they are.
    return float(np.clip(in_samples(waves) @ some / (stated @ some), LEAST_PART**2, None))


def of_spacings(spacing: Floats) -> tuple[float, Floats]:
    """Centre of Student's distribution of spacings, and the variance that each one may come from."""
    centre = float(np.median(spacing))
    usual = (MAD_TO_SIGMA * float(np.median(np.abs(spacing - centre)))) ** 2 + _LEAST_VARIANCE
    for _ in range(_ROUNDS):
        variance = (FREEDOM * usual + (spacing - centre) ** 2) / (FREEDOM + 1)
        centre = float(np.average(spacing, weights=1 / variance))
    return centre, variance
