from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from gpustitch.ops.smooth import gaussian, gaussian_radius, smooth


@pytest.mark.parametrize("shape", [(20, 31, 17), (1, 5, 40), (3, 2, 1)])
@pytest.mark.parametrize("sigma", [(1.96, 1.39, 1.96), (0, 0.3, 5.0)])
def test_smoothing_is_that_of_scipy(shape: tuple[int, ...], sigma: tuple[float, ...]) -> None:
    volume = np.random.default_rng(1).integers(0, 65535, shape).astype(np.uint16)
    expected = ndimage.gaussian_filter(volume.astype(np.float64), sigma)
    np.testing.assert_allclose(smooth(volume, sigma), expected, rtol=1e-5)
    assert smooth(volume, sigma).dtype == np.float32


def test_keeps_what_is_wanted() -> None:
    volume = np.random.default_rng(2).random((12, 13, 14), np.float32)
    keep = (slice(2, -2), slice(None, None, 3), slice(5, 6))
    np.testing.assert_allclose(smooth(volume, (1, 1, 1), keep), smooth(volume, (1, 1, 1))[keep], rtol=1e-5)


def test_constant_stays_and_nan_spreads() -> None:
    assert smooth(np.full((9, 9, 9), 1234, np.uint16), (2, 2, 2)) == pytest.approx(1234, rel=1e-6)
    volume = np.ones((9, 9, 9), np.float32)
    volume[4, 4, 4] = np.nan
    assert np.isnan(smooth(volume, (1, 1, 1))[4, 4, 4])


def test_radius_is_where_scipy_cuts_off() -> None:
    impulse = np.zeros(101)
    impulse[50] = 1
    for sigma in (0.5, 1.39, 1.96, 4.0):
        reached = np.flatnonzero(ndimage.gaussian_filter1d(impulse, sigma))
        assert gaussian_radius(sigma) == 50 - reached[0]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_gaussian_is_scipys_and_that_of_windows(seed: int, dtype: type) -> None:
    rng = np.random.default_rng(seed)
    image = rng.normal(1000, 300, tuple(rng.integers(5, 60, 3))).astype(dtype)
    sigma = float(rng.uniform(0.5, 9))
    smoothed = gaussian(image, sigma)
    assert smoothed.dtype == dtype
    np.testing.assert_array_equal(smoothed, ndimage.gaussian_filter(image, sigma))
    np.testing.assert_allclose(smooth(image, (sigma,) * 3), smoothed, rtol=1e-5)
