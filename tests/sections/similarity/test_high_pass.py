"""Planes less what is coarse in them, and less stripes."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from gpustitch.sections.similarity.high_pass import less_gaussian, less_stripes, striped_part
from tests.sections.similarity.drawn_series import curtained, texture


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


@pytest.mark.parametrize(("stripes", "along"), [("columns", 1), ("rows", 0)])
def test_stripes_go_and_texture_stays(stripes, along):
    fine = texture(3, (128, 160), 1.5)
    plane = curtained(fine[None], 1, 1.0, along)[0]
    plane[:20, :30] = np.nan
    part, alike = striped_part(plane)[1 - along]
    assert part == pytest.approx(0.5, abs=0.15) and alike > 0.8
    assert striped_part(plane)[along, 0] < 0.03
    found = less_stripes(plane, stripes)
    used = np.isfinite(plane)
    np.testing.assert_array_equal(np.isfinite(found), used)
    assert np.corrcoef(found[used], fine[used])[0, 1] > 0.97
    assert np.abs(np.nanmean(found, axis=1 - along)).max() < 1e-6
    np.testing.assert_array_equal(less_stripes(plane, "none"), plane)
    both = less_stripes(curtained(plane[None], 2, 1.0, 1 - along)[0], "both")
    assert np.corrcoef(both[used], fine[used])[0, 1] > 0.95


def test_light_and_empty_planes_are_no_stripes():
    slope = np.linspace(-3, 3, 100, dtype=np.float32)
    for plane in (texture(4, (80, 100)) + slope, np.full((20, 30), np.nan, np.float32), np.ones((20, 30), np.float32)):
        part, alike = striped_part(plane).T
        assert (part < 0.02).all() and (alike <= 1).all()
