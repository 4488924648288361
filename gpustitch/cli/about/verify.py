"""``gpustitch verify``."""

from __future__ import annotations

from gpustitch.cli.build import command_of
from gpustitch.cli.terminal import TerminalProgress
from gpustitch.show.verify import VerifyOptions, verified


@command_of
def command(options: VerifyOptions, progress: TerminalProgress) -> None:
    """Read volumes back: every file is there, is as it was written, and every chunk decodes. Exit code 5 if not.

    Example: gpustitch verify out-488
    """
    for line in verified(options, progress):
        progress.result(line)
