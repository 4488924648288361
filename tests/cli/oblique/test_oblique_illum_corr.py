"""The command ``oblique-illum-corr``."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tifffile
from typer.testing import CliRunner

from gpustitch.cli.main import app
from gpustitch.io.frames.dcimg_writer import write_dcimg
from gpustitch.oblique.flat.options import IlluminationOptions
from gpustitch.oblique.flat.stage import plan, run
from tests.oblique.flat.scenes import EVEN, X, Y, frames
from tests.paths import DATA


@pytest.fixture(scope="module")
def dcimg(tmp_path_factory):
    frames = np.load(DATA / "illum_40x48.npz")["frames"]
    path = tmp_path_factory.mktemp("illum") / "a.dcimg"
    write_dcimg(path, frames, len(frames), frames.shape[1:])
    return str(path)


def call(*arguments):
    return CliRunner().invoke(app, ["oblique-illum-corr", *map(str, arguments)])


def test_every_option_reaches_the_flat(dcimg, tmp_path):
    flat, percentile = tmp_path / "flat.tiff", tmp_path / "percentile.tiff"
    result = call(
        "--output", flat, "--intermediate-output", percentile, "--n-frames", 100, "--n-bins", 64,
        "--values-per-bin", 16, "--min-samples", 25, "--percentile", 90, "--background", 140, "--rotate-90", 3,
        "--flip-ud", "--n-workers", 1, "--quiet", "--seed", 4, "--dark", 100, "--model", "product", dcimg,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "100 frames" in result.output
    options = IlluminationOptions(
        (dcimg,), tmp_path / "expected.tiff", None, 100, 64, 16, 25, 90, 140, 100, "product", 4, 3, True
    )
    expected = run(plan(options))
    assert tifffile.imread(flat).shape == (48, 40)
    np.testing.assert_array_equal(tifffile.imread(flat), expected.fit.counts)
    np.testing.assert_array_equal(tifffile.imread(percentile), expected.percentile_image)


def test_defaults_and_overwrite(dcimg, tmp_path):
    flat = tmp_path / "flat.tiff"
    assert call("--output", flat, dcimg, dcimg).exit_code == 0
    refused = call("--output", flat, dcimg)
    assert refused.exit_code == 7
    assert "--overwrite" in refused.output
    assert call("--output", flat, "--overwrite", dcimg).exit_code == 0


def written(folder, **scene):
    made = frames(**scene)
    write_dcimg(folder / "a.dcimg", made, len(made), made.shape[1:])
    return folder / "a.dcimg"


def test_auto_chooses_and_writes_what_the_flat_misses_and_a_record(tmp_path):
    light = np.cos(np.arctan(1.4 * np.hypot(X, Y))) ** 4
    raw, flat = written(tmp_path, light=light), tmp_path / "flat.tiff"
    result = call("--auto", "--dark", 100, "--output", flat, raw)
    assert result.exit_code == 0, result.output
    assert "smooth is taken" in result.output
    record = json.loads((tmp_path / "flat.tiff.json").read_text())["flat"]
    assert record["model"] == "smooth" and set(record["misfit_percent"]) == {"reference", "product", "smooth"}
    assert record["is_used"] and record["n_frames"] == len(frames())
    (lost,) = json.loads((tmp_path / "flat.tiff.json").read_text())["frames"].values()
    assert lost["unreadable_frames"]["count"] == lost["absent_frames"]["count"] == 0
    assert record["misfit_percent"]["smooth"] < 3 < 10 < record["misfit_without_flat_percent"]
    residual = tifffile.imread(tmp_path / "flat_residual.tiff")
    assert residual.dtype == np.float32 and residual.shape == light.shape
    assert abs(np.median(residual)) < 1 and 1 < residual.std() < 30
    assert call("--auto", "--output", flat, raw).exit_code == 7
    (tmp_path / "flat.tiff").unlink()
    assert "flat_residual.tiff" in call("--auto", "--output", flat, raw).output
    plain = call("--dark", 100, "--output", tmp_path / "plain.tiff", raw)
    assert plain.exit_code == 0 and "the flat may be wrong" in plain.output
    assert not (tmp_path / "plain_residual.tiff").exists()


def test_pictures_and_records_of_an_earlier_flat_are_told(tmp_path):
    raw, flat = written(tmp_path), tmp_path / "flat.tiff"
    assert call("--auto", "--dark", 100, "--output", flat, raw).exit_code == 0
    again = " ".join(call("--dark", 100, "--overwrite", "--output", flat, raw).output.split())
    assert "flat_residual.tiff is of an earlier flat" in again and "flat.tiff.json is of an earlier flat" in again


def test_a_flat_that_is_worse_than_none_is_refused_unless_it_is_asked_for(tmp_path):
    raw, flat = written(tmp_path, light=EVEN, n=2), tmp_path / "flat.tiff"
    refused = call("--auto", "--dark", 100, "--output", flat, raw)
    assert refused.exit_code == 3
    assert "not better than none" in refused.output and "--allow-poor-flat" in refused.output
    assert [path.name for path in tmp_path.iterdir()] == ["a.dcimg"]
    allowed = call("--auto", "--dark", 100, "--allow-poor-flat", "--output", flat, raw)
    assert allowed.exit_code == 0 and "not better than none" in allowed.output
    assert flat.exists()


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--n-frames", "0"], 3, "at least 1"),
        (["--background", "5000"], 3, "lower --background"),
        (["--model", "cubic"], 2, "reference"),
    ],
)
def test_bad_options_leave_with_their_code_and_no_output(arguments, code, says, dcimg, tmp_path):
    result = call("--output", tmp_path / "flat.tiff", *arguments, dcimg)
    assert result.exit_code == code
    assert says in result.output
    assert not list(tmp_path.iterdir())


def test_help_shows_an_example():
    assert "Example: gpustitch oblique-illum-corr" in " ".join(call("--help").output.split())
