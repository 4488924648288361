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
    mirrored,
    running_medians,
    synthesise_columns,
)

WAVELETS = ["haar", "db2", "db3", "sym5", "bior2.4", "coif17"]
shapes = st.tuples(st.integers(1, 2), st.integers(1, 41), st.integers(1, 3))


def noise(shape, seed=0):
    return np.random.default_rng(seed).normal(0, 3, shape).astype(np.float32)


def analysed(grid, wavelet, rows):
    taps = wavelet_taps(wavelet)[0]
    n = (rows + taps.shape[1] - 1) // 2
    out = np.full((2, len(grid), n, grid.shape[2]), np.nan, np.float32)
    analyse_columns(grid, taps, out, rows)
    return out


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
@given(shapes, st.sampled_from(WAVELETS), st.integers(0, 3), st.integers(0, 99))
def test_a_level_is_that_of_pywavelets_and_goes_back_to_the_grid(shape, wavelet, more, seed):
    grid = noise((shape[0], shape[1] + more, shape[2]), seed)
    rows, kept = shape[1], grid[:, : shape[1]].copy()
    grid[:, rows:] = np.nan
    low, high = analysed(grid, wavelet, rows)
    expected = pywt.dwt(kept.astype(float), wavelet, mode="symmetric", axis=1)
    np.testing.assert_allclose(low, expected[0], atol=2e-5)
    np.testing.assert_allclose(high, expected[1], atol=2e-5)
    back = np.full((shape[0], rows + more, shape[2]), 7, np.float32)
    synthesise_columns(np.ascontiguousarray(low), np.ascontiguousarray(high), wavelet_taps(wavelet)[1], back, rows)
    np.testing.assert_allclose(back[:, :rows], kept, atol=5e-5)
    assert (back[:, rows:] == 7).all()


@settings(max_examples=30)
@given(shapes, st.sampled_from(WAVELETS), st.integers(0, 99))
def test_synthesis_of_any_coefficients_is_that_of_pywavelets(shape, wavelet, seed):
    taps = wavelet_taps(wavelet)[1]
    n = (shape[1] + taps.shape[1] - 1) // 2
    low, high = noise((2, shape[0], n, shape[2]), seed)
    out = np.empty(shape, np.float32)
    synthesise_columns(low, high, taps, out, shape[1])
    expected = pywt.idwt(low.astype(float), high.astype(float), wavelet, mode="symmetric", axis=1)
    np.testing.assert_allclose(out, expected[:, : shape[1]], atol=5e-5)


@pytest.mark.parametrize("length", [1, 2, 5])
def test_mirrored_places(length):
    expected = np.pad(np.arange(length), 20, "symmetric")
    np.testing.assert_array_equal(mirrored(np.arange(-20, length + 20), length), expected)
