"""``gpustitch similarity``: how alike the planes of a stack are to nearby planes."""

from __future__ import annotations

from gpustitch.cli.build import command_of
from gpustitch.cli.terminal import TerminalProgress
from gpustitch.sections.similarity.options import SimilarityOptions
from gpustitch.sections.similarity.stage import plan, run


@command_of
def command(options: SimilarityOptions, progress: TerminalProgress) -> None:
    """Measure how alike each plane of a stack is to nearby planes: Pearson's correlation of their pixels.

    z-spacing reads OUT. Pixels that are NaN in either of two planes are not compared.

    Example: gpustitch similarity sections.tif similarity.npz --range 20 --scale 0.5
    """
    job = plan(options)
    progress.note(job.summary)
    progress.result(f"{options.output}: {run(job, progress).summary}")
