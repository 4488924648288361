"""``gpustitch dcimg2tif``."""

from __future__ import annotations

from gpustitch.cli.build import command_of
from gpustitch.cli.terminal import TerminalProgress
from gpustitch.oblique.export.tiff import TifOptions, plan, run


@command_of
def command(options: TifOptions, progress: TerminalProgress) -> None:
    """Write the frames of a DCIMG file as TIFF files.

    Example: gpustitch dcimg2tif --input raw/0.dcimg --output-pattern stack/img_%05d.tiff --rotate-90 3 --flip-ud
    """
    progress.note(run(plan(options), progress).summary)
