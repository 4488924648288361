"""``gpustitch convert``: one line for each refusal, its exit code, and a run that was killed."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from gpustitch.cli.main import app
from gpustitch.io.volumes.opening import open_volume
from gpustitch.io.write.format import Writing
from gpustitch.io.write.precomputed import PrecomputedWriter
from gpustitch.model import Box, Spacing
from tests.paths import ROOT


def volume(path: Path, shape: tuple[int, int, int] = (20, 30, 40)) -> Any:
    voxels = np.random.default_rng(0).integers(1, 60000, shape).astype(np.uint16)
    with PrecomputedWriter(
        path, shape, np.uint16, Spacing(2, 1, 1), Writing(levels=1, chunk_shape=(16, 16, 16))
    ) as writer:
        writer.write(Box.of_shape(shape), voxels)
    return voxels


def called(*arguments: object) -> Any:
    return CliRunner().invoke(app, ["convert", *map(str, arguments)])


def test_a_volume_is_written_in_the_format_of_its_name(tmp_path: Path) -> None:
    voxels = volume(tmp_path / "v")
    result = called(tmp_path / "v", tmp_path / "v.zarr", "--codec", "lz4", "--chunk-size", "8,8,8", "--quiet")
    assert result.exit_code == 0, result.output
    assert "40 x 30 x 20 voxels" in result.stdout
    found = open_volume(tmp_path / "v.zarr")
    np.testing.assert_array_equal(found.read(Box.of_shape(voxels.shape)), voxels)


def test_a_dry_run_writes_nothing(tmp_path: Path) -> None:
    volume(tmp_path / "v")
    result = called(tmp_path / "v", tmp_path / "v.zarr", "--dry-run")
    assert result.exit_code == 0 and "OME-Zarr" in result.stdout and "level 0" in result.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["v"]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("{}/v", "{}/v.tif", "--levels", 2), 3, "--levels"),
        (("{}/none", "{}/v.tif"), 4, "none"),
        (("{}/v", "{}/v.zarr", "--dtype", "float16"), 3, "--dtype"),
        (("{}/v", "{}/there"), 7, "--overwrite"),
        (("{}/v", "{}/v.zarr", "--channel", 3), 3, "--channel"),
        (("{}/v", "{}/v.zarr", "--memory", "4K"), 3, "--memory"),
    ],
)
def test_what_cannot_be_converted_is_refused(
    tmp_path: Path, arguments: tuple[object, ...], code: int, said: str
) -> None:
    volume(tmp_path / "v")
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "file").touch()
    result = called(*(str(argument).format(tmp_path) for argument in arguments))
    assert result.exit_code == code, result.output
    assert said in result.output


@pytest.mark.posix
@pytest.mark.parametrize("name", ["o", "o.zarr", "o.planes"])
def test_a_killed_run_goes_on(tmp_path: Path, name: str) -> None:
    voxels = volume(tmp_path / "v", (128, 96, 96))
    options = [] if name == "o.planes" else ["--shard-size", "64K", "--chunk-size", "16,16,16"]
    arguments = ["convert", str(tmp_path / "v"), str(tmp_path / name), *options]
    # Where a few files are finished, however fast the disk and busy the machine.
    code = (
        "import itertools, os, signal\n"
        "from gpustitch.cli.start import main\n"
        "from gpustitch.io.journal import Journal\n"
        "note, count = Journal.add, itertools.count(1)\n"
        "def noted(self, *unit):\n"
        "    note(self, *unit)\n"
        "    if next(count) == 5:\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "Journal.add = noted\n"
        "main()\n"
    )
    process = subprocess.run([sys.executable, "-c", code, *arguments], cwd=ROOT, stderr=subprocess.DEVNULL)
    assert process.returncode == -signal.SIGKILL
    result = called(*arguments[1:])
    assert result.exit_code == 0, result.output
    assert "continuing an unfinished run" in result.output
    if name != "o.planes":
        np.testing.assert_array_equal(open_volume(tmp_path / name).read(Box.of_shape(voxels.shape)), voxels)
    verified = CliRunner().invoke(app, ["verify", str(tmp_path / name)])
    assert verified.exit_code == 0, verified.output
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["v", name])
