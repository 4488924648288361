"""``gpustitch z-spacing``: where the sections of a series lie along z."""

from __future__ import annotations

from gpustitch.cli.build import Given, command_of
from gpustitch.cli.terminal import TerminalProgress
from gpustitch.sections.model import COMPAT_ONLY, NOT_COMPAT
from gpustitch.sections.positions.stage import ZSpacingOptions, plan, run


@command_of
def command(options: ZSpacingOptions, progress: TerminalProgress, given: Given) -> None:
    """Find where each section of a series lies along z, from how alike it is to nearby sections.

    Positions are in sections, numbered from 0. Damaged, constant, duplicate, missing and swapped sections are named.

    Example: gpustitch z-spacing sections.tif --output z.csv --range 20 --report z.pdf
    """
    compat = options.estimate.compat
    if idle := [f"`{name}`" for name in (NOT_COMPAT if compat else COMPAT_ONLY) if name in given]:
        progress.warn(f"{'with' if compat else 'without'} `compat` nothing is changed by {', '.join(idle)}")
    job = plan(options)
    if job.images is not None:
        progress.note(job.images.summary)
    progress.result(run(job, progress).summary)
