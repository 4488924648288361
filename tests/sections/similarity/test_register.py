"""Planes brought into register, one after another."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import ndimage

from gpustitch.array import Device, on, to_device, to_host
from gpustitch.sections.similarity.banded import banded_correlation
from gpustitch.sections.similarity.register import Registration
from tests.cuda_cpu import shim
from tests.sections.similarity.drawn_series import series, texture, turned

INSIDE = (slice(12, -12), slice(12, -12))


def registered(planes, reach=8, degree=0, max_lag=5, **options):
    placed = Registration(planes.shape[1:], reach, degree, max_lag, **options)
    return np.stack([placed.push(plane) for plane in planes])


def correlation(a, b):
    both = np.isfinite(a) & np.isfinite(b)
    return np.corrcoef(a[both], b[both])[0, 1]


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("shift", [(0, 0), (3, -5), (-8, 8), (1, 7)])
def test_a_whole_shift_is_made_good(shift, dtype):
    still = (texture(1, (64, 80)) * 30 + 128).clip(0, 255).astype(dtype)
    found = registered(np.stack([still, np.roll(still, shift, (0, 1))]))
    np.testing.assert_allclose(found[1][INSIDE], still.astype(float)[INSIDE], atol=0.05 * still.std() + 1e-6)
    # What lay outside is not used.
    lost = [np.isnan(found[1]).all(axis=axis).sum() for axis in (1, 0)]
    assert np.all(np.abs(np.array(lost) - np.abs(shift)) <= 1)


@pytest.mark.parametrize("shift", [(0.5, 0.5), (-2.3, 4.7), (6.25, -0.1)])
def test_shifts_between_pixels_are_found(shift):
    still = texture(2, (96, 96))
    off = ndimage.shift(still, shift, order=5, mode="grid-wrap")
    placed = Registration(still.shape, 8, 0, 3)
    placed.push(still)
    found = placed.push(off)
    np.testing.assert_allclose(placed.displacement[:, 0], shift, atol=0.05)
    assert correlation(found[INSIDE], still[INSIDE]) > 0.995


def test_planes_in_register_stay_as_they_are_for_the_correlation():
    planes, _ = series(0, 12)
    np.testing.assert_allclose(
        banded_correlation(registered(planes), 5), banded_correlation(planes, 5), atol=0.05, equal_nan=True
    )


def test_shifts_of_a_series_are_made_good():
    planes, _ = series(1, 16)
    rng = np.random.default_rng(5)
    off = np.stack([np.roll(p, rng.integers(-3, 4, 2), (0, 1)) for p in planes])
    still, spoilt, made_good = (banded_correlation(p, 4)[:12, 1:] for p in (planes, off, registered(off)))
    assert np.abs(made_good - still).max() < 0.06 < np.abs(spoilt - still).max()


def test_turns_need_the_first_degree():
    planes = turned(series(2, 12, (96, 96))[0], 3, 1.5)
    found = [np.nanmedian(banded_correlation(registered(planes, degree=d), 3)[:9, 1]) for d in (0, 1)]
    assert found[1] > found[0] + 0.03


@pytest.mark.parametrize("step", [(0, 3), (-2, 1)])
def test_the_frame_follows_a_drift(step):
    n, large = 40, texture(3, (400, 400))
    start = np.array([200 if s < 0 else 20 for s in step])
    at = start + np.arange(n)[:, None] * np.array(step)
    planes = np.stack([large[y : y + 64, x : x + 64] for y, x in at])
    found = registered(planes, reach=6, max_lag=4)
    strip = banded_correlation(found, 4)
    assert strip[:36, 1:].min() > 0.98  # all that is compared is the same picture
    assert np.isfinite(found).mean() > 0.5  # and the frame has not been left behind
    still = registered(planes, reach=6, max_lag=4, follows=False)
    assert np.isnan(still[-1]).mean() > 0.9


def test_damaged_and_empty_planes_do_not_lead_astray():
    planes, _ = series(4, 14)
    planes = np.stack([np.roll(p, (i % 3, -(i % 2)), (0, 1)) for i, p in enumerate(planes)])
    spoilt = planes.copy()
    spoilt[5] = np.random.default_rng(0).standard_normal(planes.shape[1:])
    spoilt[6], spoilt[7] = np.nan, 3
    found = registered(spoilt)
    assert np.isnan(found[6]).all() and np.nanstd(found[7]) < 1e-5
    assert correlation(found[8], found[4]) > correlation(planes[8], planes[4]) - 0.05
    sound = [i for i in range(14) if i not in (5, 6, 7)]
    for first, second in itertools.pairwise(sound):
        assert correlation(found[first], found[second]) > 0.6


def test_unused_pixels_move_with_their_plane():
    planes = np.stack([np.roll(texture(6), (0, i), (0, 1)) for i in range(4)])
    planes[2, 10:20, 12:32] = np.nan
    found = registered(planes)
    assert np.isnan(found[2, 11:19, 11:29]).all()
    assert np.isnan(found[2]).sum() < 14 * 24 + 64 * 4
    assert correlation(found[2], found[0]) > 0.99


@pytest.mark.parametrize("degree", [0, 1])
def test_large_planes_are_laid_on_each_other_by_smaller_ones(monkeypatch, degree):
    monkeypatch.setattr("gpustitch.sections.similarity.register.MOST_PIXELS", 80 * 80)
    still = texture(7, (200, 240), 5)
    off = np.roll(still, (9, -6), (0, 1))
    found = registered(np.stack([still, off]), reach=15, degree=degree)
    assert correlation(found[1][INSIDE], still[INSIDE]) > 0.99


@pytest.mark.parametrize("degree", [0, 1])
def test_runs_on_a_device(degree):
    planes = turned(series(8, 4, (48, 48))[0], 1, 1.0)
    planes[1, :5] = np.nan
    expected = registered(planes, degree=degree)
    with shim.installed():
        device = Device(0, "cuda:0: emulated", 1 << 30)
        with on(device):
            placed = Registration(planes.shape[1:], 8, degree, 5)
            found = np.stack([to_host(placed.push(to_device(plane, device))) for plane in planes])
    np.testing.assert_allclose(found, expected, atol=1e-4)
