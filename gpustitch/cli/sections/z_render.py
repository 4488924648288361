"""``gpustitch z-render``: sections at uneven positions to a volume of evenly spaced planes."""

from __future__ import annotations

from gpustitch.cli.build import command_of
from gpustitch.cli.dry_run import DryRun, tell
from gpustitch.cli.terminal import TerminalProgress
from gpustitch.sections.render.stage import RenderOptions, plan, run


@command_of
def command(options: RenderOptions, progress: TerminalProgress, *, dry_run: DryRun = False) -> None:
    """Resample sections to evenly spaced planes, in the order of their positions.

    The first plane lies at the first position, the last plane at or before the last position. Of several sections at
    one position the first is taken. The volume states the voxel size; gpustitch.json lists the sections of each plane.

    Example: gpustitch z-render sections.tif z.csv corrected.zarr --z-spacing 0.05
    """
    job = plan(options)
    if dry_run:
        tell(job, progress)
        return
    progress.note(job.summary)
    run(job, progress)
