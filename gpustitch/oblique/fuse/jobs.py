"""Fusion of a folder of tiles that goes on where an earlier run ended."""

from __future__ import annotations

from dataclasses import replace

from gpustitch.io.provenance import plain
from gpustitch.oblique.fuse.stage import StitchPlan, StitchResult, run
from gpustitch.running.progress import SILENT, Progress
from gpustitch.running.resumed import gone_on_with, making_of


def run_resumed(plan: StitchPlan, progress: Progress = SILENT) -> StitchResult:
    """As :func:`gpustitch.oblique.fuse.stage.run`, on a plan of ``plan_tree``; what is finished is kept on an error.

    Raises
    ------
    GpustitchError
        Errors of ``run``.
    OutputExistsError
        If an unfinished run into the output was told otherwise, or had other inputs.
    """
    options, source = plan.options, plan.source
    making = making_of(options, plan.device, plan.inputs, source=plain(source))
    with gone_on_with(options, making, progress) as unfinished:
        inside = replace(plan, options=replace(options, output=unfinished.folder))
        result = run(inside, progress, unfinished.journal)
    return replace(result, path=options.output)
