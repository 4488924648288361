"""No command replaces a file that it reads, however the file was named: alone, by its folder, by a glob."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import tifffile

from gpustitch.io.images.files import write_png
from tests.e2e.commands import fail, succeed
from tests.slices.dicom.scenarios import scenario

# The words of each command, and the ends of the files that it is given.
COMMANDS = {
    "similarity": ("similarity INPUT OUTPUT", ".tif"),
    "z-spacing": ("z-spacing INPUT --output OUTPUT", ".tif"),
    "z-spacing report": ("z-spacing INPUT --output z2.csv --report OUTPUT", ".png"),
    "z-spacing-grid": ("z-spacing-grid INPUT OUTPUT --grid 2,2", ".tif"),
    "z-render": ("z-render INPUT z.csv OUTPUT --voxel-size 1,1,1", ".tif"),
    "oblique-illum-corr": ("oblique-illum-corr INPUT --output OUTPUT", ".tif"),
    "dcimg2tif": ("dcimg2tif --input INPUT --output-pattern frames/f%02d.tif", ".tif"),
    "resample": ("resample INPUT OUTPUT --spacing-z 1 --pixel-spacing 1,1", ".tif"),
}


@pytest.fixture
def frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of images that follow each other, and positions of theirs."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "frames"
    folder.mkdir()
    rng = np.random.default_rng(1)
    for number in range(12):
        image = rng.integers(100, 4000, (24, 32), np.uint16)
        tifffile.imwrite(folder / f"f{number:02d}.tif", image)
        write_png(tmp_path / "pictures" / f"f{number:02d}.png", image.astype(np.uint8))
    rows = "".join(f"{number},{number}\n" for number in range(12))
    (tmp_path / "z.csv").write_text("z-index,z-coordinate\n" + rows)
    return folder


@pytest.mark.parametrize("named", ["folder", "glob"])
@pytest.mark.parametrize("command", COMMANDS)
def test_an_input_is_no_output(frames: Path, command: str, named: str) -> None:
    words, suffix = COMMANDS[command]
    folder = frames if suffix == ".tif" else frames.parent / "pictures"
    before = {path: path.read_bytes() for path in folder.iterdir()}
    given = {"INPUT": folder if named == "folder" else folder / f"f*{suffix}", "OUTPUT": folder / f"f05{suffix}"}
    said = fail(3, *(given.get(word, word) for word in words.split()), "--overwrite")
    assert re.search("never replaced|both input and output|lies in the input", said)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_a_dicom_slice_is_no_output(tmp_path: Path) -> None:
    folder = tmp_path / "CT"
    slices = scenario(1, folder)
    for output in (slices[3], slices[0].with_suffix(".nii")):
        output.exists() or output.write_bytes(slices[0].read_bytes())
    before = {path: path.read_bytes() for path in folder.iterdir()}
    said = fail(3, "resample", folder, slices[3], "--overwrite")
    assert "no volume is written" in said
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_an_output_beside_the_input_is_no_input(frames: Path) -> None:
    succeed("similarity", frames, frames / "s.npz")
    succeed("similarity", frames, frames / "s.npz", "--overwrite")
