"""Planes less what is coarse in them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from gpustitch.sections.similarity.high_pass import less_gaussian
from tests.sections.similarity.drawn_series import texture


def test_small_gaussians_are_exact_over_used_pixels():
    plane = texture(0, (40, 50)) + 100
    plane[:9, 20:] = np.nan
    used = np.isfinite(plane)
    weights = ndimage.gaussian_filter(used.astype(float), 3)
    mean = ndimage.gaussian_filter(np.where(used, plane, 0).astype(float), 3) / weights
    found = less_gaussian(plane, 3)
    np.testing.assert_allclose(found, plane - mean, atol=2e-4)
    assert np.isnan(found[~used]).all() and np.isfinite(found[used]).all()


@pytest.mark.parametrize("sigma", [8, 13.5, 40])
def test_large_gaussians_are_near_exact(sigma):
    plane = texture(1, (120, 150), 3)
    exact = plane - ndimage.gaussian_filter(plane, sigma)
    found = less_gaussian(plane, sigma)
    assert np.sqrt(np.mean((found - exact) ** 2)) < 0.05 * exact.std()


@pytest.mark.parametrize("shape", [(1, 1), (3, 50), (64, 64)])
@pytest.mark.parametrize("sigma", [2, 30])
def test_constant_planes_become_nothing(shape, sigma):
    for dtype in (np.uint8, np.uint16, np.float32):
        np.testing.assert_allclose(less_gaussian(np.full(shape, 200, dtype), sigma), 0, atol=1e-3)


def test_a_gradient_goes_and_texture_stays():
    fine = texture(2, (128, 128), 1.5)
    slope = 20 * np.linspace(-1, 1, 128, dtype=np.float32)
    inside = (slice(20, -20), slice(20, -20))  # a Gaussian of a slope is that slope, but for the edge
    found = less_gaussian(fine + slope, 8)
    assert np.corrcoef(found[inside].ravel(), fine[inside].ravel())[0, 1] > 0.97
