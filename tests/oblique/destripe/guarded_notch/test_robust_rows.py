"""The low pass along rows: a Gaussian that outliers hardly move, against a definition written out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpustitch.oblique.destripe.guarded_notch.robust_rows import low_pass_matrix, robust_low_pass


def low_passed(values, weights, sigma, strength=1.0):
    out = np.full_like(values, np.nan)
    strengths = np.full(values.shape[1], strength, np.float32)
    robust_low_pass(values, weights, low_pass_matrix(values.shape[2], sigma), strengths, out)
    return out


def by_definition(v, w, matrix):
    """One row in double."""
    changed = w
    mean = (changed * v) @ matrix / (changed @ matrix)
    for _ in range(3):
        residual = v - mean
        spread = np.sqrt(np.maximum((changed * residual**2) @ matrix / (changed @ matrix), 1e-20))
        changed = w * np.minimum(1, 1.5 * spread / np.maximum(abs(residual), 1e-12)) ** 2
        mean = (changed * v) @ matrix / (changed @ matrix)
    total = w @ matrix
    return mean * total**2 / (total**2 + 0.05**2)


@settings(max_examples=40)
@given(
    st.tuples(st.integers(1, 2), st.sampled_from([1, 5, 33]), st.integers(1, 70)),
    st.sampled_from([0.0, 0.7, 2.0, 9.0, 50.0]), st.sampled_from([0.0, 0.5, 1.0]), st.integers(0, 99),
)  # fmt: skip
def test_rows_are_those_of_the_definition(shape, sigma, strength, seed):
    rng = np.random.default_rng(seed)
    values = rng.normal(0, 1, shape).astype(np.float32)
    values[rng.random(shape) < 0.1] += 6
    weights = rng.uniform(1e-6, 1, shape).astype(np.float32)
    out, matrix = low_passed(values, weights, sigma, strength), low_pass_matrix(shape[2], sigma).astype(float)
    for at in np.ndindex(shape[:2]):
        expected = by_definition(values[at].astype(float), weights[at].astype(float), matrix)
        np.testing.assert_allclose(out[at], strength * expected, atol=3e-5)


@pytest.mark.parametrize("count", [1, 2, 9, 64])
@pytest.mark.parametrize("sigma", [0.0, 0.4, 2.0, 30.0])
def test_the_matrix_is_a_gaussian_with_symmetric_borders(count, sigma):
    matrix = low_pass_matrix(count, sigma)
    row = np.random.default_rng(0).random(count)
    reach = int(np.ceil(4.5 * sigma))
    taps = np.exp(-0.5 * (np.arange(-reach, reach + 1) / max(sigma, 1e-3)) ** 2)
    expected = np.convolve(np.pad(row, reach, "symmetric"), taps / taps.sum(), "valid")
    np.testing.assert_allclose(row @ matrix, expected, rtol=1e-5)
    assert (matrix >= 0).all() and matrix.dtype == np.float32


def test_an_outlier_hardly_moves_the_mean():
    weights = np.ones((1, 1, 41), np.float32)
    values = np.random.default_rng(0).normal(0, 0.01, weights.shape).astype(np.float32)
    clean = low_passed(values, weights, 4.0)
    values[..., 20] += 5
    plain = values @ low_pass_matrix(41, 4.0)
    assert abs(plain - clean).max() > 0.4
    assert abs(low_passed(values, weights, 4.0) - clean).max() < 0.1


@settings(max_examples=20)
@given(st.integers(1, 70), st.sampled_from([0.0, 1.0, 8.0]), st.floats(-20, 20, width=32), st.integers(0, 99))
def test_equal_values_are_their_mean_whatever_the_weights(count, sigma, value, seed):
    weights = np.random.default_rng(seed).uniform(1e-6, 1, (1, 2, count)).astype(np.float32)
    total = weights @ low_pass_matrix(count, sigma)
    expected = value * total**2 / (total**2 + 0.05**2)
    np.testing.assert_allclose(low_passed(np.full_like(weights, value), weights, sigma), expected, rtol=1e-4, atol=1e-6)


def test_a_row_that_is_dark_all_along_says_little():
    values = np.full((1, 2, 21), 3, np.float32)
    weights = np.stack([np.ones(21), np.full(21, 1e-3)])[None].astype(np.float32)
    out = low_passed(values, weights, 2.0)
    assert abs(out[0, 0] / 3 - 1).max() < 0.01
    assert abs(out[0, 1]).max() < 0.01


@pytest.mark.parametrize("sigma", [1e3, 1e9, 1e300])
def test_a_gaussian_wider_than_all_rows_is_a_mean(sigma):
    np.testing.assert_allclose(low_pass_matrix(7, sigma), np.full((7, 7), 1 / 7), rtol=1e-5)


def test_rows_have_strengths_of_their_own():
    rng = np.random.default_rng(3)
    values, weights = (rng.random((2, 5, 40)).astype(np.float32) for _ in range(2))
    strengths, out = np.array([0.5, 0, 1, 0, 2], np.float32), np.full_like(values, np.nan)
    robust_low_pass(values, weights, low_pass_matrix(40, 2.0), strengths, out)
    np.testing.assert_allclose(out, strengths[:, None] * low_passed(values, weights, 2.0), rtol=1e-6)
