"""``gpustitch pipeline``: from the raw tiles of a channel to the stitched volume."""

from __future__ import annotations

from pathlib import Path

import typer

from gpustitch.cli import config
from gpustitch.cli.build import Given, command_of
from gpustitch.cli.dry_run import tell
from gpustitch.cli.oblique.report import FAILED
from gpustitch.cli.terminal import TerminalProgress
from gpustitch.io.atomic import atomic_file
from gpustitch.model.options import leaves
from gpustitch.oblique.channels import stage as channels
from gpustitch.oblique.channels.options import ChannelsOptions
from gpustitch.oblique.pipeline.stage import plan, run

# The options of a run, in its output.
CONFIG = "pipeline.toml"


@command_of
def command(options: ChannelsOptions, progress: TerminalProgress, given: Given) -> None:
    """Make one stitched volume from the raw tiles of a channel, or of several channels that lie alike.

    Flat field, destriping, de-obliquing, alignment and fusion, as in spimstitch-pipeline.sh. The environment variables
    of spimstitch-pipeline.sh are honoured when set. OUTPUT/pipeline.toml has the options, for --config; there a table
    of a channel's name holds for that channel alone. Exit code 22 says that a check of a written volume failed.

    Of several channels one is aligned, and the others are placed like it. OUTPUT has a folder for each, volume.zarr
    with all of them, and channels.json, which says how far they lie from one another.

    Example: gpustitch pipeline Ex_488_Em_1 --output out-488 --x-step-size 1.28 --y-voxel-size 1.8
    """
    if len(options.channels) == 1:
        one = plan(options.single)
        if options.each.dry_run:
            tell(one, progress)
            return
        result = run(one, progress)
        summary, has_failed = result.summary, result.report is not None and result.report.verdict == "fail"
        _write_config(options, given, one.options.output)
    else:
        several = channels.plan(options)
        if options.each.dry_run:
            tell(several, progress)
            return
        made = channels.run(several, progress)
        summary, has_failed = made.summary, bool(made.failed)
        _write_config(options, given, options.folder)
    progress.result(summary)
    if has_failed:
        raise typer.Exit(FAILED)


def _write_config(options: ChannelsOptions, given: Given, folder: Path) -> None:
    """Write the options of a run into its output."""
    text = config.text_of("pipeline", options, leaves(ChannelsOptions), given)
    for name, values in options.of_channel.items():
        own = {leaf.path[1:]: leaf for leaf in leaves(ChannelsOptions)}
        text += config.section_text(name, [(own[path], value) for path, value in values.items()])
    with atomic_file(folder / CONFIG, overwrite=True) as partial:
        partial.write_text(text, encoding="utf-8", errors="backslashreplace")
