"""``gpustitch convert``: a volume from one format to another."""

from __future__ import annotations

from gpustitch.cli.build import command_of
from gpustitch.cli.dry_run import DryRun, tell
from gpustitch.cli.terminal import TerminalProgress
from gpustitch.convert.options import ConvertOptions
from gpustitch.convert.stage import plan, run


@command_of
def command(options: ConvertOptions, progress: TerminalProgress, *, dry_run: DryRun = False) -> None:
    """Write a volume in another format: precomputed, OME-Zarr, TIFF, NIfTI, or a folder of planes.

    Voxels, voxel size and place stay as they are. Where memory allows, each chunk is read once. A run that was ended
    goes on, but for TIFF and NIfTI, which are one file.

    Example: gpustitch convert out-488 out-488.zarr
    """
    job = plan(options)
    if dry_run:
        tell(job, progress)
        return
    progress.note(job.summary)
    progress.result(run(job, progress).summary)
