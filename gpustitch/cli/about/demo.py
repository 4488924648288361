"""``gpustitch demo``: a synthetic acquisition or section series, processed and measured against its truth."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import typer
from rich.console import Console
from rich.table import Table

from gpustitch.cli.build import Given, command_of
from gpustitch.cli.terminal import TerminalProgress
from gpustitch.demo import brain, sections
from gpustitch.demo.options import ACQUISITION_ONLY, DemoChoice
from gpustitch.demo.score.brain import Evaluation, Figure

EXIT_TARGET_MISSED = 20


@command_of
def command(options: DemoChoice, progress: TerminalProgress, given: Given) -> None:
    """Make a synthetic acquisition, run the pipeline on it, and measure the result against the truth.

    Writes DIR/phantom (raw DCIMG tiles, truth.json), DIR/stitched (the volume, flat field, alignment), DIR/pictures and
    DIR/report.json. With --section-series: DIR/series (sections.tif, truth.json), DIR/similarity.npz, DIR/z.csv,
    DIR/z.png, DIR/volume and DIR/report.json. The exit code is 20 if a figure misses its target.
    Alignment is judged by the pipeline's default options beside tuned ones, and destriping as the pipeline does it by
    default, on frames of the first tile.

    Example: gpustitch demo /tmp/demo --size medium
    """
    if options.section_series:
        if idle := [f"`{name}`" for name in ACQUISITION_ONLY if name in given]:
            progress.warn(f"with `section_series` nothing is changed by {', '.join(idle)}")
        found = sections.run(sections.plan(options.of_series()), progress)
        paths = {"sections": found.sections, "positions": found.positions, "picture": found.picture}
        _finish(found.evaluation, found.seconds, {**paths, "volume": found.volume, "report": found.report})
    else:
        result = brain.run(brain.plan(options.of_acquisition()), progress)
        written = {"volume": result.stitched.volume, "pictures": result.overview, "report": result.report}
        _finish(result.evaluation, result.seconds, written)


def _finish(evaluation: Evaluation, seconds: dict[str, float], written: Mapping[str, Path | None]) -> None:
    """Print the figures, the times and the written paths; leave with an exit code if a target is missed."""
    _show(evaluation)
    for name, value in seconds.items():
        typer.echo(f"{name}: {value:.1f} s", err=True)
    for name, path in written.items():
        if path is not None:
            typer.echo(f"{name:<9} {path}")
    if not evaluation.passed:
        typer.echo("gpustitch: a figure missed its target", err=True)
        raise typer.Exit(EXIT_TARGET_MISSED)


def _show(evaluation: Evaluation) -> None:
    """Print the tables of figures, targets and verdicts."""
    terminal = Console(highlight=False)
    # A file or a log does not fold lines: a wide console keeps each figure on one line there.
    console = terminal if terminal.is_terminal else Console(highlight=False, width=160)
    table = Table("figure", "", "", "target", "", "", title="Against the truth", box=None)
    for figure in evaluation.figures:
        table.add_row(*_row(figure))
    console.print(table)
    if evaluation.alignment:
        console.print(
            _beside("Alignment of the same tiles, by default options and by tuned ones", evaluation.alignment)
        )
    if evaluation.destriping:
        title = "Destriping by default options, in frames of the first tile"
        console.print(_beside(title, evaluation.destriping))


def _row(figure: Figure) -> tuple[str, ...]:
    return figure.name, _value(figure), figure.unit, figure.target, _verdict(figure), figure.note


def _value(figure: Figure) -> str:
    return "not known" if math.isnan(figure.value) else f"{figure.value:.4g}"


def _beside(title: str, judged: Mapping[str, tuple[Figure, ...]]) -> Table:
    """A row for each figure, a column for each way of doing the same."""
    table = Table("figure", "", *judged, "target", title=title, box=None)
    by_method = {method: {figure.name: figure for figure in figures} for method, figures in judged.items()}
    for name, unit in dict.fromkeys((f.name, f.unit) for figures in judged.values() for f in figures):
        row = {method: figures[name] for method, figures in by_method.items() if name in figures}
        values = [f"{_value(row[m])} {_verdict(row[m])}" if m in row else "" for m in judged]
        targets = {method: figure.target for method, figure in row.items() if figure.target}
        alike = len(set(targets.values())) == 1
        text = next(iter(targets.values())) if alike else "; ".join(f"{m} {target}" for m, target in targets.items())
        table.add_row(name, unit, *values, text)
    return table


def _verdict(figure: Figure) -> str:
    return {True: "[green]pass[/green]", False: "[bold red]FAIL[/bold red]", None: ""}[figure.passed]
