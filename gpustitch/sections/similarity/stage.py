"""Similarity of the planes of a stack within a range, streamed: planes are read while earlier ones are correlated."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gpustitch.array import Array, Device, choose_device, cpu_count, handed_over, on, to_device
from gpustitch.errors import DamagedInputError, MosaicError, ParameterError
from gpustitch.io.atomic import check_apart, check_file_output, record_of
from gpustitch.io.frames.opening import cautions
from gpustitch.io.images.files import TIFF_SUFFIXES, read_image
from gpustitch.io.planes.format import Planes
from gpustitch.io.planes.opening import check_outside, open_planes, plane_files, plane_sources
from gpustitch.io.provenance import provenance
from gpustitch.io.stacks.choice import StackChoice
from gpustitch.io.volumes.format import missing_text
from gpustitch.model.arrays import Floats
from gpustitch.model.options import documented, option
from gpustitch.model.runs import ranges_text
from gpustitch.running import options as shared
from gpustitch.running.inputs import Inputs
from gpustitch.running.progress import SILENT, Progress, listed
from gpustitch.running.threads import checked_workers, ordered_map
from gpustitch.sections.similarity.banded import PIXEL_TYPES, BandedCorrelation
from gpustitch.sections.similarity.bands import undefined_planes
from gpustitch.sections.similarity.binning import bin_planes
from gpustitch.sections.similarity.blocks import default_block, peak_bytes
from gpustitch.sections.similarity.file import check_similarity_output, write_similarity

DEFAULT_MAX_LAG = 10
# Types whose values are all float32 numbers; of other types they are rounded.
_EXACT = (*PIXEL_TYPES, "int8", "int16")
# Bytes of planes read at a time: enough for a disk, few enough that the first product begins soon.
_CHUNK_BYTES = 32 << 20
# Where memory is scarce: blocks of fewer planes are slow, and with fewer chunks nothing is read ahead.
_LEAST_BLOCK, _LEAST_HELD = 4, 2
# A scale is given with a few digits: 0.33 is a third.
_SCALE_TOLERANCE = 0.02


@documented
@dataclass(frozen=True)
class SimilarityOptions:
    """What planes to compare, and how; ``planes`` stand in for those at ``input``, ``output`` None writes no file.

    The inverse of each ``scale`` is a whole number, to 2 %.
    """

    input: Path = option(
        is_argument=True,
        metavar="IN",
        help=f"Stack: {plane_sources()}.",
    )
    output: Path | None = option(
        None,
        is_argument=True,
        is_needed=True,
        metavar="OUT",
        help="File to write: .npz (half strip) or .tif (the matrix, for Fiji).",
    )
    max_lag: int | None = option(
        None,
        flag="--range",
        help="Neighborhood range: greatest distance of two compared planes, in planes.",
        shown="10, or less",
    )
    scale: tuple[float, float] = option(
        (1.0, 1.0),
        text="scale",
        help="Make planes smaller before they are compared, by averaging pixels: 1, 0.5, 0.3333, 0.25 ... (one over "
        "a whole number), or two such numbers x,y.",
    )
    mask: Path | None = option(
        None, help="Image of the planes' size, 0 where pixels are not compared.", shown="all pixels are"
    )
    chunk: int | None = option(None, help="Planes read at a time.", shown="what suits them")
    memory_bytes: int = shared.memory(1 << 30)
    n_workers: int | None = shared.n_workers()
    allow_missing: bool = shared.allow_missing()
    choice: StackChoice = shared.stack_choice()
    overwrite: bool = shared.overwrite()
    device: str | Device = shared.device()
    device_memory_bytes: int | None = shared.device_memory()
    planes: Planes | None = None


@dataclass(frozen=True)
class SimilarityPlan:
    """Checked work: planes read ``chunk`` at a time, ``block`` of them correlated at once.

    ``shape`` is that of the planes as they are compared, ``factors`` the blocks of pixels that are averaged to it.
    ``chunks_held`` is the number of chunks in memory at a time, ``peak_bytes`` the most host memory that is held.
    """

    options: SimilarityOptions
    device: Device
    planes: Planes
    mask: npt.NDArray[np.uint8] | None
    max_lag: int
    factors: tuple[int, int]
    shape: tuple[int, int]
    chunk: int
    block: int
    chunks_held: int
    n_workers: int
    peak_bytes: int
    inputs: Inputs = Inputs()

    @property
    def summary(self) -> str:
        """What the comparison takes, in one line."""
        return f"at most {self.peak_bytes / 2**20:.0f} MiB of planes are held at a time"


@dataclass(frozen=True)
class SimilarityResult:
    """What was found of n planes.

    Attributes
    ----------
    half_strip
        float64 (n, max_lag + 1): ``[i, d]`` is the similarity of planes i and i + d, NaN where there is none.
    undefined
        Planes that have none to any other.
    """

    half_strip: Floats
    undefined: tuple[int, ...]

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


def comparison(options: SimilarityOptions, **changed: Any) -> SimilarityOptions:
    """The options of the comparison alone, without an output, from those of a stage that goes on from there."""
    own = {field.name: getattr(options, field.name) for field in fields(SimilarityOptions)}
    return SimilarityOptions(**{**own, "output": None, **changed})


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
    n_workers = checked_workers(options.n_workers)
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
    progress.start("Similarity", n, "planes")
    try:
        with on(plan.device):
            compared = BandedCorrelation(
                plan.shape,
                plan.max_lag,
                mask=mask_to_compare(plan),
                block=plan.block,
                n_threads=min(plan.n_workers, cpu_count()),
            )
            for chunk in planes_to_compare(plan):
                with handed_over(chunk):
                    strips.append(compared.push(chunk))
                progress.advance(chunk.shape[0])
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
    absent = plan.planes.absent
    if absent:
        progress.warn(f"without similarity to any other, as no file holds them: planes {ranges_text(absent)}")
    if constant := sorted(set(undefined) - absent):
        progress.warn(
            f"without similarity to any other, constant or with fewer than two used pixels: planes {listed(constant)}"
        )
    changed = plan.inputs.tell(progress)
    if options.output is not None:
        record = _provenance(plan) | changed
        write_similarity(options.output, half_strip, provenance=record, overwrite=options.overwrite)
    return SimilarityResult(half_strip, undefined)


def planes_to_compare(plan: SimilarityPlan) -> Iterator[Array]:
    """Planes as they are compared, in order, read ahead by the workers."""
    starts = range(0, plan.planes.shape[0], plan.chunk)
    return ordered_map(lambda start: _chunk(plan, start), starts, plan.n_workers, in_flight=plan.chunks_held)


def mask_to_compare(plan: SimilarityPlan) -> Array | None:
    """The mask of the planes as they are compared: which blocks have a used pixel."""
    if plan.mask is None:
        return None
    mask = plan.mask
    if plan.factors != (1, 1):
        mask = (bin_planes(plan.mask[None], plan.factors)[0] > 0).astype(np.uint8)
    return to_device(mask, plan.device)


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
        raise MosaicError(f"the mask {path} is of shape {mask.shape}, the planes of {shape}; draw it on one of them")
    used: npt.NDArray[np.uint8] = (mask != 0).astype(np.uint8)
    if np.count_nonzero(used) < 2:
        raise DamagedInputError(f"the mask {path} leaves {np.count_nonzero(used)} pixels; at least two are needed")
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
    n = planes.shape[0]
    held_bytes, at_work_bytes = _plane_bytes(planes, factors, shape)
    some_excluded = planes.dtype.kind == "f"
    fixed = 24 * n * (max_lag + 1) + n_workers * at_work_bytes + (0 if mask is None else 4 * mask.nbytes)
    needed = 0
    for block, chunk, held in _sizes(options, planes, min(default_block(max_lag), n), n_workers, held_bytes):
        ring = 0 if device.is_cuda else peak_bytes(shape, max_lag, block=block, some_excluded=some_excluded)
        needed = fixed + ring + held * chunk * held_bytes
        if needed <= options.memory_bytes:
            cut = (chunk, block, held, n_workers, needed)
            return SimilarityPlan(options, device, planes, mask, max_lag, factors, shape, *cut)
    raise ParameterError(
        f"comparing planes of {shape[0]} x {shape[1]} within {max_lag} takes {math.ceil(needed / 2**20)} MiB, "
        f"more than the {options.memory_bytes / 2**20:.4g} kept for it; pass `memory_bytes` "
        f"{math.ceil(needed / 2**30)}G, `scale` 0.5 or a smaller `max_lag` or `chunk`"
    )


def _sizes(
    options: SimilarityOptions, planes: Planes, block: int, n_workers: int, plane_bytes: int
) -> Iterator[tuple[int, int, int]]:
    """Planes of a block, planes of a chunk and chunks held, to be tried: the preferred ones first."""
    if options.chunk is not None and options.chunk < 1:
        raise ParameterError(f"`chunk` is a number of planes, at least 1, not {options.chunk}")
    chunk = options.chunk or max(1, min(block, _CHUNK_BYTES // plane_bytes))
    if options.chunk is None:
        # Planes stored together are decoded once if they are read together.
        chunk = -(-chunk // planes.depth) * planes.depth
    chunk, held = min(chunk, planes.shape[0]), n_workers + 1
    yield block, chunk, held
    while block > _LEAST_BLOCK:
        block = max(_LEAST_BLOCK, block // 2)
        yield block, chunk, held
    while held > _LEAST_HELD:
        held -= 1
        yield block, chunk, held
    while chunk > 1 and options.chunk is None:
        chunk //= 2
        yield block, chunk, held


def _plane_bytes(planes: Planes, factors: tuple[int, int], shape: tuple[int, int]) -> tuple[int, int]:
    """Bytes of a plane of a chunk, both as it is read and as it is compared; bytes that a worker needs on the way."""
    pixels = planes.shape[1] * planes.shape[2]
    read = pixels * planes.dtype.itemsize
    if factors == (1, 1):
        return read + (0 if planes.dtype.name in PIXEL_TYPES else 4 * pixels), 0
    # Used pixels, their values and their sums over rows, then sums and means of blocks.
    at_work = pixels * (4 + planes.dtype.itemsize) + 16 * shape[0] * planes.shape[2] + 32 * math.prod(shape)
    return read + 8 * math.prod(shape), at_work


def _chunk(plan: SimilarityPlan, start: int) -> Array:
    """Planes from ``start`` on as they are compared: read, made smaller, of a type that is compared, on the device."""
    stop = min(start + plan.chunk, plan.planes.shape[0])
    read = plan.planes.read(start, stop)
    if plan.factors != (1, 1):
        read = np.concatenate([bin_planes(plane[None], plan.factors, plan.mask) for plane in read])
    elif read.dtype.name not in PIXEL_TYPES:
        with np.errstate(over="ignore"):  # what float32 cannot hold is infinite, and not used
            read = read.astype(np.float32)
    if not plan.device.is_cuda:
        return read
    with on(plan.device):
        return to_device(read, plan.device)


def _provenance(plan: SimilarityPlan) -> dict[str, object]:
    """What the output says of where it comes from."""
    options = plan.options
    parameters = {"max_lag": plan.max_lag, "scale": options.scale, "mask": options.mask, "input": options.input}
    parameters |= {"device": plan.device, "n_workers": plan.n_workers, "allow_missing": options.allow_missing}
    parameters |= {"missing": missing_text(plan.planes, plan.planes.name)}
    record = provenance(parameters, [options.input] if options.input.is_file() else [])
    return {
        **record,
        "absent_planes": {"count": len(plan.planes.absent), "planes": ranges_text(plan.planes.absent, None)},
    }
