"""The command ``dcimg2oblique``."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from gpustitch.cli.main import app
from gpustitch.errors import DamagedInputError, ParameterError
from gpustitch.io.frames.dcimg_writer import write_dcimg
from gpustitch.io.images.files import write_tiff
from gpustitch.io.volumes.opening import open_volume
from gpustitch.io.volumes.precomputed import PrecomputedVolume
from gpustitch.model import Box, ObliqueScan
from gpustitch.oblique.deskew.deoblique import deoblique
from gpustitch.oblique.destripe.correction import Correction
from gpustitch.oblique.destripe.lightsheet import LightsheetOptions
from gpustitch.oblique.destripe.wavelet_options import WaveletOptions

ROWS, COLUMNS = 24, 32


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    frames = np.random.default_rng(0).integers(100, 3000, (18, ROWS, COLUMNS), np.uint16)
    path = tmp_path_factory.mktemp("raw") / "0.dcimg"
    write_dcimg(path, frames, len(frames), (ROWS, COLUMNS))
    return frames, path


@pytest.fixture(scope="module")
def flat(tmp_path_factory):
    image = np.linspace(50, 100, ROWS * COLUMNS, dtype=np.float32).reshape(COLUMNS, ROWS)
    path = tmp_path_factory.mktemp("flat") / "flat.tiff"
    write_tiff(path, image)
    return image / 100, path


def call(*arguments):
    return CliRunner().invoke(app, ["dcimg2oblique", *map(str, arguments)])


def read(path):
    volume = PrecomputedVolume(path)
    return volume.read(Box.of_shape(volume.shape))


def expected(frames, correction, step, pixel=1.8):
    corrected = np.stack([correction.apply(frame) for frame in frames])
    scan = ObliqueScan(*corrected.shape, pixel, step)
    return deoblique(corrected, Box.of_shape(scan.shape), scan.shear)


def turned(frames):
    return np.flip(np.rot90(frames, 3, axes=(1, 2)), 1)


def test_defaults_change_no_count(raw, tmp_path):
    frames, path = raw
    result = call("--input", path, "--output", tmp_path / "v", "--x-step-size", 1.8 / 2**0.5)
    assert result.exit_code == 0, result.output
    np.testing.assert_array_equal(read(tmp_path / "v"), expected(frames, Correction(), 1.8 / 2**0.5))


def test_wavelet_with_all_options(raw, flat, tmp_path):
    frames, path = raw
    result = call(
        "--input", path, "--output", tmp_path / "v", "--start", 2, "--stop", 15, "--destripe-method", "wavelet",
        "-s1", 16, "-s2", 32, "-l", 2, "-w", "db5", "-t", 1000, "-x", 20, "--compat", "-f", flat[1], "-d", 90,
        "-r", 3, "--flip-ud", "--levels", 2, "--x-step-size", 2.0, "--y-voxel-size", 1.5, "--n-workers", 2,
        "--n-writers", 2, "--chunk-size", "32,32,32", "--log-level", "DEBUG", "--quiet",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    correction = Correction("wavelet", WaveletOptions(16, 32, 2, "db5", 20, 1000, True), flat=flat[0], dark=90)
    np.testing.assert_array_equal(read(tmp_path / "v"), expected(turned(frames[2:15]), correction, 2.0, 1.5))


def test_lightsheet_with_all_options(raw, tmp_path):
    # The reference throws destriped frames away without --flat. The method has taken --dark with the background.
    frames, path = raw
    result = call(
        "--input", path, "--output", tmp_path / "v", "--destripe-method", "lightsheet", "--artifact-length", 11,
        "--background-window-size", 9, "--percentile", 0.3, "--lightsheet-vs-background", 1.5, "--dark", 80,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    correction = Correction("lightsheet", lightsheet=LightsheetOptions(11, 9, 0.3, 1.5), dark=80)
    volume = read(tmp_path / "v")
    np.testing.assert_array_equal(volume, expected(frames, correction, 1.28))
    np.testing.assert_array_equal(volume, expected(frames, replace(correction, dark=0), 1.28))
    assert (volume != expected(frames, Correction(), 1.28)).any()


def test_raw_data_is_untouched(raw, tmp_path):
    before = raw[1].read_bytes()
    assert call("--input", raw[1], "--output", tmp_path / "v", "--dark", 100).exit_code == 0
    assert raw[1].read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["--start", 30], 3, "--start"),
        (["--stop", 19], 3, "--stop"),
        (["--dark", -1], 3, "--dark"),
        (["--levels", 0], 3, "levels"),
        (["--n-workers", 0], 3, "workers"),
        (["--destripe-method", "wavelet", "--wavelet", "nope", "--sigma1", 1], 3, "nope"),
        (["--flat", "missing.tiff"], 4, "missing.tiff"),
        (["--angle", 90], 3, "angle"),
    ],
)
def test_refuses_bad_options(raw, tmp_path, arguments, code, text):
    result = call("--input", raw[1], "--output", tmp_path / "v", *arguments)
    assert result.exit_code == code and text in result.output, result.output
    assert not list(tmp_path.iterdir())


def test_refuses_a_flat_of_another_size(raw, flat, tmp_path):
    result = call("--input", raw[1], "--output", tmp_path / "v", "--flat", flat[1])
    assert result.exit_code == 3 and "flat" in result.output
    assert not list(tmp_path.iterdir())


def test_a_truncated_file_leaves_nothing(raw, tmp_path):
    cut = tmp_path / "cut.dcimg"
    cut.write_bytes(raw[1].read_bytes()[:-5000])
    result = call("--input", cut, "--output", tmp_path / "v")
    assert result.exit_code == 5 and "cut.dcimg" in result.output
    assert [path.name for path in tmp_path.iterdir()] == ["cut.dcimg"]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("name", ["v", "v.zarr"])
@pytest.mark.parametrize("stated", ["keep", "uint16", "float32"])
def test_a_volume_has_the_type_of_its_frames_or_the_stated_one(tmp_path, dtype, name, stated):
    frames = (np.random.default_rng(0).uniform(5, 250, (6, ROWS, COLUMNS))).astype(dtype)
    for number, frame in enumerate(frames):
        write_tiff(tmp_path / f"{number}.tif", frame)
    options = ("--destripe-method", "lightsheet", "--dark", 3, "--dtype", stated, "--levels", 1)
    result = call("--input", tmp_path / "*.tif", "--output", tmp_path / name, "--x-step-size", 1.8 / 2**0.5, *options)
    assert result.exit_code == 0, result.output
    volume = open_volume(tmp_path / name)
    correction = Correction("lightsheet", dark=3, dtype=stated)
    assert volume.dtype == (dtype if stated == "keep" else np.dtype(stated))
    np.testing.assert_array_equal(volume.read(Box.of_shape(volume.shape)), expected(frames, correction, 1.8 / 2**0.5))


def test_frames_without_a_value_are_named_and_pixels_cut_off_are_counted(tmp_path):
    frames = np.full((6, ROWS, COLUMNS), 200, np.float32)
    frames[:, 0, 0] = 300
    for number, frame in enumerate(frames):
        write_tiff(tmp_path / f"{number}.tif", frame)
    arguments = ("--input", tmp_path / "*.tif", "--levels", 1, "--destripe-method", "none", "--dtype", "uint8")
    result = call(*arguments, "--output", tmp_path / "v")
    assert result.exit_code == 0, result.output
    assert "6 pixels were cut off" in result.stderr
    frames[4, 3, 3] = np.nan
    write_tiff(tmp_path / "4.tif", frames[4], overwrite=True)
    result = call(*arguments, "--output", tmp_path / "w")
    assert result.exit_code == DamagedInputError.exit_code
    assert "frames 0 to 5 of those used: 1 of the 4608 pixels" in result.stderr
    assert not (tmp_path / "w").exists()


def test_frames_of_fractions_are_told_of(tmp_path):
    write_tiff(tmp_path / "0.tif", np.linspace(0, 1, ROWS * COLUMNS, dtype=np.float32).reshape(ROWS, COLUMNS))
    arguments = ("--input", tmp_path / "0.tif", "--output", tmp_path / "v", "--levels", 1)
    result = call(*arguments, "--destripe-method", "wavelet", "--sigma1", 4, "--sigma2", 4)
    assert result.exit_code == 0, result.output
    assert "give --one-count" in result.stderr


def test_values_below_0_are_refused_before_the_output_is_touched(tmp_path):
    frame = np.linspace(-20, 100, ROWS * COLUMNS, dtype=np.float32).reshape(ROWS, COLUMNS)
    write_tiff(tmp_path / "0.tif", frame)
    arguments = ("--input", tmp_path / "0.tif", "--output", tmp_path / "v", "--levels", 1)
    result = call(*arguments, "--destripe-method", "lightsheet")
    assert result.exit_code == ParameterError.exit_code
    assert "values down to -20" in result.stderr and "the --dtype of the result" in result.stderr
    assert not (tmp_path / "v").exists()
