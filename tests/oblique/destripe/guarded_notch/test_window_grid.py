"""Windows of frames: their means, where they lie, and gains between them; against definitions written out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpustitch.oblique.destripe.guarded_notch.window_grid import (
    MOST_WINDOWS,
    WINDOW_PX,
    apply_gains,
    window_means,
    window_places,
    window_starts,
    windows_apart,
)

DTYPES = ["uint8", "uint16", "uint32", "float32"]


def means_of(images):
    starts = window_starts(images.shape[2])
    shape = (*images.shape[:2], len(starts))
    counts, out = np.full(shape, -1, np.int32), np.full(shape, np.nan, np.float32)
    window_means(images, starts, counts, out)
    return counts, out


def darker_mean(pixels):
    """Number of pixels that are not 0, and the mean of the darker ones, pixel by pixel."""
    ordered = sorted(float(p) for p in pixels if p != 0)
    if not ordered:
        return 0, 0.0
    first, last = len(ordered) // 20, -(-2 * len(ordered) // 5)
    return len(ordered), np.mean(ordered[first : max(last, first + 1)])


@st.composite
def frames(draw, dtypes=DTYPES):
    shape = (draw(st.integers(1, 2)), draw(st.integers(1, 4)), draw(st.sampled_from([1, 2, 31, 32, 33, 64, 75, 96])))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    images = np.rint(rng.gamma(2, draw(st.sampled_from([2, 30, 120])), shape))
    images[rng.random(shape) < draw(st.sampled_from([0, 0.2, 0.9]))] = 0
    images[..., : draw(st.sampled_from([0, 0, 40]))] = 0
    return np.minimum(images, 255).astype(draw(st.sampled_from(dtypes)))


@settings(max_examples=60)
@given(frames())
def test_means_are_those_of_the_darker_pixels_that_are_not_0(images):
    counts, out = means_of(images)
    for at in np.ndindex(out.shape):
        start = window_starts(images.shape[2])[at[2]]
        number, mean = darker_mean(images[at[0], at[1], start : start + WINDOW_PX])
        assert counts[at] == number
        assert out[at] == pytest.approx(mean, rel=1e-6)


@settings(max_examples=30)
@given(frames(["uint16"]), st.integers(0, 99))
def test_bright_pixels_do_not_move_a_mean(images, seed):
    rng, images = np.random.default_rng(seed), images[..., :WINDOW_PX].copy()
    expected = means_of(images)[1]
    for row in images.reshape(-1, images.shape[2]):
        counted = np.argsort(row)[np.count_nonzero(row == 0) :]
        brighter = counted[max(1, -(-2 * len(counted) // 5)) :]
        row[brighter] = rng.integers(row[brighter], 65535, endpoint=True)
    np.testing.assert_array_equal(means_of(images)[1], expected)


@pytest.mark.parametrize("columns", [1, 31, 32, 33, 63, 64, 65, 300, 2048, 2050, 32768, 50000])
def test_windows_cover_a_row_evenly_and_end_with_it(columns):
    starts, places = window_starts(columns), window_places(columns)
    assert starts[0] == 0
    assert starts[-1] + min(WINDOW_PX, columns) == columns or len(starts) == 1
    assert len(starts) <= MOST_WINDOWS
    assert len(starts) >= min(24, max(1, (columns - WINDOW_PX) // 8 + 1))
    assert np.ptp(np.diff(starts)) <= 1 if len(starts) > 1 else columns < WINDOW_PX + 8
    assert len(places) == columns and places[0] == 0 and places[-1] == len(starts) - 1
    assert (np.diff(places) >= 0).all()
    centres = starts + (min(WINDOW_PX, columns) - 1) / 2
    around = (places[np.floor(centres).astype(int)] + places[np.ceil(centres).astype(int)]) / 2
    np.testing.assert_allclose(around, np.arange(len(starts)), atol=0.07)


@pytest.mark.parametrize("columns", [*range(1, 900, 7), 2048, 50000])
def test_windows_apart_share_no_pixel(columns):
    starts, apart = window_starts(columns), windows_apart(columns)
    assert (starts[apart:] - starts[:-apart] >= WINDOW_PX).all()


@settings(max_examples=60)
@given(frames(), st.sampled_from([np.inf, 255.0, 60.0]), st.sampled_from([0.0, 7.5, 90.0]), st.integers(0, 99))
def test_gains_are_linear_between_windows_and_keep_the_ends_of_the_range(images, most, dark, seed):
    count = len(window_starts(images.shape[2]))
    gains = np.random.default_rng(seed).uniform(0.5, 2, (*images.shape[:2], count)).astype(np.float32)
    scales = np.array([most, np.inf][: len(images)], np.float32)
    out = np.full(images.shape, np.nan, np.float32)
    apply_gains(images, gains, window_places(images.shape[2]), scales, np.ones((1, 1), np.float32), out, dark, False)
    for f, r in np.ndindex(images.shape[:2]):
        raw = images[f, r].astype(float)
        gain = np.interp(window_places(images.shape[2]), np.arange(count), gains[f, r])
        light = np.where(raw >= scales[f], np.inf, gain * (raw - dark))
        expected = np.where(raw == 0, 0, np.minimum(light, scales[f] - dark))
        np.testing.assert_allclose(out[f, r], expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("dtype", DTYPES)
def test_gains_of_1_leave_the_counts(dtype):
    images = np.arange(2 * 3 * 40).reshape(2, 3, 40).astype(dtype)
    out = np.empty(images.shape, np.float32)
    ones, none = np.ones((2, 3, 1), np.float32), np.full(2, np.inf, np.float32)
    apply_gains(images, ones, window_places(40), none, ones[0, :1], out, 3, False)
    np.testing.assert_array_equal(out, np.where(images == 0, 0, images.astype(np.float32) - 3))
