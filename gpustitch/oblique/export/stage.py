"""What ``dcimg2tif`` and ``dcimg2jp2`` share: frames in, one image file for each out."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gpustitch.array import Device
from gpustitch.errors import DamagedInputError, ParameterError
from gpustitch.io.atomic import check_free_space, check_output
from gpustitch.io.frames.formats import frame_files, frames_help
from gpustitch.io.frames.opening import Oriented, Slice, cautions, open_frames
from gpustitch.io.frames.readable import Lost, Readable
from gpustitch.io.manifest import SUFFIX, Making, Manifest
from gpustitch.io.stacks.choice import StackChoice
from gpustitch.model.options import documented, option
from gpustitch.running import options as shared
from gpustitch.running.finished import check_existing, finished, settings_of, skip_existing
from gpustitch.running.inputs import Inputs
from gpustitch.running.progress import SILENT, Progress, counted, tracked
from gpustitch.running.threads import checked_workers, ordered_map


@documented
@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """Which frames to write where; ``input`` is what :func:`gpustitch.io.frames.opening.open_frames` takes."""

    input: str | Path = option(flag="--input -i", help=frames_help())
    output_pattern: str = option(
        help="Names of the files, with a place for the frame's number in the input: out/img_%05d.tiff"
    )
    n_workers: int | None = shared.n_workers()
    rotate_90: int = shared.rotate_90()
    flip_ud: bool = shared.flip_ud()
    start: int = option(0, help="First frame; files keep the number of their frame.")
    stop: int | None = option(None, help="Frame to stop before.", shown="all frames")
    allow_missing: bool = shared.allow_missing()
    on_error: shared.OnError = shared.on_error()
    choice: StackChoice = shared.stack_choice()
    overwrite: bool = shared.overwrite()
    skip_existing: bool = skip_existing()
    device: str | Device = shared.idle_device()


@dataclass(frozen=True)
class ExportPlan:
    """A checked job: the file of each frame of ``frames`` that is there, by its number.

    ``first`` is the number of the first of ``frames`` in the input. ``output_bytes`` is an estimate from the middle
    frame of those without a file.
    """

    frames: Readable
    first: int
    paths: Mapping[int, Path]
    encode: Callable[[npt.NDArray[Any]], bytes]
    output_bytes: int
    n_workers: int
    overwrite: bool
    skip_existing: bool
    manifest: Manifest
    cautions: tuple[str, ...] = ()
    inputs: Inputs = Inputs()


@dataclass(frozen=True)
class ExportResult:
    """The files written or kept, their size and the size of their frames, in bytes; ``n_kept`` were finished before.

    ``lost`` names the frames of the input without a file: they were not there, or could not be read.
    """

    paths: tuple[Path, ...]
    output_bytes: int
    frame_bytes: int
    lost: Lost
    n_kept: int = 0

    @property
    def summary(self) -> str:
        """One line for people."""
        megabytes, share = self.output_bytes / 1e6, self.output_bytes / self.frame_bytes
        kept = f" ({self.n_kept} of them kept)" if self.n_kept else ""
        files = f"{counted(len(self.paths), 'files')}{kept} in {self.paths[0].parent}"
        return f"{files}, {megabytes:.3g} MB, {share:.0%} of the frames' size"


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
    DamagedInputError
        If a frame needed for the estimate cannot be read and is not to be skipped, or none can.
    """
    n_workers = checked_workers(options.n_workers)
    skips = shared.checked_on_error(options.on_error)
    opened = open_frames(options.input, allow_missing=options.allow_missing, skip_damaged=skips, choice=options.choice)
    chosen = Slice(opened, options.start, options.stop)
    frames = Readable(Oriented(chosen, options.rotate_90, options.flip_ud), skips=skips)
    Lost.of(frames, options.start).check_any_left(options.input)
    _check_first(frames, options.start)
    n_frames = frames.shape[0]
    names = _named(options.output_pattern, range(options.start, options.start + n_frames), suffixes)
    # A frame that is not there leaves a hole in the numbers, which the next stage sees.
    paths = {number: path for number, path in enumerate(names) if number not in frames.absent}
    listed = _manifest_of(options.output_pattern)
    inputs = Inputs.of([options.input], apart=[*paths.values(), listed], below=False)
    manifest = Manifest(listed, Making(settings_of(options), inputs.planned))
    _check_outputs(options, tuple(paths.values()), manifest)
    output_bytes = 0
    if left := [number for number, path in paths.items() if not (options.skip_existing and path.exists())]:
        middle = left[len(left) // 2]
        output_bytes = len(left) * len(encode(frames.read(middle, middle + 1)[0]))
        check_free_space(paths[middle], output_bytes)
    return ExportPlan(
        frames=frames,
        first=options.start,
        paths=paths,
        encode=encode,
        output_bytes=output_bytes,
        n_workers=n_workers,
        overwrite=options.overwrite,
        skip_existing=options.skip_existing,
        manifest=manifest,
        cautions=cautions(options.input),
        inputs=inputs,
    )


def run_export(plan: ExportPlan, label: str, progress: Progress = SILENT) -> ExportResult:
    """Write every frame; each file appears whole.

    After an error the frames written so far stay, and a note counts them. A frame that is absent, or is skipped as it
    cannot be read, gets no file; a warning names it.

    Raises
    ------
    DamagedInputError
        If a frame cannot be read, and ``on_error`` is ``"stop"``. With ``"skip"``, if no frame can be read.
    """

    def export(index: int) -> int:
        frame = plan.frames.read(index, index + 1)[0]
        if index in plan.frames.absent:
            return 0
        data = plan.encode(frame)
        plan.manifest.write(plan.paths[index], data, overwrite=plan.overwrite or plan.skip_existing)
        return len(data)

    for caution in plan.cautions:
        progress.warn(caution)
    kept = finished(plan.paths, plan.manifest, plan.n_workers, progress) if plan.skip_existing else {}
    left = [number for number in plan.paths if number not in kept]
    n_frames, done, output_bytes = len(plan.paths), len(kept), sum(whole.size_bytes for whole in kept.values())
    folder = next(iter(plan.paths.values())).parent
    try:
        with plan.manifest:
            results = ordered_map(export, left, plan.n_workers)
            for size in tracked(results, progress, label, len(left), "frames"):
                done, output_bytes = done + 1, output_bytes + size
    except BaseException:
        progress.note(f"stopped after {done} of {n_frames} frames; {folder} is not complete")
        raise
    lost = Lost.of(plan.frames, plan.first)
    for line in lost.lines("no file is written"):
        progress.warn(line)
    plan.inputs.tell(progress)
    lost.check_any_left(folder)
    _check_first(plan.frames, plan.first)
    paths = tuple(path for number, path in plan.paths.items() if number not in plan.frames.absent)
    frame_bytes = len(paths) * math.prod(plan.frames.shape[1:]) * np.dtype(plan.frames.dtype).itemsize
    return ExportResult(paths, output_bytes, frame_bytes, lost, len(kept))


def _check_first(frames: Readable, first: int) -> None:
    """Raise DamagedInputError if the first frame is not there: no later stage would see that hole."""
    if 0 in frames.absent:
        beginning = next(first + number for number in range(frames.shape[0]) if number not in frames.absent)
        raise DamagedInputError(
            f"frame {first}, the first one, is not there or cannot be read: the files would begin with another frame, "
            f"and all places along x would be wrong; give `start` {beginning} to take this upon you"
        )


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


def _manifest_of(pattern: str) -> Path:
    """The manifest's place: beside the files, or beside the folders where these carry the numbers."""
    named, first, second = (Path(text).parts for text in (pattern, pattern % 0, pattern % 1))
    at = next(at for at in range(len(first)) if first[at] != second[at])
    return Path(*first[:at], named[at] + SUFFIX)


def _check_outputs(options: ExportOptions, paths: tuple[Path, ...], manifest: Manifest) -> None:
    sources = {path.resolve() for path in frame_files(options.input)}
    for path in paths:
        if path.resolve() in sources:
            raise ParameterError(f"{path} is both input and output; choose another `output_pattern`")
    check_existing(options, paths, manifest)
    replaces = options.overwrite or options.skip_existing
    for folder in {path.parent for path in paths}:
        check_output(next(path for path in paths if path.parent == folder), overwrite=replaces)
