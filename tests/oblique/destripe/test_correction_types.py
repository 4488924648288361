"""Types of corrected frames: kept, or stated; nothing is lost without a word."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpustitch.errors import DamagedInputError, ParameterError
from gpustitch.oblique.destripe.correction import Correction
from gpustitch.oblique.destripe.lightsheet import LightsheetOptions
from gpustitch.oblique.destripe.wavelet_options import WaveletOptions

METHODS = ("none", "wavelet", "lightsheet")
WHOLE = (np.uint8, np.int8, np.uint16, np.int16, np.uint32, np.int32)
SHAPE = (20, 26)
FLAT = np.linspace(0.4, 1, SHAPE[0] * SHAPE[1], dtype=np.float32).reshape(SHAPE)


def correction(method="none", *, dtype="keep", flat=FLAT, dark=3.0, one_count=1.0):
    waves = WaveletOptions(4, 4, wavelet="db2", one_count=one_count)
    return Correction(method, waves, LightsheetOptions(9, 7, lightsheet_vs_background=0.5), flat, dark, dtype)


def striped(dtype, seed=0, most=None):
    """A frame with stripes along the rows, from 0 to ``most`` (as much as a type of 8 bits or 4000)."""
    rng = np.random.default_rng(seed)
    most = most or min(4000, np.iinfo(dtype).max if np.dtype(dtype).kind in "ui" else 4000)
    light = rng.uniform(0.2, 1, SHAPE) * rng.uniform(0.6, 1, (SHAPE[0], 1))
    return (light * most).astype(dtype)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", [*WHOLE, np.float32, np.float64])
def test_a_type_is_kept_and_whole_results_are_rounded_ones(method, dtype):
    frame = striped(dtype)
    job = correction(method)
    found, exact = job.apply(frame), job.apply(frame.astype(np.float32))
    assert found.dtype == dtype == job.result_type(frame.dtype)
    if np.dtype(dtype).kind in "ui":
        limits = np.iinfo(dtype)
        np.testing.assert_array_equal(found, np.clip(np.rint(exact.astype(float)), limits.min, limits.max))
    else:
        np.testing.assert_array_equal(found, exact)


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(METHODS), st.floats(1e-6, 1e6), st.integers(0, 99))
def test_floats_may_have_any_unit(method, scale, seed):
    frame = striped(np.float32, seed)
    expected = correction(method).apply(frame)
    scaled = correction(method, dark=3.0 * scale, one_count=scale).apply((frame * scale).astype(np.float32))
    # A difference cancels digits: the tolerance is a share of the brightest pixel.
    np.testing.assert_allclose(scaled / scale, expected, rtol=1e-4, atol=1e-5 * frame.max())


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(METHODS),
    st.sampled_from([*WHOLE, np.float32, np.float64]),
    st.sampled_from(["keep", "uint8", "uint16", "float32"]),
    st.floats(-1, 2),
    st.floats(0.001, 2),
    st.integers(0, 99),
)
def test_no_value_is_lost_without_a_word(method, dtype, stated, low, width, seed):
    """Whatever the frames hold: refused, or as computed in floats; and each pixel that is cut off is counted."""
    whole = np.dtype(dtype).kind in "ui"
    unit = np.iinfo(dtype).max if whole else 10.0**seed % 9e4
    values = np.random.default_rng(seed).uniform(low, low + width, SHAPE) * unit
    frame = np.clip(values, np.iinfo(dtype).min, unit).astype(dtype) if whole else values.astype(dtype)
    job = correction(method, dtype=stated, dark=5.0)
    try:
        found = job.apply(frame)
    except ParameterError:
        assert stated == "keep"
        assert (method != "none" and frame.min() < 0) or np.abs(frame.astype(float)).max() > 2**24
        return
    exact = correction(method, dtype="float32", dark=5.0).apply(frame).astype(float)
    negative = frame < 0 if found.dtype.kind == "u" or method != "none" else np.zeros(SHAPE, bool)
    if found.dtype.kind == "f":
        np.testing.assert_array_equal(found, exact.astype(found.dtype))
        assert job.n_cut_off(frame, found) == negative.sum()
        return
    # An unsigned type ends at 0, where the dark offset puts what is no light.
    same = (np.abs(found - exact) <= 0.5) | ((exact <= 0) & (found == 0) & (found.dtype.kind == "u"))
    saturated = (frame == np.iinfo(found.dtype).max) & (frame.dtype == found.dtype)
    assert (~same & ~saturated & ~negative).sum() <= job.n_cut_off(frame, found)
    assert same.all() or saturated.any() or job.n_cut_off(frame, found) > 0


def test_saturated_pixels_stay_saturated_and_are_no_loss():
    frame = np.array([[255, 250, 100]], np.uint8)
    job = correction(flat=np.array([[1, 0.5, 0.5]], np.float32), dark=0.0)
    assert job.apply(frame).tolist() == [[255, 255, 200]]
    assert job.n_cut_off(frame, job.apply(frame)) == 1


@pytest.mark.parametrize("method", ["wavelet", "lightsheet"])
@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int32, np.float32, np.float64])
def test_values_below_0_are_destriped_only_if_they_may_be_cut_off(method, dtype):
    frame = (striped(np.float64, most=100) - 40).astype(dtype)
    with pytest.raises(ParameterError, match=r"values down to -.*state the `dtype`"):
        correction(method).apply(frame)
    stated = correction(method, dtype="float32")
    np.testing.assert_array_equal(stated.apply(frame), stated.apply(np.maximum(frame, 0)))
    assert stated.n_cut_off(frame, stated.apply(frame)) == (frame < 0).sum() > 0


def test_values_below_0_that_are_not_destriped_are_kept():
    frame = np.array([[-100, 50]], np.int16)
    job = correction(flat=np.array([[0.5, 1]], np.float32), dark=10.0)
    assert job.apply(frame).tolist() == [[-220, 40]]
    assert job.n_cut_off(frame, job.apply(frame)) == 0
    low = np.array([[-128, -127]], np.int8)
    assert job.apply(low).tolist() == [[-128, -128]]
    assert job.n_cut_off(low, job.apply(low)) == 1


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
def test_a_pixel_without_a_value_never_reaches_others(method, value):
    frame = striped(np.float64)
    frame[3, 4] = value
    for stated in ("keep", "uint16"):
        with pytest.raises(DamagedInputError, match="1 of the 520 pixels"):
            correction(method, dtype=stated).apply(frame)


@pytest.mark.parametrize("dtype", [np.uint32, np.int32])
def test_digits_are_lost_only_where_a_type_is_stated(dtype):
    frame = np.full(SHAPE, 2**24 + 1, dtype)
    with pytest.raises(ParameterError, match="16777217, and whole numbers above 16777216"):
        correction().apply(frame)
    assert correction(flat=None, dark=1.0, dtype="float32").apply(frame)[0, 0] == 2**24 - 1


@pytest.mark.parametrize("dtype", [bool, np.complex64, np.float16, np.int64, np.uint64])
def test_types_that_cannot_be_kept_are_refused(dtype):
    frame = np.ones(SHAPE, dtype)
    with pytest.raises(ParameterError, match=f"pixels of {np.dtype(dtype)} cannot keep"):
        correction().apply(frame)
    if np.dtype(dtype).kind in "uif":
        assert correction(flat=None, dark=0.0, dtype="uint16").apply(frame).tolist() == np.ones(SHAPE, int).tolist()


def test_a_stated_type_alone_is_a_conversion():
    job = Correction(dtype="uint8")
    assert not job.is_identity
    assert job.apply(np.array([[0.4, 1.6, 300.0]], np.float32)).tolist() == [[0, 2, 255]]
    with pytest.raises(ParameterError, match="`dtype` must be one of keep, uint8"):
        Correction(dtype="int64")


def test_frames_of_fractions_are_told_of():
    fractions, counts = striped(np.float32, most=1), striped(np.float32)
    assert "`one_count`" in correction("wavelet").caution_about(fractions)
    assert correction("wavelet", dark=0.0, one_count=1 / 65535).caution_about(fractions) == ""
    assert "nothing is left" in correction("wavelet", dark=3.0, one_count=1 / 65535).caution_about(fractions)
    assert "keeps no more than 0 and 1" in correction("lightsheet", dtype="uint16").caution_about(fractions)
    for method in METHODS:
        assert correction(method).caution_about(counts) == ""
        assert correction(method).caution_about(striped(np.uint16)) == ""
    assert correction("lightsheet").caution_about(fractions) == ""
    with pytest.raises(ParameterError, match="`one_count` must be"):
        WaveletOptions(one_count=0)


@pytest.mark.parametrize("dtype", WHOLE)
def test_a_dark_beyond_the_type_is_refused(dtype):
    """A frame of zeros would be the result."""
    greatest = float(np.iinfo(dtype).max)
    with pytest.raises(ParameterError, match=r"`dark` is .*nothing would be left"):
        correction(dark=greatest).apply(striped(dtype))
    correction(dark=np.floor(greatest / 2)).apply(striped(dtype))


def test_what_the_guarded_filter_keeps_below_0_is_not_counted_as_cut_off():
    frame = striped(np.float32) - np.float32(900)
    job = Correction("wavelet", WaveletOptions(notch_length_px=50))
    corrected = job.apply(frame)
    assert corrected.min() < 0 and job.n_cut_off(frame, corrected) == 0
    whole = Correction("wavelet", job.wavelet, dtype="uint16")
    assert whole.n_cut_off(frame, whole.apply(frame)) >= np.count_nonzero(frame < 0)


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_an_offset_that_leaves_nothing_is_warned_about(dtype):
    frame = striped(dtype)
    most = float(frame.max())
    for method in ("none", "wavelet"):
        assert "nothing is left of it" in Correction(method, dark=most).caution_about(frame)
        assert not Correction(method, dark=most - 1).caution_about(frame)
        assert not Correction(method, dark=most).caution_about(np.zeros_like(frame))
    # It takes the offset with the background.
    assert not Correction("lightsheet", dark=most).caution_about(frame)


@pytest.mark.parametrize("method", ["none", "lightsheet"])
def test_the_length_of_a_notch_that_is_not_used_is_refused(method):
    with pytest.raises(ParameterError, match=f"`notch_length_px` is of `method` wavelet, but `method` is {method}"):
        Correction(method, WaveletOptions(notch_length_px=300))


NO_IMAGES = (1.0, "a", (1, 2), [[1, 2], [3]], {}, True, b"a", 10**400, FLAT.astype(complex), FLAT > 0, FLAT[None])
NO_COUNTS = ("a", None, (1, 2), [[1, 2], [3]], {}, b"a", 1j, 10**400, float("nan"), float("inf"), -1, FLAT)


@pytest.mark.parametrize("wrong", NO_IMAGES)
def test_a_flat_that_is_no_image_of_numbers_is_refused_as_such(wrong):
    with pytest.raises(ParameterError, match="the flat field"):
        Correction(flat=wrong)


@pytest.mark.parametrize("name", ["dark", "method", "dtype", "wavelet", "lightsheet"])
@pytest.mark.parametrize("wrong", NO_COUNTS)
def test_what_is_no_count_or_no_choice_is_refused_by_name(name, wrong):
    with pytest.raises(ParameterError, match=f"`{name}`"):
        Correction(**{name: wrong})


@pytest.mark.parametrize("length", [0, -1, 0.5, 1.5, 1e30, 10**30, float("nan"), float("inf")])
def test_lengths_of_windows_are_whole_numbers_that_pixels_have(length):
    for name in ("artifact_length", "background_window_size"):
        with pytest.raises(ParameterError, match=f"`{name}`"):
            LightsheetOptions(**{name: length})
