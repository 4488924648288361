"""De-obliquing that goes on where an earlier run ended."""

from __future__ import annotations

import dataclasses

from gpustitch.oblique.deskew.stage import DeobliquePlan, DeobliqueResult, run
from gpustitch.running.progress import SILENT, Progress
from gpustitch.running.resumed import gone_on_with, making_of


def run_resumed(plan: DeobliquePlan, progress: Progress = SILENT) -> DeobliqueResult:
    """As :func:`gpustitch.oblique.deskew.stage.run`; what is finished is kept on an error.

    Raises
    ------
    GpustitchError
        Errors of ``run``.
    OutputExistsError
        If an unfinished run into the output was told otherwise, or had other inputs.
    """
    options = plan.options
    making = making_of(options, plan.device, plan.inputs)
    with gone_on_with(options, making, progress) as unfinished:
        inside = dataclasses.replace(plan, options=dataclasses.replace(options, output=unfinished.folder))
        result = run(inside, progress, unfinished.journal)
    return dataclasses.replace(result, path=options.output)
