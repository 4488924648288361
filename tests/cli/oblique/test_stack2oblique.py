"""The command ``stack2oblique``."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from gpustitch.cli.main import app
from gpustitch.errors import DamagedInputError
from gpustitch.io.images.files import write_tiff
from gpustitch.io.volumes.precomputed import PrecomputedVolume
from gpustitch.model import Box, ObliqueScan
from gpustitch.oblique.deskew.deoblique import deoblique
from gpustitch.oblique.deskew.stage import DeobliqueOptions, plan, run


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    frames = np.random.default_rng(0).integers(0, 65536, (20, 12, 14), np.uint16)
    folder = tmp_path_factory.mktemp("stack")
    for number, frame in enumerate(frames):
        write_tiff(folder / f"img_{number}.tiff", frame)
    return frames, folder


def call(*arguments):
    return CliRunner().invoke(app, ["stack2oblique", *map(str, arguments)])


def test_every_option_reaches_the_volume(stack, tmp_path):
    frames, folder = stack
    result = call(
        "--input", folder / "img_*.tiff", "--output", tmp_path / "v", "--levels", 2, "--x-step-size", 2,
        "--y-voxel-size", 1.5, "--angle", 40, "--chunk-size", "16,8,4", "--n-workers", 2, "--n-writers", 3,
        "--log-level", "INFO", "--quiet",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    volume = PrecomputedVolume(tmp_path / "v")
    scan = ObliqueScan(20, 12, 14, 1.5, 2.0, 40.0)
    box = Box.of_shape(scan.shape)
    np.testing.assert_array_equal(volume.read(box), deoblique(frames, box, scan.shear))
    assert volume.spacing.zyx_um == pytest.approx(scan.spacing.zyx_um)
    # spimstitch crashes on any --chunk-size.
    assert json.loads((tmp_path / "v" / "info").read_text())["scales"][0]["chunk_sizes"] == [[16, 8, 4]]
    # Voxels of 0.96 x 1.5 x 2 um are halved along z first.
    assert PrecomputedVolume(tmp_path / "v", 1).shape == (7, *scan.shape[1:])


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


def damaged_copy(stack, folder, damage):
    """A copy of the stack; ``damage`` maps numbers of frames to the bytes that are left of their file."""
    frames, source = stack
    folder.mkdir()
    for number in range(len(frames)):
        content = (source / f"img_{number}.tiff").read_bytes()
        (folder / f"img_{number}.tiff").write_bytes(content[: damage.get(number, len(content))])
    return folder


def test_an_unreadable_frame_stops_or_becomes_a_hole_in_its_place(stack, tmp_path):
    frames, _ = stack
    folder = damaged_copy(stack, tmp_path / "in", {7: 0, 12: 250, 13: 250})
    stopped = call("--input", folder, "--output", tmp_path / "v", "--levels", 1)
    assert stopped.exit_code == 5 and "img_7.tiff" in stopped.output and not (tmp_path / "v").exists()
    skipped = call("--input", folder, "--output", tmp_path / "v", "--levels", 1, "--on-error", "skip")
    assert skipped.exit_code == 0
    assert "3 frames cannot be read (7, 12 to 13): uncovered" in " ".join(skipped.output.split())
    scan = ObliqueScan(20, 12, 14, 1.8, 1.28, absent=(7, 12, 13))
    volume, box = PrecomputedVolume(tmp_path / "v"), Box.of_shape(scan.shape)
    assert volume.coverage == scan.coverage
    np.testing.assert_array_equal(volume.read(box), deoblique(frames, box, scan.shear) * scan.coverage.mask(box))
    record = json.loads((tmp_path / "v" / "gpustitch.json").read_text())
    assert record["unreadable_frames"]["count"] == 3 and record["unreadable_frames"]["frames"] == "7, 12 to 13"
    assert sorted(record["unreadable_frames"]["reasons"]) == ["12", "13", "7"]
    assert record["absent_frames"] == {"count": 0, "frames": ""} and record["scan"]["absent"] == [7, 12, 13]


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.integers(0, 19), st.integers(0, 700), max_size=4), st.booleans())
def test_files_cut_anywhere_never_give_a_wrong_voxel(stack, tmp_path_factory, damage, skips):
    frames, _ = stack
    work = tmp_path_factory.mktemp("cut")
    folder = damaged_copy(stack, work / "in", damage)
    options = DeobliqueOptions(folder, work / "v", levels=1, flush=False, on_error="skip" if skips else "stop")
    try:
        result = run(plan(options))
    except DamagedInputError:
        assert damage and not skips
        return
    scan, box = result.scan, Box.of_shape(result.scan.shape)
    # A cut of the last bytes may lose nothing.
    assert set(scan.absent) == set(result.lost.unreadable) <= set(damage)
    expected = deoblique(frames, box, scan.shear) * scan.coverage.mask(box)
    np.testing.assert_array_equal(PrecomputedVolume(work / "v").read(box), expected)
