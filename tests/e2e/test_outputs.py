"""Outputs never cost a user anything: raw data, another output, or hours before a mistake is told."""

from __future__ import annotations

import signal
from pathlib import Path

import numpy as np
import pytest

from gpustitch.io.frames.dcimg_writer import write_dcimg
from gpustitch.io.images.files import write_tiff
from tests.e2e.commands import fail, signalled, succeed

pytestmark = pytest.mark.xdist_group("e2e")

PLAIN = ("--no-flat", "--destripe-method", "none", "--levels", 1, "--preset", "plain", "--no-report")


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """A tiny tile in its channel."""
    path = tmp_path / "channel/0/0_0/0.dcimg"
    path.parent.mkdir(parents=True)
    frames = np.random.default_rng(0).integers(200, 900, (12, 16, 8)).astype(np.uint16)
    write_dcimg(path, frames, 12, (16, 8))
    return path


def test_overwrite_never_replaces_what_is_read(raw: Path, tmp_path: Path) -> None:
    before, channel = raw.read_bytes(), tmp_path / "channel"
    named, frame = tmp_path / "folder.tif", tmp_path / "frame.tif"
    named.mkdir()
    write_tiff(frame, np.full((16, 8), 500, np.uint16))
    for output in (tmp_path, channel, channel / "0/0_0"):  # not even folders that might be outputs
        assert "no file that marks an output" in fail(
            8, "dcimg2oblique", "--input", raw, "--output", output, "--overwrite"
        )
        (output / "run.json").touch()
    for output in (tmp_path, channel, channel / "0/0_0", raw):
        for arguments in (
            ("pipeline", channel, "--output", output, *PLAIN),
            ("dcimg2oblique", "--input", raw, "--output", output),
            ("dcimg2oblique", "--input", f"{raw.parent}/*.dcimg", "--output", output),
        ):
            assert "never replaced" in fail(3, *arguments, "--overwrite")
    assert "TIFF" in fail(3, "oblique-illum-corr", "--output", raw, "--overwrite", raw)
    assert "is a folder" in fail(8, "oblique-illum-corr", "--output", named, "--overwrite", raw)
    assert "never replaced" in fail(3, "oblique-illum-corr", "--output", frame, "--overwrite", frame)
    assert raw.read_bytes() == before
    tiles = tmp_path / "tiles"
    succeed("dcimg2oblique", "--input", raw, "--output", tiles / "0/0_0/0", "--levels", 1)
    (tiles / "run.json").touch()
    for output in (tiles, tiles / "0/0_0/0"):
        assert "never replaced" in fail(3, "oblique2stitched", "--input", tiles, "--output", output, "--overwrite")
    assert "is a folder" in fail(8, "oblique-align", "--input", tiles, "--output", tiles, "--overwrite")
    assert (tiles / "0/0_0/0/info").exists()


def test_an_output_may_be_made_again_from_its_own_alignment(raw: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/run.json").touch()
    (tmp_path / "out/align.json").write_text('{"alignments": {"[0, 0, 0]": [0, 0, 0]}, "voxel_size": 1.5}')
    succeed("pipeline", tmp_path / "channel", "--output", tmp_path / "out", *PLAIN, "--overwrite", "--align-file",
            tmp_path / "out/align.json")  # fmt: skip
    assert (tmp_path / "out/align.json").exists() and (tmp_path / "out/volume/info").exists()
    said = succeed("info", tmp_path / "out")
    assert "1 tile, y voxel size 1.5 um" in said and "1.5, 1.28 um" in said


@pytest.mark.parametrize(
    ("code", "arguments", "text"),
    [
        (3, ("--levels", "0"), "levels"),
        (3, ("--chunk-size", "64,64,0"), "--chunk-size must be three whole numbers"),
        (4, ("--align-file", "no-such.json"), "no-such.json"),
        (5, ("--align-file", "text.json"), "text.json"),
        (6, ("--align-file", "other.json"), "other.json"),
        (3, ("--align-file", "step.json"), "1.28"),
    ],
)
def test_mistakes_are_told_before_hours_of_work(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, arguments: tuple[str, ...], text: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("text.json").write_text("text")
    Path("other.json").write_text('{"alignments": {"[9, 9, 9]": [0, 0, 0]}, "voxel_size": 1.8}')
    Path("step.json").write_text('{"alignments": {"[0, 0, 0]": [0, 0, 0]}, "voxel_size": 1.8, "x_step_size": 2.0}')
    said = fail(code, "pipeline", "channel", "--output", "out", *PLAIN, *arguments)
    assert text in said and "partial" not in said and "de-oblique" not in said


def test_tiles_that_cannot_be_linked_are_told_even_when_quiet(raw: Path, tmp_path: Path) -> None:
    other = tmp_path / "channel/0/0_144/0.dcimg"
    other.parent.mkdir()
    noise = np.random.default_rng(1).integers(200, 900, (12, 16, 8)).astype(np.uint16)
    write_dcimg(other, noise, 12, (16, 8))
    job = ("pipeline", tmp_path / "channel", "--output", tmp_path / "out", "--window-size", "3,3,3", *PLAIN, "--quiet")
    said = fail(10, *job)
    assert "none of 1 overlap gave a link" in said and "--negative-y" in said and "--allow-unaligned" in said
    assert not (tmp_path / "out").exists()
    said = succeed(*job, "--allow-unaligned")
    assert "UNALIGNED" in said.splitlines()[-1] and "NOT measured" in said.splitlines()[-1]
    again = ("pipeline", tmp_path / "channel", "--output", tmp_path / "o2", *PLAIN, "--align-file")
    assert "stage's positions" in fail(10, *again, tmp_path / "out/align.json")
    assert "seed" in fail(3, "oblique-align", "--input", tmp_path / "out", "--output", "a.json", "--seed", -1)


@pytest.mark.posix
def test_a_terminated_run_keeps_what_is_finished(raw: Path, tmp_path: Path) -> None:
    frames = np.ones((500, 64, 64), np.uint16)
    long = tmp_path / "long.dcimg"
    write_dcimg(long, frames, 500, (64, 64))
    begun = tmp_path / "out.work/out/volume/info"
    process = signalled(signal.SIGTERM, begun, "pipeline", long, "--output", tmp_path / "out",
                        "--destripe-method", "wavelet", "--no-flat", "--preset", "plain")  # fmt: skip
    said = process.stderr
    assert process.returncode == 143 and "terminated" in said and "is kept in" in said
    assert sorted(p.name for p in tmp_path.iterdir()) == ["channel", "long.dcimg", "out.work"]
