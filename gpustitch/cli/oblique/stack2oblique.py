"""``gpustitch stack2oblique``: corrected frames to a de-obliqued volume."""

from __future__ import annotations

from gpustitch.cli.build import command_of
from gpustitch.cli.dry_run import DryRun, tell
from gpustitch.cli.terminal import TerminalProgress
from gpustitch.oblique.deskew.jobs import run_resumed
from gpustitch.oblique.deskew.stage import DeobliqueOptions, plan


@command_of(without=("start", "stop", "rotate_90", "flip_ud", "correction", "flat"))
def command(options: DeobliqueOptions, progress: TerminalProgress, *, dry_run: DryRun = False) -> None:
    """Resample frames of a tilted sheet onto an upright grid, as a Neuroglancer volume with its pyramid.

    Example: gpustitch stack2oblique --input "stack/img_*.tiff" --output oblique --x-step-size 1.28 --y-voxel-size 1.8
    """
    job = plan(options)
    if dry_run:
        tell(job, progress)
        return
    progress.note(job.summary)
    run_resumed(job, progress)
