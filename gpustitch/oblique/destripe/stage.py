"""Correct an image, a tree of images or the frames of a DCIMG file: stripes, dark offset, flat field."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

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
from gpustitch.io.found import found_files, found_places, root_of
from gpustitch.io.frames.formats import raw_suffixes
from gpustitch.io.frames.opening import cautions, open_frames
from gpustitch.io.frames.readable import Lost
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
from gpustitch.io.stacks.finding import plane_order
from gpustitch.model import Frames
from gpustitch.model.arrays import HostArray
from gpustitch.model.options import documented, nested, option
from gpustitch.oblique.destripe import DESTRIPING
from gpustitch.oblique.destripe.correction import Correction, cut_off_text
from gpustitch.oblique.flat.file import flat_file, read_flat
from gpustitch.running import options as shared
from gpustitch.running.progress import SILENT, Progress, tracked
from gpustitch.running.threads import checked_workers, ordered_map

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
    allow_missing: bool = shared.allow_missing()
    on_error: shared.OnError = shared.on_error("What to do about a damaged file or frame: stop, or skip it.")
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
        image: HostArray
        if self.frames is None:
            image = read_image(self.source)
            # The output is pages without a description: their order must say all.
            return image if image.ndim == 2 else image[plane_order(self.source)]
        image = self.frames.read(self.number, self.number + 1)[0]
        return image


@dataclass(frozen=True)
class DestripePlan:
    """A checked job. ``unreadable`` maps each file that could not be opened to the reason.

    ``caution`` is a warning about the first image; empty if there is none.
    """

    options: DestripeOptions
    output: Path
    jobs: tuple[_Job, ...]
    unreadable: dict[Path, str]
    output_bytes: int
    n_workers: int
    device: Device
    caution: str = ""


@dataclass(frozen=True)
class DestripeResult:
    """What was written, and what was not.

    ``skipped`` has the reason for each file, ``lost`` the frames without an image of each file of many frames.
    ``n_cut_off`` counts the pixels that the type cut off (`Correction.n_cut_off`).
    """

    output: Path
    n_images: int
    skipped: dict[Path, str]
    lost: dict[Path, Lost]
    n_cut_off: int = 0

    @property
    def summary(self) -> str:
        """One line for people."""
        skipped = f"; skipped {len(self.skipped)} damaged files" if self.skipped else ""
        n_lost = sum(map(len, self.lost.values()))
        lost = f"; without {n_lost} frames that are absent or cannot be read" if n_lost else ""
        return f"{self.output}: {self.n_images} images{skipped}{lost}"


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
        first image, or the type of the first image cannot be kept. If two images would get one name, or the output
        lies in the input.
    OutputExistsError, OutputError
        If an output exists, cannot be written, or does not fit on the disk.
    """
    check_compression(options.compression)
    n_workers = checked_workers(options.n_workers)
    shared.checked_on_error(options.on_error)
    if options.zstep_um is not None and not options.zstep_um >= 0.1:
        raise ParameterError(f"`zstep_um` must be at least 0.1 um, not {options.zstep_um}")
    if options.flat is not None:
        options = replace(options, correction=replace(options.correction, flat=read_flat(options.flat)))
    if options.correction.is_identity:
        raise ParameterError("nothing to do: give `sigma1` or `sigma2`, another `method`, `flat` or `dark`")
    source = options.input
    found_places(source)
    output = options.output or _beside(root_of(source))
    unreadable: dict[Path, str] = {}
    jobs = tuple(_jobs(options, output, unreadable))
    if not jobs and not unreadable:
        raise InputMissingError(f"{source} holds no {either((*IMAGE_SUFFIXES, *raw_suffixes(one=True)))} file")
    _check_outputs(options, output, jobs)
    output_bytes, caution = _estimated(options, jobs)
    check_free_space(output, output_bytes)
    device = choose_device(options.device, options.device_memory_bytes)
    return DestripePlan(options, output, jobs, unreadable, output_bytes, n_workers, device, caution)


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
    for stack in dict.fromkeys(job.source for job in plan.jobs if job.frames is not None):
        for caution in cautions(stack):
            progress.warn(caution)
    skipped = dict(plan.unreadable)
    done = cut_off = 0
    if plan.options.correction.note:
        progress.note(plan.options.correction.note)
    if plan.caution:
        progress.warn(plan.caution)
    unreadable: dict[Path, dict[int, str]] = {job.source: {} for job in plan.jobs if job.frames is not None}
    try:
        outcomes = ordered_map(lambda job: _destripe(job, plan), plan.jobs, plan.n_workers)
        for job, (reason, n_cut) in zip(
            plan.jobs, tracked(outcomes, progress, "Destriping", len(plan.jobs), "images"), strict=True
        ):
            if reason and job.frames is not None:
                unreadable[job.source][job.number] = reason
            elif reason:
                skipped.setdefault(job.source, reason)
            done, cut_off = done + (not reason), cut_off + n_cut
    except BaseException:
        if plan.jobs:
            progress.note(f"stopped after {done} of {len(plan.jobs)} images; {plan.output} is not complete")
        raise
    lost = _told(plan, skipped, unreadable, progress)
    if not done:
        reasons = [*skipped.values(), *(reason for frames in unreadable.values() for reason in frames.values())]
        raise DamagedInputError(f"none of the images in {plan.options.input} can be read: {reasons[0]}")
    if cut_off:
        progress.warn(cut_off_text(cut_off))
    root = root_of(plan.options.input)
    if root.is_dir() or _is_stack(root):
        used = shared.settled(plan.options, plan.device, plan.n_workers)
        record = provenance(used, [root])
        record |= {"images": done, "cut_off_pixels": cut_off, "skipped": {str(p): why for p, why in skipped.items()}}
        record |= {"stacks": {str(path): of_stack.record for path, of_stack in lost.items()}}
        write_json(plan.output / PROVENANCE, record, overwrite=True)
    for path, of_stack in lost.items():
        if 0 in of_stack.unreadable and plan.options.zstep_um is None:
            raise _begins_later(path)
    return DestripeResult(plan.output, done, skipped, lost, cut_off)


def _told(
    plan: DestripePlan,
    skipped: Mapping[Path, str],
    unreadable: Mapping[Path, Mapping[int, str]],
    progress: Progress,
) -> dict[Path, Lost]:
    """Warn about all that was skipped; returns what each stack of frames lacks."""
    for reason in skipped.values():
        progress.warn(f"skipped: {reason}")
    first = {job.target.parent: job.source for job in reversed(plan.jobs) if job.frames is None}
    for path in sorted(skipped.keys() & set(first.values())):
        progress.warn(f"{path} was skipped, the first image of its folder: the stack begins with another image now")
    lost = {}
    for path, frames in {job.source: job.frames for job in plan.jobs}.items():
        if frames is not None:
            lost[path] = Lost(frames.shape[0], tuple(sorted(frames.absent)), unreadable[path])
            for line in lost[path].lines("no file is written"):
                progress.warn(f"{path}: {line}")
    return lost


def _begins_later(path: Path) -> DamagedInputError:
    return DamagedInputError(
        f"{path}: frame 0, the first one, is not there or cannot be read: its images would begin with another frame, "
        "and all places along x would be wrong; give `zstep_um`, which names images after their position, or leave "
        "the file out"
    )


def _destripe(job: _Job, plan: DestripePlan) -> tuple[str, int]:
    """Write one image; returns the reason if the image is skipped, else an empty text, and the pixels cut off."""
    options = plan.options
    try:
        result, cut_off = _corrected(job, options, plan.device)
    except DeviceError:
        raise
    except GpustitchError as error:
        named = _named(error, job)
        if options.on_error == "skip":
            return str(named), 0
        raise named from error
    write_tiff(job.target, result, compression=options.compression, overwrite=options.overwrite)
    return "", cut_off


def _named(error: GpustitchError, job: _Job) -> GpustitchError:
    """The error with the name of the file in its text."""
    text = str(error) if str(job.source) in str(error) else f"{job.source}: {error}"
    return type(error)(text)


def _corrected(job: _Job, options: DestripeOptions, device: Device) -> tuple[HostArray, int]:
    """The corrected image, and the number of pixels cut off."""
    image = job.read()
    pages = image.reshape(-1, *image.shape[-2:])
    if options.rotate:
        pages = np.rot90(pages, axes=(1, 2))
    result = hosted(options.correction.apply, device)(pages)
    return result if image.ndim == 3 else result[0], options.correction.n_cut_off(pages, result)


def _beside(source: Path) -> Path:
    """Default of the output, beside the input."""
    source = source.absolute()
    if source.is_dir():
        return source.with_name(source.name + _SUFFIX)
    kept = "" if _is_stack(source) else source.suffix if source.suffix.lower() in TIFF_SUFFIXES else ".tif"
    return source.with_name(source.stem + _SUFFIX + kept)


def _jobs(options: DestripeOptions, output: Path, unreadable: dict[Path, str]) -> Iterator[_Job]:
    source, root = options.input, root_of(options.input)
    if root.is_dir():
        for path in found_files(source, below=True):
            place = output / path.relative_to(root)
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
        frames = open_frames(path, allow_missing=options.allow_missing)
        if 0 in frames.absent and options.zstep_um is None:
            raise _begins_later(path)
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
        yield _Job(path, folder / name, frames, number)


def _check_outputs(options: DestripeOptions, output: Path, jobs: tuple[_Job, ...]) -> None:
    target, folders = output.resolve(), {options.input.resolve()}
    if not options.input.exists():  # a glob
        folders = {job.source.parent.resolve() for job in jobs}
    if target in folders or any(folder.is_dir() and folder in target.parents for folder in folders):
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


def _estimated(options: DestripeOptions, jobs: tuple[_Job, ...]) -> tuple[int, str]:
    """Bytes that all images would take, if all were as large as the first readable image, and a caution about it."""
    correction = options.correction
    for job in jobs:
        try:
            image = job.read()
            dtype = correction.result_type(image.dtype)
            correction.check_values(image)
        except GpustitchError as error:
            if options.on_error == "stop":
                raise _named(error, job) from error
            continue
        rows, columns = image.shape[-2:]
        correction.check_shape((columns, rows) if options.rotate else (rows, columns))
        size = len(encode_tiff(image, options.compression)) * max(1, dtype.itemsize // image.itemsize)
        return len(jobs) * size, correction.caution_about(image)
    return 0, ""
