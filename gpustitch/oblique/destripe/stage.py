"""Correct an image, a tree of images or the frames of a DCIMG file: stripes, dark offset, flat field."""

from __future__ import annotations

import contextlib
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from gpustitch.array import Device, choose_device
from gpustitch.array.transfer import hosted
from gpustitch.errors import (
    DamagedInputError,
    DeviceError,
    GpustitchError,
    ParameterError,
)
from gpustitch.io.atomic import check_free_space
from gpustitch.io.found import root_of
from gpustitch.io.frames.opening import cautions
from gpustitch.io.frames.readable import Lost
from gpustitch.io.images.files import (
    check_compression,
    encode_tiff,
    write_tiff,
)
from gpustitch.io.manifest import Making, Manifest, Whole
from gpustitch.io.provenance import RECORD_SCHEMA, provenance, write_json
from gpustitch.model.arrays import HostArray
from gpustitch.oblique.destripe.correction import Correction, cut_off_text
from gpustitch.oblique.destripe.guarded_notch.choice import check_open
from gpustitch.oblique.destripe.jobs import Job, begins_later, found_jobs
from gpustitch.oblique.destripe.options import DestripeOptions
from gpustitch.oblique.destripe.sampled import LOOKED_AT, Judged, brightest, evenly, judged
from gpustitch.oblique.flat.file import read_flat
from gpustitch.running import foretold
from gpustitch.running import options as shared
from gpustitch.running.finished import finished, settings_of
from gpustitch.running.inputs import Inputs
from gpustitch.running.progress import SILENT, Progress, counted, tracked
from gpustitch.running.threads import checked_workers, ordered_map

_SUFFIX = "_destriped"
PROVENANCE = "destripe.json"


@dataclass(frozen=True)
class DestripePlan:
    """A checked job. ``unreadable`` maps each file that could not be opened to the reason.

    ``caution`` is a warning about the first image; empty if there is none. ``manifest`` is that of a folder of images.
    """

    options: DestripeOptions
    output: Path
    jobs: tuple[Job, ...]
    unreadable: dict[Path, str]
    output_bytes: int
    n_workers: int
    device: Device
    manifest: Manifest | None
    caution: str = ""
    inputs: Inputs = Inputs()

    def lines(self) -> Iterator[str]:
        """What the run will take, in lines for people."""
        kept = self.options.skip_existing
        n_left = sum(not (kept and job.target.exists()) for job in self.jobs)
        more = f", {len(self.jobs) - n_left} of which are there already" if n_left < len(self.jobs) else ""
        yield foretold.reads_line(f"{counted(len(self.jobs), 'images')}{more}")
        yield f"images  {self.output}: TIFF"
        yield foretold.disk_line(self.output, self.output_bytes, n_left)


@dataclass(frozen=True)
class DestripeResult:
    """What was written, and what was not.

    ``skipped`` has the reason for each file, ``lost`` the frames without an image of each file of many frames.
    ``n_cut_off`` counts the pixels that the type cut off (`Correction.n_cut_off`). ``n_kept`` of the images were
    finished before.
    """

    output: Path
    n_images: int
    skipped: dict[Path, str]
    lost: dict[Path, Lost]
    n_cut_off: int = 0
    n_kept: int = 0

    @property
    def summary(self) -> str:
        """One line for people."""
        skipped = f"; skipped {counted(len(self.skipped), 'damaged files')}" if self.skipped else ""
        n_lost = sum(map(len, self.lost.values()))
        lost = f"; without {counted(n_lost, 'frames')} that are absent or cannot be read" if n_lost else ""
        kept = f" ({self.n_kept} of them kept)" if self.n_kept else ""
        return f"{self.output}: {counted(self.n_images, 'images')}{kept}{skipped}{lost}"


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
    inputs = Inputs.of([options.input, *([options.flat] if options.flat else [])])
    if options.flat is not None:
        options = replace(options, correction=replace(options.correction, flat=read_flat(options.flat)))
    if options.auto:
        check_open(options.correction)
    elif options.correction.is_identity:
        raise ParameterError(
            "nothing to do: give `auto`, `notch_length_px`, `sigma1` or `sigma2`, another `method`, `flat` or `dark`"
        )
    unreadable: dict[Path, str] = {}
    device = choose_device(options.device, options.device_memory_bytes)
    where = {"device": "cuda" if device.is_cuda else "cpu"}  # which round differently
    making = Making(settings_of(options) | where, inputs.planned[:1])
    output, jobs, manifest = found_jobs(options, making, unreadable)
    output_bytes, caution = _estimated(options, jobs)
    check_free_space(output, output_bytes)
    return DestripePlan(options, output, jobs, unreadable, output_bytes, n_workers, device, manifest, caution, inputs)


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
    if plan.options.correction.note:
        progress.note(plan.options.correction.note)
    if plan.caution:
        progress.warn(plan.caution)
    checked = _checked_on_some(plan, progress)
    plan = _with_correction(plan, checked.correction)
    kept = _kept(plan, progress)
    made = _made(plan, kept, progress)
    n_images, cut_off = len(kept) + made.n_images, made.n_cut_off + sum(image.n_cut_off for image in kept.values())
    lost = _told(plan, made.skipped, made.unreadable, progress)
    if not n_images:
        reasons = [*made.skipped.values(), *(why for frames in made.unreadable.values() for why in frames.values())]
        raise DamagedInputError(f"none of the images in {plan.options.input} can be read: {reasons[0]}")
    if cut_off:
        progress.warn(cut_off_text(cut_off))
    changed = plan.inputs.tell(progress)
    if plan.manifest is not None:
        used = shared.settled(plan.options, plan.device, plan.n_workers)
        record = provenance(used, [root_of(plan.options.input)])
        record |= {"images": n_images, "images_kept": len(kept), "cut_off_pixels": cut_off}
        record["skipped"] = {str(path): why for path, why in made.skipped.items()}
        record |= changed
        record["destriping"] = checked.record
        record["stacks"] = {str(path): of_stack.record for path, of_stack in lost.items()}
        write_json(plan.output / PROVENANCE, record, schema=RECORD_SCHEMA, overwrite=True)
    for path, of_stack in lost.items():
        if 0 in of_stack.unreadable and plan.options.zstep_um is None:
            raise begins_later(path)
    return DestripeResult(plan.output, n_images, made.skipped, lost, cut_off, len(kept))


def _with_correction(plan: DestripePlan, correction: Correction) -> DestripePlan:
    """The plan with the correction that images chose, if they did; then the manifest says it too."""
    manifest = plan.manifest
    if manifest is not None and plan.options.auto:
        settings = {**manifest.making.settings, "chosen": settings_of(correction)}
        manifest = Manifest(manifest.path, replace(manifest.making, settings=settings))
    return replace(plan, options=replace(plan.options, correction=correction), manifest=manifest)


def _kept(plan: DestripePlan, progress: Progress) -> dict[int, Whole]:
    """The images that an earlier run has finished, by the numbers of their jobs."""
    if plan.manifest is None or not plan.options.skip_existing:
        return {}
    targets = {number: job.target for number, job in enumerate(plan.jobs)}
    return finished(targets, plan.manifest, plan.n_workers, progress)


@dataclass
class _Made:
    """Images written and pixels cut off; why files were skipped, and frames of each stack could not be read."""

    skipped: dict[Path, str]
    unreadable: dict[Path, dict[int, str]]
    n_images: int = 0
    n_cut_off: int = 0


def _made(plan: DestripePlan, kept: Container[int], progress: Progress) -> _Made:
    """Correct and write all images but those that are kept."""
    left = [job for number, job in enumerate(plan.jobs) if number not in kept]
    made = _Made(dict(plan.unreadable), {job.source: {} for job in plan.jobs if job.frames is not None})
    try:
        with plan.manifest or contextlib.nullcontext():
            outcomes = ordered_map(lambda job: _destripe(job, plan), left, plan.n_workers)
            tracking = tracked(outcomes, progress, "Destriping", len(left), "images")
            for job, (reason, n_cut_off) in zip(left, tracking, strict=True):
                if reason and job.frames is not None:
                    made.unreadable[job.source][job.number] = reason
                elif reason:
                    made.skipped.setdefault(job.source, reason)
                made.n_images, made.n_cut_off = made.n_images + (not reason), made.n_cut_off + n_cut_off
    except BaseException:
        if plan.jobs:
            done = len(plan.jobs) - len(left) + made.n_images
            progress.note(f"stopped after {done} of {len(plan.jobs)} images; {plan.output} is not complete")
        raise
    return made


def _checked_on_some(plan: DestripePlan, progress: Progress) -> Judged:
    """Choose and measure the correction on some of the images, and say what came of it."""
    options = plan.options
    images = []
    if options.auto or options.correction.destripes:
        images = brightest(_some_pages(plan))
    found = judged(images, options.correction, plan.device, choose=options.auto)
    found.tell(progress)
    return found


def _some_pages(plan: DestripePlan) -> Iterator[HostArray]:
    """Pages of images evenly spaced over the job; several of each image where there are few."""
    places = evenly(len(plan.jobs))
    for at in places:
        try:
            pages = plan.jobs[at].pages(rotate=plan.options.rotate)
            plan.options.correction.result_type(pages.dtype)
            plan.options.correction.check_values(pages)
        except GpustitchError:
            continue  # the run names it
        for page in evenly(len(pages), -(-LOOKED_AT // len(places))):
            yield pages[page].copy()  # not the whole image, which may be large


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


def _destripe(job: Job, plan: DestripePlan) -> tuple[str, int]:
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
    if plan.manifest is None:
        write_tiff(job.target, result, compression=options.compression, overwrite=options.overwrite, durable=False)
    else:
        replaces = options.overwrite or options.skip_existing
        data = encode_tiff(result, options.compression)
        plan.manifest.write(job.target, data, overwrite=replaces, n_cut_off=cut_off)
    return "", cut_off


def _named(error: GpustitchError, job: Job) -> GpustitchError:
    """The error with the name of the file in its text."""
    text = str(error) if str(job.source) in str(error) else f"{job.source}: {error}"
    return type(error)(text)


def _corrected(job: Job, options: DestripeOptions, device: Device) -> tuple[HostArray, int]:
    """The corrected image, and the number of pixels cut off."""
    pages = job.pages(rotate=options.rotate)
    result = hosted(options.correction.apply, device)(pages)
    return result if len(pages) > 1 else result[0], options.correction.n_cut_off(pages, result)


def _estimated(options: DestripeOptions, jobs: tuple[Job, ...]) -> tuple[int, str]:
    """Bytes that all images would take, if all were as large as the first readable image, and a caution about it."""
    correction = options.correction
    if options.auto:
        correction = replace(correction, wavelet=correction.wavelet.completed)
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
        n_left = sum(not (options.skip_existing and job.target.exists()) for job in jobs)
        return n_left * size, correction.caution_about(image)
    return 0, ""
