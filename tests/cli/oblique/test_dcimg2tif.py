"""The commands ``dcimg2tif`` and ``dcimg2jp2``."""

from __future__ import annotations

import imagecodecs
import numpy as np
import pytest
import tifffile
from typer.testing import CliRunner

from gpustitch.cli.main import app
from gpustitch.io.frames.dcimg_writer import write_dcimg

FRAMES = np.random.default_rng(3).integers(0, 4096, (3, 6, 8), dtype=np.uint16)


@pytest.fixture
def raw(tmp_path):
    write_dcimg(tmp_path / "raw.dcimg", FRAMES, *(3, (6, 8)))
    return tmp_path / "raw.dcimg"


def _run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_dcimg2tif_takes_the_options_of_the_reference(raw, tmp_path):
    pattern = tmp_path / "out" / "img_%05d.tiff"
    options = ("--compression", 5, "--n-workers", 2, "--rotate-90", 3, "--flip-ud", "--start", 1, "--stop", 3)
    assert _run("dcimg2tif", "--input", raw, "--output-pattern", pattern, *options).exit_code == 0
    names = ["img_%05d.tiff.manifest.jsonl", "img_00001.tiff", "img_00002.tiff"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == names
    assert np.array_equal(tifffile.imread(tmp_path / "out" / "img_00002.tiff"), np.flipud(np.rot90(FRAMES[2], 3)))


def test_dcimg2jp2_is_lossless_where_told(raw, tmp_path):
    options = ("--n-workers", 1, "--psnr", "40,0", "--stop", 2)
    assert _run("dcimg2jp2", "--input", raw, "--output-pattern", tmp_path / "%d.jp2", *options).exit_code == 0
    assert np.array_equal(imagecodecs.jpeg2k_decode((tmp_path / "1.jp2").read_bytes()), FRAMES[1])


def test_errors_are_one_line_and_an_exit_code(raw, tmp_path):
    for verb, suffix in (("dcimg2tif", "tif"), ("dcimg2jp2", "jp2")):
        given = (verb, "--input", raw, "--output-pattern", f"{tmp_path}/{suffix}_%d.{suffix}", "--n-workers", 1)
        assert _run(*given).exit_code == 0
        assert _run(*given).exit_code == 7
        assert _run(*given, "--overwrite", "--quiet").exit_code == 0
        assert _run(*given, "--start", 9).exit_code == 3
        assert _run(*given[:2], tmp_path / "none.dcimg", *given[3:]).exit_code == 4
    assert _run(*given, "--overwrite", "--psnr", "high").exit_code == 3
    raw.write_bytes(raw.read_bytes()[:-1])
    assert _run(*given, "--overwrite").exit_code == 5


def test_help_says_that_80_db_is_lossy():
    text = " ".join(_run("dcimg2jp2", "--help").output.split())
    assert "Example:" in text and "lossy" in text
