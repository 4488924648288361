"""The guarded notch: stripes go, cells and borders stay; laws that every frame obeys."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import ndimage

from gpustitch.oblique.destripe.guarded_notch import notch as module_of_notch
from gpustitch.oblique.destripe.guarded_notch.notch import Notch, destripe_guarded
from gpustitch.oblique.destripe.guarded_notch.window_grid import filled
from gpustitch.oblique.destripe.saturation import full_scale
from tests.cuda_cpu import module, shim

NOTCH = Notch(150, 3, "db3")
DTYPES = ["uint8", "uint16", "uint32", "float32", "float64", "int16"]
SIZES = [1, 2, 3, 31, 32, 33, 64, 90]


def scene(rows=128, columns=320, seed=0):
    """Tissue with a border, cells in it, narrow stripes, without noise: the ideal, the stripes, where cells are."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:rows, :columns]
    ideal = 400 + 100 * np.sin(x / 60) * np.cos(y / 40)
    ideal[:, columns // 2 :] *= 0.25
    cells = np.zeros(ideal.shape, bool)
    for top, left in zip(rng.integers(0, rows - 4, 40), rng.integers(0, columns - 6, 40), strict=True):
        cells[top : top + 4, left : left + 6] = True
    ideal[cells] += 3000
    stripes = rng.standard_normal((rows, 1))
    return ideal, np.exp(0.1 * (stripes - ndimage.gaussian_filter1d(stripes, 3, axis=0))), cells


def test_stripes_go_and_cells_and_borders_stay():
    ideal, stripes, cells = scene()
    frames = (ideal * stripes + 100)[None].astype(np.float32)
    error = destripe_guarded(frames, NOTCH, 100.0)[0] / ideal - 1
    before = stripes - 1 + 0 * ideal
    calm = ~cells
    assert error[calm].std() < 0.25 * before[calm].std()
    assert abs(error[cells].mean()) < 0.02
    border = calm & (abs(np.arange(320) - 160) < 40)
    assert error[border].std() < 0.25 * before[border].std()


def test_no_stripes_hardly_anything_changes():
    ideal, _, cells = scene()
    ratio = destripe_guarded((ideal + 100)[None].astype(np.float32), NOTCH, 100.0)[0] / ideal
    assert abs(ratio[~cells] - 1).mean() < 0.002
    assert abs(ratio[cells] - 1).mean() < 0.005


@st.composite
def frames_of(draw, most_frames=2):
    shape = (draw(st.integers(1, most_frames)), draw(st.sampled_from(SIZES)), draw(st.sampled_from(SIZES)))
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    dtype, most = draw(st.sampled_from(DTYPES)), 255
    frames = rng.gamma(4, draw(st.sampled_from([5, 20, 60])), shape) * np.exp(0.1 * rng.normal(size=(shape[1], 1)))
    frames[rng.random(shape) < draw(st.sampled_from([0, 0.05]))] = 0
    above, left = draw(st.sampled_from([(0, 0), (5, 0), (0, 40), (50, 50)]))
    frames[:, :above], frames[:, :, :left] = 0, 0
    return np.minimum(np.rint(frames), most).astype(dtype)


notches = st.builds(
    Notch, st.sampled_from([1.0, 40.0, 150.0, 4000.0]), st.integers(0, 5), st.sampled_from(["haar", "db3", "coif17"]),
    st.sampled_from([(), (1.0, 0.0, 0.5, 0.0, 1.0)]), st.booleans(),
)  # fmt: skip


@settings(max_examples=80)
@given(frames_of(), notches, st.sampled_from([0.0, 20.5, 1000.0]))
def test_the_ends_of_the_range_stay_and_frames_do_not_know_each_other(frames, notch, dark):
    out, scales = destripe_guarded(frames, notch, dark), full_scale(frames)
    assert (out.dtype, out.shape) == (np.float32, frames.shape)
    assert np.isfinite(out).all()
    assert (out[frames == 0] == 0).all()
    for frame, result, most in zip(frames, out, scales, strict=True):
        assert (result[frame == most] == most - np.float32(dark)).all()
        assert result[frame != 0].max(initial=-np.inf) <= most - dark
        np.testing.assert_array_equal(destripe_guarded(frame[None], notch, dark)[0], result)


@settings(max_examples=30)
@given(frames_of(), notches)
def test_the_type_of_the_counts_does_not_matter(frames, notch):
    frames[frames == 255] = 254  # the greatest count of one type alone
    out = {dtype: destripe_guarded(frames.astype(dtype), notch, 20.0) for dtype in DTYPES}
    for dtype in DTYPES:
        # What is cut off below 255 is saturated if the counts are floats.
        like = "float32" if dtype == "float64" or np.isinf(full_scale(frames.astype(np.float32))).all() else "uint16"
        np.testing.assert_array_equal(out[dtype], out[dtype if dtype == "float32" else like])


@settings(max_examples=20)
@given(st.tuples(st.sampled_from(SIZES), st.sampled_from(SIZES)), st.sampled_from([1, 200, 65535]), notches)
def test_a_constant_frame_only_loses_its_offset(shape, value, notch):
    frames = np.full((1, *shape), value, np.uint16)
    np.testing.assert_allclose(destripe_guarded(frames, notch, 0.5), value - 0.5, rtol=1e-5)


@settings(max_examples=20)
@given(frames_of(1), notches)
def test_twice_the_light_is_twice_the_result(frames, notch):
    # Far above the counts that are added before the logarithm, and nothing saturated.
    frames = frames.astype(np.float32) * 32
    once, twice = (destripe_guarded(f, notch, 0.0) for f in (frames, 2 * frames))
    assume(np.isinf(full_scale(frames)).all())
    np.testing.assert_allclose(twice, 2 * once, rtol=2e-4)


def test_any_counts_are_finite_in_the_result():
    frames = np.random.default_rng(0).uniform(1e19, 1e20, (1, 40, 70)).astype(np.float32)
    np.testing.assert_allclose(destripe_guarded(frames, NOTCH, 0.0), frames, rtol=0.9)


@pytest.mark.parametrize("axis", [1, 2])
def test_a_turned_frame_gives_the_turned_result(axis):
    ideal, stripes, _ = scene(64, 320)
    frames = (ideal * stripes)[None].astype(np.float32)
    notch = Notch(150, 3, "haar")
    turned = np.flip(destripe_guarded(np.flip(frames, axis).copy(), notch, 0.0), axis)
    np.testing.assert_allclose(turned, destripe_guarded(frames, notch, 0.0), rtol=1e-4)


@pytest.mark.parametrize("shape", [(1, 1), (1, 90), (4, 90)])
def test_too_few_rows_for_a_level_only_lose_their_offset(shape):
    frames = np.random.default_rng(0).integers(30, 200, (2, *shape), np.uint16)
    np.testing.assert_allclose(destripe_guarded(frames, NOTCH, 7.0), frames - 7.0, rtol=1e-6)


def test_strengths_are_of_levels():
    ideal, stripes, _ = scene(96, 320)
    frames = (ideal * stripes)[None].astype(np.float32)
    none = destripe_guarded(frames, Notch(150, 3, "db3", (0.0, 0.0, 0.0)), 0.0)
    np.testing.assert_allclose(none, frames, rtol=1e-6)
    some = destripe_guarded(frames, Notch(150, 3, "db3", (0.0, 1.0, 1.0)), 0.0)
    every = destripe_guarded(frames, Notch(150, 3, "db3", (1.0, 1.0, 1.0)), 0.0)
    np.testing.assert_array_equal(every, destripe_guarded(frames, Notch(150, 3, "db3"), 0.0))
    assert (some != every).any() and (some != none).any()


def test_saturation_is_told_from_the_counts_of_the_frames_own_type():
    ideal, stripes, _ = scene(64, 160)
    frames = np.minimum(ideal * stripes * 10, 30000).astype(np.int16)[None]
    frames[0, 30, 70] = 32767
    out = destripe_guarded(frames, NOTCH, 0.0)
    assert out[0, 30, 70] == out.max() == 32767
    cut_off = np.minimum(ideal * stripes / 4, 120).astype(np.int16)[None]
    assert (cut_off == 120).sum() > 1000
    np.testing.assert_array_equal(
        destripe_guarded(cut_off, NOTCH, 0.0), destripe_guarded(cut_off.astype(np.uint16), NOTCH, 0.0)
    )


@settings(max_examples=40)
@given(
    st.tuples(st.integers(1, 2), st.integers(1, 9), st.integers(1, 9)),
    st.sampled_from([0.2, 0.9, 1.0]), st.integers(0, 99),
)  # fmt: skip
def test_empty_windows_hold_the_nearest_row_then_the_nearest_column(shape, share, seed):
    rng = np.random.default_rng(seed)
    light, empty = rng.random(shape).astype(np.float32), rng.random(shape) < share
    for values, is_empty, found in zip(light, empty, filled(light, empty), strict=True):
        columns = np.flatnonzero(~is_empty.all(0))
        for row, column in np.ndindex(shape[1:]):
            if len(columns):
                nearest = columns[np.argmin(abs(columns - column))]
                rows = np.flatnonzero(~is_empty[:, nearest])
                assert found[row, column] == values[rows[np.argmin(abs(rows - row))], nearest]


@pytest.mark.skipif(bool(module.why_not()), reason=module.why_not() or "the emulator works")
@pytest.mark.parametrize(("dtype", "notch"), [*((d, NOTCH) for d in DTYPES), ("uint16", replace(NOTCH, shadows=True))])
def test_on_a_device_as_on_the_host_and_in_batches_as_alone(dtype, notch, monkeypatch):
    rng = np.random.default_rng(0)
    ideal, stripes, _ = scene(26, 70)
    frames = np.minimum(np.stack([ideal, 0.4 * ideal, 0 * ideal]) * stripes / 12, 255)
    frames[:, :7, :40], frames[0, 20:, 50:] = 0, 255
    frames = (frames + (frames > 0) * rng.integers(0, 2, frames.shape)).clip(0, 255).astype(dtype)
    expected = destripe_guarded(frames, notch, 9.5)
    found = []
    with shim.installed():
        for pixels in (1, 2 * frames[0].size, frames.size):
            monkeypatch.setattr("gpustitch.array.product._DEVICE_PIXELS", pixels)
            found.append(shim.asnumpy(destripe_guarded(shim.asarray(frames), notch, 9.5)))
    for of_batches in found:
        np.testing.assert_allclose(of_batches, expected, rtol=1e-4)
        np.testing.assert_array_equal(of_batches, found[0])


def test_more_levels_than_rows_can_hold_cost_nothing(monkeypatch):
    lengths, medians = [], module_of_notch.running_medians

    def watched(grid, out, reach):
        lengths.append(grid.shape[1])
        medians(grid, out, reach)

    monkeypatch.setattr(module_of_notch, "running_medians", watched)
    ideal, stripes, _ = scene()
    frames = (ideal * stripes + 100)[None].astype(np.float32)
    assert np.isfinite(destripe_guarded(frames, Notch(150, 20, "db3"), 100.0)).all()
    assert max(lengths) <= 3 * frames.shape[1]
