"""Copies of the alignment and the flat beside the channel, where spimstitch's pipeline script has them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from gpustitch.io.atomic import atomic_file, check_file_output
from gpustitch.oblique.pipeline.options import ALIGNMENT, FLAT, PipelineOptions, beside
from gpustitch.running.progress import Progress


def check(options: PipelineOptions) -> None:
    """Raise OutputExistsError or OutputError if a copy that is asked for cannot be written."""
    for _, path in _copies(options):
        check_file_output(path, overwrite=options.overwrite)


def write(options: PipelineOptions, progress: Progress) -> None:
    """Copy what is asked for out of the finished output; what the run did not make is not there."""
    for name, path in _copies(options):
        made = options.output / name
        if not made.is_file():
            continue
        with atomic_file(path, overwrite=options.overwrite) as partial:
            shutil.copyfile(made, partial)
        progress.note(f"{path} is a copy of {made}")


def _copies(options: PipelineOptions) -> Iterator[tuple[str, Path]]:
    """Names in the output, and where their copies go; what was given is not copied."""
    if options.files_beside and options.align_file is None:
        yield ALIGNMENT, beside(options.channel, "-align.json")
    if options.files_beside and options.flat is None and options.correct_flat:
        yield FLAT, beside(options.channel, "-illuc.tiff")
