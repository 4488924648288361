"""The commands that spimstitch documents run as they are: the same names, options and files.

The lines are those of its README and of its pipeline script, with the placeholders filled.
"""

# ruff: noqa: E501 (commands as they are typed)
from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from typer.testing import CliRunner

import gpustitch as gs
from gpustitch.cli.about.launchers import LAUNCHERS
from gpustitch.cli.main import app
from gpustitch.demo.phantom.stage import make_phantom
from gpustitch.demo.phantom.truth import PhantomSpec
from gpustitch.errors import InputMissingError, OutputExistsError
from gpustitch.io.volumes.opening import open_volume
from tests.e2e.commands import fail, run, succeed

CH1, CH2 = "Ex_488_Em_525", "Ex_642_Em_680"
SPEC = PhantomSpec(
    n_frames=88, n_rows=140, n_columns=100, overlap=0.42, stage_error_um=2.0, n_channels=2, chunglab=True, grid=(1, 2, 1)
)  # fmt: skip
TILE = "{tile}"
# Its README: the pipeline, in order.
PIPELINE = f"""
X_STEP_SIZE=1.28 Y_VOXEL_SIZE=1.8 spimstitch-pipeline {CH1}
USE_WAVELETS=1 BACKGROUND=100 ILLUM_CORR={CH1}-illuc.tiff ALIGN_FILE={CH1}-align.json spimstitch-pipeline.sh {CH2}
ILLUM_CORR={CH1}-illuc.tiff ALIGN_FILE={CH1}-align.json jp2k-spimstitch-pipeline.sh {CH2} --output {CH2}_jp2k
"""
# Its README: individual commands, with every option.
COMMANDS = f"""
dcimg2tif --input {TILE} --output-pattern stack/img_%05d.tiff --compression 3 --n-workers 2 --rotate-90 3 --flip-ud --start 0 --stop 40
dcimg2jp2 --input {TILE} --output-pattern jp2/img_%05d.jp2 --n-workers 2 --psnr 30,40,50,60,70,80
stack2oblique --input "stack/img*.tiff" --output one --levels 5 --log-level WARNING --n-writers 2 --n-workers 2
oblique-illum-corr --output even.tiff --intermediate-output middle.tiff --n-frames 100 --n-bins 1024 --values-per-bin 4 --min-samples 20 --percentile 95 --background 150 --rotate-90 3 --flip-ud {CH1}/*/*/*.dcimg
pystripe --input stack --output destriped --flat even.tiff --dark 100 --sigma1 128 --sigma2 512 --wavelet db5 --crossover 10 --workers 2
"""
# Its script spimstitch-pipeline.sh.
SCRIPT = f"""
oblique-illum-corr --output {CH1}-illuc2.tiff --n-frames 5000 --background 100 --n-bins 1024 --values-per-bin 4 --rotate-90 3 --flip-ud {CH1}/*/*/*.dcimg
dcimg2oblique --n-writers 11 --n-workers 48 --rotate-90 3 --flip-ud --x-step-size 1.28 --y-voxel-size 1.8 --input {TILE} --output {CH1}_destriped_precomputed/{{place}} --flat {CH1}-illuc2.tiff --dark 100 --destripe-method lightsheet --levels 1
oblique-align --input {CH1}_destriped_precomputed --output align.json --voxel-size 1.8 --x-step-size 1.28 --is-oblique --n-cores 48 --sigma 10 --sample-count 100 --window-size 51,51,51 --blob-detection-window-size 64,64,64 --border-size 10,10,10 --min-correlation .95
oblique2stitched --input {CH1}_destriped_precomputed --output whole --alignment align.json --levels 7 --x-step-size 1.28 --y-voxel-size 1.8 --z-offset 1844 --n-writers 11 --n-workers 24
oblique2stitched --input {CH1}_destriped_precomputed --output part --alignment align.json --levels 5 --chunk-size 64,64,64 --log-level WARNING --n-writers 2 --n-workers 2 --silent --x-step-size 1.28 --y-voxel-size 1.8 --output-size 40,30,20 --output-offset 5,6,7
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with two channels, as the Chung lab's microscopes write them; the working folder of the module."""
    folder = tmp_path_factory.mktemp("spimstitch")
    make_phantom(folder, SPEC)
    before = Path.cwd()
    os.chdir(folder)
    yield folder
    os.chdir(before)


def tiles(channel: str) -> list[Path]:
    return sorted(Path(channel).glob("*/*/*.dcimg"))


def typed(line: str) -> Any:
    """Run a line as a shell would, with the launchers on its path."""
    words = shlex.split(line)
    n_set = next(n for n, word in enumerate(words) if "=" not in word)
    environment = dict(word.split("=", 1) for word in words[:n_set])
    name, *arguments = words[n_set:]
    globbed = [
        path
        for word, is_quoted in ((word, f'"{word}"' in line) for word in arguments)
        for path in ([str(p) for p in sorted(Path().glob(word))] if "*" in word and not is_quoted else [word])
    ]
    result = CliRunner().invoke(app, [*LAUNCHERS[name], *globbed], env=environment)
    assert result.exit_code == 0, f"{line}\n{result.output}\n{result.exception!r}"
    return result


def lines(text: str) -> list[str]:
    return text.strip().splitlines()


@pytest.mark.xdist_group("spimstitch")
def test_the_pipeline_of_the_readme(place):
    for line in lines(PIPELINE):
        typed(line)
    first, second = (gs.open_volume(Path(f"{name}_stitched") / "volume").shape for name in (CH1, CH2))
    assert first == second
    assert len(list(Path(f"{CH2}_jp2k/planes").glob("*.jp2"))) == second[0]
    size = json.loads(Path(f"{CH1}-align.json").read_text())["voxel_size"]
    assert size == pytest.approx(1.8, abs=0.3)
    assert tifffile.imread(f"{CH1}-illuc.tiff").shape == (SPEC.n_rows, SPEC.n_columns)
    # The second channel was told which alignment and which flat to take: it makes none.
    assert not Path(f"{CH2}-align.json").exists() and not Path(f"{CH2}-illuc.tiff").exists()
    assert Path(f"{CH1}-align.json").read_bytes() == (Path(f"{CH1}_stitched") / "align.json").read_bytes()


@pytest.mark.xdist_group("spimstitch")
def test_the_single_commands_of_the_readme(place):
    for line in lines(COMMANDS):
        typed(line.replace(TILE, str(tiles(CH1)[0])))
    assert len(list(Path("stack").glob("*.tiff"))) == len(list(Path("destriped").glob("*.tiff"))) == 40
    assert len(list(Path("jp2").glob("*.jp2"))) == SPEC.n_frames
    assert open_volume(Path("one")).levels == 5
    assert tifffile.imread("even.tiff").shape == tifffile.imread("middle.tiff").shape


@pytest.mark.xdist_group("spimstitch")
def test_the_commands_of_the_pipeline_script(place):
    for line in lines(SCRIPT):
        for tile in tiles(CH1) if TILE in line else [Path()]:
            called = line.replace(TILE, str(tile)).replace(
                "{place}", f"{tile.parent.relative_to(CH1)}/{tile.stem}" if TILE in line else ""
            )
            typed(called)
    whole, part = gs.open_volume(Path("whole")), gs.open_volume(Path("part"))
    assert part.shape == (20, 30, 40) and open_volume(Path("whole")).levels == 7
    np.testing.assert_array_equal(np.asarray(part), np.asarray(whole)[7:27, 6:36, 5:45])
    again = json.loads(Path("align.json").read_text())["voxel_size"]
    assert again == pytest.approx(1.8, abs=0.3)


@pytest.mark.xdist_group("spimstitch")
def test_files_beside_the_channel_are_not_replaced_unasked(place):
    made = Path(f"{CH1}-align.json")
    made.write_text("mine")
    said = fail(OutputExistsError.exit_code, *LAUNCHERS["spimstitch-pipeline"], CH1, "--output", "third")
    assert str(made) in said and not Path("third").exists()
    assert made.read_text() == "mine"


@pytest.mark.posix
def test_a_launcher_calls_this_installation(tmp_path):
    said = succeed("link-names", tmp_path / "bin")
    assert all(f"{tmp_path / 'bin' / name}: gpustitch " in said for name in LAUNCHERS)
    called = subprocess.run(
        ["dcimg2tif", "--input", "none here.dcimg", "--output-pattern", "img_%05d.tiff"], capture_output=True, text=True,
        env={**os.environ, "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}, check=False,
    )  # fmt: skip
    assert called.returncode == InputMissingError.exit_code, called.stderr
    assert "none here.dcimg" in called.stderr


def test_launchers_are_replaced_only_when_asked_and_all_or_none(tmp_path):
    (tmp_path / "pystripe").write_text("mine")
    assert run("link-names", tmp_path).exit_code == OutputExistsError.exit_code
    assert [path.name for path in tmp_path.iterdir()] == ["pystripe"]
    succeed("link-names", tmp_path, "--overwrite")
    assert re.search(r"destripe", (tmp_path / "pystripe").read_text())
