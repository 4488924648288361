"""``gpustitch resample``."""

from __future__ import annotations

from gpustitch.cli.build import command_of
from gpustitch.cli.terminal import TerminalProgress
from gpustitch.slices.volume.stage import ResampleOptions, plan, run


@command_of
def command(options: ResampleOptions, progress: TerminalProgress) -> None:
    """Resample a series of slices to evenly spaced planes.

    The spacing is judged as gpustitch spacing does. Slices of an even series are copied exactly, wherever rounding has
    put them; others are interpolated linearly. What each plane is made of is written beside the volume
    (OUT.planes.csv). Origin, directions, affine and warnings go into gpustitch.json (OUT.json for one file).

    Example: gpustitch resample CT/ head.nii.gz
    """
    job = plan(options, progress)
    progress.note(job.summary)
    run(job, progress)
