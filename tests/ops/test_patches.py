"""Similarity of patches of planes, against its definition."""

import tracemalloc

import numpy as np
import pytest
from scipy import ndimage

from gpustitch.ops.patches import LAGS, SIDE, PatchComparison, checked_patches, detail, patch_bytes, taken_planes
from tests.sections.similarity.drawn_series import series


def compared(planes, chunk=1000):
    comparison = PatchComparison(len(planes))
    for at in range(0, len(planes), chunk):
        comparison.push(planes[at : at + chunk])
    return comparison.finish()


def test_details_are_between_noise_and_what_is_coarse():
    rows, columns = np.mgrid[:40, :40].astype(np.float32)
    slope = detail(3 * rows - columns + 7)
    assert slope.shape == (32, 32) and np.abs(slope).max() < 1e-4
    noise = np.random.default_rng(1).standard_normal((200, 200)).astype(np.float32)
    structure = ndimage.gaussian_filter(noise, 1.5)
    coarse = ndimage.gaussian_filter(noise, 8)
    left = [float(detail(plane).std() / plane.std()) for plane in (noise, structure, coarse)]
    assert left[1] > 0.25 and left[0] < 0.2 and left[2] < 0.05


def test_patches_are_correlated_each_for_itself():
    planes = series(2, 12, (56, 70))[0]
    found = compared(planes)
    details = np.stack([detail(plane) for plane in planes])
    np.testing.assert_array_equal(found.planes, np.arange(12))
    for k, y, x, d in ((0, 0, 0, 1), (3, 7, 2, 4), (10, 5, 7, 1)):
        first, second = (details[n, 6 * y : 6 * y + 6, 7 * x : 7 * x + 7].astype(float) for n in (k, k + d))
        expected = (first * second).sum() / np.sqrt((first**2).sum() * (second**2).sum())
        assert found.values[k, y, x, d - 1] == pytest.approx(expected, abs=1e-5)
    assert np.isnan(found.values[11]).all() and np.isnan(found.values[9, ..., 2:]).all()


@pytest.mark.parametrize("chunk", [1, 3, 7])
def test_it_does_not_matter_how_planes_come(chunk):
    planes = series(3, 12, (48, 48))[0]
    np.testing.assert_array_equal(compared(planes, chunk).values, compared(planes).values)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_contrast_and_type_do_not_matter(dtype):
    planes = series(4, 6, (60, 60))[0]
    whole = np.clip(30 * planes + 128, 0, 255).astype(dtype)
    found, expected = compared(whole), compared(whole.astype(np.float32) * 7 + 3)
    np.testing.assert_allclose(found.values, expected.values, atol=1e-4)


def test_large_planes_are_made_small():
    planes = np.repeat(np.repeat(series(5, 6, (64, 64))[0], 8, axis=1), 8, axis=2)
    np.testing.assert_allclose(compared(planes).at(1), compared(planes[:, 4::8, 4::8]).at(1), atol=0.25)
    small = np.repeat(np.repeat(series(5, 6, (128, 128))[0], 4, axis=1), 4, axis=2)
    np.testing.assert_allclose(compared(small).values, compared(small[:, ::4, ::4]).values, atol=1e-4)


def test_pixels_that_are_not_used_change_no_others():
    planes = series(6, 8, (72, 72))[0]
    spoilt = planes.copy()
    spoilt[3, :, :4] = np.nan  # half of the first patches, as it spreads
    spoilt[5, 60:, 60:] = np.nan
    found, expected = compared(spoilt), compared(planes)
    np.testing.assert_allclose(found.values[:, 2:6, 2:6], expected.values[:, 2:6, 2:6], atol=1e-6)
    assert np.isnan(found.values[5, 7, 7, 0]) and np.isnan(found.values[4, 7, 7, 0])
    joined = found.at(2)
    assert np.isfinite(joined[5, :, 0]).all()


def test_constant_and_small_planes_have_none():
    assert compared(np.ones((5, 64, 64), np.float32)) is None
    assert compared(series(7, 5, (30, 64))[0]) is None
    assert compared(series(7, 1, (64, 64))[0]) is None


def test_of_long_series_groups_are_taken():
    for n in (2, 100, 101, 1000, 12345):
        taken = taken_planes(n)
        assert (np.diff(taken) > 0).all() and taken[0] == 0 and taken[-1] == n - 1 and len(taken) <= 100
    step = np.diff(taken_planes(1000))
    assert (step == 1).sum() == 4 * 20
    assert (step == 1).reshape(-1)[:LAGS].all()


def test_the_memory_is_stated():
    planes = np.zeros((160, 600, 600), np.uint8)
    planes[:] = np.random.default_rng(8).integers(0, 255, (600, 600), np.uint8)
    tracemalloc.start()
    try:
        compared(planes)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < patch_bytes((600, 600), 160)
    assert patch_bytes((600, 600), 160) < 3 * peak


def test_arrays_of_a_file_are_checked():
    planes, values = np.arange(5), np.zeros((5, SIDE, SIDE, LAGS), np.float32)
    values[4] = np.nan
    found = checked_patches(planes, values, 6)
    assert found.values.dtype == np.float64
    for bad in (
        (planes[::-1], values, 6),
        (planes, values, 4),
        (planes - 1, values, 6),
        (planes * 1.0, values, 6),
        (planes, values[..., :3], 6),
        (planes, values + 2, 6),
        (planes, values.astype(int), 6),
        (planes[:0], values[:0], 6),
    ):
        assert checked_patches(*bad) is None
