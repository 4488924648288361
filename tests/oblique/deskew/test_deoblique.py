"""De-obliquing."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpustitch.errors import ParameterError
from gpustitch.model import Box, ObliqueScan
from gpustitch.oblique.deskew.deoblique import deoblique, plane_offsets
from tests.cuda_cpu import module, shim
from tests.paths import DATA


def naive(frames, shape, shear):
    """The definition, voxel by voxel in double precision, not rounded."""
    out = np.zeros(shape)
    for z, y, x in np.ndindex(shape):
        f = x - shear * z
        if abs(f - round(f)) < 1e-9:
            f = round(f)
        low = math.floor(f)
        if not 0 <= f <= len(frames) - 1:
            continue
        near = float(frames[low, y, z])
        out[z, y, x] = near if f == low else near + (f - low) * (float(frames[low + 1, y, z]) - near)
    return out


def whole(frames, scan):
    return deoblique(frames, Box.of_shape(scan.shape), scan.shear)


def random_frames(shape, dtype=np.uint16, seed=0):
    rng = np.random.default_rng(seed)
    return rng.random(shape, np.float32) if dtype == np.float32 else rng.integers(0, 65536, shape).astype(dtype)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("angle", [20.0, 45.0, 60.0])
@pytest.mark.parametrize("step", [0.7, 1.28, 2.0, 7.0])
def test_is_the_definition(dtype, angle, step):
    frames = random_frames((11, 3, 9), dtype)
    scan = ObliqueScan(11, 3, 9, 1.8, step, angle)
    result, expected = whole(frames, scan), naive(frames, scan.shape, scan.shear)
    assert result.dtype == dtype and result.shape == scan.shape
    # Half a count of rounding, and what float32 adds to it.
    np.testing.assert_allclose(result, expected, rtol=1e-6, atol=1e-6 if dtype == np.float32 else 0.504)


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 5, 4), (2, 1, 70), (40, 130, 1), (5, 67, 33)])
def test_odd_and_single_sizes(shape):
    frames = random_frames(shape)
    scan = ObliqueScan(*shape, 1.8, 2.0)
    np.testing.assert_allclose(whole(frames, scan), naive(frames, scan.shape, scan.shear), rtol=0, atol=0.504)


@pytest.mark.parametrize("shear", [0.0, 1.0, 3.0])
def test_whole_shear_copies(shear):
    frames = random_frames((9, 4, 5))
    width = 9 + int(4 * shear)
    result = deoblique(frames, Box.of_shape((5, 4, width)), shear)
    for z in range(5):
        start = int(shear * z)
        np.testing.assert_array_equal(result[z, :, start : start + 9], frames[:, :, z].T)
        result[z, :, start : start + 9] = 0
    assert not result.any()


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_any_box_is_cut_from_the_whole(data):
    scan = ObliqueScan(23, 6, 40, 1.8, data.draw(st.sampled_from([1.0, 1.8 / math.sqrt(2), 1.28, 2.0, 6.0])))
    frames = random_frames((23, 6, 40))
    start = [data.draw(st.integers(0, n - 1)) for n in scan.shape]
    stop = [data.draw(st.integers(a + 1, n)) for a, n in zip(start, scan.shape, strict=True)]
    box = Box(tuple(start), tuple(stop))
    first, last = scan.frames_of(box)
    window = frames[first:last, start[1] : stop[1], start[0] : stop[0]]
    np.testing.assert_array_equal(
        deoblique(window, box, scan.shear, first_frame=first), whole(frames, scan)[box.slices()]
    )


def test_covers_exactly_the_parallelogram():
    scan = ObliqueScan(14, 3, 12, 1.8, 1.5)
    result = whole(np.full((14, 3, 12), 7, np.uint16), scan)
    np.testing.assert_array_equal(result == 7, scan.coverage.mask(Box.of_shape(scan.shape)))
    assert not result[result != 7].any()


def test_interpolates_a_ramp_exactly():
    scan = ObliqueScan(30, 2, 20, 1.8, 2.3)
    frames = np.broadcast_to(np.arange(30, dtype=np.float32)[:, None, None], (30, 2, 20))
    result, mask = whole(frames, scan), scan.coverage.mask(Box.of_shape(scan.shape))
    z, _, x = np.indices(scan.shape)
    np.testing.assert_allclose(result[mask], (x - scan.shear * z)[mask], atol=1e-4)


def test_saturated_counts_do_not_wrap():
    scan = ObliqueScan(10, 3, 10, 1.8, 2.0)
    result = whole(np.full((10, 3, 10), 65535, np.uint16), scan)
    assert set(np.unique(result)) == {0, 65535}


def test_nan_reaches_only_what_is_interpolated_from_it():
    frames = np.ones((5, 1, 2), np.float32)
    frames[2] = np.nan
    result = deoblique(frames, Box.of_shape((2, 1, 6)), 0.5)
    np.testing.assert_array_equal(np.isnan(result[0, 0]), [False, False, True, False, False, False])
    np.testing.assert_array_equal(np.isnan(result[1, 0]), [False, False, True, True, False, False])
    assert not np.isnan(deoblique(frames, Box.of_shape((2, 1, 6)), 1.0)[0, 0, [1, 3]]).any()


def test_writes_into_out_whole():
    frames, box = random_frames((6, 4, 5)), Box((0, 0, 2), (5, 4, 12))
    room = np.full((5, 9, 10), 3, np.uint16)
    result = deoblique(frames, box, 0.6, out=room[:, 2:6])
    np.testing.assert_array_equal(result, deoblique(frames, box, 0.6))
    assert (room[:, :2] == 3).all() and (room[:, 6:] == 3).all()


@pytest.mark.skipif(bool(module.why_not()), reason=module.why_not() or "the emulator runs")
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("shear", [1.0, 0.85, 3.4])
def test_on_a_device_a_block_is_the_same(dtype, shear):
    frames, box = random_frames((90, 3, 34), dtype), Box((0, 0, 20), (34, 3, 155))
    expected = deoblique(frames, box, shear, first_frame=5)
    with shim.installed():
        result = deoblique(shim.asarray(frames), box, shear, first_frame=5)
        room = shim.asarray(np.full((34, 3, 140), 3, dtype))
        deoblique(shim.asarray(frames), box, shear, first_frame=5, out=room[:, :, 2:137])
        np.testing.assert_array_equal(shim.asnumpy(result), expected)
        np.testing.assert_array_equal(shim.asnumpy(room)[:, :, 2:137], expected)
        assert (shim.asnumpy(room)[:, :, :2] == 3).all() and (shim.asnumpy(room)[:, :, 137:] == 3).all()


def test_plane_offsets_depend_on_the_plane_alone():
    offset, weight = plane_offsets(0.37, 0, 3000)
    for start in (1, 64, 2047):
        part_offset, part_weight = plane_offsets(0.37, start, 64)
        np.testing.assert_array_equal(part_offset, offset[start : start + 64])
        np.testing.assert_array_equal(part_weight, weight[start : start + 64])
    assert weight.min() >= 0 and weight.max() <= 1
    np.testing.assert_allclose(offset + weight, -0.37 * np.arange(3000), atol=1e-6)


def test_refuses_bad_arguments():
    frames, box = random_frames((6, 4, 5)), Box.of_shape((5, 4, 8))
    with pytest.raises(ParameterError, match="4 rows and 5 columns"):
        deoblique(frames[:, :3], box, 1.0)
    with pytest.raises(ParameterError, match="int32"):
        deoblique(frames.astype(np.int32), box, 1.0)
    with pytest.raises(ParameterError, match="`out` must be of shape"):
        deoblique(frames, box, 1.0, out=np.empty((5, 4, 9), np.uint16))


# The reference program, where it is right and where it is not.


@pytest.fixture(scope="module")
def golden():
    data = np.load(DATA / "deoblique_80f_64x48.npz")
    return data, json.loads(str(data["params"]))["cases"]


def scan_of(golden, case):
    data, cases = golden
    return data["frames"], ObliqueScan(80, 64, 48, cases[case]["voxel_size"], cases[case]["x_step_size"])


def test_reference_isotropic_is_exact(golden):
    frames, scan = scan_of(golden, "iso")
    ours, theirs = whole(frames, scan), golden[0]["out_iso"]
    np.testing.assert_array_equal(ours, theirs[:, :, : scan.shape[2]])
    # Their extent is always frames + columns, here one empty column more than there is.
    assert theirs.shape[2] == scan.shape[2] + 1 and not theirs[:, :, -1].any()


@pytest.mark.parametrize("case", ["aniso_2", "aniso_15", "aniso_short_1", "aniso_256"])
def test_reference_anisotropic_within_one_count(golden, case):
    frames, scan = scan_of(golden, case)
    theirs = golden[0][f"out_{case}"].astype(int)
    width = min(theirs.shape[2], scan.shape[2])
    ours = whole(frames, scan)[:, :, :width].astype(int)
    z, _, x = np.indices(ours.shape)
    frame = x - scan.shear * z
    inner = (frame >= 0) & (frame <= 78) & (z < 47)
    # The reference truncates; ours is nearest.
    assert np.abs(ours - theirs[:, :, :width])[inner].max() <= 1
    assert (ours - theirs[:, :, :width])[inner].min() >= 0
    # Theirs fades in before the first frame and out after the last (and, with the last plane, is empty);
    # ours covers the frames and nothing else.
    outside = (frame <= -1e-9) | (frame >= 79 + 1e-9)
    assert not ours[outside].any()
    assert theirs[:, :, :width][outside].any()
    last = (frame > 78) & (frame <= 79)
    exact = naive(frames[:, :4], (48, 4, width), scan.shear)
    np.testing.assert_allclose(ours[:, :4][last[:, :4]], exact[last[:, :4]], rtol=0, atol=0.504)


def test_reference_loses_the_last_plane(golden):
    # Where z * sqrt(2) / p rounds past the end their last plane is empty. Ours is not.
    lost = [case for case in golden[1] if not golden[0][f"out_{case}"][47].any()]
    assert lost
    for case in lost:
        frames, scan = scan_of(golden, case)
        exact = naive(frames[:, :4], (48, 4, scan.shape[2]), scan.shear)[47]
        assert exact.any()
        np.testing.assert_allclose(whole(frames, scan)[47, :4], exact, rtol=0, atol=0.504)


def test_reference_cuts_a_long_scan(golden):
    # At step 1.0 the volume is wider than frames + columns; theirs loses what lies beyond, ours does not.
    frames, scan = scan_of(golden, "aniso_short_1")
    width = golden[0]["out_aniso_short_1"].shape[2]
    assert width == 80 + 48 < scan.shape[2]
    beyond = naive(frames[:, :4], (48, 4, scan.shape[2]), scan.shear)[:, :, width:]
    assert beyond.any()
    np.testing.assert_allclose(whole(frames, scan)[:, :4, width:], beyond, rtol=0, atol=0.504)


def test_reference_takes_a_small_shear_for_none(golden):
    # At step 1.28 the shear is 0.9944, not 1: after 47 planes theirs is off by 0.26 columns, at 2047 by 11.5.
    frames, scan = scan_of(golden, "iso_128")
    np.testing.assert_array_equal(golden[0]["out_iso_128"], golden[0]["out_iso"])
    ours = whole(frames, scan)
    np.testing.assert_allclose(ours[40:], naive(frames, scan.shape, scan.shear)[40:], rtol=0, atol=0.504)
    assert 2047 * (1 - scan.shear) == pytest.approx(11.5, abs=0.1)
