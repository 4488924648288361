"""The command ``report``: its exit codes, and that of ``pipeline`` when a check fails."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from gpustitch.cli.main import app
from gpustitch.oblique.report.check import Check, State
from gpustitch.oblique.report.stage import ReportOptions, ReportResult


@pytest.mark.parametrize(("states", "code"), [
    (["pass"], 0), (["pass", "not measured"], 0), (["pass", "warn"], 21), (["warn", "fail"], 22),
    (["not measured"], 21),
])  # fmt: skip
def test_the_exit_code_is_the_worst_check(
    states: list[State], code: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[ReportOptions] = []
    checks = tuple(Check(str(n), state, "because of `most_bytes`") for n, state in enumerate(states))
    monkeypatch.setattr("gpustitch.cli.oblique.report.plan", lambda options: asked.append(options) or options)
    monkeypatch.setattr("gpustitch.cli.oblique.report.run", lambda plan, progress: ReportResult(tmp_path / "p", checks))
    result = CliRunner().invoke(app, ["report", str(tmp_path), "--channel", "raw", "--most-read", "1G"])
    assert result.exit_code == code, result.output
    assert asked[0].output == tmp_path and asked[0].channel == Path("raw") and asked[0].most_bytes == 1 << 30
    assert str(tmp_path / "p") in result.output


def test_what_is_no_output_is_an_error(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["report", str(tmp_path)])
    assert result.exit_code == 4 and "no output" in result.output
