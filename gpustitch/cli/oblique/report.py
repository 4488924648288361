"""``gpustitch report``: checks of what the pipeline wrote, as a page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import typer

from gpustitch.cli.build import command_of, flags_of
from gpustitch.cli.terminal import TerminalProgress
from gpustitch.model.options import leaves
from gpustitch.oblique.channels.file import channel_folders
from gpustitch.oblique.pipeline.options import PipelineOptions
from gpustitch.oblique.report.stage import ReportOptions, plan, run

# Exit codes of outputs of which a check warned, and failed.
WARNED, FAILED = 21, 22


class _OfPipeline(TerminalProgress):
    """Progress that says what helps by the flags of ``pipeline``, which made the output."""

    def __init__(self, *, flags: Mapping[str, str] | None = None, **how: Any) -> None:
        super().__init__(flags={**flags_of(leaves(PipelineOptions)), **(flags or {})}, **how)


@command_of
def command(options: ReportOptions, progress: _OfPipeline) -> None:
    """Check an output of pipeline, and write the checks into its report.html and report.json.

    What is written is compared with the raw frames: where tiles lie, borders, stripes, missing frames, saturation. Some
    windows of each overlap and some frames are read. Exit code: 0 if nothing speaks against the volume, 21 if a check
    warns, 22 if one fails. Of an output of several channels each is checked.

    Example: gpustitch report out-488
    """
    verdicts = set()
    for folder in channel_folders(options.output) or [options.output]:
        made = run(plan(replace(options, output=folder)), progress)
        progress.result(made.summary)
        verdicts.add(made.verdict)
    if verdicts != {"pass"}:
        raise typer.Exit(FAILED if "fail" in verdicts else WARNED)
