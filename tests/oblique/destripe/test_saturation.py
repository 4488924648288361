"""Saturated pixels and padding, with every method: sensors of many depths, any share, offsets, margins on any side."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpustitch.oblique.destripe.correction import Correction
from gpustitch.oblique.destripe.lightsheet import LightsheetOptions
from gpustitch.oblique.destripe.saturation import full_scale, keep_ends
from gpustitch.oblique.destripe.wavelet import destripe_wavelet
from gpustitch.oblique.destripe.wavelet_options import WaveletOptions

SHAPE = (38, 53)
WAVES = {"dual": WaveletOptions(3, 9, wavelet="db2"), "single": WaveletOptions(12, 12), "fore": WaveletOptions(8, 0)}


@dataclass(frozen=True)
class Scene:
    """A striped frame of a sensor: ``margins`` of zeros above, below, left and right; ``scale`` inf if none is met."""

    frame: np.ndarray
    scale: float
    padding: np.ndarray


@st.composite
def scenes(draw):
    bits = draw(st.sampled_from([8, 10, 12, 14, 16]))
    most = 2**bits - 1
    dtypes = [np.uint16, np.int32, np.float32] if bits > 8 else [np.uint8, np.uint16, np.float32]
    share, offset = draw(st.sampled_from([0.0, 0.001, 0.03, 0.2, 0.5])), draw(st.sampled_from([0, 0.02, 0.1]))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    stripes = 1 + draw(st.sampled_from([0, 0.05, 0.4])) * rng.uniform(-1, 1, (SHAPE[0], 1))
    light = rng.gamma(3, 1, SHAPE) * stripes
    if draw(st.booleans()):  # a block, so that what is saturated lies together
        light[10:30, 10:45] *= 4
    # Without saturation the brightest pixel is at two thirds of the range.
    light *= (most * (1 - offset)) / (np.quantile(light, 1 - share) if share else light.max() * 1.5)
    frame = np.minimum(np.rint(light + offset * most), most).astype(draw(st.sampled_from(dtypes)))
    margins = draw(st.tuples(*[st.sampled_from([0, 0, 5, 12])] * 4))
    frame = np.maximum(frame, 1)
    padded = np.pad(frame, (margins[:2], margins[2:]))
    return Scene(padded, float(most) if share else math.inf, padded == 0)


@settings(max_examples=40, deadline=None)
@given(scenes(), st.sampled_from(list(WAVES)), st.sampled_from([0.0, 3.0]))
def test_the_wavelet_method_moves_neither_end(scene, name, dark):
    assert full_scale(scene.frame[None]) == scene.scale
    job = Correction("wavelet", WAVES[name], dark=dark, dtype="float32")
    result = job.apply(scene.frame) + np.float32(dark)
    free = destripe_wavelet(scene.frame, WAVES[name])
    expected = np.minimum(free, scene.scale)
    expected[scene.padding] = 0
    expected[scene.frame == scene.scale] = scene.scale
    np.testing.assert_allclose(result, expected, atol=1e-2)
    compat = WaveletOptions(3, 9, wavelet="db2", compat=True)
    as_before = Correction("wavelet", compat, dtype="float32").apply(scene.frame)
    np.testing.assert_array_equal(as_before, destripe_wavelet(scene.frame, compat))


@settings(max_examples=30, deadline=None)
@given(scenes(), st.sampled_from(["none", "wavelet", "lightsheet"]), st.booleans())
def test_no_method_makes_more_of_a_saturated_pixel(scene, method, is_lit_unevenly):
    """Also in the type of the frames. The flat comes after: it raises all pixels of a place alike."""
    flat = np.linspace(0.5, 1, scene.frame.size, dtype=np.float32).reshape(scene.frame.shape)
    sheet = LightsheetOptions(21, 30)
    job = Correction(method, WAVES["dual"], sheet, flat if is_lit_unevenly else None)
    result = job.apply(scene.frame).astype(float) * (flat if is_lit_unevenly else 1)
    assert (result <= np.minimum(scene.scale, 2.0**16) + 1).all()
    assert (result[scene.padding] == 0).all()
    is_saturated = scene.frame == scene.scale
    if method != "lightsheet":
        limit = np.iinfo(scene.frame.dtype).max if scene.frame.dtype.kind != "f" else math.inf
        kept = scene.scale if not is_lit_unevenly else np.minimum(scene.scale, limit * flat)[is_saturated]
        np.testing.assert_allclose(result[is_saturated], kept, atol=0.51)
    else:
        # Counts above the background have no full scale; a saturated pixel is the least that it may be.
        assert (result <= scene.frame.astype(float) + 1).all()


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from([0.3, 2, 40, 270, 3000]), st.sampled_from([1, 3, 16, 257]), st.integers(0, 99),
    st.sampled_from(["poisson", "uniform", "steps"]), st.sampled_from([np.uint16, np.int32, np.float32]),
)  # fmt: skip
def test_honest_frames_have_no_full_scale(mean, spacing, seed, kind, dtype):
    """Few counts, counts with gaps, noise-free tissue: the brightest pixels are not more than they should be."""
    rng = np.random.default_rng(seed)
    frame = {
        "poisson": rng.poisson(mean, SHAPE),
        "uniform": rng.integers(0, max(2, int(mean)), SHAPE, endpoint=True),
        "steps": np.rint(mean * (1 + rng.integers(0, 5, (SHAPE[0], 1)) + np.zeros(SHAPE))),
    }[kind] * spacing
    frame = frame.astype(dtype)
    if math.log2(float(frame.max()) + 1).is_integer():
        frame[frame == frame.max()] -= 1
    assert full_scale(frame[None]) == math.inf


def test_a_frame_of_one_count_and_an_empty_one_have_no_full_scale():
    for value in (0, 1, 700):
        assert full_scale(np.full((1, *SHAPE), value, np.uint16)) == math.inf
    assert full_scale(np.zeros((2, 0, 4), np.uint16)).tolist() == [math.inf] * 2


@pytest.mark.parametrize("most", [3995, 65520, 0.25])
def test_a_plateau_is_a_full_scale(most):
    """Frames from which an offset was taken, 12 bits in the upper ones of 16, fractions."""
    light = np.minimum(np.random.default_rng(0).gamma(3, most / 6, SHAPE), most)
    frame = light.astype(np.float32) if most < 1 else np.rint(light).astype(np.uint16)
    assert full_scale(frame[None]) == np.float32(most)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint32, np.int32])
def test_the_maximum_of_a_type_is_always_a_full_scale(dtype):
    frames = np.full((2, *SHAPE), 9, dtype)
    frames[1, 3, 4] = np.iinfo(dtype).max
    assert full_scale(frames).tolist() == [math.inf, np.float32(np.iinfo(dtype).max)]
    destriped = frames.astype(np.float32) * 2
    keep_ends(frames, destriped)
    np.testing.assert_array_equal(destriped[0], 18)
    assert destriped[1, 3, 4] == np.float32(np.iinfo(dtype).max)
    assert destriped[1, 0, 0] == 18


def test_one_pixel_at_a_power_of_two_is_no_saturation():
    frame = np.random.default_rng(0).poisson(400, SHAPE).astype(np.uint16)
    frame[4, 5] = 4095
    assert full_scale(frame[None]) == math.inf
    frame[4, 6] = 4095
    assert full_scale(frame[None]) == 4095
