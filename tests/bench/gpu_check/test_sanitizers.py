"""compute-sanitizer is found where CUDA lies, and its words become rows; a program in its place says them here."""

from __future__ import annotations

import json
import stat
import time

import pytest

from bench.gpu_check import sanitizers
from bench.gpu_check.step import Asked, SkipError

pytestmark = pytest.mark.posix

# It knows the options, and does not run the program: it says what that would.
TOOL = """#!/bin/sh
test "$1 $3" = "--tool --error-exitcode" || exit 99
echo '{"cases": {"halve": 1, "otsu": 1}}'
echo '{"case": "a", "twin": "halve", "s": 0.5, "error": ""}'
%s
"""
SECOND = """echo '{"case": "b", "twin": "otsu", "s": 0.5, "error": "%s"}'"""


@pytest.fixture
def asked(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    for name in ("CUDA_HOME", "CUDA_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sanitizers, "_PLACES", ())
    monkeypatch.setattr(sanitizers, "device_of", lambda: None)
    return Asked(tmp_path / "rows.jsonl", 60, True, time.monotonic())


@pytest.fixture
def tool(tmp_path, asked, monkeypatch):
    def make(rest):
        path = tmp_path / "cuda" / "bin" / "compute-sanitizer"
        path.parent.mkdir(parents=True)
        path.write_text(TOOL % rest)
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("CUDA_HOME", str(tmp_path / "cuda"))
        assert sanitizers.sanitizer() == str(path)

    return make


def rows_of(asked):
    return [json.loads(line) for line in asked.rows.read_text().splitlines()]


@pytest.mark.parametrize("step", [sanitizers.memcheck, sanitizers.racecheck])
def test_without_it_the_step_is_skipped(asked, step):
    assert sanitizers.sanitizer() is None
    with pytest.raises(SkipError, match="neither on PATH nor in CUDA_HOME"):
        step(asked)


def test_all_is_well(asked, tool):
    tool(SECOND % "")
    sanitizers.memcheck(asked)
    assert [row["what"] for row in rows_of(asked)] == ["a", "b"]


def test_a_fault_is_a_row_and_fails_the_step(asked, tool):
    tool(f"echo '========= Invalid __global__ read of size 4 bytes'; {SECOND % ''}; exit 86")
    with pytest.raises(AssertionError, match="memcheck found faults"):
        sanitizers.memcheck(asked)
    assert rows_of(asked)[1]["what"] == "memcheck: Invalid __global__ read of size 4 bytes"


@pytest.mark.parametrize(
    ("rest", "said"),
    [
        (SECOND % "values differ" + "; exit 1", "1 cases failed, 0 of 2 did not run"),
        ("exit 0", "0 cases failed, 1 of 2 did not run"),
        ("exit 3", r"1 of 2 did not run \(exit code 3\)"),
    ],
)
def test_a_case_that_fails_or_never_comes_fails_the_step(asked, tool, rest, said):
    tool(rest)
    with pytest.raises(AssertionError, match=said):
        sanitizers.racecheck(asked)
