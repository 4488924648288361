"""``gpustitch info``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gpustitch.cli.device_options import DeviceName, taken_device
from gpustitch.cli.terminal import reported_errors
from gpustitch.show.describe import describe_machine, describe_path


def command(
    paths: Annotated[list[Path] | None, typer.Argument(help="Channels, DCIMG files, volumes, alignments.")] = None,
    device: DeviceName = "auto",
) -> None:
    """Say what paths hold; without one, which devices and versions there are, and which device would be taken.

    Example: gpustitch info Ex_488_Em_1
    """
    with reported_errors():
        if not paths:
            for line in describe_machine(taken_device(device, None)):
                typer.echo(line)
        for path in paths or ():
            for line in describe_path(path):
                typer.echo(line)
