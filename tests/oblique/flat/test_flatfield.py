"""Flat field, dark offset, and rounding to a type."""

from __future__ import annotations

import numpy as np
import pytest

from gpustitch.errors import ParameterError
from gpustitch.oblique.flat.flatfield import check_scaled_flat, flat_counts, flattened, inverse_flat, normalized_flat


@pytest.mark.parametrize("shape", [(1, 1, 1), (4, 3, 5), (2, 70, 1001), (1, 1, 70000), (0, 3, 5)])
@pytest.mark.parametrize("everywhere", [False, True])
@pytest.mark.parametrize("truncate", [False, True])
def test_counts_follow_their_definition(shape, everywhere, truncate):
    rng = np.random.default_rng(0)
    images = rng.normal(30000, 30000, shape).astype(np.float32)
    gain = rng.uniform(0.5, 3, (1, 1) if everywhere else shape[1:]).astype(np.float32)
    out = np.empty(shape, np.uint16)
    flat_counts(images, gain, out, 100.0, truncate)
    value = (images - np.float32(100)) * gain
    expected = np.clip(np.trunc(value) if truncate else np.rint(value), 0, 65535)
    np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize("truncate", [False, True])
def test_float_counts_are_neither_rounded_nor_clipped(truncate):
    images = np.array([[[-3.25, 0.3, 7e9, 101.5]]], np.float32)
    out = np.empty_like(images)
    flat_counts(images, np.full((1, 1), 0.5, np.float32), out, 1.0, truncate)
    np.testing.assert_array_equal(out, (images - np.float32(1)) * np.float32(0.5))


def as_type(values, dtype, *, truncate=False):
    images = np.array([[values]], np.float32)
    return flattened(images, np.ones((1, 1), np.float32), np.dtype(dtype), 0.0, truncate=truncate).reshape(-1)


def test_rounding_clips_and_never_wraps():
    values = [-3.0, -0.5, 0.49, 0.5, 1.5, 2.51, 65534.6, 65535.4, 7e4, np.inf, -np.inf, np.nan]
    assert as_type(values, np.uint16).tolist() == [0, 0, 0, 0, 2, 3, 65535, 65535, 65535, 65535, 0, 0]
    assert as_type(values[:-1], np.uint8).tolist() == [0, 0, 0, 0, 2, 3, 255, 255, 255, 255, 0]
    assert as_type([-1.5, 2.5, -1.9], np.int16, truncate=True).tolist() == [-1, 2, -1]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int8, np.int16, np.int32, np.uint32])
def test_every_whole_type_ends_at_its_limits(dtype):
    limits = np.iinfo(dtype)
    assert as_type([-1e12, 1e12, 3.5, 2.5], dtype).tolist() == [limits.min, limits.max, 4, 2]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_floats_stay_floats(dtype):
    found = as_type([-3.25, 0.1, 7e9], dtype)
    assert found.dtype == dtype
    assert found.tolist() == np.array([-3.25, 0.1, 7e9], np.float32).tolist()


def test_flat_undoes_what_it_describes():
    rng = np.random.default_rng(0)
    flat = normalized_flat(rng.uniform(100, 900, (30, 41)))
    assert flat.dtype == np.float32
    assert flat.max() == 1
    light, out = rng.integers(0, 5000, (3, 30, 41)), np.empty((3, 30, 41), np.uint16)
    flat_counts((light * flat + 100).astype(np.float32), inverse_flat(flat), out, 100.0, False)
    np.testing.assert_array_equal(out, light)


def test_where_no_light_fell_nothing_was_seen():
    flat = np.array([[1.0, 0.0], [0.5, 0.0]], np.float32)
    assert inverse_flat(flat).tolist() == [[1, 0], [2, 0]]
    out = np.empty((1, 2, 2), np.uint16)
    flat_counts(np.full((1, 2, 2), 300, np.float32), inverse_flat(flat), out, 0.0, False)
    assert out.tolist() == [[[300, 0], [600, 0]]]


@pytest.mark.parametrize(
    ("flat", "text"),
    [
        (np.array([[1, np.nan]]), "NaN"),
        (np.array([[1, np.inf]]), "infinity"),
        (np.array([[1, -0.1]]), "negative"),
        (np.zeros((2, 2)), "above zero"),
        (np.ones(4), "2-D"),
        (np.ones((2, 2, 2)), "2-D"),
        (np.ones((0, 2)), "2-D"),
    ],
)
def test_bad_flats_are_refused(flat, text):
    with pytest.raises(ParameterError, match=text):
        normalized_flat(flat)


def test_a_flat_in_counts_is_not_taken_for_a_scaled_one():
    check_scaled_flat(np.ones((3, 3), np.float32))
    check_scaled_flat(np.full((3, 3), 0.2))
    with pytest.raises(ParameterError, match="scaled to maximum 1"):
        check_scaled_flat(np.full((3, 3), 200))
