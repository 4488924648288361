"""Correction of a frame: order, flat and dark applied once, golden counts, odd sizes, threads."""

from __future__ import annotations

import dataclasses
import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tifffile

from gpustitch.errors import DamagedInputError, InputMissingError, ParameterError
from gpustitch.oblique.destripe.correction import Correction
from gpustitch.oblique.destripe.guarded_notch.notch import destripe_guarded
from gpustitch.oblique.destripe.lightsheet import LightsheetOptions, destripe_lightsheet
from gpustitch.oblique.destripe.saturation import keep_ends
from gpustitch.oblique.destripe.wavelet import destripe_wavelet
from gpustitch.oblique.destripe.wavelet_options import WaveletOptions
from gpustitch.oblique.flat.file import read_flat
from gpustitch.oblique.flat.flatfield import Counts, flattened, inverse_flat, normalized_flat
from tests.cuda_cpu import module, shim
from tests.paths import DATA

GOLDEN = np.load(DATA / "filter_streaks_256x320.npz")
CASES = json.loads(str(GOLDEN["params"]))
WAVES = WaveletOptions(8, 30, wavelet="db2")


def picture(rows, columns, seed=0):
    return np.random.default_rng(seed).poisson(400, (rows, columns)).astype(np.uint16)


def uneven(rows, columns):
    y, x = np.mgrid[:rows, :columns]
    return normalized_flat(1 + 0.02 * y + 0.01 * x)


@pytest.mark.parametrize("name", ["dark", "dual_flat_dark", "dual"])
def test_compat_gives_the_counts_of_pystripe(name):
    case = CASES[name]
    options = WaveletOptions(*case["sigma"], wavelet=case["wavelet"], crossover=case.get("crossover", 10), compat=True)
    flat = GOLDEN["flat"] if "flat" in case else None
    result = Correction("wavelet", options, flat=flat, dark=case.get("dark", 0)).apply(GOLDEN["img"])
    difference = np.abs(result.astype(int) - (GOLDEN["img"].astype(int) + GOLDEN[f"diff_{name}"]))
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.001


@pytest.mark.parametrize("method", ["none", "wavelet", "lightsheet"])
@pytest.mark.parametrize("shape", [(63, 97), (1, 1), (64, 40)])
def test_stripes_go_first_then_dark_then_flat_each_once(method, shape):
    # spimstitch forgets the dark without destriping and applies the flat twice after the wavelet way; odd sizes crash
    # both with a flat. The lightsheet way has taken the dark with the background.
    frame, flat = picture(*shape), uneven(*shape)
    sheet = LightsheetOptions(20, 30)
    raw = {
        "none": frame.astype(np.float64),
        "wavelet": destripe_wavelet(frame, WAVES).astype(np.float64),
        "lightsheet": destripe_lightsheet(frame, sheet).astype(np.float64) + 100,
    }[method]
    result = Correction(method, WAVES, sheet, flat, 100.0).apply(frame)
    assert result.dtype == np.uint16
    np.testing.assert_allclose(result, np.clip((raw - 100) / flat, 0, 65535), atol=0.51)


def test_nothing_to_do_gives_a_copy():
    frame = picture(20, 30)
    for correction in (Correction(), Correction("wavelet")):
        assert correction.is_identity
        result = correction.apply(frame)
        np.testing.assert_array_equal(result, frame)
        assert not np.shares_memory(result, frame)
    assert not Correction(dark=1).is_identity


def test_bright_pixels_are_clipped_and_dark_ones_too():
    frame = np.array([[65535, 60000], [90, 0]], np.uint16)
    flat = np.array([[0.5, 1.0], [1.0, 0.0]], np.float32)
    assert Correction(flat=flat, dark=100).apply(frame).tolist() == [[65535, 59900], [0, 0]]


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int16, np.int32, np.uint32, np.float32, np.float64])
def test_takes_any_real_type_and_keeps_it(dtype):
    frame = (picture(40, 50) // 5).astype(dtype)
    for method in ("none", "wavelet", "lightsheet"):
        result = Correction(method, WAVES, dark=7).apply(frame)
        assert result.dtype == dtype
        # What uint16 cuts off at 0, a signed type keeps.
        whole = np.clip(np.rint(result.astype(float)), 0, 65535)
        expected = Correction(method, WAVES, dark=7).apply(frame.astype(np.uint16))
        # Otsu's threshold is found among other bins.
        assert np.abs(whole - expected).max() <= (2 if method == "wavelet" else 0)


def test_a_window_of_the_flat_corrects_a_window_of_the_frame():
    frame, whole = picture(40, 50), Correction(flat=uneven(40, 50), dark=10)
    window = dataclasses.replace(whole, flat=whole.flat[5:20, 30:41])
    np.testing.assert_array_equal(window.apply(frame[5:20, 30:41]), whole.apply(frame)[5:20, 30:41])


def test_threads_share_a_correction():
    correction = Correction("wavelet", WAVES, flat=uneven(60, 71), dark=5)
    frames = [picture(60, 71, seed) for seed in range(8)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(correction.apply, frames))
    fresh = Correction("wavelet", WAVES, flat=uneven(60, 71), dark=5)
    for frame, result in zip(frames, together, strict=True):
        np.testing.assert_array_equal(result, fresh.apply(frame))


def test_bad_parameters_are_refused():
    for arguments, text in (
        ({"method": "fourier"}, "`method`"),
        ({"dark": -1}, "`dark`"),
        ({"dark": np.nan}, "`dark`"),
        ({"flat": np.full((3, 3), np.nan)}, "NaN"),
        ({"flat": np.full((3, 3), 500)}, "scaled to maximum 1"),
    ):
        with pytest.raises(ParameterError, match=text):
            Correction(**arguments)
    with pytest.raises(ParameterError, match="40 x 50 pixels but the frames are of 50 x 40"):
        Correction(flat=uneven(40, 50)).apply(picture(50, 40))
    for shape in ((4,), (1, 2, 3, 4)):
        with pytest.raises(ParameterError, match="frames"):
            Correction(dark=1).apply(np.ones(shape))


@pytest.mark.parametrize("method", ["none", "wavelet", "lightsheet"])
def test_frames_together_are_frames_one_by_one(method):
    frames = np.stack([picture(41, 50, seed=seed) for seed in range(3)])
    correction = Correction(method, WaveletOptions(3, 5), flat=uneven(41, 50), dark=3)
    together = correction.apply(frames)
    assert together.shape == frames.shape
    np.testing.assert_array_equal(together, np.stack([correction.apply(frame) for frame in frames]))


def test_flats_are_read_in_any_unit(tmp_path):
    path = tmp_path / "flat.tiff"
    tifffile.imwrite(path, np.array([[200, 400], [100, 0]], np.uint16))
    assert read_flat(path).tolist() == [[0.5, 1], [0.25, 0]]
    tifffile.imwrite(path, np.array([[np.nan, 1]], np.float32))
    with pytest.raises(ParameterError, match=f"{path.name}: .*NaN"):
        read_flat(path)
    tifffile.imwrite(path, np.zeros((3, 4, 4), np.float32), photometric="minisblack")
    with pytest.raises(ParameterError, match=f"{path.name}: .*2-D"):
        read_flat(path)
    path.write_bytes(b"no image")
    with pytest.raises(DamagedInputError, match=path.name):
        read_flat(path)
    with pytest.raises(InputMissingError, match=r"none\.tif"):
        read_flat(tmp_path / "none.tif")


def test_a_notch_too_wide_for_the_frame_is_told() -> None:
    usual = Correction("wavelet", WaveletOptions(sigma1=128, sigma2=512))
    assert usual.caution(2048) == ""
    assert "longer than 8 pixels" in usual.caution(512)
    assert Correction("wavelet", WaveletOptions(sigma1=0, sigma2=512)).caution(512) == ""
    assert Correction("lightsheet").caution(512) == ""


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32", "int16"])
@pytest.mark.parametrize("method", ["none", "lightsheet"])
def test_frames_are_corrected_into_the_room_given(dtype, method):
    frames = np.random.default_rng(4).integers(0, 120, (3, 20, 24)).astype(dtype)
    flat = np.linspace(0.5, 1, 480, dtype=np.float32).reshape(20, 24)
    job = Correction(method, lightsheet=LightsheetOptions(9, 12), flat=flat, dark=7)
    around = np.full((3, 22, 30), 99, dtype)
    room = around[:, 1:-1, 2:26]
    found = job.apply(frames, room)
    np.testing.assert_array_equal(found, job.apply(frames))
    assert (found is room) == (dtype != "int16"), "a type that is computed in another is not written in place"
    around[:, 1:-1, 2:26] = 99
    assert (around == 99).all(), "nothing beside the room was written"


WAYS = {
    "both bands": WAVES,
    "one band": WaveletOptions(9, 9, wavelet="db5"),
    "foreground alone": WaveletOptions(12, 0, 2, threshold=380.0),
    "compat": WaveletOptions(8, 30, compat=True),
    "guarded": WaveletOptions(notch_length_px=60, level=3),
}


def saturated(dtype):
    """Three frames: at the end of their type, with a plateau of their own, and with padding."""
    rng = np.random.default_rng(3)
    most = np.iinfo(dtype).max if np.dtype(dtype).kind in "ui" else 65535
    frames = rng.uniform(0.1, 0.9, (3, 63, 97)) * rng.uniform(0.5, 1, (3, 63, 1)) * min(most, 4000)
    frames[0][rng.random((63, 97)) < 0.02] = most
    frames[1][frames[1] > 0.6 * min(most, 4000)] = np.rint(0.6 * min(most, 4000))
    frames[2][:, :9] = 0
    return frames.astype(dtype)


def light_of(frames, options, dark):
    """Destriped frames as float32, without the offset where the way takes it, and the offset that is left."""
    if options.notch is not None:
        return destripe_guarded(frames, options.notch, dark), 0.0
    light = destripe_wavelet(frames, options)
    if not options.compat:
        keep_ends(frames, light)
    return light, dark


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.int16, np.float64])
def test_counts_made_at_once_are_those_made_of_the_light(way, dtype):
    options, frames = WAYS[way], saturated(dtype)
    for out, flat, dark in (("keep", uneven(63, 97), 100.0), ("uint8", None, 3.0), ("float32", uneven(63, 97), 0.0)):
        light, left = light_of(frames, options, dark)
        gain = np.ones((1, 1), np.float32) if flat is None else inverse_flat(flat)
        as_type = np.dtype(dtype) if out == "keep" else np.dtype(out)
        expected = flattened(light, gain, as_type, left, truncate=options.compat)
        job = Correction("wavelet", options, flat=flat, dark=dark, dtype=out)
        np.testing.assert_array_equal(job.apply(frames), expected, f"{out} {dark}")


@pytest.mark.parametrize("way", [WaveletOptions(), WaveletOptions(4, 4, one_count=0.5), WAVES])
def test_where_counts_are_not_made_at_once_none_are_written(way):
    frames = saturated(np.float64 if way is WAVES else np.uint16)
    assert not Correction("wavelet", way).makes_counts(frames.dtype)
    counts = Counts(np.full(frames.shape, 7, np.uint16), np.ones((1, 1), np.float32))
    with pytest.raises(ParameterError, match="not made at once"):
        destripe_wavelet(frames, way, counts)
    assert (counts.out == 7).all()


@pytest.mark.skipif(bool(module.why_not()), reason=module.why_not() or "the emulator works")
@pytest.mark.parametrize("way", WAYS)
def test_counts_made_at_once_are_those_made_of_the_light_on_a_device(way):
    options, dark = WAYS[way], 100.0
    with shim.installed(), module.settings(seed=5):
        frames, flat = shim.asarray(saturated(np.uint16)), uneven(63, 97)
        light, left = light_of(frames, options, dark)
        gain, dtype = shim.asarray(inverse_flat(flat)), np.dtype(np.uint16)
        expected = shim.asnumpy(flattened(light, gain, dtype, left, truncate=options.compat))
        job = Correction("wavelet", options, flat=flat, dark=dark)
        np.testing.assert_array_equal(shim.asnumpy(job.apply(frames)), expected)
