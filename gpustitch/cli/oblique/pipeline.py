"""``gpustitch pipeline``: from the raw tiles of a channel to the stitched volume."""

from __future__ import annotations

import typer

from gpustitch.cli import config
from gpustitch.cli.build import Given, command_of
from gpustitch.cli.dry_run import tell
from gpustitch.cli.oblique.report import FAILED
from gpustitch.cli.terminal import TerminalProgress
from gpustitch.io.atomic import atomic_file
from gpustitch.model.options import leaves
from gpustitch.oblique.pipeline.options import PipelineOptions
from gpustitch.oblique.pipeline.stage import plan, run

# The options of a run, in its output.
CONFIG = "pipeline.toml"


@command_of
def command(options: PipelineOptions, progress: TerminalProgress, given: Given) -> None:
    """Make one stitched Neuroglancer volume from the raw tiles of a channel.

    Flat field, destriping, de-obliquing, alignment and fusion, as in spimstitch-pipeline.sh. The environment variables
    of spimstitch-pipeline.sh are honoured when set. OUTPUT/pipeline.toml has the options, for --config. Exit code 22
    says that a check of the written volume failed.

    Example: gpustitch pipeline Ex_488_Em_1 --output out-488 --x-step-size 1.28 --y-voxel-size 1.8
    """
    planned = plan(options)
    if options.dry_run:
        tell(planned, progress)
        return
    result = run(planned, progress)
    with atomic_file(options.output / CONFIG, overwrite=True) as partial:
        partial.write_text(config.text_of("pipeline", options, leaves(PipelineOptions), given), encoding="utf-8")
    progress.result(result.summary)
    if result.report is not None and result.report.verdict == "fail":
        raise typer.Exit(FAILED)
