"""Frames that the camera dropped: no command goes on without a word, none closes the gap."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from typer.testing import CliRunner

from gpustitch.cli.main import app
from gpustitch.io.frames.dcimg_writer import write_dcimg
from gpustitch.io.volumes.opening import open_volume

FRAMES = np.random.default_rng(3).integers(100, 900, (9, 12, 8), dtype=np.uint16)
SAID = "2 of 11 frames are absent: 4, 7 (2 dropped by the camera"


def _run(*arguments):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return result.exit_code, " ".join(result.output.split())


@pytest.fixture
def channel(tmp_path):
    """Two tiles, one of which lost frames 4 and 7."""
    for name, dropped in (("0_0/0", ()), ("0_96/0", (4, 7))):
        path = tmp_path / "channel/0" / f"{name}.dcimg"
        path.parent.mkdir(parents=True)
        write_dcimg(path, FRAMES, 9, (12, 8), dropped=dropped)
    return tmp_path / "channel"


def test_every_command_refuses_a_recording_with_drops(channel, tmp_path):
    raw, out = channel / "0/0_96/0.dcimg", tmp_path / "out"
    for command in (
        ("dcimg2oblique", "--input", raw, "--output", out),
        ("stack2oblique", "--input", raw, "--output", out),
        ("dcimg2tif", "--input", raw, "--output-pattern", out / "%03d.tif"),
        ("dcimg2jp2", "--input", raw, "--output-pattern", out / "%03d.jp2"),
        ("oblique-illum-corr", raw, "--output", tmp_path / "out.tif"),
        ("destripe", "--input", raw, "--output", out, "--sigma1", 2),
        ("similarity", raw, tmp_path / "out.npz"),
        ("pipeline", channel, "--output", out, "--preset", "plain"),
    ):
        code, said = _run(*command)
        assert code == 5 and "0.dcimg: " + SAID in said, (command, said)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["channel"]


def test_all_tiles_with_drops_are_named_at_once(channel, tmp_path):
    write_dcimg(channel / "0/0_0/0.dcimg", FRAMES, 9, (12, 8), dropped={2}, overwrite=True)
    code, said = _run("pipeline", channel, "--output", tmp_path / "out", "--preset", "plain")
    assert code == 5 and "2 of 2 tiles are damaged; " in said and "0_0/0.dcimg: 1 of 10" in said and SAID in said


def test_the_gap_stays_open_where_it_is_allowed(channel, tmp_path):
    """A tile with drops has the shape of one whose frames are all there."""
    whole = tmp_path / "whole.dcimg"
    write_dcimg(whole, np.concatenate([FRAMES, FRAMES[:2]]), 11, (12, 8))
    for name, raw in (("a", whole), ("b", channel / "0/0_96/0.dcimg")):
        code, said = _run(
            "dcimg2oblique", "--input", raw, "--output", tmp_path / name, "--levels", 1, "--quiet", "--allow-missing"
        )
        assert code == 0 and (SAID in said) == (name == "b")
    assert open_volume(tmp_path / "b").coverage.shape == open_volume(tmp_path / "a").coverage.shape


def test_info_prints_what_the_camera_wrote(channel):
    code, said = _run("info", channel / "0/0_0/0.dcimg")
    assert code == 0 and "9 frames of 12 rows x 8 columns, uint16" in said
    assert "DCIMG version 1, 100 Hz, 0.08 s from first to last frame, no dropped frames" in said
    code, said = _run("info", channel / "0/0_96/0.dcimg")
    assert code == 5 and "11 frames of 12 rows" in said and "2 dropped frames" in said and SAID in said
    code, said = _run("info", channel)
    assert code == 5 and "1 of 2 tiles are damaged" in said and "0_0_0: 9 frames" in said and "no dropped frames" in said
    assert f"0_96_0: DAMAGED: {channel}/0/0_96/0.dcimg: {SAID}" in said


def test_info_of_what_is_no_recording_is_an_error(channel):
    raw = channel / "0/0_0/0.dcimg"
    raw.write_bytes(b"GARBAGE!")
    code, said = _run("info", raw)
    assert code == 5 and "not a DCIMG file" in said


def test_what_was_never_tried_on_a_real_file_is_said_by_every_command(channel, tmp_path):
    shutil.rmtree(channel / "0/0_96")
    raw = channel / "0/0_0/0.dcimg"
    raw.write_bytes(raw.read_bytes().replace(b"\0\0\0\1", b"\0\0\0\2", 1))
    for command in (
        ("dcimg2oblique", "--input", raw, "--output", tmp_path / "a", "--levels", 1),
        ("dcimg2tif", "--input", raw, "--output-pattern", tmp_path / "b" / "%03d.tif"),
        ("oblique-illum-corr", raw, "--output", tmp_path / "c.tif", "--n-frames", 9, "--background", 0),
        ("destripe", "--input", raw, "--output", tmp_path / "d", "--sigma1", 2),
        ("similarity", raw, tmp_path / "e.npz"),
        (
            "pipeline",
            channel,
            "--output",
            tmp_path / "f",
            "--no-flat",
            "--destripe-method",
            "none",
            "--levels",
            1,
            "--preset",
            "plain",
        ),
    ):
        _, said = _run(*command, "--quiet")
        assert "version 0x2000000, not verified on a real file" in said, (command, said)
