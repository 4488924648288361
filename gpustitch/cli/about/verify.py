"""``gpustitch verify``."""

from __future__ import annotations

from gpustitch.cli.build import command_of
from gpustitch.cli.terminal import TerminalProgress
from gpustitch.show.verify import VerifyOptions, verified


@command_of
def command(options: VerifyOptions, progress: TerminalProgress) -> None:
    """Read volumes back: are all files there, as they were written, does every chunk decode? Exit code 5 if not.

    Images of dcimg2tif, dcimg2jp2 and destripe are compared with the manifest beside them.

    Example: gpustitch verify out-488
    """
    for line in verified(options, progress):
        progress.result(line)
