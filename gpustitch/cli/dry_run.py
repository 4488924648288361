"""``--dry-run`` of commands whose stages plan first: the plan is told, and nothing is written."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Protocol

import typer

from gpustitch.cli.terminal import TerminalProgress
from gpustitch.running.options import RUNNING

DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run",
        help="Only say what the run will take: what it reads, files, disk and memory.",
        rich_help_panel=RUNNING,
    ),
]


class Planned(Protocol):
    """A plan that tells what its run will take."""

    def lines(self) -> Iterator[str]:
        """What the run will take, in lines for people."""


def tell(planned: Planned, progress: TerminalProgress) -> None:
    """Print what a run will take."""
    for line in planned.lines():
        progress.result(line)
