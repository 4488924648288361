"""Running medians and wavelet levels down the columns of a grid, against definitions and PyWavelets."""

from __future__ import annotations

import numpy as np
import pytest
import pywt
from hypothesis import given, settings
from hypothesis import strategies as st

from gpustitch.oblique.destripe.dwt import wavelet_taps
from gpustitch.oblique.destripe.guarded_notch.columns import (
    analyse_columns,
    level_rows,
    levels_within,
    mirrored,
    running_medians,
    synthesise_columns,
)

WAVELETS = ["haar", "db2", "db3", "sym5", "bior2.4", "coif17"]
shapes = st.tuples(st.integers(1, 2), st.integers(1, 41), st.integers(1, 3))


def noise(shape, seed=0):
    return np.random.default_rng(seed).normal(0, 3, shape).astype(np.float32)


def analysed(grid, wavelet, count, weights=None):
    """Low passes, weights and high passes of each level."""
    taps = wavelet_taps(wavelet)[0]
    rows = level_rows(grid.shape[1], taps.shape[1], count)
    found = [np.full((len(grid), sum(rows), grid.shape[2]), np.nan, np.float32) for _ in range(3)]
    analyse_columns(grid, np.ones_like(grid) if weights is None else weights, taps, *found)
    return [[part[:, level] for part in found] for level in levels_within(grid.shape[1], taps.shape[1], sum(rows))]


@settings(max_examples=60)
@given(shapes, st.sampled_from([0, 1, 2, 4, 9, 16, 70]), st.booleans(), st.integers(0, 99))
def test_running_medians(shape, reach, ties, seed):
    grid = np.rint(noise(shape, seed)) if ties else noise(shape, seed)
    out = np.full_like(grid, np.nan)
    running_medians(grid, out, reach)
    around = np.pad(grid, ((0, 0), (reach, reach), (0, 0)), "symmetric")
    for row in range(shape[1]):
        np.testing.assert_array_equal(out[:, row], np.median(around[:, row : row + 2 * reach + 1], axis=1))


@settings(max_examples=60)
@given(shapes, st.sampled_from(WAVELETS), st.integers(1, 4), st.integers(0, 99))
def test_levels_are_those_of_pywavelets(shape, wavelet, count, seed):
    low = noise(shape, seed).astype(float)
    found = analysed(low.astype(np.float32), wavelet, count)
    assert len(found) == count
    for lows, _, highs in found:
        low, high = pywt.dwt(low, wavelet, mode="symmetric", axis=1)
        np.testing.assert_allclose(lows, low, atol=1e-4)
        np.testing.assert_allclose(highs, high, atol=1e-4)


@settings(max_examples=60)
@given(shapes, st.sampled_from(WAVELETS), st.integers(1, 4), st.integers(0, 99))
def test_the_grid_of_any_details_is_that_of_pywavelets(shape, wavelet, count, seed):
    taps = wavelet_taps(wavelet)[1]
    rows = level_rows(shape[1], taps.shape[1], count)
    details = noise((shape[0], sum(rows), shape[2]), seed)
    out, lows = np.full(shape, np.nan, np.float32), np.full_like(details, np.nan)
    synthesise_columns(details, taps, lows, out)
    low = np.zeros((shape[0], rows[-1], shape[2]))
    for level, finer in zip(
        reversed(levels_within(shape[1], taps.shape[1], sum(rows))), [*rows[-2::-1], shape[1]], strict=True
    ):
        low = pywt.idwt(low, details[:, level].astype(float), wavelet, mode="symmetric", axis=1)[:, :finer]
    np.testing.assert_allclose(out, low, atol=1e-4)


def test_a_weight_is_the_least_of_those_in_the_middle_of_its_filter():
    weights = np.ones((1, 40, 1), np.float32)
    weights[0, 21] = 0.25
    (_, first, _), (_, second, _) = analysed(noise(weights.shape), "db3", 2, weights)
    # Coefficient k is about row 2k + 1 - 3 + 1 / 2.
    assert np.flatnonzero(first[0, :, 0] < 1).tolist() == [11, 12]
    assert np.flatnonzero(second[0, :, 0] < 1).tolist() == [6, 7]


@pytest.mark.parametrize("length", [1, 2, 5])
def test_mirrored_places(length):
    expected = np.pad(np.arange(length), 20, "symmetric")
    np.testing.assert_array_equal(mirrored(np.arange(-20, length + 20), length), expected)
