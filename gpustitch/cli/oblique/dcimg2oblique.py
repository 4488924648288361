"""``gpustitch dcimg2oblique``: raw frames, corrected and destriped on the way, to a de-obliqued volume."""

from __future__ import annotations

from gpustitch.cli.build import command_of
from gpustitch.cli.dry_run import DryRun, tell
from gpustitch.cli.oblique.old_scripts import Chunks, Jp2k
from gpustitch.cli.terminal import TerminalProgress
from gpustitch.oblique.deskew.jobs import run_resumed
from gpustitch.oblique.deskew.stage import DeobliqueOptions, plan


@command_of
def command(
    options: DeobliqueOptions,
    progress: TerminalProgress,
    *,
    jp2k: Jp2k = False,
    chunks: Chunks = 1,
    dry_run: DryRun = False,
) -> None:
    """Correct raw frames and resample them onto an upright grid: a Neuroglancer volume with its pyramid.

    Each frame is turned, flipped and destriped; the dark offset is subtracted, the flat field divided out. The frames
    are then interpolated.

    Example: gpustitch dcimg2oblique --input raw/0.dcimg --output oblique --destripe-method lightsheet --flat flat.tiff
    """
    job = plan(options)
    if dry_run:
        tell(job, progress)
        return
    progress.note(job.summary)
    run_resumed(job, progress)
