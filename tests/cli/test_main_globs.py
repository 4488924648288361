"""Inputs given as a glob, in a folder whose name holds what globs are made of."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from typer.testing import CliRunner

from gpustitch.cli.main import app

FOLDER = "a [x] 100% é"
COMMANDS = {
    "destripe": "-i IN -o OUT --sigma1 8 --sigma2 8",
    "oblique-illum-corr": "IN --output OUT.tiff",
    "dcimg2tif": "--input IN --output-pattern OUT/x_%04d.tif",
    "stack2oblique": "--input IN --output OUT --levels 1",
    "dcimg2oblique": "--input IN --output OUT --levels 1",
    "similarity": "IN OUT.npz --range 4",
    "z-spacing": "IN --output OUT.csv --range 4",
    "z-spacing-grid": "IN OUT.npz --range 4 --grid 2,2",
    "info": "IN",
    "spacing": "IN --spacing-z 1 --json",
    "resample": "IN OUT.zarr --spacing-z 1 --pixel-spacing 1,1",
}


WORDS = COMMANDS | {
    "pipeline": "IN --output OUT --levels 1 --destripe-method none --no-flat --preset plain --no-report"
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Twelve planes that change along z, and a file that no glob names; the current folder is the one above."""
    place = tmp_path / FOLDER
    place.mkdir()
    planes = np.cumsum(np.random.default_rng(0).normal(size=(12, 40, 40)), 0)
    for number, plane in enumerate(planes):
        tifffile.imwrite(place / f"img_{number:02d}.tif", np.asarray(1000 + 50 * plane, np.uint16))
    (place / "notes.txt").write_text("none")
    monkeypatch.chdir(tmp_path)
    return place


def written(out: str) -> dict[str, bytes]:
    """What lies at names that begin with ``out``, without records, which name the input."""
    files = [path for path in Path().rglob("*") if path.is_file() and str(path).startswith(out)]
    kept = [path for path in files if path.suffix not in (".json", ".jsonl", ".npz")]
    return {str(path).removeprefix(out).removeprefix(f"/{FOLDER}"): path.read_bytes() for path in kept}


def go(command: str, place: str, out: str) -> tuple[int, str]:
    """Exit code and what was printed."""
    words = [word.replace("IN", place).replace("OUT", out) for word in WORDS[command].split()]
    result = CliRunner().invoke(app, [command, *words])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


@pytest.mark.parametrize("command", COMMANDS)
def test_a_glob_is_the_folder_whose_files_it_matches(command: str, folder: Path) -> None:
    code, said = go(command, FOLDER, "whole")
    assert code == (21 if command == "spacing" else 0), said
    for number, glob in enumerate((f"{FOLDER}/img*.tif", f"{folder.parent}/a*/*.tif")):
        assert go(command, glob, f"glob{number}")[0] == code
        assert written(f"glob{number}") == written("whole")
    for glob in (f"{FOLDER}/*.png", "nowhere/*.tif"):
        code, said = go(command, glob, "none")
        assert (code, "there is no file or folder" in said) == (4, True), said
        assert not written("none")


def test_info_describes_files_that_are_no_planes_one_by_one(folder: Path) -> None:
    assert "12 frames" in go("info", f"{FOLDER}/*.tif", "")[1]
    for name in ("one", "two"):
        assert go("stack2oblique", FOLDER, f"tiles/{name}")[0] == 0
    assert go("info", "tiles/*", "")[1].count("one oblique tile of 12 frames") == 2


def test_a_glob_stands_for_a_channel_if_it_matches_one(folder: Path) -> None:
    assert go("pipeline", "a*", "out")[0] == 0
    code, said = go("pipeline", f"{FOLDER}/*.tif", "none")
    assert code == 3 and "matches 12 files" in said


def test_destriped_images_lie_as_below_the_first_wildcard(folder: Path) -> None:
    assert go("destripe", "a*/img_0?.tif", "out")[0] == 0
    assert sorted(path.name for path in (Path("out") / FOLDER).iterdir()) == [f"img_0{n}.tif" for n in range(10)]
    code, said = go("destripe", "a*/*.tif", f"{FOLDER}/out")
    assert code == 3 and "lies in the input" in said


@pytest.mark.posix
@pytest.mark.parametrize("command", [name for name in COMMANDS if name not in ("info", "spacing")])
def test_a_name_that_is_too_long_is_said_to_be(command: str, folder: Path) -> None:
    code, said = go(command, FOLDER, "x" * 300)
    assert code in (3, 8) and "long" in said, said
