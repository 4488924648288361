"""``gpustitch link-names``: the names of spimstitch's and pystripe's commands."""

from __future__ import annotations

from gpustitch.cli.about.launchers import LinkOptions, run
from gpustitch.cli.build import command_of
from gpustitch.cli.terminal import TerminalProgress


@command_of
def command(options: LinkOptions, progress: TerminalProgress) -> None:
    """Write small programs named like the commands of spimstitch and pystripe, so that scripts run as they are.

    spimstitch-pipeline CH turns frames as the Chung lab's microscopes need it. It makes CH_stitched and, beside the
    channel, CH-align.json and CH-illuc.tiff. These two are read only when ALIGN_FILE and ILLUM_CORR name them.

    Example: gpustitch link-names ~/bin
    """
    for path, called in run(options):
        progress.result(f"{path}: {called}")
