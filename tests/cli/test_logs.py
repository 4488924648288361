"""What is logged: by the library for whoever listens, on the command line by its level."""

from __future__ import annotations

import logging
import re

import numpy as np
import pytest

import gpustitch as gs
from gpustitch.cli.terminal import TerminalProgress
from gpustitch.io.images.files import write_tiff
from gpustitch.running.progress import SILENT
from tests.e2e.commands import run


@pytest.fixture
def stack(tmp_path):
    for number in range(3):
        write_tiff(tmp_path / "stack" / f"{number}.tif", np.arange(72, dtype=np.uint8).reshape(8, 9) ^ number)
    return tmp_path / "stack"


@pytest.mark.parametrize(("level", "lines"), [("debug", True), ("INFO", False), ("warning", False)])
def test_debug_tells_what_is_opened_and_finished(stack, tmp_path, level, lines):
    result = run("similarity", stack, tmp_path / "s.npz", "--range", 1, "--log-level", level)
    assert result.exit_code == 0, result.output
    said = re.findall(r"^\d\d:\d\d:\d\d gpustitch\.\S+: .+$", result.output, re.MULTILINE)
    assert bool(said) == lines
    if lines:
        assert any("opened" in line and "(3, 8, 9)" in line for line in said)
        assert any("s.npz" in line and "finished" in line for line in said)
    assert not logging.getLogger("gpustitch").isEnabledFor(logging.DEBUG), "the level ends with the command"


@pytest.mark.parametrize(
    ("level", "quiet", "shown"),
    [
        ("DEBUG", False, ("note", "warning")),
        ("INFO", False, ("note", "warning")),
        ("INFO", True, ("warning",)),
        ("WARNING", False, ("warning",)),
        ("ERROR", False, ()),
    ],
)
def test_the_level_decides_which_lines_are_printed(capfd, level, quiet, shown):
    progress = TerminalProgress(quiet=quiet, level=level)
    progress.note("note")
    progress.warn("it may be wrong")
    assert tuple(line.partition(":")[0] for line in capfd.readouterr().err.splitlines()) == shown


def test_a_level_that_is_none_is_refused(stack, tmp_path):
    result = run("similarity", stack, tmp_path / "s.npz", "--log-level", "loud")
    assert result.exit_code == 2 and "loud" in result.output


def test_the_library_logs_what_stages_tell(caplog, stack):
    with caplog.at_level(logging.DEBUG, "gpustitch"):
        SILENT.note("a note of 5 % and {}")
        SILENT.warn("a warning")
        gs.open_frames(stack)
    found = {(record.levelname, record.getMessage()) for record in caplog.records}
    assert {("INFO", "a note of 5 % and {}"), ("WARNING", "a warning")} <= found
    assert any(level == "DEBUG" and str(stack) in text for level, text in found)


def test_a_library_that_nobody_listens_to_prints_nothing(capfd):
    SILENT.warn("a warning")
    assert capfd.readouterr().err == ""
