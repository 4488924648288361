"""``gpustitch view``."""

from __future__ import annotations

import time
import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from gpustitch.array import choose_device
from gpustitch.cli.device_options import IdleDevice
from gpustitch.cli.terminal import reported_errors
from gpustitch.show import view


def command(
    volumes: Annotated[list[Path], typer.Argument(help="Precomputed volumes, shown on top of each other.")],
    port: Annotated[int, typer.Option(help="Port to serve on; 0: any that is free.")] = 0,
    address: Annotated[str, typer.Option(help="Address to serve on; 0.0.0.0 lets other machines look.")] = "127.0.0.1",
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the view in a browser.")] = True,
    device: IdleDevice = "auto",
) -> None:
    """Show volumes in Neuroglancer, served from this machine until Ctrl-C.

    Example: gpustitch view out-488/volume out-562/volume
    """
    with reported_errors():
        choose_device(device)
        served = view.run(view.plan(view.ViewOptions(volumes, address, port)))
        typer.echo(served.url)
        if browser:
            webbrowser.open(served.url)
        while True:
            time.sleep(3600)
