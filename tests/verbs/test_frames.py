"""Steps on camera frames give what the stages give, for arrays of any library."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile

import gpustitch as gs
from gpustitch.errors import DamagedInputError, GpustitchWarning, MosaicError, ParameterError
from gpustitch.io.frames.dcimg_writer import write_dcimg
from gpustitch.model import Box, ObliqueScan
from gpustitch.oblique.deskew.deoblique import deoblique
from gpustitch.oblique.destripe.wavelet import destripe_wavelet
from gpustitch.oblique.destripe.wavelet_options import WaveletOptions
from tests.verbs.libraries import LIBRARIES, in_library, on_host, texture

P, S = 1.8, 1.28


@pytest.mark.parametrize("library", LIBRARIES)
def test_deskew_is_the_deoblique_volume(library):
    frames = texture((17, 6, 9))
    scan = ObliqueScan(17, 6, 9, P, S)
    expected = deoblique(frames, Box.of_shape(scan.shape), scan.shear)
    with in_library(library, frames) as (there,):
        volume = gs.deskew(there, pixel_um=P, step_um=S, angle_deg=45)
        assert (volume.shape, volume.spacing_um) == (expected.shape, scan.spacing.zyx_um)
        np.testing.assert_array_equal(on_host(volume[...], library), expected)
        np.testing.assert_array_equal(on_host(volume[2:5, 1:3, -4:], library), expected[2:5, 1:3, -4:])
        np.testing.assert_array_equal(np.asarray(volume), expected)


@pytest.mark.parametrize("library", ["numpy", "cupy"])
def test_deskew_corrects_before_it_interpolates(library):
    frames = texture((9, 5, 6)) + np.uint16(100)
    correction = gs.Correction(dark=50, flat=np.linspace(0.5, 1, 30, dtype=np.float32).reshape(5, 6))
    expected = np.asarray(gs.deskew(correction.apply(frames), P, S))
    with in_library(library, frames) as (there,):
        found = gs.deskew(there, P, S, correction=correction)
        np.testing.assert_array_equal(on_host(found[...], library), expected)


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("seed", range(4))
def test_deskew_takes_some_frames_and_turns_them(library, seed):
    rng = np.random.default_rng(seed)
    frames = texture((13, 6, 9), seed)
    start, turns, flips = int(rng.integers(0, 5)), int(rng.integers(-1, 5)), bool(rng.integers(2))
    stop = int(rng.integers(start + 2, 14))
    turned = np.rot90(frames[start:stop], turns, axes=(1, 2))
    expected = np.asarray(gs.deskew(turned[:, ::-1] if flips else turned, P, S))
    with in_library(library, frames) as (there,):
        found = gs.deskew(there, P, S, start=start, stop=stop, rotate_90=turns, flip_ud=flips)
        np.testing.assert_array_equal(on_host(found[...], library), expected)


def test_deskew_covers_nothing_where_frames_are_absent(tmp_path):
    frames = texture((8, 16, 32))
    for k in (0, 1, 2, 4, 5, 6, 7):
        tifffile.imwrite(tmp_path / f"f{k:03d}.tif", frames[k])
    volume = gs.deskew(gs.open_frames(tmp_path, allow_missing=True), P, S)
    assert volume.coverage.absent == (3,)
    assert not volume.coverage.mask(Box.of_shape(volume.shape))[0, :, 3].any()


def test_deskew_refuses_what_it_does_not_interpolate():
    for dtype in ("int16", "float64", "uint32", "bool"):
        with pytest.raises((ParameterError, DamagedInputError), match=dtype):
            gs.deskew(np.ones((5, 6, 7), dtype), P, S)
    with pytest.raises(ParameterError, match="stop"):
        gs.deskew(texture((5, 6, 7)), P, S, start=4, stop=2)


def test_deskew_of_a_file_reads_what_the_array_has(tmp_path):
    frames = texture((8, 16, 32))
    write_dcimg(tmp_path / "0.dcimg", frames, 8, (16, 32))
    opened = gs.open_frames(tmp_path / "0.dcimg")
    np.testing.assert_array_equal(opened[0], frames[0])
    expected = np.asarray(gs.deskew(frames, P, S))
    for source in (opened, tmp_path / "0.dcimg", str(tmp_path / "0.dcimg")):
        np.testing.assert_array_equal(np.asarray(gs.deskew(source, P, S)), expected)


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_destripe_keeps_type_and_shape(library, dtype):
    image = texture((2, 40, 52), dtype="float32")
    image = (image / 20 if dtype == "uint8" else image).astype(dtype)
    expected = destripe_wavelet(image, WaveletOptions(32.0, 64.0, wavelet="db5"))
    with in_library(library, image) as (there,):
        found = on_host(gs.destripe(there, sigma=(32, 64), wavelet="db5"), library)
        one = on_host(gs.destripe(there[0], sigma=(32, 64), wavelet="db5"), library)
    assert (found.dtype, found.shape) == (image.dtype, image.shape)
    limit = np.inf if dtype == "float32" else np.iinfo(dtype).max
    off = np.abs(found - np.clip(expected, 0, limit))
    # What was 0 or saturated stays so.
    inside = (image > 0) & (image < limit)
    assert off[inside].max() <= (1e-2 if dtype == "float32" else 1)
    np.testing.assert_allclose(one, found[0], atol=1)


def test_destripe_chooses_the_filter_from_the_images():
    rng = np.random.default_rng(5)
    image = texture((128, 256), seed=3) // 8 + np.uint16(1000)
    stripes = np.repeat(rng.normal(1, 0.05, (128, 1)), 256, axis=1)
    striped = np.rint(image * stripes).astype(np.uint16)
    found = gs.destripe(striped)
    before, after = (np.std(np.diff(a.astype(float).mean(1) - image.mean(1))) for a in (striped, found))
    assert after < 0.5 * before
    with pytest.warns(GpustitchWarning, match="too small") as told:
        gs.destripe(striped[:30, :30])
    assert told[0].filename == __file__


def test_destripe_lightsheet_takes_its_options():
    image = texture((60, 80))
    near, far = (gs.destripe(image, method="lightsheet", artifact_length=n) for n in (20, 60))
    assert near.dtype == image.dtype
    assert (near != far).any()


@pytest.mark.parametrize("given", [{"sigma": 3}, {"wavelet": "db5"}, {"level": 2}, {"notch_length_px": 512.0}])
def test_destripe_lightsheet_refuses_options_of_wavelets(given):
    with pytest.raises(ParameterError, match="of `method` wavelet"):
        gs.destripe(texture((40, 40)), method="lightsheet", **given)


def test_destripe_refuses_other_shapes():
    for shape in ((5,), (2, 2, 5, 5)):
        with pytest.raises(ParameterError, match="axes"):
            gs.destripe(np.ones(shape, np.uint16), sigma=3)


@pytest.mark.parametrize("library", LIBRARIES)
def test_flat_field_finds_the_light(library):
    rng = np.random.default_rng(1)
    light = np.exp(-0.5 * ((np.arange(96) - 50) / 60) ** 2)[None, :] * np.ones((48, 1))
    frames = (100 + rng.poisson(rng.uniform(300, 600, (60, 1, 1)) * light)).astype(np.uint16)
    with in_library(library, frames) as (there,):
        flat = on_host(gs.flat_field(there, dark=100), library)
    assert (flat.shape, flat.dtype, flat.max()) == ((48, 96), np.float32, 1.0)
    np.testing.assert_allclose(flat / flat.mean(), light / light.mean(), atol=0.05)


def test_flat_field_takes_fields_of_its_options():
    frames = texture((40, 24, 32)) + np.uint16(300)
    with pytest.raises(ParameterError, match="n_frames"):
        gs.flat_field(frames, n_frames=0)
    for name in ("output", "overwrite", "intermediate_output"):
        with pytest.raises(ParameterError, match=name):
            gs.flat_field(frames, **{name: True})


def test_flat_field_of_several_tiles_is_that_of_all_their_frames(tmp_path):
    frames = texture((40, 24, 32)) + np.uint16(300)
    for k, frame in enumerate(frames[20:]):
        tifffile.imwrite(tmp_path / f"f{k:03d}.tif", frame)
    expected = gs.flat_field(frames, allow_poor_flat=True)
    found = gs.flat_field([frames[:20], tmp_path], allow_poor_flat=True)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    (tmp_path / "f003.tif").unlink()
    with pytest.raises(DamagedInputError):
        gs.flat_field(tmp_path)
    gs.flat_field(tmp_path, allow_missing=True, allow_poor_flat=True)
    with pytest.raises(MosaicError):
        gs.flat_field([frames, frames[:, :9]])


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize("sigma", [5e-324, 1e-300, 1e-160, 1e-100])
def test_the_narrowest_notch_takes_the_mean_alone(sigma):
    image = texture((2, 40, 48))
    np.testing.assert_array_equal(gs.destripe(image, sigma=sigma), gs.destripe(image, sigma=1e-6))


@pytest.mark.filterwarnings("error::RuntimeWarning", "ignore::gpustitch.errors.GpustitchWarning")
@pytest.mark.parametrize("sigma", [1e30, 1e154, 1e155, 1e300, 1.7e308])
def test_the_widest_notch_takes_all(sigma):
    image = texture((2, 40, 48))
    np.testing.assert_array_equal(gs.destripe(image, sigma=sigma), gs.destripe(image, sigma=1e12))


@pytest.mark.parametrize("value", [1e300, 1e31, 1e-300, 0, -1, np.inf, np.nan])
@pytest.mark.parametrize(("name", "method"), [("one_count", "wavelet"), ("lightsheet_vs_background", "lightsheet")])
def test_factors_that_overflow_are_refused_by_name(name, method, value):
    if (name, abs(value) < 1, value >= 0) == ("lightsheet_vs_background", True, True):
        value = -value - 1
    with pytest.raises(ParameterError, match=f"`{name}`"):
        gs.destripe(texture((2, 40, 48)), method=method, **{name: value})


@pytest.mark.filterwarnings("error", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("step_um", [1.1, 1.8 / np.sqrt(2)])
def test_infinite_pixels_reach_the_voxels_that_nan_reaches(seed, step_um):
    rng = np.random.default_rng(seed)
    frames = rng.uniform(0, 100, (10, 12, 9)).astype(np.float32)
    at = tuple(rng.integers(0, n, 3) for n in frames.shape)
    lost, infinite = frames.copy(), frames.copy()
    lost[at], infinite[at] = np.nan, rng.choice([-np.inf, np.inf], 3)
    expected, found = (np.asarray(gs.deskew(f, 1.8, step_um)) for f in (lost, infinite))
    assert np.isnan(expected).any()
    np.testing.assert_array_equal(np.isfinite(found), np.isfinite(expected))
    np.testing.assert_array_equal(found[np.isfinite(found)], expected[np.isfinite(expected)])
