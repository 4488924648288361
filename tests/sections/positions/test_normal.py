"""Normal equations in blocks: they can be solved whatever similarities are expected."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import cho_solve_banded, cholesky_banded

from gpustitch.sections.positions.normal import EMPHASIS, FLOOR, Normal, expect, in_blocks, pairwise

N, MAX_LAG, BLOCK, NUGGET = 40, 10, 8, 2e-3
MEMBERS, LAGS = 14, 4


def equations(positions: np.ndarray, quality: np.ndarray, spread: np.ndarray) -> Normal:
    """Those of sections whose similarity falls off exponentially from 0.94."""
    later = np.minimum(np.arange(N) + np.arange(1, MAX_LAG + 1)[:, None], N - 1)
    some = np.arange(N) + np.arange(1, MAX_LAG + 1)[:, None] < N
    distance = np.abs(positions[later] - positions)
    measured = 0.94 * np.exp(-distance / 8) * quality[later] * quality
    return in_blocks(expect(measured, some.astype(float), positions, quality, None), spread, BLOCK)


def standard_errors(normal: Normal) -> np.ndarray:
    """Of all positions, where both unknowns of every section are held weakly."""
    band = normal.band.copy()
    band[0] += 0.01
    inverse = cho_solve_banded((cholesky_banded(band, lower=True), True), np.eye(2 * N))
    return np.sqrt(np.diagonal(inverse)[0::2])


@pytest.mark.parametrize("copies", [2, 3])
def test_sections_expected_more_similar_than_they_are_to_themselves(copies):
    """Recorded again with the same pixels: both qualities are high, and 0.94 of their product is above 1.

    The information would not be positive then, so that nothing could be solved for or be told of errors.
    """
    positions, quality = np.arange(N, dtype=float), np.ones(N)
    sound = standard_errors(equations(positions, quality, np.full(N, NUGGET)))
    positions[20 : 20 + copies], quality[20 : 20 + copies] = 20, 1.1
    with_copies = standard_errors(equations(positions, quality, np.full(N, NUGGET)))
    others = np.r_[0:12, 30:N]
    np.testing.assert_allclose(with_copies[others], sound[others], rtol=0.2)


def test_usual_sections_keep_their_spread():
    """What makes covariances of blocks changes nothing where they are some already."""
    positions, spread = np.arange(N, dtype=float), np.full(N, NUGGET)
    before = spread.copy()
    normal = equations(positions, np.ones(N), spread)
    np.testing.assert_array_equal(spread, before)
    larger = equations(positions, np.ones(N), spread * (1 + 1e-6))
    assert 0 < np.abs(larger.band - normal.band).max() < 1e-4 * np.abs(normal.band).max()


@pytest.mark.parametrize("seed", range(3))
def test_the_band_is_that_of_least_squares(seed: int) -> None:
    rng = np.random.default_rng(seed)
    lag = np.arange(1, LAGS + 1)[:, None]
    counts = ((np.arange(MEMBERS) + lag < MEMBERS) & (rng.random((LAGS, MEMBERS)) < 0.9)).astype(float)
    positions, quality = np.cumsum(rng.uniform(0.6, 1.4, MEMBERS)), rng.uniform(0.8, 1.0, MEMBERS)
    later = np.minimum(np.arange(MEMBERS) + lag, MEMBERS - 1)
    exact = 0.95 * np.exp(-np.abs(positions[later] - positions) / 6) * quality[later] * quality
    measured = exact * (1 + 0.02 * rng.standard_normal(exact.shape)) * counts
    pairs = expect(measured, counts, positions, quality, None)
    matrix, right = np.zeros((2 * MEMBERS, 2 * MEMBERS)), np.zeros(2 * MEMBERS)
    wanted = pairs.curve.inverse(measured / pairs.level) - pairs.distance
    for d, k in zip(*np.nonzero(counts), strict=True):
        slope = pairs.slope[d, k]
        if abs(wanted[d, k]) > 1e-3:
            slope = np.copysign(abs(pairs.residual[d, k] / wanted[d, k]), slope)
        error = max(1 - pairs.similarity[d, k] ** 2, FLOOR) ** EMPHASIS * pairs.noise
        row = np.zeros(2 * MEMBERS)  # how the similarity changes with each unknown
        row[[2 * k, 2 * (k + d + 1)]] = -slope, slope
        row[[2 * k + 1, 2 * (k + d + 1) + 1]] = pairs.similarity[d, k]
        matrix += counts[d, k] / error**2 * np.outer(row, row)
        right += counts[d, k] / error**2 * row * pairs.residual[d, k]
    found = pairwise(pairs, measured)
    for below, band in enumerate(found.band):
        np.testing.assert_allclose(
            band[: 2 * MEMBERS - below], np.diagonal(matrix, -below), atol=1e-9 * np.abs(matrix).max()
        )
    np.testing.assert_allclose(found.right, right, atol=1e-9 * np.abs(right).max())
