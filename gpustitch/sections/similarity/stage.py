"""Similarity of the planes of a stack within a range, streamed: planes are read while earlier ones are correlated."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gpustitch.array import Device, choose_device, cpu_count, handed_over, on
from gpustitch.array.stated import Shaped
from gpustitch.errors import DamagedInputError, MosaicError, ParameterError
from gpustitch.io.atomic import check_apart, check_file_output, record_of
from gpustitch.io.frames.opening import cautions
from gpustitch.io.images.files import TIFF_SUFFIXES, read_image
from gpustitch.io.planes.format import Planes
from gpustitch.io.planes.opening import check_outside, open_planes, plane_files
from gpustitch.io.provenance import provenance
from gpustitch.io.volumes.format import missing_text
from gpustitch.model.arrays import Floats
from gpustitch.model.options import check_ranges
from gpustitch.model.runs import ranges_text
from gpustitch.ops.patches import PatchComparison, PatchSimilarities, patch_bytes
from gpustitch.ops.variogram import lengths_px, variogram_bytes, variograms
from gpustitch.running.inputs import Inputs, check_files
from gpustitch.running.progress import SILENT, Progress, listed, size_text
from gpustitch.running.threads import checked_workers
from gpustitch.sections.similarity.banded import PIXEL_TYPES, BandedCorrelation
from gpustitch.sections.similarity.bands import undefined_planes
from gpustitch.sections.similarity.blocks import default_block, peak_bytes, plane_bytes, sizes_to_try
from gpustitch.sections.similarity.compared import ComparedPlanes, preparation
from gpustitch.sections.similarity.device_bytes import comparison_bytes
from gpustitch.sections.similarity.file import check_similarity_output, write_similarity
from gpustitch.sections.similarity.options import SimilarityOptions, SimilarityPlan
from gpustitch.sections.similarity.prepare import Preparation, look_bytes, prepared_bytes

DEFAULT_MAX_LAG = 10
# Types whose values are all float32 numbers; of other types they are rounded.
_EXACT = (*PIXEL_TYPES, "int8", "int16")
# A scale is given with a few digits: 0.33 is a third.
_SCALE_TOLERANCE = 0.02


@dataclass(frozen=True)
class SimilarityResult:
    """What was found of n planes.

    Attributes
    ----------
    half_strip
        float64 (n, max_lag + 1): ``[i, d]`` is the similarity of planes i and i + d, NaN where there is none.
    undefined
        Planes that have none to any other.
    prepared
        What was done to planes before they were compared.
    without
        Planes of which areas hold no picture, and were not compared.
    in_plane_px
        How long structures are within the planes about each: :func:`gpustitch.ops.variogram.lengths_px`.
    patches
        How similar parts of planes are: :mod:`gpustitch.ops.patches`.
    """

    half_strip: Floats
    undefined: tuple[int, ...]
    prepared: Preparation = Preparation()
    without: tuple[int, ...] = ()
    in_plane_px: Floats | None = None
    patches: PatchSimilarities | None = None

    @property
    def record(self) -> dict[str, object]:
        """What records say of how planes were compared."""
        return {"compared": {**vars(self.prepared), "planes_with_no_data": len(self.without)}}

    @property
    def summary(self) -> str:
        """What was found, in one line."""
        n, width = self.half_strip.shape
        beside = self.half_strip[:, 1]
        known = beside[~np.isnan(beside)]
        text = f"{n} planes, {np.count_nonzero(~np.isnan(self.half_strip[:, 1:]))} similarities within {width - 1}"
        if known.size:
            text += f"; of neighbours {known.min():.3f} to {known.max():.3f}, median {np.median(known):.3f}"
        return text


def plan(options: SimilarityOptions) -> SimilarityPlan:
    """Open the planes, check everything and cut the work to the memory, before anything is compared.

    Raises
    ------
    ParameterError
        If a parameter is out of range, there are fewer than two planes, or the memory does not suffice. Also if the
        output would be taken for a plane of the input.
    MosaicError
        If the mask is not of the planes' size.
    InputMissingError, DamagedInputError, OutputExistsError, OutputError
        If an input cannot be read, or the output exists or cannot be written.
    DeviceError
        If the device cannot be used.
    """
    if options.output is not None:
        check_file_output(options.output, overwrite=options.overwrite)
        check_apart(options.output, [*plane_files(options.input), *([options.mask] if options.mask else [])])
        if options.output.suffix.lower() in TIFF_SUFFIXES:
            check_file_output(record_of(options.output), overwrite=options.overwrite)
        check_outside(options.output, options.input, is_image=options.output.suffix.lower() in TIFF_SUFFIXES)
    check_ranges(options)
    n_workers = checked_workers(options.n_workers)
    check_files(mask=options.mask)
    given = [None if options.planes else options.input, options.mask]
    inputs = Inputs.of((path for path in given if path), apart=[options.output] if options.output else [])
    planes = options.planes or open_planes(options.input, allow_missing=options.allow_missing, choice=options.choice)
    n, rows, columns = planes.shape
    max_lag = checked_max_lag(options.max_lag, n)
    if options.output is not None:
        check_similarity_output(options.output, n)
    factors = _factors(options.scale, (rows, columns))
    mask = None if options.mask is None else _mask(options.mask, (rows, columns))
    shape = (rows // factors[0], columns // factors[1])
    device = choose_device(options.device, options.device_memory_bytes)
    return replace(_cut(options, device, planes, mask, max_lag, factors, shape, n_workers), inputs=inputs)


def run(plan: SimilarityPlan, progress: Progress = SILENT) -> SimilarityResult:
    """Compare the planes, and write the half strip if a file was asked for.

    Raises
    ------
    DamagedInputError
        If no two planes have a similarity, or a plane cannot be read.
    OutputError, DeviceError
        If the output cannot be written, or the device fails.
    """
    options, n = plan.options, plan.planes.shape[0]
    for caution in () if options.planes is not None else cautions(options.input):
        progress.warn(caution)
    if missing := missing_text(plan.planes, plan.planes.name):
        progress.warn(missing)
    if plan.planes.dtype.name not in _EXACT:
        progress.note(f"planes of {plan.planes.dtype} are compared in float32, to 7 digits")
    if plan.chunk % plan.planes.depth and plan.chunk < n:
        progress.note(
            f"planes are stored {plan.planes.depth} together and read {plan.chunk} at a time, which decodes them "
            "several times; more `memory_bytes` helps"
        )
    strips: list[Floats] = []
    within: list[Floats] = []
    in_parts = PatchComparison(n)
    prepared = preparation(plan, progress)
    plan = _cut_again(plan, prepared)
    planes = ComparedPlanes(plan, prepared)
    progress.start("Similarity", n, "planes")
    try:
        with on(plan.device):
            compared = BandedCorrelation(
                plan.shape,
                plan.max_lag,
                mask=planes.mask,
                block=plan.block,
                n_threads=min(plan.n_workers, cpu_count()),
            )
            for chunk in planes:
                with handed_over(chunk):
                    strips.append(compared.push(chunk))
                    within.append(variograms(chunk, sum(map(len, within)), n))
                    if prepared.keeps_parts:
                        in_parts.push(chunk)
                progress.advance(chunk.shape[0])
                del chunk  # as the plan counts no chunk beside those that are read ahead
            strips.append(compared.finish())
    finally:
        progress.finish()
    half_strip = np.concatenate(strips)
    undefined = tuple(undefined_planes(half_strip))
    if not np.isfinite(half_strip[:, 1:]).any():
        raise DamagedInputError(
            f"no two of the {n} planes of {plan.planes.name} within {plan.max_lag} have a similarity: "
            f"{len(undefined)} of them are constant or have fewer than two used pixels"
        )
    planes.tell(progress)
    absent = plan.planes.absent
    if absent:
        progress.warn(f"without similarity to any other, as no file holds them: planes {ranges_text(absent)}")
    if constant := sorted(set(undefined) - absent):
        progress.warn(
            f"without similarity to any other, constant or with fewer than two used pixels: planes {listed(constant)}"
        )
    changed = plan.inputs.tell(progress)
    texture = lengths_px(np.concatenate(within)), in_parts.finish()
    found = SimilarityResult(half_strip, undefined, planes.prepared, tuple(planes.without), *texture)
    if options.output is not None:
        record = _provenance(plan) | found.record | changed
        write_similarity(options.output, half_strip, *texture, provenance=record, overwrite=options.overwrite)
    return found


def checked_max_lag(max_lag: int | None, n: int) -> int:
    """The range asked for, or the default one; ParameterError unless it is 1 to n - 1."""
    if n < 2:
        raise ParameterError(f"at least two planes are needed to compare them, not {n}")
    if max_lag is None:
        return min(DEFAULT_MAX_LAG, n - 1)
    if not 1 <= max_lag < n:
        raise ParameterError(f"`max_lag` is {max_lag}; of {n} planes it is 1 to {n - 1}")
    return max_lag


def _factors(scale: tuple[float, float], shape: tuple[int, int]) -> tuple[int, int]:
    """Rows and columns of the blocks of pixels that are averaged; ParameterError if the scale asks for no such."""
    for value, length in zip(scale, shape, strict=True):
        whole = round(1 / value) if 0 < value <= 1 else 0
        if whole < 1 or abs(whole * value - 1) > _SCALE_TOLERANCE:
            raise ParameterError(f"`scale` is 1, 0.5, 0.3333, 0.25 ... (one over a whole number), not {value:g}")
        if whole > length:
            raise ParameterError(f"`scale` {value:g} leaves nothing of planes of {shape[0]} x {shape[1]} pixels")
    return round(1 / scale[0]), round(1 / scale[1])


def _mask(path: Path, shape: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """1 where the image is not 0, of the planes' shape; MosaicError or DamagedInputError if it will not do."""
    mask = read_image(path)
    if mask.shape != shape:
        raise MosaicError(
            f"the mask {path} (`mask`) is of shape {mask.shape}, the planes of {shape}; draw it on one of them"
        )
    used: npt.NDArray[np.uint8] = (mask != 0).astype(np.uint8)
    if np.count_nonzero(used) < 2:
        raise DamagedInputError(
            f"the mask {path} (`mask`) leaves {np.count_nonzero(used)} pixels; at least two are needed"
        )
    return used


def _cut(
    options: SimilarityOptions,
    device: Device,
    planes: Planes,
    mask: npt.NDArray[np.uint8] | None,
    max_lag: int,
    factors: tuple[int, int],
    shape: tuple[int, int],
    n_workers: int,
) -> SimilarityPlan:
    """Chunks and blocks, the largest that fit in the memory."""
    if options.chunk is not None and options.chunk < 1:
        raise ParameterError(f"`chunk` is a number of planes, at least 1, not {options.chunk}")
    n, read = planes.shape[0], (planes.shape[1], planes.shape[2])
    leaves_out, evens, registers = (value != "off" for value in (options.no_data, options.high_pass, options.register))
    some_excluded = planes.dtype.kind == "f" or options.may_leave_out
    is_exact = planes.dtype.name in PIXEL_TYPES
    read_bytes, at_work_bytes = plane_bytes(read, planes.dtype, factors, shape, is_exact=is_exact)
    # Where pixels are left out or change, planes become float32.
    held_bytes = read_bytes + (4 * math.prod(shape) if is_exact and some_excluded and planes.dtype.kind != "f" else 0)
    fixed = (
        24 * n * (max_lag + 1)
        + variogram_bytes(n)
        + patch_bytes(shape, n)
        + n_workers * at_work_bytes
        + (0 if mask is None else 4 * mask.nbytes)
    )
    looking = look_bytes(shape, math.prod(read))
    n_looking = max(1, min(n_workers, options.memory_bytes // looking)) if evens or registers else 0
    needed = too_large = 0
    best = min(default_block(max_lag), n)
    for block, chunk, held in sizes_to_try(n, options.chunk, planes.depth, best, n_workers, read_bytes):
        ring = 0 if device.is_cuda else peak_bytes(shape, max_lag, block=block, some_excluded=some_excluded)
        own = prepared_bytes(shape, math.prod(read), chunk, no_data=leaves_out, high_pass=evens, register=registers)
        needed = max(fixed + ring + own + held * chunk * held_bytes, n_looking * looking)
        held_there = Shaped((held * chunk, *shape), planes.dtype)
        of_device = comparison_bytes(held_there, max_lag, block, some_excluded=some_excluded)
        if device.memory_bytes is not None and of_device > device.memory_bytes:
            too_large = of_device
        elif needed <= options.memory_bytes:
            cut = (chunk, block, held, n_workers, needed, n_looking)
            return SimilarityPlan(options, device, planes, mask, max_lag, factors, shape, *cut)
    if too_large and needed <= options.memory_bytes:
        raise ParameterError(
            f"comparing planes of {shape[0]} x {shape[1]} within {max_lag} takes {size_text(too_large)} of the "
            f"device's memory, and may take {size_text(device.memory_bytes or 0)}; allow it more "
            "(`device_memory_bytes`), compare on `device` cpu, or pass `scale` 0.5 or a smaller `max_lag` or `chunk`"
        )
    raise ParameterError(
        f"comparing planes of {shape[0]} x {shape[1]} within {max_lag} takes {math.ceil(needed / 2**20)} MiB, "
        f"more than the {options.memory_bytes / 2**20:.4g} kept for it; pass `memory_bytes` "
        f"{math.ceil(needed / 2**30)}G, `scale` 0.5 or a smaller `max_lag` or `chunk`"
    )


def _cut_again(plan: SimilarityPlan, prepared: Preparation) -> SimilarityPlan:
    """The plan with the memory that nothing needs given to larger blocks, once it is known what is done to planes."""
    options = replace(
        plan.options,
        memory_bytes=plan.peak_bytes,
        high_pass=(prepared.high_pass_px or 1.0) if prepared.evens else "off",
        register=prepared.register_px or "off",
    )
    given = (plan.device, plan.planes, plan.mask, plan.max_lag, plan.factors, plan.shape, plan.n_workers)
    return replace(_cut(options, *given), options=plan.options, inputs=plan.inputs)


def _provenance(plan: SimilarityPlan) -> dict[str, object]:
    """What the output says of where it comes from."""
    options = plan.options
    parameters = {"max_lag": plan.max_lag, "scale": options.scale, "mask": options.mask, "input": options.input}
    parameters |= {"register": options.register, "no_data": options.no_data, "high_pass": options.high_pass}
    parameters |= {"device": plan.device, "n_workers": plan.n_workers, "allow_missing": options.allow_missing}
    parameters |= {"missing": missing_text(plan.planes, plan.planes.name)}
    record = provenance(parameters, [options.input] if options.input.is_file() else [])
    return {
        **record,
        "absent_planes": {"count": len(plan.planes.absent), "planes": ranges_text(plan.planes.absent, None)},
    }
