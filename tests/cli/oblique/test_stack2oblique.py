"""The command ``stack2oblique``."""

from __future__ import annotations

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from gpustitch.cli.main import app
from gpustitch.io.images.files import write_tiff
from gpustitch.io.volumes.precomputed import PrecomputedVolume
from gpustitch.model import Box, ObliqueScan
from gpustitch.oblique.deskew.deoblique import deoblique


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    frames = np.random.default_rng(0).integers(0, 65536, (20, 12, 14), np.uint16)
    folder = tmp_path_factory.mktemp("stack")
    for number, frame in enumerate(frames):
        write_tiff(folder / f"img_{number}.tiff", frame)
    return frames, folder


def call(*arguments):
    return CliRunner().invoke(app, ["stack2oblique", *map(str, arguments)])


def test_all_options(stack, tmp_path):
    frames, folder = stack
    result = call(
        "--input", folder / "img_*.tiff", "--output", tmp_path / "v", "--levels", 2, "--x-step-size", 2,
        "--y-voxel-size", 1.5, "--angle", 40, "--chunk-size", "16,8,32", "--n-workers", 2, "--n-writers", 3,
        "--log-level", "INFO", "--quiet",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    volume = PrecomputedVolume(tmp_path / "v")
    scan = ObliqueScan(20, 12, 14, 1.5, 2.0, 40.0)
    box = Box.of_shape(scan.shape)
    np.testing.assert_array_equal(volume.read(box), deoblique(frames, box, scan.shear))
    assert volume.spacing.zyx_um == pytest.approx(scan.spacing.zyx_um)
    # spimstitch crashes on any --chunk-size.
    assert json.loads((tmp_path / "v" / "info").read_text())["scales"][0]["chunk_sizes"] == [[16, 8, 32]]
    assert PrecomputedVolume(tmp_path / "v", 1).shape == (7, 6, -(-scan.shape[2] // 2))


def test_defaults_and_what_it_says(stack, tmp_path):
    result = call("--input", stack[1], "--output", tmp_path / "v")
    assert result.exit_code == 0, result.output
    assert "20 frames of 12 x 14" in result.output and "20 frames\n" in result.output
    assert PrecomputedVolume(tmp_path / "v", 4).spacing.x_um == pytest.approx(1.28 * 16)


def test_bad_input_and_existing_output(stack, tmp_path):
    missing = call("--input", tmp_path / "no*.tiff", "--output", tmp_path / "v")
    assert missing.exit_code == 4 and "no*.tiff" in missing.output
    bad = call("--input", stack[1], "--output", tmp_path / "v", "--chunk-size", "64")
    assert bad.exit_code == 3 and "--chunk-size" in bad.output
    assert not list(tmp_path.iterdir())
    (tmp_path / "v").write_text("mine")
    exists = call("--input", stack[1], "--output", tmp_path / "v")
    assert exists.exit_code == 7 and "--overwrite" in exists.output
    assert (tmp_path / "v").read_text() == "mine"
