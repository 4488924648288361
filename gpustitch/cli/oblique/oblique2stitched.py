"""``gpustitch oblique2stitched``: tiles to one volume."""

from __future__ import annotations

from gpustitch.cli.build import command_of
from gpustitch.cli.dry_run import DryRun, tell
from gpustitch.cli.terminal import TerminalProgress
from gpustitch.oblique.fuse.jobs import run_resumed
from gpustitch.oblique.fuse.options import StitchTreeOptions
from gpustitch.oblique.fuse.stage import plan_tree


@command_of
def command(options: StitchTreeOptions, progress: TerminalProgress, *, dry_run: DryRun = False) -> None:
    """Fuse de-obliqued tiles into one Neuroglancer volume with its pyramid.

    Tiles lie at their sub-voxel positions and are blended where they overlap. Missing tiles of the grid are named.
    The volume states the measured voxel size.

    Example: gpustitch oblique2stitched --input tiles --alignment align.json --output stitched
    """
    job = plan_tree(options.source, options.stitch)
    if dry_run:
        tell(job, progress)
        return
    progress.note(job.summary)
    run_resumed(job, progress)
