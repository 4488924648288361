"""Correct an image, a tree of images or the frames of a DCIMG file: stripes, dark offset, flat field."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from gpustitch.array import Device, choose_device
from gpustitch.array.transfer import hosted
from gpustitch.errors import (
    DamagedInputError,
    DeviceError,
    GpustitchError,
    InputMissingError,
    OutputExistsError,
    ParameterError,
)
from gpustitch.io.atomic import check_free_space, check_output
from gpustitch.io.found import found_files
from gpustitch.io.frames.formats import raw_suffixes
from gpustitch.io.frames.opening import open_frames
from gpustitch.io.images.files import (
    IMAGE_SUFFIXES,
    TIFF_SUFFIXES,
    check_compression,
    encode_tiff,
    read_image,
    write_tiff,
)
from gpustitch.io.provenance import provenance, write_json
from gpustitch.io.registry import either
from gpustitch.model import Frames
from gpustitch.model.arrays import HostArray
from gpustitch.model.options import documented, nested, option
from gpustitch.oblique.destripe import DESTRIPING
from gpustitch.oblique.destripe.correction import Correction
from gpustitch.oblique.flat.file import flat_file, read_flat
from gpustitch.running import options as shared
from gpustitch.running.progress import SILENT, Progress, tracked
from gpustitch.running.threads import checked_workers, ordered_map

OnError = Literal["stop", "skip"]

_SUFFIX = "_destriped"
PROVENANCE = "destripe.json"


@documented
@dataclass(frozen=True, kw_only=True)
class DestripeOptions:
    """What to correct, how, and where to write the result.

    Frames of a DCIMG file become ``img_%05d.tiff`` in a folder for each file. With ``zstep_um`` they lie beside each
    other, named after their position in tenths of a micron. The DCIMG file's name is the position of the first frame.
    """

    input: Path = option(flag="--input -i", help="Image, folder of images (and all below it) or DCIMG file.")
    output: Path | None = option(None, flag="--output -o", help="TIFF or folder.", shown="INPUT_destriped")
    correction: Correction = nested(lambda: Correction("wavelet"), level={"flag": "--level -l"})
    rotate: bool = option(False, flag="--rotate -r", help="First turn images by 90 degrees counter-clockwise.")
    compression: int = option(1, flag="--compression -c", help="Level of zlib, 0 for none.")
    zstep_um: float | None = option(
        None,
        flag="--zstep -z",
        unit="um",
        help="Distance between DCIMG frames, um; names TIFFs after their position.",
    )
    keep_type: bool = option(
        False, flag="--dont-convert-16bit", help="Write images of the input's type instead of 16-bit ones."
    )
    on_error: OnError = option("stop", help="What to do about a damaged file.")
    n_workers: int | None = shared.n_workers(flag="--workers -n --n-workers")
    overwrite: bool = shared.overwrite()
    device: str | Device = shared.device()
    device_memory_bytes: int | None = shared.device_memory()
    flat: Path | None = flat_file(DESTRIPING)


@dataclass(frozen=True)
class _Job:
    """One image about to be written: a whole file, or frame ``number`` of ``frames``."""

    source: Path
    target: Path
    frames: Frames | None = None
    number: int = 0

    def read(self) -> HostArray:
        if self.frames is None:
            return read_image(self.source)
        image: HostArray = self.frames.read(self.number, self.number + 1)[0]
        return image


@dataclass(frozen=True)
class DestripePlan:
    """A checked job. ``unreadable`` maps each file that could not be opened to the reason."""

    options: DestripeOptions
    output: Path
    jobs: tuple[_Job, ...]
    unreadable: dict[Path, str]
    output_bytes: int
    n_workers: int
    device: Device


@dataclass(frozen=True)
class DestripeResult:
    """What was written, and for each skipped file the reason."""

    output: Path
    n_images: int
    skipped: dict[Path, str]

    @property
    def summary(self) -> str:
        """One line for people."""
        skipped = f"; skipped {len(self.skipped)} damaged files" if self.skipped else ""
        return f"{self.output}: {self.n_images} images{skipped}"


def plan(options: DestripeOptions) -> DestripePlan:
    """Find the images and refuse impossible jobs, before any output is written.

    Raises
    ------
    InputMissingError
        If there is no input, or no image in it.
    DamagedInputError
        If a DCIMG file or the first image is damaged and ``on_error`` is ``"stop"``.
    ParameterError
        If the correction would change nothing or an option is out of range. If the flat differs in shape from the
        first image. If two images would get one name, or the output lies in the input.
    OutputExistsError, OutputError
        If an output exists, cannot be written, or does not fit on the disk.
    """
    check_compression(options.compression)
    n_workers = checked_workers(options.n_workers)
    if options.on_error not in get_args(OnError):
        raise ParameterError(f"`on_error` is stop or skip, not {options.on_error!r}")
    if options.zstep_um is not None and not options.zstep_um >= 0.1:
        raise ParameterError(f"`zstep_um` must be at least 0.1 um, not {options.zstep_um}")
    if options.flat is not None:
        options = replace(options, correction=replace(options.correction, flat=read_flat(options.flat)))
    if options.correction.is_identity:
        raise ParameterError("nothing to do: give `sigma1` or `sigma2`, another `method`, `flat` or `dark`")
    source = options.input
    if not source.exists():
        raise InputMissingError(f"there is no file or folder {source}")
    output = options.output or _beside(source)
    unreadable: dict[Path, str] = {}
    jobs = tuple(_jobs(options, output, unreadable))
    if not jobs and not unreadable:
        raise InputMissingError(f"{source} holds no {either((*IMAGE_SUFFIXES, *raw_suffixes(one=True)))} file")
    _check_outputs(options, output, jobs)
    output_bytes = _estimated_bytes(options, jobs)
    check_free_space(output, output_bytes)
    device = choose_device(options.device, options.device_memory_bytes)
    return DestripePlan(options, output, jobs, unreadable, output_bytes, n_workers, device)


def run(plan: DestripePlan, progress: Progress = SILENT) -> DestripeResult:
    """Correct and write every image; each file appears whole.

    A folder also gets ``destripe.json``, which says how it was made and what was skipped. After an error the images
    written so far stay, and a note counts them.

    Raises
    ------
    GpustitchError
        If an image is damaged or differs in shape from the flat, and ``on_error`` is ``"stop"``. With ``"skip"``, if
        every image does. The text names the file.
    OutputError
        If an image cannot be written.
    """
    skipped = dict(plan.unreadable)
    done = 0
    try:
        failures = ordered_map(lambda job: _destripe(job, plan), plan.jobs, plan.n_workers)
        for job, reason in zip(
            plan.jobs, tracked(failures, progress, "Destriping", len(plan.jobs), "images"), strict=True
        ):
            if reason:
                skipped.setdefault(job.source, reason)
            done += not reason
    except BaseException:
        if plan.jobs:
            progress.note(f"stopped after {done} of {len(plan.jobs)} images; {plan.output} is not complete")
        raise
    for reason in skipped.values():
        progress.warn(f"skipped: {reason}")
    if not done:
        raise DamagedInputError(
            f"none of the images in {plan.options.input} can be read: {next(iter(skipped.values()))}"
        )
    if plan.options.input.is_dir() or _is_stack(plan.options.input):
        used = replace(plan.options, n_workers=plan.n_workers, device=plan.device)
        record = provenance(used, [plan.options.input])
        record |= {"images": done, "skipped": {str(path): reason for path, reason in skipped.items()}}
        write_json(plan.output / PROVENANCE, record, overwrite=True)
    return DestripeResult(plan.output, done, skipped)


def _destripe(job: _Job, plan: DestripePlan) -> str:
    """Write one image; returns the reason if the image is skipped, else an empty text."""
    options = plan.options
    try:
        result = _corrected(job, options, plan.device)
    except DeviceError:
        raise
    except GpustitchError as error:
        text = str(error) if str(job.source) in str(error) else f"{job.source}: {error}"
        if options.on_error == "skip":
            return text
        raise type(error)(text) from error
    write_tiff(job.target, result, compression=options.compression, overwrite=options.overwrite)
    return ""


def _corrected(job: _Job, options: DestripeOptions, device: Device) -> HostArray:
    image = job.read()
    pages = image.reshape(-1, *image.shape[-2:])
    if options.rotate:
        pages = np.rot90(pages, axes=(1, 2))
    result = hosted(options.correction.apply, device)(pages)
    if options.keep_type and image.dtype != np.uint16:
        if image.dtype.kind in "iu":
            result = np.minimum(result, np.iinfo(image.dtype).max)
        result = result.astype(image.dtype)
    return result if image.ndim == 3 else result[0]


def _beside(source: Path) -> Path:
    """Default of the output, beside the input."""
    source = source.absolute()
    if source.is_dir():
        return source.with_name(source.name + _SUFFIX)
    kept = "" if _is_stack(source) else source.suffix if source.suffix.lower() in TIFF_SUFFIXES else ".tif"
    return source.with_name(source.stem + _SUFFIX + kept)


def _jobs(options: DestripeOptions, output: Path, unreadable: dict[Path, str]) -> Iterator[_Job]:
    source = options.input
    if source.is_dir():
        for path in found_files(source, below=True):
            place = output / path.relative_to(source)
            if _is_stack(path):
                folder = place.with_suffix("") if options.zstep_um is None else place.parent
                yield from _frame_jobs(path, folder, options, unreadable)
            elif path.suffix.lower() in IMAGE_SUFFIXES:
                yield _Job(path, place if path.suffix.lower() in TIFF_SUFFIXES else place.with_suffix(".tif"))
    elif _is_stack(source):
        yield from _frame_jobs(source, output, options, unreadable)
    elif source.suffix.lower() not in IMAGE_SUFFIXES:
        images, stacks = either(IMAGE_SUFFIXES), either(raw_suffixes(one=True))
        raise ParameterError(f"{source}: images are read from {images} files, frames from {stacks}")
    elif output.suffix.lower() not in TIFF_SUFFIXES:
        raise ParameterError(f"`output` {output} should end in .tif or .tiff, as the input is a single image")
    else:
        yield _Job(source, output)


def _is_stack(path: Path) -> bool:
    """Whether a file holds a whole stage run of frames."""
    return path.name.lower().endswith(raw_suffixes(one=True))


def _frame_jobs(path: Path, folder: Path, options: DestripeOptions, unreadable: dict[Path, str]) -> Iterator[_Job]:
    try:
        frames = open_frames(path)
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
    for number in range(frames.shape[0]):
        if options.zstep_um is None:
            name = f"img_{number:05d}.tiff"
        else:
            name = f"{first + number * int(options.zstep_um * 10):04d}.tif"
        yield _Job(path, folder / name, frames, number)


def _check_outputs(options: DestripeOptions, output: Path, jobs: tuple[_Job, ...]) -> None:
    source, target = options.input.resolve(), output.resolve()
    if target == source or (source.is_dir() and source in target.parents):
        raise ParameterError(f"`output` {output} lies in the input, which is never written to; choose another place")
    counts = Counter(job.target for job in jobs)
    for path, count in counts.items():
        if count > 1:
            raise ParameterError(f"{count} images would be written to {path}; give them different names")
    existing = [path for path in counts if path.exists()]
    if existing and not options.overwrite:
        more = f" and {len(existing) - 1} more" if len(existing) > 1 else ""
        raise OutputExistsError(f"{existing[0]}{more} exist already; choose another `output`, or `overwrite` them")
    for folder in {path.parent: path for path in counts}.values():
        check_output(folder, overwrite=options.overwrite)


def _estimated_bytes(options: DestripeOptions, jobs: tuple[_Job, ...]) -> int:
    """Bytes that all images would take, if all were as large as the first readable image."""
    for job in jobs:
        try:
            image = job.read()
        except GpustitchError:
            if options.on_error == "stop":
                raise
            continue
        rows, columns = image.shape[-2:]
        options.correction.check_shape((columns, rows) if options.rotate else (rows, columns))
        return len(jobs) * len(encode_tiff(image, options.compression))
    return 0
