"""What users get wrong, and what disks and cameras do: a clear error, an exit code, and nothing lost."""

from __future__ import annotations

import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from gpustitch.demo.phantom.truth import Truth
from gpustitch.io.frames.dcimg_writer import write_dcimg
from tests.e2e.commands import fail, read_level, run, signalled, succeed

pytestmark = pytest.mark.xdist_group("e2e")

PLAIN = ("--no-flat", "--destripe-method", "none", "--levels", 1, "--preset", "plain", "--no-report")


@pytest.fixture
def channel(tmp_path: Path) -> Path:
    """Two tiny tiles that overlap along y."""
    frames = np.random.default_rng(0).integers(100, 900, (12, 16, 8)).astype(np.uint16)
    for name in ("0/0_0/0", "0/0_144/0"):
        path = tmp_path / "channel" / f"{name}.dcimg"
        path.parent.mkdir(parents=True)
        write_dcimg(path, frames, 12, (16, 8))
    return tmp_path / "channel"


def test_damaged_files_are_named_before_anything_is_written(channel: Path, tmp_path: Path) -> None:
    victim = channel / "0/0_144/0.dcimg"
    whole = victim.read_bytes()
    for damage, code, text in (
        (whole[:-200], 5, "truncated"),
        (b"GARBAGE!" + whole[8:], 5, "not a DCIMG"),
        (b"", 5, "DCIMG"),
    ):
        victim.write_bytes(damage)
        said = fail(code, "pipeline", channel, "--output", tmp_path / "out", *PLAIN)
        assert text in said and str(victim) in said.replace("\n", "")
        assert victim.read_bytes() == damage
        assert "DAMAGED" in fail(5, "info", channel)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["channel"]


def test_whole_frames_of_a_truncated_file_can_be_used_when_asked_for(channel: Path, tmp_path: Path) -> None:
    victim = channel / "0/0_144/0.dcimg"
    victim.write_bytes(victim.read_bytes()[:-200])
    assert "--allow-missing" in fail(5, "dcimg2tif", "--input", victim, "--output-pattern", tmp_path / "a_%02d.tif")
    allow = "--allow-missing"
    said = succeed("dcimg2tif", "--input", victim, "--output-pattern", tmp_path / "a_%02d.tif", "--quiet", allow)
    assert "1 of 12 frames are absent: 11 (1 cut off at the end)" in said
    assert len(list(tmp_path.glob("a_*.tif"))) == 11
    said = succeed("dcimg2oblique", "--input", victim, "--output", tmp_path / "tile", "--quiet", allow)
    assert "1 of 12 frames are absent" in said
    succeed("pipeline", channel, "--output", tmp_path / "out", "--window-size", "3,3,3", *PLAIN, allow,
            "--allow-unaligned")  # fmt: skip
    assert read_level(tmp_path / "out/volume").any()


def test_two_recordings_in_one_file_are_not_read_as_one(channel: Path, tmp_path: Path) -> None:
    victim = channel / "0/0_144/0.dcimg"
    content = bytearray(victim.read_bytes())
    content[0x20] = 2
    victim.write_bytes(content)
    assert "2 recording sessions" in fail(5, "pipeline", channel, "--output", tmp_path / "out", *PLAIN)


def test_frames_of_another_size(channel: Path, tmp_path: Path) -> None:
    other = channel / "0/0_144/0.dcimg"
    other.unlink()
    write_dcimg(other, np.ones((12, 20, 8), np.uint16), 12, (20, 8))
    said = fail(6, "pipeline", channel, "--output", tmp_path / "out", *PLAIN)
    assert "20 x 8" in said and "16 x 8" in said


def test_a_folder_that_is_no_position_is_named(channel: Path, tmp_path: Path) -> None:
    (channel / "0/0_144").rename(channel / "0/second")
    assert "second" in fail(6, "pipeline", channel, "--output", tmp_path / "out", *PLAIN)


def test_a_missing_tile_is_told_and_the_rest_is_made(channel: Path, tmp_path: Path) -> None:
    (channel / "100/100_0").mkdir(parents=True)
    shutil.copy(channel / "0/0_0/0.dcimg", channel / "100/100_0/0.dcimg")
    said = succeed("pipeline", channel, "--output", tmp_path / "out", "--window-size", "3,3,3", *PLAIN)
    assert "no tile near x 10, y 14.4, z 0" in said
    assert "no tile near x 10, y 14.4, z 0" in succeed("info", channel)
    assert read_level(tmp_path / "out/volume").any()


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("--window-size", "20,21,21"), "odd"),
        (("--window-size", "21,21"), "3 whole numbers"),
        (("--x-step-size", "-1"), "step size"),
        (("--y-voxel-size", "0"), "voxel size"),
        (("--angle", "90"), "angle"),
        (("--levels", "0"), "--levels must be"),
        (("--chunk-size", "0,64,64"), "--chunk-size must be"),
        (("--n-workers", "0"), "workers"),
        (("--background", "-5"), "--dark must be 0 or a positive number"),
        (("--flat", "--n-frames", "0"), "--n-frames is 0"),
    ],
)
def test_parameters_out_of_range(channel: Path, tmp_path: Path, arguments: tuple[str, ...], text: str) -> None:
    assert text in fail(3, "pipeline", channel, "--output", tmp_path / "out", *PLAIN, *arguments)
    assert not (tmp_path / "out").exists()


def test_a_path_where_nothing_is_is_named(tmp_path: Path) -> None:
    assert "no-such" in fail(4, "pipeline", tmp_path / "no-such", "--output", tmp_path / "out")
    assert "no-such" in fail(4, "info", tmp_path / "no-such")
    (tmp_path / "empty").mkdir()
    fail(4, "pipeline", tmp_path / "empty", "--output", tmp_path / "out")
    fail(3, "info", tmp_path / "empty")
    fail(4, "oblique-align", "--input", tmp_path / "empty", "--output", tmp_path / "align.json")
    fail(4, "oblique2stitched", "--input", tmp_path / "empty", "--output", tmp_path / "out")
    assert run("no-such-command").exit_code == 2
    assert run("pipeline").exit_code == 2


def test_existing_output_is_kept_unless_told(channel: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "precious").write_text("data")
    arguments = ("pipeline", channel, "--output", out, "--window-size", "3,3,3", *PLAIN)
    assert "--overwrite" in fail(7, *arguments)
    # Nobody means a folder that holds no output to be removed.
    assert "no file that marks an output" in fail(8, *arguments, "--overwrite")
    assert (out / "precious").read_text() == "data"
    (out / "run.json").write_text("{}")
    succeed(*arguments, "--overwrite")
    assert (out / "volume/info").exists() and not (out / "precious").exists()


def test_alignment_of_other_tiles(channel: Path, plain_run: Path, tmp_path: Path) -> None:
    said = fail(6, "pipeline", channel, "--output", tmp_path / "out", "--align-file", plain_run / "align.json", *PLAIN)
    assert "align.json" in said and "x 0, y 0, z 0 um" in said
    (tmp_path / "bad.json").write_text("{]")
    fail(5, "pipeline", channel, "--output", tmp_path / "out", "--align-file", tmp_path / "bad.json", *PLAIN)
    assert not (tmp_path / "out").exists()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 2 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip("a small disk cannot be mounted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.posix
def test_a_disk_too_small_is_refused_before_the_first_read(truth: Truth, small_disk: Path) -> None:
    assert "free" in fail(8, "pipeline", truth.channel(), "--output", small_disk / "out", *PLAIN)
    assert not any(small_disk.iterdir())


@pytest.mark.posix
def test_a_disk_that_fills_up_keeps_what_is_finished(
    truth: Truth, plain_run: Path, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    positions = ("--align-file", plain_run / "align.json")
    for module in ("pipeline.foreseen", "deskew.stage", "fuse.stage"):
        monkeypatch.setattr(f"gpustitch.oblique.{module}.check_free_space", lambda path, needed, files=0: None)
    said = fail(8, "pipeline", truth.channel(), "--output", small_disk / "out", *PLAIN, *positions)
    assert "full" in said and "out.work: run again" in said.replace("\n", "")
    assert [path.name for path in small_disk.iterdir()] == ["out.work"]
    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
    succeed("pipeline", truth.channel(), "--output", small_disk / "out", *PLAIN, *positions)
    assert [path.name for path in small_disk.iterdir()] == ["out"]
    # That run kept its tiles, whose voxels are rounded before they are fused.
    voxels = read_level(small_disk / "out" / "volume")
    np.testing.assert_allclose(voxels, read_level(plain_run / "volume"), rtol=0, atol=1)


@pytest.mark.posix
def test_a_disk_that_may_not_be_written(channel: Path, small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    for arguments in (
        ("pipeline", channel, "--output", small_disk / "out", *PLAIN),
        ("dcimg2oblique", "--input", channel / "0/0_0/0.dcimg", "--output", small_disk / "tile"),
        ("dcimg2tif", "--input", channel / "0/0_0/0.dcimg", "--output-pattern", small_disk / "img_%05d.tiff"),
    ):
        assert str(small_disk) in fail(8, *arguments).replace("\n", "")


@pytest.mark.posix
def test_a_killed_run_leaves_no_output_and_goes_on(truth: Truth, plain_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = [
        "pipeline", truth.channel(), "--output", out, "--no-flat", "--destripe-method", "none", "--levels", "3",
        "--align-file", plain_run / "align.json",
    ]  # fmt: skip
    begun = tmp_path / "out.work" / "out" / "volume" / "info"
    assert signalled(signal.SIGKILL, begun, *arguments).returncode == -signal.SIGKILL
    assert begun.exists() and not out.exists()
    succeed(*arguments)
    # That run kept its tiles, whose voxels are rounded before they are fused.
    np.testing.assert_allclose(read_level(out / "volume"), read_level(plain_run / "volume"), rtol=0, atol=1)
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
