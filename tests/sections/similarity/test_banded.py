"""Banded normalised cross-correlation of planes."""

from __future__ import annotations

import tracemalloc
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpustitch.errors import ParameterError
from gpustitch.sections.similarity import banded as similarity
from gpustitch.sections.similarity import similarity_rows
from gpustitch.sections.similarity.banded import BandedCorrelation, banded_correlation
from gpustitch.sections.similarity.bands import band_products, full_matrix, half_strip_of, undefined_planes
from gpustitch.sections.similarity.blocks import peak_bytes
from gpustitch.sections.similarity.parts import sampled_scaling
from gpustitch.sections.similarity.similarity_rows import centred_rows, plane_moments, used_rows
from tests.cuda_cpu import shim


def naive(planes, max_lag, mask=None):
    """Pair by pair in float64, over the pixels that are finite and used in both."""
    n = len(planes)
    used = np.isfinite(planes) if mask is None else np.isfinite(planes) & (np.broadcast_to(mask, planes.shape) != 0)
    strip = np.full((n, max_lag + 1), np.nan)
    for i in range(n):
        for j in range(i, min(n, i + max_lag + 1)):
            both = used[i] & used[j]
            a, b = planes[i][both].astype(np.float64), planes[j][both].astype(np.float64)
            if a.size > 1 and np.ptp(a) > 0 and np.ptp(b) > 0:
                a, b = a - a.mean(), b - b.mean()
                strip[i, j - i] = 1 if i == j else (a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum())
    return strip


def series(n, shape, seed=0):
    """Planes each of which resembles the one before it."""
    planes = np.random.default_rng(seed).normal(0, 1, (n, *shape))
    for i in range(1, n):
        planes[i] = 0.8 * planes[i - 1] + 0.6 * planes[i]
    return planes


def test_agrees_with_corrcoef():
    planes = series(9, (31, 17)).astype(np.float32)
    expected = np.corrcoef(planes.reshape(9, -1).astype(np.float64))
    np.testing.assert_allclose(banded_correlation(planes, 8), half_strip_of(expected, 8), rtol=0, atol=1e-6)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("masked", ["not", "common", "each"])
@pytest.mark.parametrize("shape", [(3, 5), (1, 67), (70, 128), (130, 131)])
def test_agrees_with_every_pair_by_itself(dtype, masked, shape):
    planes = np.clip(series(7, shape) * 20 + 100, 0, 255).astype(dtype)
    mask = {
        "not": None,
        "common": np.random.default_rng(1).random(shape) > 0.2,
        "each": np.random.default_rng(2).random(planes.shape) > 0.2,
    }[masked]
    result = banded_correlation(planes, 3, mask)
    assert result.dtype == np.float64
    np.testing.assert_allclose(result, naive(planes, 3, mask), rtol=0, atol=1e-6)


@pytest.mark.parametrize("max_lag", [1, 2, 24, 25, 47, 48, 49, 139])
def test_any_reach_over_several_blocks(max_lag):
    planes = series(140, (9, 11)).astype(np.float32)
    np.testing.assert_allclose(banded_correlation(planes, max_lag), naive(planes, max_lag), rtol=0, atol=1e-6)


@pytest.mark.parametrize("step", [1, 0.25])
def test_small_contrast_on_a_high_background(step):
    planes = 60000 + np.rint(series(5, (150, 140)) * 2)
    mask = np.random.default_rng(3).random(planes.shape) > 0.1
    for stack in (planes.astype(np.uint16), (planes * step).astype(np.float32)):
        np.testing.assert_allclose(banded_correlation(stack, 4), naive(stack, 4), rtol=0, atol=1e-6)
        np.testing.assert_allclose(banded_correlation(stack, 4, mask), naive(stack, 4, mask), rtol=0, atol=1e-6)


def test_a_hot_pixel_and_the_extremes_of_uint16():
    planes = np.full((3, 200, 150), 100, np.uint16)
    planes[:, 0, 0] = 65535
    planes[:, 77] += np.random.default_rng(0).integers(0, 9, (3, 150)).astype(np.uint16)
    np.testing.assert_allclose(banded_correlation(planes, 2), naive(planes, 2), rtol=0, atol=1e-6)
    extremes = np.random.default_rng(0).integers(0, 2, (4, 64, 128)).astype(np.uint16) * 65535
    np.testing.assert_allclose(banded_correlation(extremes, 3), naive(extremes, 3), rtol=0, atol=1e-6)


def test_equal_and_inverse_planes():
    plane = np.random.default_rng(0).integers(0, 3, (300, 300)).astype(np.uint16)
    result = banded_correlation(np.stack([plane, plane, 2 - plane]), 2)
    np.testing.assert_allclose(result[0], [1, 1, -1], rtol=0, atol=1e-12)


@pytest.mark.parametrize(("low", "high", "dtype", "error"), [
    (0, 1, "uint8", 1e-12), (0, 255, "uint8", 1e-7), (60000, 60001, "uint16", 1e-12), (60000, 60001, "float32", 1e-12),
    (0, 65535, "uint16", 3e-6), (0.1, 0.7, "float32", 3e-6),
])  # fmt: skip
def test_planes_of_two_values(low, high, dtype, error):
    planes = np.where(series(3, (512, 512)) > 1, high, low).astype(dtype)
    np.testing.assert_allclose(banded_correlation(planes, 2), naive(planes, 2), rtol=0, atol=error)


def test_nan_and_infinite_pixels_are_left_out_of_their_pairs():
    planes = series(6, (40, 30)).astype(np.float32)
    planes[1, :20] = np.nan
    planes[2, 5, 5] = np.inf
    planes[3, :, 7:] = np.nan
    planes[3, 0, 0] = -np.inf
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = banded_correlation(planes, 5)
    np.testing.assert_allclose(result, naive(planes, 5), rtol=0, atol=1e-6)


@pytest.mark.parametrize(("offset", "error"), [(10, 1e-6), (1000, 1e-6), (10000, 1e-5)])
def test_common_pixels_far_from_the_mean_of_their_plane(offset, error):
    # What both planes use is far above the rest of either, with a contrast of 1: float32 sums cannot tell. The last
    # offset is beyond what is promised: the rows themselves are float32.
    planes = series(3, (90, 80)).astype(np.float32)
    planes[:, :40] += offset
    planes[0, 60:] = np.nan
    planes[1, 40:60] = np.nan
    planes[2, :, ::2] = np.nan
    np.testing.assert_allclose(banded_correlation(planes, 2), naive(planes, 2), rtol=0, atol=error)


@pytest.mark.parametrize("value", [0.0, 0.1, 60000.7, np.nan])
def test_constant_and_empty_planes_are_undefined(value):
    planes = series(6, (50, 47)).astype(np.float32)
    planes[2] = value
    planes[4] = np.nan
    planes[4, 3, 3] = 1
    result = banded_correlation(planes, 4)
    assert undefined_planes(result) == [2, 4]
    np.testing.assert_allclose(result, naive(planes, 4), rtol=0, atol=1e-6)
    stream = BandedCorrelation((50, 47), 4)
    stream.push(planes)
    assert stream.undefined == [2, 4]


def test_pixels_in_common_that_are_constant_have_no_coefficient():
    planes = series(3, (8, 9)).astype(np.float32)
    planes[0, :4] = 0.1
    planes[1, 4:] = np.nan
    result = banded_correlation(planes, 2)
    assert np.isnan(result[0, 1]) and np.isfinite(result[0, 2]) and np.isfinite(result[1, 1])


def test_planes_without_a_pixel_in_common():
    planes = series(2, (8, 9)).astype(np.float32)
    mask = np.zeros((2, 8, 9), bool)
    mask[0, :4] = mask[1, 4:] = True
    np.testing.assert_array_equal(banded_correlation(planes, 1, mask), [[1, np.nan], [1, np.nan]])


@pytest.mark.parametrize("shape", [(1, 1), (1, 2), (2, 1)])
def test_tiny_planes(shape):
    planes = np.arange(3 * shape[0] * shape[1], dtype=np.uint8).reshape(3, *shape) ** 2
    np.testing.assert_allclose(banded_correlation(planes, 2), naive(planes, 2), rtol=0, atol=1e-6)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("contrast", [3, 20])
def test_planes_whose_sample_is_not_like_the_rest(dtype, contrast):
    # The sample is 64 pixels of every 4032; there planes are far from the mean of the rest, or nearly constant.
    planes = 100 + np.rint(series(6, (200, 210)) * contrast)
    sampled = (np.arange(42000) % 4032 < 64).reshape(200, 210)
    planes[1][sampled] = 0
    planes[2][sampled] = 250
    planes[3][sampled] = np.arange(sampled.sum()) % 2
    planes[4][sampled] = 7
    planes = np.clip(planes, 0, 255).astype(dtype)
    if dtype == "float32":
        planes[5][~sampled] *= 1e3
        planes[5][sampled] /= 1e3
    np.testing.assert_allclose(banded_correlation(planes, 5), naive(planes, 5), rtol=0, atol=1e-6)


def test_a_sample_is_believed_only_within_the_contrast_of_all_pixels():
    rng = np.random.default_rng(0)
    planes = rng.normal(1000, 50, (4, 200, 210)).astype(np.float32)
    planes[1].reshape(-1)[np.arange(42000) % 4032 < 64] += 2000
    planes[2, 199, 209] = np.nan
    planes[3] = 3
    sampled = sampled_scaling(planes)
    assert sampled.is_sure.tolist() == [True, True, True, False]
    off = abs(planes[:2].mean(axis=(1, 2), dtype=np.float64) - sampled.scaling[:2, 0] - sampled.mean[:2])
    assert (off <= sampled.tolerance[:2]).tolist() == [True, False]
    assert (sampled.tolerance[:3] <= planes[:3].std(axis=(1, 2))).tolist() == [True, True, False]
    few = sampled_scaling(planes[:, :100, :100])
    np.testing.assert_allclose(few.tolerance[0], planes[0, :100, :100].std(), rtol=1e-5)


@pytest.mark.parametrize(("dtype", "mean", "contrast"), [
    ("uint16", 65500, 3), ("uint16", 30000, 9000), ("uint16", 5000, 335), ("uint16", 1000, 150), ("uint8", 250, 1),
    ("float32", 1e7, 30), ("float32", -1e-3, 1e-6),
    ("float32", 1e12, 1e8), ("float32", 0.5, 1e-5), ("float32", 3e6, 0.3),
])  # fmt: skip
@pytest.mark.parametrize("max_lag", [3, 30])
def test_high_backgrounds_and_small_contrasts(dtype, mean, contrast, max_lag):
    planes = mean + series(max_lag + 2, (150, 151), seed=4) * contrast
    if dtype != "float32":
        planes = np.clip(np.rint(planes), 0, np.iinfo(dtype).max)
    planes = planes.astype(dtype)
    np.testing.assert_allclose(banded_correlation(planes, max_lag), naive(planes, max_lag), rtol=0, atol=1e-6)


def test_pixels_outside_the_sample_that_are_not_finite():
    planes = series(5, (200, 210)).astype(np.float32)
    planes[1, 100, 100] = np.nan
    planes[3, 190:, 100] = np.inf
    planes[4, 0, 70] = -np.inf
    np.testing.assert_allclose(banded_correlation(planes, 4), naive(planes, 4), rtol=0, atol=1e-6)
    np.testing.assert_allclose(banded_correlation(planes, 1), naive(planes, 1), rtol=0, atol=1e-6)


@pytest.mark.parametrize("max_lag", [5, 30])
def test_the_number_of_threads_does_not_change_the_result(max_lag, monkeypatch):
    monkeypatch.setattr(similarity, "_LEAST_OF_THREADS", 1)
    planes = series(60, (150, 140)).astype(np.float32)
    planes[33, 40:] = np.nan
    results = []
    for n_threads in (1, 2, 7):
        stream = BandedCorrelation(planes.shape[1:], max_lag, block=16, n_threads=n_threads)
        results.append(np.concatenate([stream.push(planes[:20]), stream.push(planes[20:]), stream.finish()]))
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_array_equal(results[0], results[2])
    np.testing.assert_allclose(results[0], naive(planes, max_lag), rtol=0, atol=1e-6)


@pytest.mark.parametrize(("n", "max_lag", "width"), [(5, 3, 240), (50, 26, 480), (7, 24, 3840), (3, 300, 960)])
def test_products_of_a_band(n, max_lag, width):
    rows = np.random.default_rng(0).integers(-9, 9, (2, max_lag + n + 1, width)).astype(np.float32)[:, 1:]
    flat = rows.swapaxes(0, 1).reshape(max_lag + n, -1)
    expected = [[flat[max_lag + i] @ flat[max_lag + i - d] for d in range(max_lag + 1)] for i in range(n)]
    np.testing.assert_array_equal(band_products(rows, max_lag), expected)


@given(st.lists(st.integers(1, 30), min_size=1, max_size=9), st.integers(1, 30), st.booleans())
@settings(max_examples=25, deadline=None)
def test_chunks_do_not_change_the_result(sizes, max_lag, has_nan):
    planes = series(sum(sizes), (12, 13)).astype(np.float32)
    if has_nan:
        planes[len(planes) // 2, 3:5] = np.nan
    whole = BandedCorrelation((12, 13), max_lag, block=8)
    expected = np.concatenate([whole.push(planes), whole.finish()])
    stream, rows, start = BandedCorrelation((12, 13), max_lag, block=8), [], 0
    for size in sizes:
        rows.append(stream.push(planes[start : start + size]))
        start += size
    rows.append(stream.finish())
    np.testing.assert_array_equal(np.concatenate(rows), expected)
    np.testing.assert_allclose(expected, naive(planes, max_lag), rtol=0, atol=1e-6)


def test_rows_come_as_soon_as_their_block_is_done():
    stream, planes = BandedCorrelation((6, 6), 5, block=4), series(16, (6, 6)).astype(np.float32)
    assert [len(stream.push(planes[i : i + 2])) for i in range(0, 16, 2)] == [0, 0, 0, 3, 0, 4, 0, 4]
    assert len(stream.finish()) == 5
    assert len(stream.finish()) == 0


@given(st.integers(0, 2**32 - 1), st.integers(2, 12))
@settings(max_examples=25, deadline=None)
def test_scale_and_offset_do_not_matter(seed, n):
    rng = np.random.default_rng(seed)
    planes = rng.integers(0, 100, (n, 7, 9)).astype(np.float32)
    other = planes * rng.uniform(0.01, 100, (n, 1, 1)).astype(np.float32) + rng.uniform(-99, 99, (n, 1, 1))
    first, second = (banded_correlation(p.astype(np.float32), n - 1) for p in (planes, other))
    np.testing.assert_allclose(first, second, rtol=0, atol=2e-6)
    backwards = full_matrix(banded_correlation(planes[::-1], n - 1))[::-1, ::-1]
    np.testing.assert_allclose(full_matrix(first), backwards, rtol=0, atol=1e-6)


@given(st.integers(2, 12), st.data())
@settings(max_examples=30, deadline=None)
def test_matrix_and_half_strip(n, data):
    max_lag = data.draw(st.integers(1, n - 1))
    matrix = full_matrix(banded_correlation(series(n, (4, 5)).astype(np.float32), max_lag))
    np.testing.assert_array_equal(matrix, matrix.T)
    far = np.abs(np.subtract.outer(np.arange(n), np.arange(n))) > max_lag
    np.testing.assert_array_equal(np.isnan(matrix), far)
    np.testing.assert_array_equal(full_matrix(half_strip_of(matrix, max_lag)), matrix)


@pytest.mark.parametrize("some_excluded", [False, True])
def test_memory_is_as_stated(some_excluded):
    planes = series(150, (128, 130)).astype(np.float32)
    if some_excluded:
        planes[::7, 3, 4] = np.nan
        planes[5, 10:] = 1
        planes[5, 3] = np.nan
    stated = peak_bytes((128, 130), 20, some_excluded=some_excluded)
    tracemalloc.start()
    stream = BandedCorrelation((128, 130), 20)
    for start in range(0, 150, 10):
        stream.push(planes[start : start + 10])
    stream.finish()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert 0.5 * stated < peak <= stated


def test_memory_of_a_usual_stack():
    assert peak_bytes((1024, 1024), 50) <= 1 << 30
    assert peak_bytes((1024, 1024), 50, some_excluded=True) <= 1 << 30


@pytest.mark.parametrize("masked", ["not", "common", "nan"])
def test_on_a_device(masked):
    planes = series(7, (20, 70)).astype(np.float32)
    mask = np.random.default_rng(0).random((20, 70)) > 0.3 if masked == "common" else None
    if masked == "nan":
        planes[3, 2:9] = np.nan
    expected = banded_correlation(planes, 3, mask)
    with shim.installed():
        on_device = banded_correlation(shim.asarray(planes), 3, None if mask is None else shim.asarray(mask))
    assert isinstance(on_device, np.ndarray)
    np.testing.assert_allclose(on_device, expected, rtol=0, atol=1e-5)


def test_moments_are_those_of_numpy():
    planes = series(2, (200, 170)).astype(np.float32) + 1000
    out = np.empty((2, 3, 3))
    plane_moments(planes, np.ones((1, 1, 1), np.uint8), out)
    parts = [planes.reshape(2, -1).astype(np.float64)[:, s : s + similarity_rows.SEGMENT] for s in (0, 16384, 32768)]
    for moment, of in ((0, np.size), (1, np.mean), (2, lambda p: np.var(p) * np.size(p))):
        np.testing.assert_allclose(out[..., moment].T, [[of(row) for row in part] for part in parts], rtol=1e-6)


def test_rows_are_laid_out_in_tiles():
    planes, out = np.arange(12, dtype=np.uint8).reshape(1, 3, 4), np.full((4, 3, 4), 9, np.float32)
    mask, used = np.ones((1, 3, 4), np.uint8), np.full((4, 3, 4), 9, np.uint8)
    mask[0, 1, 1] = 0
    centred_rows(planes, mask, np.array([[1, 0.5, 2, 0]], np.float32), out, 1)
    used_rows(planes, mask, used, 1)
    np.testing.assert_array_equal(out[:, 1], [[-3, -1, 1, 3], [5, 0, 9, 11], [13, 15, 17, 19], [0, 0, 0, 0]])
    np.testing.assert_array_equal(used[:, 1], [[1, 1, 1, 1], [1, 0, 1, 1], [1, 1, 1, 1], [0, 0, 0, 0]])
    assert (out[:, [0, 2]] == 9).all() and (used[:, [0, 2]] == 9).all()


@pytest.mark.parametrize(
    ("shape", "max_lag", "says"),
    [((0, 3, 3), 1, "planes"), ((3, 3), 1, "planes"), ((1, 3, 3), 1, "at least two"), ((4, 3, 3), 0, "1 to 3"),
     ((4, 3, 3), 4, "1 to 3"), ((4, 0, 3), 1, "planes")],
)  # fmt: skip
def test_refuses_stacks_and_reaches(shape, max_lag, says):
    with pytest.raises(ParameterError, match=says):
        banded_correlation(np.zeros(shape, np.float32), max_lag)


def test_refuses_what_does_not_fit():
    planes = np.zeros((4, 3, 3), np.uint8)
    with pytest.raises(ParameterError, match="int32"):
        banded_correlation(planes.astype(np.int32), 1)
    for mask in (np.ones((3, 3, 3), bool), np.ones((3, 4), bool), np.ones(9, bool)):
        with pytest.raises(ParameterError, match="mask"):
            banded_correlation(planes, 1, mask)
    with pytest.raises(ParameterError, match="shape"):
        BandedCorrelation((3, 4), 1).push(planes)
    for shape, max_lag, block in (((3, 4), 0, None), ((0, 4), 1, None), ((3, 4), 1, 0)):
        with pytest.raises(ParameterError, match="at least"):
            BandedCorrelation(shape, max_lag, block=block)
    with pytest.raises(ParameterError, match="square"):
        half_strip_of(np.zeros((3, 4)), 1)
    with pytest.raises(ParameterError, match="1 to 2"):
        half_strip_of(np.zeros((3, 3)), 3)
