"""Whole planes of uint8, whose sums are exact."""

from __future__ import annotations

import tracemalloc
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpustitch.sections.similarity import banded as similarity
from gpustitch.sections.similarity.banded import BandedCorrelation, banded_correlation
from gpustitch.sections.similarity.blocks import peak_bytes
from gpustitch.sections.similarity.exact import ExactRows, exact_products
from tests.sections.similarity.test_banded import naive, series


def of_bytes(n, shape, seed=0):
    """Planes of uint8 each of which resembles the one before it."""
    return np.clip(np.rint(series(n, shape, seed) * 40 + 90), 0, 255).astype(np.uint8)


def assert_exact(found, planes):
    """Every coefficient is the one of whole numbers, but for the last digits of float64."""
    flat = planes.reshape(len(planes), -1).astype(np.int64)
    n, totals = flat.shape[1], [int(total) for total in flat.sum(axis=1)]
    for i, d in np.argwhere(np.arange(len(planes))[:, None] + np.arange(found.shape[1]) < len(planes)):
        of = [(i, i), (i + d, i + d), (i, i + d)]
        own, other, both = (n * int(flat[a] @ flat[b]) - totals[a] * totals[b] for a, b in of)
        if own == 0 or other == 0:
            assert np.isnan(found[i, d])
        else:
            square = Fraction(both * abs(both), own * other)
            assert abs(Fraction(found[i, d]) * abs(Fraction(found[i, d])) - square) <= Fraction(1, 10**15)


def streamed(planes, max_lag, sizes=None, **options):
    """The half strip of planes that come in chunks of these sizes, and then the rest."""
    stream, rows, start = BandedCorrelation(planes.shape[1:], max_lag, **options), [], 0
    for size in [*(sizes or []), len(planes)]:
        rows.append(stream.push(planes[start : start + size]))
        start += size
    return np.concatenate([*rows, stream.finish()])


@pytest.mark.parametrize("shape", [(1, 2), (3, 5), (40, 48), (41, 47), (70, 128)])
@pytest.mark.parametrize("max_lag", [1, 2, 3, 10, 23, 24, 25, 29])
def test_coefficients_are_those_of_whole_numbers(shape, max_lag):
    planes = of_bytes(30, shape)
    assert_exact(banded_correlation(planes, max_lag), planes)


@pytest.mark.parametrize(("low", "high"), [(0, 255), (0, 1), (254, 255), (127, 128)])
def test_planes_of_two_values(low, high):
    rng = np.random.default_rng(0)
    planes = np.where(rng.random((9, 64, 65)) < rng.uniform(0, 1, (9, 1, 1)) ** 9, high, low).astype(np.uint8)
    planes[4] = low
    assert_exact(banded_correlation(planes, 5), planes)


@pytest.mark.parametrize("max_lag", [1, 10, 24, 30])
@pytest.mark.parametrize("width", [1, 239, 1920, 1921, 5000])
def test_sums_at_the_ends_of_the_range(width, max_lag):
    pixels = np.random.default_rng(0).choice(np.array([-128, 127], np.int8), (max_lag + 9, width), p=[0.9, 0.1])
    pixels[max_lag + 3 :: 2] = -128
    products, sums = exact_products(pixels, max_lag, 1)
    wide = pixels.astype(np.int64)
    expected = [[wide[max_lag + i] @ wide[max_lag + i - d] for d in range(max_lag + 1)] for i in range(9)]
    np.testing.assert_array_equal(products, expected)
    np.testing.assert_array_equal(sums, wide[max_lag:].sum(axis=1))


@given(st.lists(st.integers(1, 20), max_size=6), st.integers(1, 27), st.integers(1, 50), st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_chunks_and_blocks_do_not_change_a_bit(sizes, max_lag, block, seed):
    planes = of_bytes(sum(sizes) + 2, (12, 13), seed)
    np.testing.assert_array_equal(streamed(planes, max_lag, sizes, block=block), streamed(planes, max_lag))


def test_threads_do_not_change_a_bit(monkeypatch):
    monkeypatch.setattr(similarity, "_LEAST_OF_THREADS", 1)
    planes = of_bytes(20, (150, 140))
    expected = streamed(planes, 7, n_threads=1)
    for n_threads in (2, 3, 50):
        np.testing.assert_array_equal(streamed(planes, 7, n_threads=n_threads), expected)


def test_numbers_beyond_64_bits():
    """Large planes that differ in few pixels, on the highest background there is."""
    planes = np.full((2, 4901, 4903), 255, np.uint8)
    planes[0, 0, :4] = planes[1, 0, 1:5] = 254
    n = planes[0].size
    assert n**2 * 127**2 > 2**63
    np.testing.assert_allclose(banded_correlation(planes, 1)[0, 1], (n * 3 - 16) / (n * 4 - 16), rtol=1e-15)


def test_identical_and_inverse_planes_are_so_exactly():
    planes = np.repeat(of_bytes(4, (61, 59)), 2, axis=0)
    planes[1::2] = 255 - planes[::2]
    found = banded_correlation(np.concatenate([planes, planes]), 8)
    np.testing.assert_array_equal(found[:8:2, 1], -1)
    np.testing.assert_array_equal(found[:8, 8], 1)


@pytest.mark.parametrize("n_before", [1, 5, 7, 8, 9, 16, 21, 30])
@pytest.mark.parametrize("then", ["excluded", "none excluded", "float32"])
def test_other_planes_may_follow(n_before, then):
    planes = of_bytes(34, (20, 23))
    planes[[3, 18, 33]] = 7
    masks = np.ones(planes.shape, bool)
    if then == "excluded":
        masks[n_before:] = np.random.default_rng(1).random(masks[n_before:].shape) > 0.2
    stream = BandedCorrelation((20, 23), 10, block=8)
    strips = [stream.push(planes[:n_before])]
    others = planes[n_before:].astype(np.float32 if then == "float32" else np.uint8)
    strips.append(stream.push(others, None if then == "float32" else masks[n_before:]))
    strips.append(stream.push(planes[:2]))
    found = np.concatenate([*strips, stream.finish()])
    expected = naive(np.concatenate([planes, planes[:2]]), 10, np.concatenate([masks, np.ones((2, 20, 23))]))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
    assert stream.undefined == [3, 18, 33]


@pytest.mark.parametrize("others_follow", [False, True])
def test_memory_is_less_than_stated(others_follow):
    planes, shape = of_bytes(150, (128, 130)), (128, 130)
    mask = np.random.default_rng(0).random((10, *shape)) > 0.1
    tracemalloc.start()
    stream = BandedCorrelation(shape, 20)
    for start in range(0, 150, 10):
        stream.push(planes[start : start + 10], mask if others_follow and start >= 80 else None)
    stream.finish()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak <= peak_bytes(shape, 20, some_excluded=others_follow) * (1 if others_follow else 0.6)


def test_rows_as_they_came():
    planes, rows = of_bytes(5, (9, 11)), ExactRows((9, 11), 2, 3)
    rows.take(planes[:3], 2)
    rows.correlate(3, 1)
    squares = rows.squared_deviations()
    np.testing.assert_allclose(squares[2:], planes[:3].var(axis=(1, 2)) * 99, rtol=1e-12)
    rows.take(planes[3:], 2)
    np.testing.assert_array_equal(rows.given_back()[:4].reshape(4, 9, 11), planes[1:])
