"""Normal equations of positions and qualities: which moves bring the expected similarities to the measured ones.

Sections i and j, of qualities q, are expected to be similar by ``q_i * q_j * g(|z_i - z_j|)``.
Unknown are the changes of z and of log q, interleaved: ``z_0, log q_0, z_1, log q_1 ...``. Matrices are symmetric and
banded, in the lower form of :func:`scipy.linalg.solveh_banded`. Two ways to them:

- ``pairwise``: each pair of sections counts for itself, the more the smaller its expected error. Never far off.
- ``in_blocks``: the errors of pairs that share a section are correlated. Sections are taken as samples of a Gaussian
  process; each one depends on those in the block before it (Vecchia). This is a step of Fisher scoring, two to four
  times as accurate as ``pairwise``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gpustitch.model.arrays import Floats
from gpustitch.ops.robust import MAD_TO_SIGMA, median
from gpustitch.sections.texture.curve import Curve, fit_curve

# Errors of a correlation go with 1 - p^2. Pairwise, near sections count more than that to make up for the
# correlation of errors; the floor keeps nearly equal sections from counting for all.
EMPHASIS = 2
FLOOR = 0.02
# Noise of similarities that follow the curve exactly.
_LEAST_NOISE = 1e-5
# A pair that is this near to where it is expected, in sections, has no chord: the slope of the curve counts.
_LEAST_CHORD = 1e-3
# Least eigenvalue of the covariance of a block, in the least variance of its sections; rounds in which it is reached.
LEAST_EIGENVALUE, _ROUNDS = 0.5, 20


@dataclass(frozen=True)
class Normal:
    """Normal equations of n sections: matrix in the lower banded form, right-hand side, both float64.

    ``band`` is (2 (lags + 1), 2 n), ``[r - c, c]`` the entry of row r and column c; ``right`` is (2 n,).
    """

    band: Floats
    right: Floats


@dataclass(frozen=True)
class Expected:
    """Pairs of the sections k and k + d, arrays (range, n), d from 1.

    Attributes
    ----------
    similarity, slope
        Expected similarity, and its derivative by the position of the later section.
    residual
        Measured less expected; 0 where nothing was measured.
    counts
        Weight of the pair, 0 where nothing was measured.
    distance
        Distance in sections.
    level
        Product of both qualities.
    curve
        The curve that the pairs were fitted with.
    noise
        Typical residual, as a multiple of ``1 - similarity^2``.
    """

    similarity: Floats
    slope: Floats
    residual: Floats
    counts: Floats
    distance: Floats
    level: Floats
    curve: Curve
    noise: float

    @property
    def mean_residual(self) -> float:
        """Mean of the residuals' absolute values."""
        return float(np.abs(self.residual[self.counts > 0]).mean())

    @property
    def misfit(self) -> float:
        """Root mean square of the residuals, as multiples of ``1 - similarity^2``."""
        some = self.counts > 0
        relative = self.residual[some] / np.maximum(1 - self.similarity[some] ** 2, FLOOR)
        return float(np.sqrt(np.mean(relative * relative)))


def expect(
    measured: Floats,
    counts: Floats,
    positions: Floats,
    quality: Floats,
    last: Expected | None,
    curve: Curve | None = None,
) -> Expected:
    """What is expected of pairs at given positions and qualities, by a curve that is fitted to them.

    Parameters
    ----------
    measured, counts
        (range, n): similarity of the sections k and k + d, d from 1, and weight of the pair, 0 where there is none.
    positions, quality
        (n,): in sections; the factor q of each section, above 0.
    last
        What was expected before, whose residuals say which pairs the curve must not follow; None for the first time.
    curve
        A curve to take in place of a fitted one.
    """
    n = len(positions)
    later = np.minimum(np.arange(n) + np.arange(1, len(measured) + 1)[:, None], n - 1)
    step = positions[later] - positions
    distance = np.abs(step)
    level = quality[later] * quality
    weight = counts * level * level
    if last is not None:
        error = np.maximum(1 - last.similarity**2, FLOOR)
        # Huber's weights: far outliers bend the curve no more than near ones.
        weight *= np.minimum(1, 2 * last.noise * error / np.maximum(np.abs(last.residual), 1e-12)) / error**2
    if curve is None:
        curve = fit_curve(distance, measured / level, weight)
    similarity, slope = curve.at(distance)
    similarity *= level
    slope *= np.where(step < 0, -level, level)
    residual = np.where(counts > 0, measured - similarity, 0)
    some = counts > 0
    relative = np.abs(residual[some]) / np.maximum(1 - similarity[some] ** 2, FLOOR)
    noise = MAD_TO_SIGMA * median(relative) + _LEAST_NOISE
    return Expected(similarity, slope, residual, counts, distance, level, curve, noise)


def pairwise(pairs: Expected, measured: Floats, emphasis: int = EMPHASIS) -> Normal:
    """Weighted least squares over all pairs, measured (lags, n).

    A pair's slope is the chord to the distance at which its similarity would be expected: curves are far from straight.
    Its error is taken to go with ``(1 - similarity^2) ** emphasis``.
    """
    n_lags, n = measured.shape
    wanted = pairs.curve.inverse(measured / pairs.level) - pairs.distance
    with np.errstate(divide="ignore", invalid="ignore"):
        chord = np.abs(pairs.residual / wanted)
    use = (np.abs(wanted) > _LEAST_CHORD) & (pairs.counts > 0)
    slope = np.where(use, np.copysign(chord, pairs.slope), pairs.slope)
    error = np.maximum(1 - pairs.similarity**2, FLOOR) ** emphasis * pairs.noise
    weight = pairs.counts / error**2
    zz, zq = weight * slope * slope, weight * slope * pairs.similarity
    qq = weight * pairs.similarity**2
    band, right = np.zeros((2 * n_lags + 2, 2 * n)), np.empty(2 * n)
    band[0, 0::2] = zz.sum(axis=0) + _later_sum(zz)
    band[0, 1::2] = qq.sum(axis=0) + _later_sum(qq)
    band[1, 0::2] = _later_sum(zq) - zq.sum(axis=0)
    band[2::2, 0::2], band[2::2, 1::2] = -zz, qq
    band[3::2, 0::2] = -zq
    band[1:-1:2, 1::2] = zq
    pull, lift = weight * slope * pairs.residual, weight * pairs.similarity * pairs.residual
    right[0::2] = _later_sum(pull) - pull.sum(axis=0)
    right[1::2] = _later_sum(lift) + lift.sum(axis=0)
    return Normal(band, right)


def in_blocks(pairs: Expected, spread: Floats, length: int) -> Normal:
    """Fisher scoring of blocks of ``length + 1`` sections, less that of what two blocks in a row share.

    Parameters
    ----------
    spread
        float64 (n,): variance of each section beyond that of the process; one that is large lets a section not count.
    length
        Sections that each one depends on; at most the range and n - 1.

    Returns
    -------
    The equations for similarities of one independent pixel.
    """
    normal = Normal(np.zeros((2 * (length + 1), 2 * len(spread))), np.zeros(2 * len(spread)))
    for block in blocks_of(pairs, spread, length):
        _add_blocks(normal, block)
    return normal


@dataclass(frozen=True)
class Blocks:
    """Blocks of sections (m, size, size), the first one of which begins at section ``start``; they count ``sign``.

    Rows a of ``by_position`` and ``by_quality`` are the derivatives of the covariance's row a by position and log of
    quality of a. ``known`` is 1 where a pair was measured, and 0 where not.
    """

    precision: Floats
    residuals: Floats
    by_position: Floats
    by_quality: Floats
    known: Floats
    start: int
    sign: float


def blocks_of(pairs: Expected, spread: Floats, length: int) -> tuple[Blocks, Blocks]:
    """All blocks of ``length + 1`` sections, and what two in a row share; parameters are those of :func:`in_blocks`."""
    n, size = len(spread), length + 1
    zero = np.zeros((1, n))
    similarity = np.concatenate([zero + 1, pairs.similarity[:length]])
    slope = np.concatenate([zero, pairs.slope[:length]])
    some = np.minimum(pairs.counts[:length], 1)
    residual = np.concatenate([zero, pairs.residual[:length] * some])
    place = np.arange(size)
    distance = np.abs(place[:, None] - place)
    first = np.arange(n - length)[:, None, None]
    index = first + distance * n + np.minimum(place[:, None], place)
    covariance, residuals = similarity.ravel().take(index), residual.ravel().take(index)
    known = np.concatenate([zero, some]).ravel().take(index)
    by_position = slope.ravel().take(index) * np.where(place[:, None] > place, 1.0, -1.0)
    by_quality = covariance * (distance > 0)
    spread = _of_covariances(covariance, spread)
    covariance[:, place, place] += spread[first[:, 0] + place]
    precision = np.linalg.inv(covariance)
    edge = precision[:-1, 1:, 0]
    shared = precision[:-1, 1:, 1:] - edge[:, :, None] * (edge / precision[:-1, :1, 0])[:, None, :]
    inner = (slice(0, -1), slice(1, None), slice(1, None))
    whole = Blocks(precision, residuals, by_position, by_quality, known, 0, 1.0)
    return whole, Blocks(shared, residuals[inner], by_position[inner], by_quality[inner], known[inner], 1, -1.0)


def _of_covariances(similarity: Floats, spread: Floats) -> Floats:
    """Variances (n,), increased where blocks (m, size, size) would be no covariance matrices with them.

    Expected similarities need not be those of any process. Two sections with the same pixels and qualities above the
    usual one are expected to be more similar than each is to itself. Information has no meaning then.
    """
    count, size = similarity.shape[:2]
    spread, place = spread.copy(), np.arange(size)
    least = np.stack([spread[a : a + count] for a in range(size)], axis=1).min(axis=1) * LEAST_EIGENVALUE
    for _ in range(_ROUNDS):
        block = similarity.copy()
        block[:, place, place] += np.lib.stride_tricks.sliding_window_view(spread, size) - least[:, None]
        try:
            np.linalg.cholesky(block)
        except np.linalg.LinAlgError:
            values, vectors = np.linalg.eigh(block)
        else:
            break
        bad = np.flatnonzero(values[:, 0] <= 0)
        concerned = vectors[bad, :, 0] ** 2 >= 1 / (2 * size)
        lacking = np.where(concerned, np.abs(values[bad, :1]) + least[bad, None] / 10, 0)
        more = np.zeros(len(spread))
        np.maximum.at(more, bad[:, None] + place, lacking)
        spread += more
    return spread


def _add_blocks(normal: Normal, block: Blocks) -> None:
    """Add the information of blocks.

    Let W be the precision, S the residuals, and X and Y derivatives. The information is
    ``(X W)_ab (Y W)_ba + (X W Y')_ab W_ab``, and the score is ``(X W S W)_aa``.
    """
    precision, start, sign = block.precision, block.start, block.sign
    count, size = precision.shape[:2]
    smoothed = precision @ block.residuals @ precision
    derivatives = (block.by_position, block.by_quality)
    products = [x @ precision for x in derivatives]
    for i, j in ((0, 0), (1, 0), (1, 1)):
        information = products[i] * products[j].swapaxes(1, 2)
        information += (products[i] @ derivatives[j].swapaxes(1, 2)) * precision
        information *= sign
        _add_below(normal.band[i - j :: 2], np.ascontiguousarray(information.transpose(1, 2, 0)), start, j)
        if i != j:
            # Above the diagonal of sections: the band holds the entry's mirror image.
            _add_below(normal.band[1::2], np.ascontiguousarray(information.transpose(2, 1, 0))[1:, :-1], start, i)
    for i in range(2):
        score = np.einsum("kab,kab->ka", derivatives[i], smoothed)
        for a in range(size):
            begin = 2 * (start + a) + i
            normal.right[begin : begin + 2 * count : 2] += sign * score[:, a]


def _add_below(rows: Floats, entries: Floats, start: int, unknown: int) -> None:
    """Add entries (size, size, m) on and below the diagonal of blocks; ``rows`` of the band hold its diagonals.

    Columns are those of one ``unknown`` of the sections, 0 or 1.
    """
    size, _, count = entries.shape
    for b in range(size):
        column = 2 * (start + b) + unknown
        rows[: size - b, column : column + 2 * count : 2] += entries[b:, b]


def _later_sum(values: Floats) -> Floats:
    """Sum over lags of ``values[d, k]``, d from 1, at the later section k + d."""
    total = np.zeros(values.shape[1])
    for d in range(1, min(len(values), len(total) - 1) + 1):
        total[d:] += values[d - 1, : len(total) - d]
    return total
