"""Similarities do not depend on the size of the numbers that planes are given in."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import gpustitch as gs
from gpustitch.errors import GpustitchWarning
from gpustitch.sections.similarity.no_data import constant_at_edge
from gpustitch.sections.similarity.prepare import USUAL, in_range
from tests.sections.similarity.drawn_series import bordered, jittered, series, shaded

# Powers of two that pixels of some units may be multiplied by: float32 holds 2^-126 to 2^127 in full.
LIMITS = {"float32": (-121, 124), "float64": (-1000, 1020)}
SPOILT = {
    "as they are": lambda planes: planes,
    "off": lambda planes: jittered(planes, 1, 1.0),
    "bordered": lambda planes: bordered(planes, 1, 5),
    "shaded": lambda planes: shaded(planes, 1, 0.5),
}


@pytest.fixture(autouse=True)
def _warnings_are_errors():
    """No warning of NumPy may reach users; ours may."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        yield


@pytest.fixture(scope="module")
def planes():
    return series(7, 12, (40, 40))[0] + np.float32(3)


@pytest.fixture(scope="module", params=SPOILT)
def usual(request, planes):
    """Planes of usual numbers, what comes of them, for both types, and a seed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", GpustitchWarning)
        spoilt = SPOILT[request.param](planes).astype(np.float32)
        return spoilt, gs.similarity(spoilt, 4), len(request.param)


@pytest.mark.filterwarnings("ignore::gpustitch.errors.GpustitchWarning")
@pytest.mark.parametrize("dtype", LIMITS)
def test_powers_of_two_change_nothing(usual, dtype):
    usual, expected, seed = usual
    low, high = LIMITS[dtype]
    powers = [low, high, np.random.default_rng(seed).integers(low, high)]
    for power in powers:
        found = gs.similarity(np.ldexp(usual, power, dtype=dtype), 4)
        np.testing.assert_allclose(found.half_strip, expected.half_strip, rtol=0, atol=1e-5, err_msg=str(power))
        if expected.in_plane_px is not None:  # no window of bordered planes is whole
            np.testing.assert_allclose(found.in_plane_px, expected.in_plane_px, rtol=1e-4)
        np.testing.assert_allclose(found.patches.values, expected.patches.values, rtol=0, atol=1e-4)


@pytest.mark.parametrize("how", [{"high_pass": 3.0}, {"register": 3.0}, {"scale": (0.5, 0.5)}, {"high_pass": "off"}])
def test_planes_may_differ_in_size_whatever_is_done_to_them(planes, how):
    powers = np.random.default_rng(3).integers(-1000, 1000, len(planes))
    found = gs.similarity(np.ldexp(planes.astype(np.float64), powers[:, None, None]), 4, **how)
    np.testing.assert_allclose(found.half_strip, gs.similarity(planes, 4, **how).half_strip, rtol=0, atol=1e-5)


def test_masked_and_empty_pixels_tell_no_size(planes):
    mask = np.ones((40, 40), np.uint8)
    mask[12:20, 10:31] = 0
    for value in (3e38, -1e30, 1e-40):
        filled = np.where(mask == 0, np.float32(value), planes)
        assert in_range(filled, mask) is filled
        small = in_range(np.where(mask == 0, np.float32(value), planes * np.float32(1e-30)), mask)
        assert 0.5 <= np.abs(small[0][mask != 0]).max() < 1
    for value in (-3.4e38, -1.7e308):
        around, nothing = planes.astype(np.float64), planes.copy()
        around[:, :6] = value
        nothing[:, :6] = np.nan
        found = gs.similarity(around.astype(np.float32) if value > -1e39 else around, 4)
        np.testing.assert_allclose(found.half_strip, gs.similarity(nothing, 4).half_strip, rtol=0, atol=1e-5)


def test_planes_of_usual_size_stay_as_they_are(planes):
    for given in (planes, planes.astype(np.float64), np.full((2, 4, 4), 7, np.uint16), np.zeros((2, 4, 4), np.float32)):
        assert in_range(given) is given
    for edge in USUAL:
        given = np.full((1, 3, 3), edge)
        assert in_range(given) is given


def test_pixels_beyond_float32_are_not_used_beside_usual_ones(planes):
    """As they may mark what is missing; where all are so great they are the picture."""
    some = planes.astype(np.float64)
    some[:, 20:23, 20:25] = 1e300
    assert in_range(some) is some
    all_of_them = in_range(planes.astype(np.float64) * 1e300)
    assert np.isfinite(all_of_them).all()
    np.testing.assert_allclose(all_of_them / all_of_them[:, :1, :1], planes / planes[:, :1, :1], rtol=1e-5)


@pytest.mark.parametrize("power", [-1000, -200, 0, 200, 1000])
def test_borders_are_found_in_pixels_of_any_size(planes, power):
    plane = np.clip(planes[0].astype(np.float64), 2.2, None)  # cut off, as tissue may be
    assert constant_at_edge(np.ldexp(plane, power)) is None
    plane[:6] = 0
    found = constant_at_edge(np.ldexp(plane, power))
    assert found is not None
    np.testing.assert_array_equal(found, plane == 0)
