"""``gpustitch info``."""

from __future__ import annotations

from gpustitch.cli.build import command_of
from gpustitch.cli.terminal import TerminalProgress
from gpustitch.show.describe import InfoOptions, described


@command_of
def command(options: InfoOptions, progress: TerminalProgress) -> None:
    """Say what paths hold; without paths, list devices and versions, and the device that commands take.

    Example: gpustitch info Ex_488_Em_1
    """
    for line in described(options):
        progress.result(line)
