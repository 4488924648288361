"""``gpustitch resample``."""

from __future__ import annotations

from gpustitch.cli.build import command_of
from gpustitch.cli.dry_run import DryRun, tell
from gpustitch.cli.terminal import TerminalProgress
from gpustitch.slices.volume.stage import ResampleOptions, plan, run


@command_of
def command(options: ResampleOptions, progress: TerminalProgress, *, dry_run: DryRun = False) -> None:
    """Resample a series of slices to evenly spaced planes.

    gpustitch spacing judges series by the same rules. Slices of an even series are copied exactly, even if their stated
    positions are rounded; planes of other series are interpolated linearly. OUT.planes.csv lists the slices of each
    plane. Origin, directions, affine and warnings go into gpustitch.json (OUT.json for one file).

    Example: gpustitch resample CT/ head.nii.gz
    """
    job = plan(options, progress)
    if dry_run:
        tell(job, progress)
        return
    progress.note(job.summary)
    run(job, progress)
