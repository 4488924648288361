"""``gpustitch destripe``: stripes removed from images, as pystripe does."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import typer

from gpustitch.cli.build import command_of
from gpustitch.cli.dry_run import DryRun, tell
from gpustitch.cli.terminal import TerminalProgress
from gpustitch.oblique.destripe.options import DestripeOptions
from gpustitch.oblique.destripe.stage import plan, run


@command_of
def command(
    options: DestripeOptions,
    progress: TerminalProgress,
    *,
    lightsheet: Annotated[
        bool, typer.Option("--lightsheet", help="Compare local percentiles instead of notching wavelets.")
    ] = False,
    chunks: Annotated[int, typer.Option("--chunks", help="Accepted for old scripts; changes nothing.")] = 1,
    keep_type: Annotated[
        bool,
        typer.Option("--dont-convert-16bit", help="Accepted for old scripts; images keep their type without it."),
    ] = False,
    dry_run: DryRun = False,
) -> None:
    """Remove stripes along the rows, dark offset and uneven illumination from images.

    --auto chooses the guarded filter from the images; it keeps cells and borders. --sigma1 and --sigma2 are pystripe's
    filter, of foreground and background; equal values filter the whole image at once.

    Example: gpustitch destripe -i raw -o destriped --auto --flat flat.tiff --dark 100
    """
    if options.n_workers == 0:  # in pystripe, 0 is one worker per CPU
        options = replace(options, n_workers=None)
    if lightsheet:
        options = replace(options, correction=replace(options.correction, method="lightsheet"))
    job = plan(options)
    if dry_run:
        tell(job, progress)
        return
    progress.note(run(job, progress).summary)
