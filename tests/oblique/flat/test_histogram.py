"""Histograms and percentile bins against their definitions."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpustitch.errors import ParameterError
from gpustitch.oblique.flat.histogram import check_bins, count_between, histogram, histogram_percentile, percentile_bin
from tests.paths import DATA


def naive_histogram(frames, n_bins, values_per_bin, background):
    counts = np.zeros((*frames.shape[1:], n_bins), np.int64)
    for f, y, x in np.ndindex(frames.shape):
        value = int(frames[f, y, x])
        if background <= value < n_bins * values_per_bin:
            counts[y, x, value // values_per_bin] += 1
    return counts


def naive_percentile_bin(counts, percentile):
    result = np.zeros(counts.shape[:-1], np.int64)
    for pixel in np.ndindex(result.shape):
        target = percentile * counts[pixel].sum() / 100
        distances = [abs(counts[pixel][: b + 1].sum() - target) for b in range(counts.shape[-1])]
        result[pixel] = distances.index(min(distances))
    return result


def bins_of(frames, percentile, n_bins, values_per_bin, background):
    count = np.empty(frames.shape[1:], np.int32)
    count_between(frames, count, background, n_bins * values_per_bin)
    out = np.empty(frames.shape[1:], np.int32)
    percentile_bin(frames, count, out, percentile, n_bins, values_per_bin, background)
    return out


def bins_of_histogram(counts, percentile):
    out = np.empty(counts.shape[:2], np.int32)
    histogram_percentile(counts, out, percentile)
    return out


@st.composite
def stacks(draw):
    dtype = draw(st.sampled_from([np.uint8, np.uint16, np.uint32]))
    shape = draw(st.tuples(st.integers(1, 12), st.integers(1, 3), st.integers(1, 4)))
    low = draw(st.integers(0, 200))
    high = draw(st.integers(low, 255 if dtype == np.uint8 else draw(st.sampled_from([260, 3000, 65535]))))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    frames = rng.integers(low, high, shape, endpoint=True).astype(dtype)
    n_bins = draw(st.integers(1, 40))
    values_per_bin = draw(st.sampled_from([1, 2, 7, 16, 100, 3000]))
    end = min(n_bins * values_per_bin, 1 << (8 * frames.dtype.itemsize))
    background = draw(st.integers(0, min(end - 1, 300)))
    return frames, n_bins, values_per_bin, background


@settings(max_examples=150, deadline=None)
@given(stacks(), st.one_of(st.floats(0, 100), st.sampled_from([0.0, 25.0, 50.0, 95.0, 100.0])))
def test_percentile_bin_is_that_of_the_naive_histogram(case, percentile):
    frames, n_bins, values_per_bin, background = case
    counts = np.zeros((*frames.shape[1:], n_bins), np.uint32)
    histogram(frames, counts, background, values_per_bin)
    naive = naive_histogram(frames, n_bins, values_per_bin, background)
    np.testing.assert_array_equal(counts, naive)
    expected = naive_percentile_bin(naive, percentile)
    np.testing.assert_array_equal(bins_of_histogram(counts, percentile), expected)
    np.testing.assert_array_equal(bins_of(frames, percentile, n_bins, values_per_bin, background), expected)


@given(stacks())
@settings(max_examples=50, deadline=None)
def test_count_between_is_the_definition(case):
    frames, n_bins, values_per_bin, background = case
    out = np.full(frames.shape[1:], -1, np.int32)
    stop = n_bins * values_per_bin
    count_between(frames, out, background, stop)
    wide = frames.astype(np.int64)
    np.testing.assert_array_equal(out, ((wide >= background) & (wide < stop)).sum(0))


def test_an_empty_range_counts_nothing():
    out = np.full((2, 3), 9, np.int32)
    count_between(np.zeros((4, 2, 3), np.uint16), out, 5, 5)
    assert not out.any()


def test_golden_counts_and_bins():
    data = np.load(DATA / "illum_40x48.npz")
    frames = data["frames"]
    counts = np.zeros((40, 48, 64), np.uint16)
    histogram(frames, counts, 150, 16)
    np.testing.assert_array_equal(counts, data["counts"])
    np.testing.assert_array_equal(bins_of_histogram(counts, 95.0), data["qbin"])
    np.testing.assert_array_equal(bins_of(frames, 95.0, 64, 16, 150), data["qbin"])


def test_more_frames_than_a_byte_counts_and_more_pixels_than_a_block():
    rng = np.random.default_rng(3)
    frames = rng.poisson(400, (700, 3, 1111)).astype(np.uint16)
    frames[:, :, :50] = 65535
    counts = np.zeros((3, 1111, 1024), np.uint16)
    histogram(frames, counts, 150, 4)
    np.testing.assert_array_equal(bins_of(frames, 95.0, 1024, 4, 150), bins_of_histogram(counts, 95.0))


def test_a_stack_with_no_frames_has_bin_zero():
    assert not bins_of(np.zeros((0, 2, 3), np.uint16), 95.0, 1024, 4, 150).any()


def test_a_strided_view_of_frames_gives_the_same_bins():
    frames = np.random.default_rng(0).integers(100, 900, (30, 8, 10)).astype(np.uint16)
    view = frames[::2, 1::2, ::3]
    np.testing.assert_array_equal(
        bins_of(view, 95.0, 64, 16, 150), bins_of(np.ascontiguousarray(view), 95.0, 64, 16, 150)
    )


def test_no_histogram_is_held():
    frames = np.random.default_rng(0).integers(100, 900, (40, 64, 512)).astype(np.uint16)
    before = frames.copy()
    tracemalloc.start()
    try:
        bins_of(frames, 95.0, 1024, 4, 150)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 << 20, "the histogram of these pixels takes 134 MB"
    np.testing.assert_array_equal(frames, before)


@pytest.mark.parametrize(
    ("dtype", "n_bins", "values_per_bin", "background", "says"),
    [
        (np.float32, 1024, 4, 150, "float32"),
        (np.int16, 1024, 4, 150, "int16"),
        (np.uint16, 0, 4, 150, "`n_bins`"),
        (np.uint16, 1024, -1, 150, "`values_per_bin`"),
        (np.uint16, 1024, 4, -1, "`background`"),
        (np.uint16, 1024, 4, 4096, "lower `background`"),
        (np.uint8, 1024, 4, 300, "lower `background`"),
    ],
)
def test_impossible_bins_are_refused(dtype, n_bins, values_per_bin, background, says):
    with pytest.raises(ParameterError, match=says):
        check_bins(np.dtype(dtype), n_bins, values_per_bin, background)
