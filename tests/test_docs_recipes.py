"""The recipes of the documentation, followed in a copy of the house: an operation, a format, a command."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import gpustitch as gs
from tests.cuda_cpu.build import why_not
from tests.docs_code import PAGES, blocks_of, python_of
from tests.paths import DATA, ROOT

pytestmark = pytest.mark.xdist_group("docs-recipes")
RECIPES = {what: PAGES[f"docs/add_{what}.md"] for what in ("operation", "format", "command")}
# What of the house the recipes need.
NEEDED = ("gpustitch", "kernels", "bench", "tests")
NOT_NEEDED = shutil.ignore_patterns("results", "data", "test_docs*", "*pytest*.pyc")


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    """A copy of the house, without the data, and with its bytecode: each process would compile the whole package."""
    copy = tmp_path_factory.mktemp("house")
    for folder in NEEDED:
        shutil.copytree(ROOT / folder, copy / folder, ignore=NOT_NEEDED)
    shutil.copy(ROOT / "pyproject.toml", copy)
    return copy


def python(house: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Execute Python in the copy."""
    environment = {**os.environ, "PYTHONPATH": str(house)}
    return subprocess.run(
        [sys.executable, *map(str, arguments)], cwd=house, env=environment, capture_output=True, text=True
    )


def called(house: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Execute a command of the copy."""
    return python(house, "-c", "from gpustitch.cli.start import main; main()", *arguments)


def written(house: Path, place: str, text: str) -> None:
    """Write a file of a recipe, whose place its page must name."""
    path = house / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def edited(house: Path, place: str, old: str, new: str) -> None:
    """Change a line of a file."""
    text = (house / place).read_text(encoding="utf-8")
    assert text.count(old) == 1, old
    (house / place).write_text(text.replace(old, new), encoding="utf-8")


@pytest.mark.slow
@pytest.mark.skipif(bool(why_not()), reason=why_not() or "there is a compiler")
def test_docs_recipes_operation_is_found_executed_and_compared(house):
    page = RECIPES["operation"]
    twin, cases = python_of(page)
    (body,) = blocks_of(page, "c")
    written(house, "gpustitch/oblique/flat/clip.py", twin)
    written(house, "tests/kernels/cases/clip.py", cases)
    tests = ("-m", "pytest", "tests/kernels", "-n", "0", "-q", "-k", "clip_counts", "-p", "no:cacheprovider")
    written(house, "kernels/clip.cu", body)
    found = python(house, *tests)
    assert found.returncode == 0, found.stdout + found.stderr
    assert int(re.findall(r"(\d+) passed", found.stdout)[0]) >= 6


def test_docs_recipes_format_is_read_and_refuses_what_is_damaged(house, tmp_path):
    (code,) = python_of(RECIPES["format"])
    written(house, "gpustitch/io/frames/pgm.py", code)
    formats = "gpustitch/io/frames/formats.py"
    edited(house, formats, "PngFormat())\n", "PngFormat(), PgmFormat())\n")
    edited(
        house,
        formats,
        "from gpustitch.io.frames.png ",
        "from gpustitch.io.frames.pgm import PgmFormat\nfrom gpustitch.io.frames.png ",
    )
    frames = np.random.default_rng(5).integers(0, 256, (3, 7, 9), np.uint8)
    for name in ("whole", "cut", "sizes"):
        (tmp_path / name).mkdir()
        for number, frame in enumerate(frames):
            Image.fromarray(frame).save(tmp_path / name / f"{number}.pgm")
    last = tmp_path / "cut" / "2.pgm"
    last.write_bytes(last.read_bytes()[:-20])
    Image.fromarray(frames[0, :5]).save(tmp_path / "sizes" / "2.pgm")

    read = "import sys, numpy, gpustitch as gs; numpy.save(sys.argv[2], numpy.asarray(gs.open_frames(sys.argv[1])))"
    found = python(house, "-c", read, tmp_path / "whole", tmp_path / "read.npy")
    assert found.returncode == 0, found.stderr
    np.testing.assert_array_equal(np.load(tmp_path / "read.npy"), frames)
    for name in ("cut", "sizes"):
        refused = python(house, "-c", read, tmp_path / name, tmp_path / "no.npy")
        assert refused.returncode == 1 and "DamagedInputError" in refused.stderr and "2.pgm" in refused.stderr, name
    assert "3 frames of 7 rows x 9 columns" in called(house, "info", tmp_path / "whole").stdout


def test_docs_recipes_command_averages_frames_with_its_options(house, tmp_path):
    stage, command = python_of(RECIPES["command"])
    written(house, "gpustitch/oblique/mean/__init__.py", '"""The mean of frames."""\n')
    written(house, "gpustitch/oblique/mean/stage.py", stage)
    written(house, "gpustitch/cli/oblique/mean_frame.py", command)
    edited(
        house,
        "gpustitch/cli/main.py",
        "COMMANDS: dict[str, str] = {\n",
        'COMMANDS: dict[str, str] = {\n    "mean-frame": "gpustitch.cli.oblique.mean_frame",\n',
    )
    frames, output = DATA / "tiny_usb16.dcimg", tmp_path / "mean.tiff"
    done = called(house, "mean-frame", "--input", frames, "--output", output, "--stride", "2")
    assert done.returncode == 0, done.stderr
    used = np.asarray(gs.open_frames(frames))[::2]
    with Image.open(output) as image:
        np.testing.assert_allclose(np.asarray(image), used.mean(axis=0), rtol=1e-6)
    assert f"the mean of {len(used)} frames" in done.stdout
    assert called(house, "mean-frame", "--input", frames, "--output", output).returncode == 7
    wrong = called(house, "mean-frame", "--input", frames, "--output", tmp_path / "b.tiff", "--stride", "0")
    assert wrong.returncode == 3 and "--stride" in wrong.stderr


@pytest.mark.parametrize("what", RECIPES)
def test_docs_recipes_name_the_files_that_the_tests_write(what):
    text = RECIPES[what].read_text("utf-8")
    for name in re.findall(r"written\(house, \"([\w./]+)\"", Path(__file__).read_text("utf-8")):
        folder, _, file = name.rpartition("/")
        if {"clip.py": "operation", "clip.cu": "operation", "pgm.py": "format"}.get(file, "command") == what:
            assert (file in text or file == "__init__.py") and folder.split("/")[-1] in text, name
