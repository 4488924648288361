"""``gpustitch dcimg2jp2``."""

from __future__ import annotations

from gpustitch.cli.build import command_of
from gpustitch.cli.terminal import TerminalProgress
from gpustitch.oblique.export.jp2 import Jp2Options, plan, run


@command_of
def command(options: Jp2Options, progress: TerminalProgress) -> None:
    """Write the frames of a DCIMG file as JPEG 2000 files. The default quality is lossy; --psnr 0 is not.

    Example: gpustitch dcimg2jp2 --input raw/0.dcimg --output-pattern stack/img_%05d.jp2 --psnr 0
    """
    progress.note(run(plan(options), progress).summary)
