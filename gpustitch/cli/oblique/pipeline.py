"""``gpustitch pipeline``: from the raw tiles of a channel to the stitched volume."""

from __future__ import annotations

import typer

from gpustitch.cli.build import command_of
from gpustitch.cli.dry_run import tell
from gpustitch.cli.oblique.report import FAILED
from gpustitch.cli.terminal import TerminalProgress
from gpustitch.oblique.pipeline.options import PipelineOptions
from gpustitch.oblique.pipeline.stage import plan, run


@command_of
def command(options: PipelineOptions, progress: TerminalProgress) -> None:
    """Make one stitched Neuroglancer volume from the raw tiles of a channel.

    Flat field, destriping, de-obliquing, alignment and fusion, as in spimstitch-pipeline.sh. The environment variables
    of spimstitch-pipeline.sh are honoured when set. Exit code 22 says that a check of the written volume failed.

    Example: gpustitch pipeline Ex_488_Em_1 --output out-488 --x-step-size 1.28 --y-voxel-size 1.8
    """
    planned = plan(options)
    if options.dry_run:
        tell(planned, progress)
        return
    made = run(planned, progress)
    progress.result(made.summary)
    if made.report is not None and made.report.verdict == "fail":
        raise typer.Exit(FAILED)
