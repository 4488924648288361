"""Inverse of banded normal equations."""

from __future__ import annotations

import numpy as np
import pytest

from gpustitch.sections.positions.covariance import Covariance, factor, inverse_diagonal, solution


def equations(n: int, width: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A positive definite matrix of a lower bandwidth, whole and as its band."""
    rng = np.random.default_rng(seed)
    lower = np.tril(np.triu(rng.normal(size=(n, n)), -width))
    whole = lower @ lower.T + np.eye(n)
    band = np.zeros((width + 1, n))
    for d in range(min(width + 1, n)):
        band[d, : n - d] = np.diagonal(whole, -d)
    return whole, band


@pytest.mark.parametrize(("n", "width"), [(1, 0), (5, 0), (1, 3), (4, 3), (9, 3), (12, 3), (13, 3), (50, 17), (7, 17)])
def test_diagonal_of_the_inverse(n: int, width: int) -> None:
    whole, band = equations(n, width)
    np.testing.assert_allclose(inverse_diagonal(factor(band.copy())), np.diagonal(np.linalg.inv(whole)), rtol=1e-6)


def test_what_lies_beyond_the_band_does_not_count() -> None:
    whole, band = equations(11, 4)
    found = factor(band.copy())
    for d in range(1, 5):
        found[d, 11 - d :] = np.nan
    np.testing.assert_allclose(inverse_diagonal(found), np.diagonal(np.linalg.inv(whole)), rtol=1e-6)


def test_solution() -> None:
    whole, band = equations(20, 5)
    right = np.random.default_rng(1).normal(size=(20, 3))
    np.testing.assert_allclose(
        solution(factor(band.copy()), right), np.linalg.solve(whole, right), rtol=1e-5, atol=1e-7
    )


def test_errors_after_the_best_line_is_taken_out() -> None:
    whole, band = equations(24, 7)
    positions = np.cumsum(np.random.default_rng(2).uniform(0.5, 1.5, 12))
    inverse = np.linalg.inv(whole)[0::2, 0::2]
    frame = np.linalg.qr(np.stack([np.ones(12), positions], axis=1))[0]
    rest = np.eye(12) - frame @ frame.T
    expected = np.sqrt(np.diagonal(rest @ inverse @ rest))
    np.testing.assert_allclose(Covariance(band).after_affine_map(positions), expected, rtol=1e-5)


def test_parts_of_the_equations_make_the_whole_covariance() -> None:
    (_, measured), (prior, band) = equations(24, 7), equations(24, 3, seed=1)
    padded = np.zeros_like(measured)
    padded[: len(band)] = band
    covariance, columns = Covariance(measured + padded), np.random.default_rng(3).normal(size=(12, 2))
    spread = np.zeros((24, 2))
    spread[0::2] = columns
    moved = np.linalg.solve(equations(24, 7)[0] + prior, spread)
    np.testing.assert_allclose(covariance.of_prior(padded, columns), moved.T @ prior @ moved, rtol=1e-6)
    both = covariance.of_prior(padded, columns) + covariance.of_prior(measured, columns)
    np.testing.assert_allclose(both, columns.T @ covariance.times(columns), rtol=1e-5)
