"""``gpustitch z-spacing-grid``: where sections lie along z, at points of a grid over each section."""

from __future__ import annotations

from gpustitch.cli.build import command_of
from gpustitch.cli.terminal import TerminalProgress
from gpustitch.sections.grid.stage import ZGridOptions, plan, run


@command_of
def command(options: ZGridOptions, progress: TerminalProgress) -> None:
    """Find where each section of a series lies along z, at points of a grid over it: sections are seldom flat.

    z-render reads OUT and interpolates between the points. OUT also holds standard errors. Points with little texture
    around them stay near the positions of whole sections.

    Example: gpustitch z-spacing-grid sections.tif z.npz --grid 16,16 --range 20
    """
    job = plan(options)
    progress.note(job.summary)
    progress.result(f"{options.output}: {run(job, progress).summary}")
