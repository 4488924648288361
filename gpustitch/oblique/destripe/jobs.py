"""The images of a job: which there are, and where each goes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gpustitch.errors import (
    DamagedInputError,
    GpustitchError,
    InputMissingError,
    ParameterError,
)
from gpustitch.io.atomic import check_output
from gpustitch.io.found import found_files, found_places, root_of
from gpustitch.io.frames.formats import raw_suffixes
from gpustitch.io.frames.opening import open_frames
from gpustitch.io.images.files import IMAGE_SUFFIXES, TIFF_SUFFIXES, read_image
from gpustitch.io.manifest import SUFFIX, Making, Manifest
from gpustitch.io.registry import either
from gpustitch.io.stacks.finding import plane_order
from gpustitch.model import Frames
from gpustitch.model.arrays import HostArray
from gpustitch.oblique.destripe.options import DestripeOptions
from gpustitch.running.finished import check_existing

_SUFFIX = "_destriped"


@dataclass(frozen=True)
class Job:
    """One image about to be written: a whole file, or frame ``number`` of ``frames``."""

    source: Path
    target: Path
    frames: Frames | None = None
    number: int = 0

    def read(self) -> HostArray:
        image: HostArray
        if self.frames is None:
            image = read_image(self.source)
            # The output is pages without a description: their order must say all.
            return image if image.ndim == 2 else image[plane_order(self.source)]
        image = self.frames.read(self.number, self.number + 1)[0]
        return image

    def pages(self, *, rotate: bool) -> HostArray:
        """The image as upright pages (pages, rows, columns)."""
        image = self.read()
        pages: HostArray = image.reshape(-1, *image.shape[-2:])
        return np.rot90(pages, axes=(1, 2)) if rotate else pages


def found_jobs(
    options: DestripeOptions, making: Making, unreadable: dict[Path, str]
) -> tuple[Path, tuple[Job, ...], Manifest | None]:
    """The output, all images with their places in it, and its manifest, if it is a folder.

    Files that cannot be opened are added to ``unreadable``.

    Raises
    ------
    GpustitchError
        If there is no image, one cannot be opened and ``on_error`` is ``"stop"``, or an output cannot be written.
    """
    source = options.input
    found_places(source)
    output = options.output or _beside(root_of(source))
    jobs = tuple(_jobs(options, output, unreadable))
    if not jobs and not unreadable:
        raise InputMissingError(f"{source} holds no {either((*IMAGE_SUFFIXES, *raw_suffixes(one=True)))} file")
    root = root_of(source)
    manifest = Manifest(output / f"destripe{SUFFIX}", making) if root.is_dir() or is_stack(root) else None
    _check_outputs(options, output, jobs, manifest)
    return output, jobs, manifest


def _beside(source: Path) -> Path:
    """Default of the output, beside the input."""
    source = source.absolute()
    if source.is_dir():
        return source.with_name(source.name + _SUFFIX)
    kept = "" if is_stack(source) else source.suffix if source.suffix.lower() in TIFF_SUFFIXES else ".tif"
    return source.with_name(source.stem + _SUFFIX + kept)


def _jobs(options: DestripeOptions, output: Path, unreadable: dict[Path, str]) -> Iterator[Job]:
    source, root = options.input, root_of(options.input)
    if root.is_dir():
        for path in found_files(source, below=True):
            place = output / path.relative_to(root)
            if is_stack(path):
                folder = place.with_suffix("") if options.zstep_um is None else place.parent
                yield from _frame_jobs(path, folder, options, unreadable)
            elif path.suffix.lower() in IMAGE_SUFFIXES:
                yield Job(path, place if path.suffix.lower() in TIFF_SUFFIXES else place.with_suffix(".tif"))
    elif is_stack(source):
        yield from _frame_jobs(source, output, options, unreadable)
    elif source.suffix.lower() not in IMAGE_SUFFIXES:
        images, stacks = either(IMAGE_SUFFIXES), either(raw_suffixes(one=True))
        raise ParameterError(f"{source}: images are read from {images} files, frames from {stacks}")
    elif output.suffix.lower() not in TIFF_SUFFIXES:
        raise ParameterError(f"`output` {output} should end in .tif or .tiff, as the input is a single image")
    else:
        yield Job(source, output)


def is_stack(path: Path) -> bool:
    """Whether a file holds a whole stage run of frames."""
    return path.name.lower().endswith(raw_suffixes(one=True))


def _frame_jobs(path: Path, folder: Path, options: DestripeOptions, unreadable: dict[Path, str]) -> Iterator[Job]:
    try:
        frames = open_frames(path, allow_missing=options.allow_missing)
        if 0 in frames.absent and options.zstep_um is None:
            raise begins_later(path)
    except GpustitchError as error:
        if options.on_error == "stop":
            raise
        unreadable[path] = str(error)
        return
    first = 0
    if options.zstep_um is not None:
        if not path.stem.isdecimal():
            raise ParameterError(f"{path}: with `zstep_um` the name must be the position in tenths of a micron")
        first = int(path.stem)
    # A frame that is not there leaves a hole in the numbers, which the next stage sees.
    for number in sorted(set(range(frames.shape[0])) - frames.absent):
        if options.zstep_um is None:
            name = f"img_{number:05d}.tiff"
        else:
            name = f"{first + round(number * options.zstep_um * 10):04d}.tif"
        yield Job(path, folder / name, frames, number)


def _check_outputs(options: DestripeOptions, output: Path, jobs: tuple[Job, ...], manifest: Manifest | None) -> None:
    target, folders = output.resolve(), {options.input.resolve()}
    if not options.input.exists():  # a glob
        folders = {job.source.parent.resolve() for job in jobs}
    if target in folders or any(folder.is_dir() and folder in target.parents for folder in folders):
        raise ParameterError(f"`output` {output} lies in the input, which is never written to; choose another place")
    counts = Counter(job.target for job in jobs)
    for path, count in counts.items():
        if count > 1:
            raise ParameterError(f"{count} images would be written to {path}; give them different names")
    check_existing(options, list(counts), manifest)
    for folder in {path.parent: path for path in counts}.values():
        check_output(folder, overwrite=options.overwrite or options.skip_existing, is_whole=False)


def begins_later(path: Path) -> DamagedInputError:
    """The error about a stack without its first frame."""
    return DamagedInputError(
        f"{path}: frame 0, the first one, is not there or cannot be read: its images would begin with another frame, "
        "and all places along x would be wrong; give `zstep_um`, which names images after their position, or leave "
        "the file out"
    )
