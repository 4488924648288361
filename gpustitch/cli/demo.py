"""``gpustitch demo``: a synthetic acquisition, stitched and measured against its truth."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from gpustitch.cli.common import Overwrite, Quiet, TerminalProgress, Workers, reported_errors
from gpustitch.cli.device_options import DeviceMemory, DeviceName, taken_device
from gpustitch.stages import demo
from gpustitch.stages.evaluate import Evaluation, Figure

EXIT_TARGET_MISSED = 20


class Size(StrEnum):
    """Size of the demo."""

    small = "small"
    medium = "medium"


def command(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Folder for the raw data, the stitched volume, pictures and report.")
    ] = Path("gpustitch-demo"),
    size: Annotated[Size, typer.Option(help="small: 4 tiles, about a minute; medium: 6 tiles, some minutes.")] = (
        Size.small
    ),
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
    DIR/report.json. Leaves with exit code 20 if a figure misses its target.

    Example: gpustitch demo /tmp/demo --size medium
    """
    progress = TerminalProgress(quiet=quiet)
    with reported_errors():
        spec = demo.spec_of(size.value, seed=seed, pixel_error=pixel_error, stage_error_um=stage_error)
        options = demo.DemoOptions(folder, spec, n_workers, overwrite, taken_device(device, device_memory, progress))
        result = demo.run(demo.plan(options), progress)
    _show(result.evaluation)
    for name, seconds in result.seconds.items():
        typer.echo(f"{name}: {seconds:.1f} s", err=True)
    typer.echo(f"volume    {result.stitched.volume}")
    typer.echo(f"pictures  {result.overview}")
    typer.echo(f"report    {result.report}")
    if not result.evaluation.passed:
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
