"""The command ``destripe`` and the types of images: kept, stated or refused by name."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tifffile
from typer.testing import CliRunner

from gpustitch.cli.main import app
from gpustitch.errors import DamagedInputError, ParameterError

SHEET = ("--lightsheet", "--artifact-length", 12, "--background-window-size", 30, "--lightsheet-vs-background", 0.3)
WAVES = ("--sigma1", 8, "--sigma2", 8)
WAYS = {"waves": WAVES, "sheet": SHEET, "dark": ("--dark", 1), "old": (*WAVES, "--dont-convert-16bit")}
TYPES = {
    "fractions": np.float32, "float32": np.float32, "float64": np.float64, "uint8": np.uint8, "int8": np.int8,
    "uint16": np.uint16, "int16": np.int16, "uint32": np.uint32, "int32": np.int32,
}  # fmt: skip


def light(seed=0):
    """A picture from 0.2 to 1 with bright lines along the rows."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:32, :48] / 8
    return (0.6 + 0.3 * np.sin(x + 0.5 * y) * np.cos(y)) * rng.uniform(0.9, 1.1, (32, 1))


def picture(name, seed=0):
    dtype = TYPES[name]
    most = 1 if name == "fractions" else min(4000, np.iinfo(dtype).max if np.dtype(dtype).kind in "ui" else 4000)
    return (light(seed) * most).astype(dtype)


def destripe(source, output, *arguments):
    return CliRunner().invoke(app, ["destripe", "-i", str(source), "-o", str(output), *map(str, arguments)])


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", TYPES)
def test_the_type_is_kept_and_the_picture_too(tmp_path, name, way):
    image = picture(name)
    tifffile.imwrite(tmp_path / "a.tif", image)
    result = destripe(tmp_path / "a.tif", tmp_path / "b.tif", *WAYS[way])
    assert result.exit_code == 0, result.output
    found = tifffile.imread(tmp_path / "b.tif")
    assert found.dtype == image.dtype
    assert np.corrcoef(found.reshape(-1), image.reshape(-1))[0, 1] > 0.9
    assert len(np.unique(found)) > 0.5 * len(np.unique(image))
    assert ("--one-count" in result.stderr) == (name == "fractions" and way in ("waves", "old"))


def test_fractions_are_destriped_as_counts_are(tmp_path):
    counts = (light() * 60000).astype(np.uint16)
    tifffile.imwrite(tmp_path / "counts.tif", counts)
    tifffile.imwrite(tmp_path / "fractions.tif", (counts / 65535).astype(np.float32))
    options = ("--sigma1", 4, "--sigma2", 16, "--threshold", 30000, "--crossover", 100)
    for name, more in (("counts", ()), ("fractions", ("--one-count", 1 / 65535))):
        result = destripe(tmp_path / f"{name}.tif", tmp_path / f"{name}-out.tif", *options, *more)
        assert result.exit_code == 0, result.output
    found = tifffile.imread(tmp_path / "fractions-out.tif") * 65535
    np.testing.assert_allclose(found, tifffile.imread(tmp_path / "counts-out.tif"), atol=0.7)


@pytest.mark.parametrize(("stated", "most"), [("uint8", 255), ("uint16", 65535)])
def test_what_a_stated_type_cuts_off_is_counted(tmp_path, stated, most):
    image = np.linspace(-500, 70000, 32 * 48).reshape(32, 48).astype(np.int32)
    (tmp_path / "in").mkdir()
    tifffile.imwrite(tmp_path / "in" / "a.tif", image)
    result = destripe(tmp_path / "in", tmp_path / "out", "--destripe-method", "none", "--dtype", stated)
    assert result.exit_code == 0, result.output
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "out" / "a.tif"), np.clip(image, 0, most))
    cut_off = int(((image < 0) | (image > most)).sum())
    assert f"{cut_off} pixels were cut off" in result.stderr
    assert json.loads((tmp_path / "out" / "destripe.json").read_text())["cut_off_pixels"] == cut_off


def test_fractions_as_whole_numbers_are_warned_about(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", picture("fractions"))
    result = destripe(tmp_path / "a.tif", tmp_path / "b.tif", *SHEET, "--dtype", "uint16")
    assert result.exit_code == 0
    assert "--dtype uint16 keeps no more than 0 and 1" in result.stderr


REFUSED = {
    "offset": (picture("int16") - np.int16(2000), ParameterError, "values down to -"),
    "digits": (picture("uint32") * np.uint32(100000), ParameterError, "would lose digits"),
    "nan": (np.where(picture("float32") > 3000, np.nan, picture("float32")), DamagedInputError, "NaN"),
    "bilevel": (picture("uint8") > 100, ParameterError, "pixels of bool"),
    "complex": (picture("float32").astype(np.complex64), ParameterError, "pixels of complex64"),
    "half": (picture("float32").astype(np.float16), ParameterError, "pixels of float16"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_would_be_lost_is_refused_or_skipped_by_name(tmp_path, name):
    image, error, text = REFUSED[name]
    (tmp_path / "in").mkdir()
    tifffile.imwrite(tmp_path / "in" / "bad.tif", image)
    tifffile.imwrite(tmp_path / "in" / "good.tif", picture("uint16"))
    stopped = destripe(tmp_path / "in", tmp_path / "stopped", *WAVES)
    assert stopped.exit_code == error.exit_code
    assert "bad.tif: " in stopped.stderr and text in stopped.stderr
    assert not list((tmp_path / "stopped").glob("*.tif"))
    skipped = destripe(tmp_path / "in", tmp_path / "skipped", *WAVES, "--on-error", "skip")
    assert skipped.exit_code == 0, skipped.output
    assert [path.name for path in (tmp_path / "skipped").glob("*.tif")] == ["good.tif"]
    assert "skipped: " in skipped.stderr and "bad.tif: " in skipped.stderr


def test_colours_are_refused_by_name(tmp_path):
    image = np.random.default_rng(0).integers(0, 255, (32, 48, 3), dtype=np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", image, photometric="rgb")
    result = destripe(tmp_path / "a.tif", tmp_path / "b.tif", *WAVES)
    assert result.exit_code == ParameterError.exit_code
    assert "a.tif is a colour image, of shape (32, 48, 3)" in result.stderr


@pytest.mark.parametrize("stated", [["--auto"], ["--notch-length", "100"], ["--sigma1", "5"]])
def test_fractions_without_their_unit_are_warned_about(tmp_path, stated):
    tifffile.imwrite(tmp_path / "a.tif", np.random.default_rng(0).uniform(0.1, 0.9, (64, 64)).astype(np.float32))
    result = CliRunner().invoke(app, ["destripe", "-i", str(tmp_path / "a.tif"), *stated])
    assert result.exit_code == 0 and "works on counts" in result.output and "--one-count" in result.output


def test_an_offset_above_the_image_is_warned_about(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.full((20, 20), 300, np.uint16))
    result = CliRunner().invoke(app, ["destripe", "-i", str(tmp_path / "a.tif"), "--dark", "500"])
    assert result.exit_code == 0 and "--dark is 500, but a frame reaches only 300" in result.output
