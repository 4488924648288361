"""Every operation gives on arrays of the device what it gives on NumPy's: on the stand-in for CuPy, bodies emulated."""

from __future__ import annotations

import copy
import dataclasses

import numpy as np
import pytest
from scipy import ndimage

from gpustitch.array import choose_device
from gpustitch.errors import DamagedInputError, ParameterError
from gpustitch.model import Box, Spacing
from gpustitch.oblique.align.ascend import ascend, peak
from gpustitch.oblique.align.blob_lists import blobs_of_boxes
from gpustitch.oblique.align.blobs import find_blobs
from gpustitch.oblique.align.overlaps.together import Placed, walked_together
from gpustitch.oblique.align.search import correlate_all_shifts
from gpustitch.oblique.deskew.deoblique import deoblique
from gpustitch.oblique.destripe.correction import Correction
from gpustitch.oblique.destripe.lightsheet import (
    LightsheetOptions,
    background_estimate,
    destripe_lightsheet,
    line_estimate,
)
from gpustitch.oblique.destripe.notch import RowLowPass, RowLowPasses
from gpustitch.oblique.destripe.otsu import otsu, otsu_of_frames
from gpustitch.oblique.destripe.wavelet import destripe_wavelet
from gpustitch.oblique.destripe.wavelet_options import WaveletOptions
from gpustitch.oblique.flat.fit import FlatOptions, fit_flat
from gpustitch.oblique.flat.flatfield import check_scaled_flat, flattened, inverse_flat, normalized_flat
from gpustitch.oblique.flat.histogram import count_between, histogram, histogram_percentile, percentile_bin
from gpustitch.oblique.fuse.fuse import fuse_block, plan_block
from gpustitch.oblique.fuse.intensity import row_gains
from gpustitch.ops.pyramid import downsample
from gpustitch.ops.smooth import smooth
from tests.cuda_cpu import module, shim
from tests.oblique.fuse.fuse_tiles import oblique, whole_box

pytestmark = pytest.mark.skipif(bool(module.why_not()), reason=module.why_not() or "the emulator works")


def moved(value):
    """Arrays of NumPy, and those in lists and dicts, as arrays of the device."""
    if isinstance(value, np.ndarray):
        return shim.asarray(value)
    if isinstance(value, list):
        return [moved(part) for part in value]
    if isinstance(value, dict):
        return {key: moved(part) for key, part in value.items()}
    return value


def fetched(value):
    """Arrays of the device as arrays of NumPy; any array of NumPy is a mistake."""
    assert not isinstance(value, np.ndarray), "the result is in host memory"
    if isinstance(value, shim.ndarray):
        return value.get()
    return tuple(map(fetched, value)) if isinstance(value, tuple) else value


def check(operation, *args, launches=None, rtol=0.0, atol=0.0, **kwargs):
    """Run on the host and on the device; results are equal, or nearly, and so are their dtypes."""
    for_device = copy.deepcopy(args)
    expected = operation(*args, **kwargs)
    with shim.installed():
        before = module.launches()
        found = fetched(operation(*map(moved, for_device), **kwargs))
        ran = module.launches() - before
    if launches is not None:
        assert ran == launches
    pairs = zip(expected, found, strict=True) if isinstance(expected, tuple) else [(expected, found)]
    for theirs, ours in pairs:
        assert np.shape(ours) == np.shape(theirs)
        assert getattr(ours, "dtype", None) == getattr(theirs, "dtype", None)
        np.testing.assert_allclose(ours, theirs, rtol=rtol, atol=atol)


def noise(shape, dtype=np.float32, seed=0, high=4000):
    return np.random.default_rng(seed).integers(0, high, shape).astype(dtype)


def textured(shape, seed=0):
    smoothed = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), 1.5)
    return (smoothed / smoothed.std() * 300 + 1000).astype(np.float32)


@pytest.mark.parametrize("dtype", [np.uint16, np.float32, np.float64])
@pytest.mark.parametrize("keep", [(slice(None),) * 3, (slice(2, 9), slice(0, None, 3), slice(5, 6))])
def test_smooth(dtype, keep):
    check(smooth, noise((13, 11, 12), dtype), (1.5, 0.0, 2.5), keep, launches=0, rtol=1e-6)


def test_correlate_all_shifts():
    region = textured((14, 13, 16))
    check(correlate_all_shifts, region[3:10, 2:8, 5:14].copy(), region, launches=0, atol=1e-5)
    check(correlate_all_shifts, np.full((3, 3, 3), 7, np.float32), region, launches=0)
    with shim.installed(), pytest.raises(ParameterError, match="no room"):
        correlate_all_shifts(shim.asarray(region), shim.asarray(region[:5]))


@pytest.mark.parametrize("radius_um", [1.0, 2.0, 4.0])
def test_find_blobs(radius_um):
    spacing = Spacing(1.3, 1.8, 1.3)
    check(find_blobs, noise((24, 21, 26), np.uint16), spacing, radius_um=radius_um, launches=0, rtol=1e-5)


@pytest.mark.parametrize("volume", [np.zeros((12, 12, 12), np.float32), noise((5, 20, 20))])
def test_find_blobs_where_there_are_none(volume):
    check(find_blobs, volume, Spacing(1.0, 1.0, 1.0), launches=0)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.int16, np.float64])
@pytest.mark.parametrize(("most", "memory"), [(None, None), (3, 400_000)])
def test_blobs_of_boxes_are_those_of_each(dtype, most, memory, monkeypatch):
    rng, spacing = np.random.default_rng(4), Spacing(1.3, 1.8, 1.3)
    low = 0 if np.dtype(dtype).kind == "u" else -100
    boxes = [rng.integers(low, 250, shape).astype(dtype) for shape in ((24, 21, 26), (30, 18, 22), (5, 20, 20))]
    expected = [find_blobs(box, spacing) for box in boxes]
    if most:
        monkeypatch.setattr("gpustitch.oblique.align.blob_lists._MOST", most)
    with shim.installed():
        device = dataclasses.replace(choose_device("cuda"), memory_bytes=memory)
        found = list(blobs_of_boxes(boxes, spacing, device))
    assert len(found) == len(boxes) and min(len(p) for p, _ in found[:2]) > 5
    for (positions, contrast), (their_positions, their_contrast) in zip(found, expected, strict=True):
        assert (positions.dtype, contrast.dtype) == (np.int64, np.float32)
        np.testing.assert_array_equal(positions, their_positions)
        np.testing.assert_allclose(contrast, their_contrast, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.int16])
def test_windows_walk_together_as_each_does(dtype):
    volume = textured((26, 24, 28))
    volume = ((volume - volume.min()) * (250 / np.ptp(volume))).astype(dtype)
    sigma_px, shape = (0.8, 1.2, 0.0), (7, 7, 7)
    fixed = [Placed(volume[2:, 1:, 3:], (z - 2, y - 1, x - 3)) for z, y, x in ((5, 5, 7), (13, 8, 8), (3, 3, 3))]
    moving = [Placed(volume, (4, 6, 7)), Placed(volume[:, 2:], (12, 7, 8)), Placed(volume[:, :, :20], (0, 0, 0))]
    smoothed = [smooth(p.voxels, sigma_px, Box.of_shape(shape, p.start).slices()) for p in fixed]
    expected = ascend(smoothed, [smooth(p.voxels, sigma_px) for p in moving], [p.start for p in moving])
    with shim.installed():
        found = walked_together(fixed, moving, sigma_px, shape, choose_device("cuda"))
    for theirs, ours in zip(expected, found, strict=True):
        assert (ours.position, ours.settled) == (theirs.position, theirs.settled)
        np.testing.assert_allclose(ours.around, theirs.around, atol=2e-6)
        np.testing.assert_allclose(peak(ours.around), peak(theirs.around), atol=1e-4)
    assert [s.settled for s in found] == [True, True, False] and expected[0].position == (5, 5, 7)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.float64])
def test_normalized_flat(dtype):
    check(normalized_flat, 1 + noise((7, 9), dtype, high=200), launches=0)
    check(inverse_flat, normalized_flat(noise((7, 9), dtype, high=3) + dtype(0)), launches=0, rtol=1e-7)
    with shim.installed():
        for flat in (np.zeros((3, 3)), np.full((3, 3), np.nan), -np.ones((3, 3)), np.ones(3)):
            with pytest.raises(ParameterError):
                normalized_flat(shim.asarray(flat))
        with pytest.raises(ParameterError, match="maximum is 2"):
            check_scaled_flat(shim.asarray(np.full((3, 3), 2.0)))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int8, np.int16, np.int32, np.uint32, np.float32, np.float64])
def test_flattened(dtype):
    values = np.random.default_rng(1).normal(30000, 40000, (2, 3, 5)).astype(np.float32)
    check(flattened, values, np.full((1, 1), 1.5, np.float32), np.dtype(dtype), 7.0, launches=1)


@pytest.mark.parametrize("method", ["none", "wavelet", "lightsheet"])
@pytest.mark.parametrize("dtype", ["keep", "uint8", "float32"])
def test_correction_to_another_type(method, dtype):
    frames = (noise((2, 20, 30), np.float32, high=400) - 20 * (dtype != "keep")).astype(np.int16)
    correction = Correction(method, WaveletOptions(4, 4), LightsheetOptions(7, 9), dtype=dtype)
    check(correction.apply, frames, rtol=1e-4, atol=1)
    check_number = correction.n_cut_off(frames, correction.apply(frames))
    with shim.installed():
        assert correction.n_cut_off(shim.asarray(frames), shim.asarray(correction.apply(frames))) == check_number


@pytest.mark.parametrize("most", [255, 4000, 4095, 65535])
def test_saturated_and_padded_frames(most):
    frames = np.minimum(noise((2, 20, 30), np.uint16, high=2 * most), most)
    frames[:, :, :4] = 0
    correction = Correction("wavelet", WaveletOptions(4, 4), dark=3)
    check(correction.apply, frames, rtol=1e-4, atol=1)
    assert (correction.apply(frames)[frames == most] == most - 3).all()
    check(Correction("lightsheet", lightsheet=LightsheetOptions(7, 9)).apply, frames, atol=1)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_otsu(dtype):
    frames = np.concatenate([noise((2, 20, 30), dtype, high=60), 150 + noise((2, 20, 30), dtype, 1, high=80)], axis=1)
    frames[1] = 7
    expected = otsu_of_frames(frames)
    with shim.installed():
        np.testing.assert_allclose(otsu_of_frames(shim.asarray(frames)), expected, rtol=1e-6)
        assert otsu(shim.asarray(frames[0])) == pytest.approx(otsu(frames[0]), rel=1e-6)


def test_percentiles_of_frames():
    frames = noise((9, 5, 70), np.uint16)

    def percentiles(frames, counts, count, bins, other):
        histogram(frames, counts, 100, 4)
        histogram_percentile(counts, bins, 40.0)
        count_between(frames, count, 100, 4096)
        percentile_bin(frames, count, other, 40.0, 1024, 4, 100)
        return counts, count, bins, other

    room = [np.zeros((5, 70, 1024), np.int32), *np.zeros((3, 5, 70), np.int32)]
    check(percentiles, frames, *(np.ascontiguousarray(a) for a in room), launches=4)


@pytest.mark.parametrize("model", ["reference", "product"])
def test_fit_flat(model):
    y, x = np.mgrid[:40, :60]
    bins = (100 + 2 * x - 0.02 * x**2 + 0.3 * y + noise((40, 60), high=3)).astype(np.int32)
    count = np.full((40, 60), 30, np.int32)
    expected = fit_flat(bins, count, FlatOptions(model=model))
    with shim.installed():
        found = fit_flat(shim.asarray(bins), shim.asarray(count), FlatOptions(model=model))
    np.testing.assert_array_equal(found.counts, expected.counts)
    assert found.coefficients == expected.coefficients


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("shear", [1.0, 0.73])
def test_deoblique(dtype, shear):
    frames = noise((12, 6, 9), dtype, high=250)
    check(deoblique, frames, Box((3, 0, 1), (12, 6, 21)), shear, first_frame=2, launches=1)


@pytest.mark.parametrize("method", ["mean", "max", "mode", "stride"])
@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_downsample(method, dtype):
    if method != "mode" or dtype == np.uint16:
        check(downsample, noise((5, 8, 7), dtype, high=5), method, launches=method != "stride")


@pytest.mark.parametrize("whole", [True, False])
def test_fuse_block(whole):
    shift = 0.0 if whole else 0.37
    tiles = [
        oblique(14, 9, 8, 1.0, (0, 0, 0), 1),
        oblique(14, 9, 8, 1.0, (shift, 6 + shift, 2), 2),
        oblique(14, 9, 8, 1.0, (5, 1, 8 - shift), 3),
    ]
    plan = plan_block(whole_box(tiles), tiles)
    voxels = {n: tiles[n].volume.read(need) for n, need in plan.reads.items()}
    check(lambda v: fuse_block(plan, v), voxels, launches=1, atol=1)
    gains = {1: row_gains(9, 0.7)}
    check(lambda v: fuse_block(plan, v, gains), voxels, launches=1, atol=1)


@pytest.mark.parametrize("dtype", [np.uint16, np.float32, np.float64])
def test_destripe_lightsheet(dtype):
    options = LightsheetOptions(artifact_length=15, background_window_size=20)
    frames = noise((2, 30, 53), dtype)
    check(destripe_lightsheet, frames, options, rtol=1e-6, atol=1e-3)
    check(destripe_lightsheet, frames[0], options, rtol=1e-6, atol=1e-3)
    if dtype != np.float64:
        check(line_estimate, frames, options)
        check(background_estimate, frames, options)
    if np.dtype(dtype).kind == "f":
        frames[0, 0, 0] = np.nan
        with shim.installed(), pytest.raises(DamagedInputError, match="NaN"):
            destripe_lightsheet(shim.asarray(frames), options)


@pytest.mark.parametrize(
    "options",
    [
        WaveletOptions(4, 4),
        WaveletOptions(4, 9),
        WaveletOptions(0, 6, threshold=1500),
        WaveletOptions(5, 0, wavelet="haar", level=1),
        WaveletOptions(4, 9, compat=True),
        WaveletOptions(),
    ],
    ids=repr,
)
@pytest.mark.parametrize("dtype", [np.uint16, np.float64])
def test_destripe_wavelet(options, dtype):
    frames = np.maximum(textured((2, 37, 50)) + 200 * (np.arange(37) % 5 == 0)[:, None], 0).astype(dtype)
    check(destripe_wavelet, frames, options, rtol=1e-5, atol=0.05)
    check(destripe_wavelet, frames[0], options, rtol=1e-5, atol=0.05)


@pytest.mark.parametrize("compat", [False, True])
@pytest.mark.parametrize("sigma", [0.5, 3.0, 30.0])
def test_notch(compat, sigma):
    coefficients = np.random.default_rng(0).normal(size=(2, 5, 2, 40)).astype(np.float32)

    def apply(values):
        RowLowPass.of(33, sigma, compat=compat).apply(values)
        return values

    check(lambda values: apply(values.copy()), coefficients, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("compat", [False, True])
@pytest.mark.parametrize("width", [33, 64, 300])
@pytest.mark.parametrize("sigmas", [(3.0,), (3.0, 30.0), (0.5, 1.0), (60.0, 8.0), (9.0, 200.0)])
def test_notches_of_bands(width, sigmas, compat):
    """Each band has its own notch, whether the host and the device give the notches one form or not."""
    coefficients = np.zeros((2 * len(sigmas), 3, 2, -(-width // 32) * 32), np.float32)
    coefficients[..., :width] = np.random.default_rng(0).normal(size=(*coefficients.shape[:3], width))
    operators = [RowLowPass.of(width, sigma, compat=compat) for sigma in sigmas]

    def apply(values):
        RowLowPasses(operators).apply(values)
        return values

    check(lambda values: apply(values.copy()), coefficients, rtol=1e-5, atol=1e-5)
    together = apply(coefficients.copy())
    for number, operator in enumerate(operators):
        alone = coefficients[2 * number : 2 * number + 2].copy()
        operator.apply(alone)
        np.testing.assert_array_equal(together[2 * number : 2 * number + 2], alone)
