"""``gpustitch demo``: what it prints and its exit code; the run itself is tested with the stage."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from gpustitch.cli.main import app
from gpustitch.demo import brain as demo
from gpustitch.demo import sections as section_demo
from gpustitch.demo.score.brain import Evaluation, Figure

RUNNER = CliRunner()


def run_with(
    figures: tuple[Figure, ...],
    monkeypatch: pytest.MonkeyPatch,
    *arguments: str,
    **judged: Mapping[str, tuple[Figure, ...]],
) -> tuple[Any, list[Any]]:
    plans: list[Any] = []

    def fake_run(plan: Any, progress: Any) -> Any:
        plans.append(plan)
        return SimpleNamespace(
            evaluation=Evaluation(figures, (), **judged),
            stitched=SimpleNamespace(volume=Path("volume")),
            seconds={"phantom": 1.0},
            report=Path("report.json"),
            overview=Path("overview.png"),
        )

    monkeypatch.setattr(demo, "run", fake_run)
    return RUNNER.invoke(app, ["demo", *arguments]), plans


def test_figures_are_printed_with_their_verdict(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    figures = (Figure("cell recall", 99.5, "%", ">= 98", True, "of 10 cells"), Figure("other", 1.0, "um"))
    result, plans = run_with(figures, monkeypatch, str(tmp_path / "d"), "--pixel-error", "0.02", "--seed", "7")
    assert result.exit_code == 0
    assert "cell recall" in result.stdout
    assert "pass" in result.stdout
    assert "report.json" in result.stdout
    assert plans[0].options.spec.pixel_error == 0.02
    assert plans[0].options.spec.seed == 7


def test_a_missed_target_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    result, _ = run_with((Figure("cell recall", 50, "%", ">= 98", False),), monkeypatch, str(tmp_path / "d"))
    assert result.exit_code == 20
    assert "FAIL" in result.stdout


def test_destriping_by_default_is_a_table_of_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    judged = {
        "none": (Figure("stripes left", 75.0, "counts"), Figure("cell intensity kept", 101, "%")),
        "wavelet": (
            Figure("stripes left", 7.0, "counts", "<= 24", True),
            Figure("cell intensity kept", 75.5, "%", "97 to 103", False),
        ),
        "lightsheet": (
            Figure("stripes left", 8.0, "counts", "<= 24", True),
            Figure("cell intensity kept", 98.5, "%", "90 to 110", True),
            Figure("tissue that is 0", 35, "%"),
        ),
    }
    result, _ = run_with((), monkeypatch, str(tmp_path / "d"), destriping=judged)
    assert result.exit_code == 20
    rows = [" ".join(line.split()) for line in result.stdout.splitlines()]
    assert "figure none wavelet lightsheet target" in rows
    assert "stripes left counts 75 7 pass 8 pass <= 24" in rows
    assert "cell intensity kept % 101 75.5 FAIL 98.5 pass wavelet 97 to 103; lightsheet 90 to 110" in rows
    assert "tissue that is 0 % 35" in rows
    kept = {**judged, "wavelet": judged["wavelet"][:1]}
    assert run_with((), monkeypatch, str(tmp_path / "d"), destriping=kept)[0].exit_code == 0


def test_default_and_tuned_alignment_stand_beside_each_other(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    judged = {
        "default": (Figure("position error", 0.1, "voxel", "<= 0.75", True), Figure("stated", math.nan, "%")),
        "tuned": (Figure("position error", 1.5, "voxel", "<= 0.75", False), Figure("stated", 96.0, "%", ">= 78", True)),
    }
    result, _ = run_with((), monkeypatch, str(tmp_path / "d"), alignment=judged)
    assert result.exit_code == 20
    rows = [" ".join(line.split()) for line in result.stdout.splitlines()]
    assert "position error voxel 0.1 pass 1.5 FAIL <= 0.75" in rows
    assert "stated % not known 96 pass >= 78" in rows


def test_an_existing_folder_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    result, plans = run_with((), monkeypatch, str(tmp_path))
    assert result.exit_code == 7
    assert "--overwrite" in result.output
    assert not plans


def test_help_shows_an_example() -> None:
    result = RUNNER.invoke(app, ["demo", "--help"])
    assert result.exit_code == 0
    assert "Example" in result.output


def sections_with(figures: tuple[Figure, ...], monkeypatch: pytest.MonkeyPatch, *arguments: str) -> tuple[Any, Any]:
    plans: list[Any] = []

    def fake_run(plan: Any, progress: Any) -> Any:
        plans.append(plan)
        paths = {name: Path(name) for name in ("sections", "positions", "volume", "report")}
        return SimpleNamespace(evaluation=Evaluation(figures, ()), seconds={"series": 1.0}, picture=None, **paths)

    monkeypatch.setattr(section_demo, "run", fake_run)
    return RUNNER.invoke(app, ["demo", "--section-series", *arguments]), plans


def test_section_series_are_printed_with_their_verdict(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    figure = Figure("position error, RMS", 0.1, "sections", "<= half", True)
    result, plans = sections_with((figure,), monkeypatch, str(tmp_path / "d"), "--seed", "7", "--size", "medium")
    assert result.exit_code == 0
    assert "position error, RMS" in result.stdout and "pass" in result.stdout
    assert "picture" not in result.stdout
    assert plans[0].options.series.seed == 7
    assert plans[0].options.series.number == 1000
    assert "nothing is changed" not in result.output


def test_section_series_that_miss_a_target_fail(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    figure = Figure("position error, RMS", 3, "sections", "<= half", False)
    result, _ = sections_with((figure,), monkeypatch, str(tmp_path / "d"))
    assert result.exit_code == 20
    assert "FAIL" in result.stdout


def test_section_series_say_what_changes_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    result, _ = sections_with((), monkeypatch, str(tmp_path / "d"), "--pixel-error", "0.01")
    assert result.exit_code == 0
    told = result.output + capfd.readouterr().err
    assert "nothing is changed by --pixel-error" in told and "--stage-error" not in told
