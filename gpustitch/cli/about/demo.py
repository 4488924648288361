"""``gpustitch demo``: a synthetic acquisition or section series, put right and measured against its truth."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from gpustitch.cli.device_options import DeviceMemory, DeviceName, taken_device
from gpustitch.cli.terminal import Overwrite, Quiet, TerminalProgress, Workers, reported_errors
from gpustitch.demo import brain as demo
from gpustitch.demo import sections as section_demo
from gpustitch.demo.score.brain import Evaluation, Figure

EXIT_TARGET_MISSED = 20
# What says nothing about a section series.
_ACQUISITION_ONLY = ("pixel_error", "stage_error")


class Size(StrEnum):
    """Size of the demo."""

    small = "small"
    medium = "medium"


def command(
    context: typer.Context,
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Folder for the raw data, the stitched volume, pictures and report.")
    ] = Path("gpustitch-demo"),
    section_series: Annotated[
        bool,
        typer.Option(
            "--section-series",
            help="A series of sections at uneven positions, with faults: similarity, z-spacing and z-render.",
        ),
    ] = False,
    size: Annotated[
        Size,
        typer.Option(
            help="small: 4 tiles, about a minute; medium: 6 tiles, some minutes. Of a series: 400 or 1000 sections."
        ),
    ] = Size.small,
    seed: Annotated[int, typer.Option(help="Decides everything that is random.")] = 1,
    pixel_error: Annotated[
        float, typer.Option(help="Part by which the nominal camera pixel is too large; the run must find that out.")
    ] = 0.01,
    stage_error: Annotated[
        float, typer.Option(help="Most by which each tile is off along each axis, um; the run must find that out.")
    ] = 5.0,
    n_workers: Workers = None,
    overwrite: Overwrite = False,
    device: DeviceName = "auto",
    device_memory: DeviceMemory = None,
    quiet: Quiet = False,
) -> None:
    """Make a synthetic acquisition, run the pipeline on it, and measure the result against the truth.

    Writes DIR/phantom (raw DCIMG tiles, truth.json), DIR/stitched (the volume, flat field, alignment), DIR/pictures and
    DIR/report.json; with --section-series DIR/series (sections.tif, truth.json), DIR/similarity.npz, DIR/z.csv,
    DIR/z.png, DIR/volume and DIR/report.json. Leaves with exit code 20 if a figure misses its target.

    Example: gpustitch demo /tmp/demo --size medium
    """
    progress = TerminalProgress(quiet=quiet)
    if section_series:
        if idle := [name for name in _ACQUISITION_ONLY if _is_given(context, name)]:
            names = ", ".join(f"--{name.replace('_', '-')}" for name in idle)
            progress.warn(f"with --section-series nothing is changed by {names}")
        with reported_errors({"size": "--size", "seed": "--seed"}):
            series = section_demo.series_of(size.value, seed=seed)
            taken = taken_device(device, device_memory, progress)
            wanted = section_demo.SectionDemoOptions(folder, series, n_workers, overwrite, taken)
            found = section_demo.run(section_demo.plan(wanted), progress)
        paths = {"sections": found.sections, "positions": found.positions, "picture": found.picture}
        _finish(found.evaluation, found.seconds, {**paths, "volume": found.volume, "report": found.report})
        return
    with reported_errors():
        spec = demo.spec_of(size.value, seed=seed, pixel_error=pixel_error, stage_error_um=stage_error)
        options = demo.DemoOptions(folder, spec, n_workers, overwrite, taken_device(device, device_memory, progress))
        result = demo.run(demo.plan(options), progress)
    written = {"volume": result.stitched.volume, "pictures": result.overview, "report": result.report}
    _finish(result.evaluation, result.seconds, written)


def _is_given(context: typer.Context, name: str) -> bool:
    """Whether an option was named on the command line."""
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def _finish(evaluation: Evaluation, seconds: dict[str, float], written: Mapping[str, Path | None]) -> None:
    """Print the figures, times and what was written; leave with an exit code if a target is missed."""
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
    table = Table("figure", "", "", "target", "", "", title="Against the truth", box=None)
    for figure in evaluation.figures:
        table.add_row(*_row(figure))
    terminal = Console(highlight=False)
    # Where nobody folds lines (a file, a log), no figure is broken in two.
    (terminal if terminal.is_terminal else Console(highlight=False, width=160)).print(table)


def _row(figure: Figure) -> tuple[str, ...]:
    verdict = {True: "[green]pass[/green]", False: "[bold red]FAIL[/bold red]", None: ""}[figure.passed]
    return figure.name, f"{figure.value:.4g}", figure.unit, figure.target, verdict, figure.note
