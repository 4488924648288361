"""What ``dcimg2tif`` and ``dcimg2jp2`` share: frames in, one image file for each out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gpustitch.array import Device
from gpustitch.errors import OutputExistsError, ParameterError
from gpustitch.io.atomic import atomic_file, check_free_space, check_output
from gpustitch.io.frames.formats import frame_files, frames_help
from gpustitch.io.frames.opening import Oriented, Slice, open_frames, truncation
from gpustitch.io.stacks.choice import StackChoice
from gpustitch.model import Frames
from gpustitch.model.options import documented, option
from gpustitch.running import options as shared
from gpustitch.running.progress import SILENT, Progress, tracked
from gpustitch.running.threads import checked_workers, ordered_map


@documented
@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """Which frames to write where; ``input`` is what :func:`gpustitch.io.frames.opening.open_frames` takes."""

    input: str | Path = option(help=frames_help())
    output_pattern: str = option(
        help="Names of the files, with a place for the frame's number in the input: out/img_%05d.tiff"
    )
    n_workers: int | None = shared.n_workers()
    rotate_90: int = shared.rotate_90()
    flip_ud: bool = shared.flip_ud()
    start: int = option(0, help="First frame; files keep the number of their frame.")
    stop: int | None = option(None, help="Frame to stop before.", shown="all frames")
    allow_missing: bool = shared.allow_missing()
    choice: StackChoice = shared.stack_choice()
    overwrite: bool = shared.overwrite()
    device: str | Device = shared.idle_device()


@dataclass(frozen=True)
class ExportPlan:
    """A checked job: one frame for each of ``paths``; ``output_bytes`` is an estimate from the middle frame."""

    frames: Frames
    paths: tuple[Path, ...]
    encode: Callable[[npt.NDArray[Any]], bytes]
    output_bytes: int
    n_workers: int
    overwrite: bool
    warning: str = ""


@dataclass(frozen=True)
class ExportResult:
    """The files written, their size and the size of the frames, in bytes."""

    paths: tuple[Path, ...]
    output_bytes: int
    frame_bytes: int

    @property
    def summary(self) -> str:
        """One line for people."""
        megabytes, share = self.output_bytes / 1e6, self.output_bytes / self.frame_bytes
        return f"{len(self.paths)} files in {self.paths[0].parent}, {megabytes:.3g} MB, {share:.0%} of the frames' size"


def plan_export(
    options: ExportOptions, suffixes: tuple[str, ...], encode: Callable[[npt.NDArray[Any]], bytes]
) -> ExportPlan:
    """Open the input, name the outputs and refuse impossible jobs.

    Raises
    ------
    ParameterError
        If the pattern does not tell frames apart or ends in none of ``suffixes``. If the range is not inside the
        input, or an output is one of the input's files.
    OutputExistsError, OutputError
        If an output exists, cannot be written, or the disk is too small.
    """
    n_workers = checked_workers(options.n_workers)
    opened = open_frames(options.input, allow_missing=options.allow_missing, choice=options.choice)
    chosen = Slice(opened, options.start, options.stop)
    frames = Oriented(chosen, options.rotate_90, options.flip_ud)
    paths = _named(options.output_pattern, range(options.start, options.start + chosen.shape[0]), suffixes)
    _check_outputs(paths, frame_files(options.input), overwrite=options.overwrite)
    n_frames = frames.shape[0]
    middle = n_frames // 2
    output_bytes = n_frames * len(encode(frames.read(middle, middle + 1)[0]))
    check_free_space(paths[0], output_bytes)
    warning = truncation(options.input) if options.allow_missing else ""
    return ExportPlan(frames, paths, encode, output_bytes, n_workers, options.overwrite, warning)


def run_export(plan: ExportPlan, label: str, progress: Progress = SILENT) -> ExportResult:
    """Write every frame; each file appears whole.

    After an error the frames written so far stay, and a note counts them.
    """

    def export(index: int) -> int:
        data = plan.encode(plan.frames.read(index, index + 1)[0])
        with atomic_file(plan.paths[index], overwrite=plan.overwrite) as partial:
            partial.write_bytes(data)
        return len(data)

    if plan.warning:
        progress.warn(plan.warning)
    n_frames, n_rows, n_columns = plan.frames.shape
    done = output_bytes = 0
    try:
        results = ordered_map(export, range(n_frames), plan.n_workers)
        for size in tracked(results, progress, label, n_frames, "frames"):
            done, output_bytes = done + 1, output_bytes + size
    except BaseException:
        progress.note(f"stopped after {done} of {n_frames} frames; {plan.paths[0].parent} is not complete")
        raise
    frame_bytes = n_frames * n_rows * n_columns * np.dtype(plan.frames.dtype).itemsize
    return ExportResult(plan.paths, output_bytes, frame_bytes)


def _named(pattern: str, numbers: range, suffixes: tuple[str, ...]) -> tuple[Path, ...]:
    try:
        names = [pattern % number for number in numbers]
        distinct = pattern % 0 != pattern % 1
    except (TypeError, ValueError) as error:
        raise ParameterError(f"`output_pattern` {pattern!r} takes no frame number ({error}); use img_%05d") from error
    if not distinct or len(set(names)) < len(names):
        raise ParameterError(f"`output_pattern` {pattern!r} gives two frames one name; use img_%05d")
    if not names[0].lower().endswith(suffixes):
        raise ParameterError(f"`output_pattern` {pattern!r} should end in {' or '.join(suffixes)}")
    return tuple(Path(name) for name in names)


def _check_outputs(paths: tuple[Path, ...], inputs: list[Path], *, overwrite: bool) -> None:
    sources = {path.resolve() for path in inputs}
    for path in paths:
        if path.resolve() in sources:
            raise ParameterError(f"{path} is both input and output; choose another `output_pattern`")
    existing = [path for path in paths if path.exists()]
    if existing and not overwrite:
        raise OutputExistsError(
            f"{existing[0]}{f' and {len(existing) - 1} more' if len(existing) > 1 else ''} exist already; "
            "choose another `output_pattern`, or `overwrite` them"
        )
    for folder in {path.parent for path in paths}:
        check_output(next(path for path in paths if path.parent == folder), overwrite=overwrite)
