"""``gpustitch info``."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from gpustitch.cli.build import command_of
from gpustitch.cli.terminal import TerminalProgress
from gpustitch.show.describe import described
from gpustitch.show.facts import exit_code_of, facts
from gpustitch.show.held import InfoOptions


@command_of
def command(
    options: InfoOptions,
    progress: TerminalProgress,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs: an object with a list.")] = False,
) -> None:
    """Say what paths hold; without paths, list devices and versions, and the device that commands take.

    Example: gpustitch info Ex_488_Em_1
    """
    if as_json:
        found = facts(options)
        progress.result(json.dumps(found, indent=2))
        if code := exit_code_of(found):
            raise typer.Exit(code)
        return
    for line in described(options):
        progress.result(line)
