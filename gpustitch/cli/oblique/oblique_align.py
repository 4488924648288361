"""``gpustitch oblique-align``: where each tile truly is, and how large a voxel is."""

from __future__ import annotations

from gpustitch.cli.build import command_of
from gpustitch.cli.dry_run import DryRun, tell
from gpustitch.cli.terminal import TerminalProgress
from gpustitch.oblique.align.stage import AlignOptions, plan, run


@command_of
def command(options: AlignOptions, progress: TerminalProgress, *, dry_run: DryRun = False) -> None:
    """Find where each tile truly is and how large a voxel is, by comparing tiles where they overlap.

    Example: gpustitch oblique-align --input tiles --output align.json --report align.md
    """
    job = plan(options)
    if dry_run:
        tell(job, progress)
        return
    progress.result(f"{options.output}: {run(job, progress).summary}")
