"""``gpustitch clean``."""

from __future__ import annotations

from gpustitch.cli.build import command_of
from gpustitch.cli.terminal import TerminalProgress
from gpustitch.show.clean import CleanOptions, cleaned


@command_of
def command(options: CleanOptions, progress: TerminalProgress) -> None:
    """List what ended runs have left in or beside paths: unfinished outputs, and what outputs have replaced.

    Example: gpustitch clean out-488 --remove
    """
    for line in cleaned(options, progress):
        progress.result(line)
