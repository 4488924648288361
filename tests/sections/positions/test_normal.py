"""Normal equations in blocks: they can be solved whatever similarities are expected."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import cho_solve_banded, cholesky_banded

from gpustitch.sections.positions.normal import Normal, expect, in_blocks

N, MAX_LAG, BLOCK, NUGGET = 40, 10, 8, 2e-3


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
