"""From a volume in one format to another, block by block in bounded memory.

Boxes are of whole chunks of the source where memory allows, so that each chunk is read once. Boxes of which no file of
the source has a voxel are not read.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from gpustitch.array import choose_device
from gpustitch.array.transfer import hosted
from gpustitch.convert.cut import Cut, item_shape, numbers_of_workers
from gpustitch.convert.options import ConvertOptions
from gpustitch.convert.source import Source, beside_bytes, open_source
from gpustitch.convert.values import as_type, changed_text
from gpustitch.errors import ParameterError
from gpustitch.io.atomic import check_apart, check_free_space, check_output
from gpustitch.io.frames.opening import cautions
from gpustitch.io.journal import Journal
from gpustitch.io.planes.opening import check_outside, plane_files
from gpustitch.io.provenance import provenance
from gpustitch.io.resumable import finished_bytes
from gpustitch.io.write import losses
from gpustitch.io.write.format import OutputFormat, VolumeOutput
from gpustitch.io.write.formats import check_takes, format_for
from gpustitch.io.write.in_flight import IN_FLIGHT_BYTES
from gpustitch.io.write.opening import open_as
from gpustitch.io.write.shards import shard_shape, unfinished_bytes
from gpustitch.io.write.storing import planned_file_bytes, writing_of
from gpustitch.model import ZYX, Box, level_factors
from gpustitch.ops.pyramid import downsample, signed_too
from gpustitch.running import foretold
from gpustitch.running import options as shared
from gpustitch.running.foretold import Stored
from gpustitch.running.inputs import Inputs
from gpustitch.running.memory import give_back
from gpustitch.running.progress import SILENT, Progress, size_text, tracked
from gpustitch.running.resumed import gone_on_with, making_of
from gpustitch.running.threads import Workers, checked_workers, ordered_map

_BOXES_BESIDE = 3
_KEPT_FREE_BYTES = 1 << 26  # of freed arrays, which the C library keeps in pieces for each thread


@dataclass(frozen=True)
class ConvertPlan:
    """Checked work.

    Attributes
    ----------
    source
        The open source.
    dtype
        Type of the output's voxels.
    cut
        The boxes that are read and written.
    workers
        Threads that read and reduce, and where levels are reduced.
    file_bytes
        Size of a file of chunks; None of a format without.
    in_flight_bytes, memory_bytes, output_bytes
        Most bytes handed over and not yet written; held in memory; on the disk.
    """

    options: ConvertOptions
    source: Source
    format: OutputFormat
    dtype: np.dtype[Any]
    cut: Cut
    workers: Workers
    file_bytes: int | None
    in_flight_bytes: int
    memory_bytes: int
    output_bytes: int
    inputs: Inputs = Inputs()

    @property
    def summary(self) -> str:
        """What is made of what, in one line for people."""
        z, y, x = self.source.shape
        text = f"{x} x {y} x {z} voxels of {self.dtype} to {self.format.title}, at most {size_text(self.output_bytes)}"
        return f"{text}{self._again}"

    @property
    def _again(self) -> str:
        """How often chunks are read, if that is more than once."""
        reads = self.cut.reads_per_chunk
        return "" if reads < 1.05 else f"; chunks of the input are read {reads:.1f} times (`memory_bytes`)"

    @property
    def lost(self) -> tuple[str, ...]:
        """What the source states and the output does not, by the names of :func:`losses.not_held`."""
        options, source = self.options, self.source
        stated = {
            "spacing": source.spacing,
            "origin_um": source.origin_um,
            "affine_lps_mm": source.affine_lps_mm,
            "channel": source.channel if source.states_channel or options.channel_name else None,
        }
        return losses.not_held(self.format, self.dtype, options.codec, stated)

    def lines(self) -> Iterator[str]:
        """What the run will take, in lines for people."""
        options, source = self.options, self.source
        stored = Stored(options.output, self.format, options, source.shape, self.dtype, source.spacing, self.file_bytes)
        n_bytes = math.prod(source.shape) * source.dtype.itemsize
        reads = f"{source.name}: {' x '.join(f'{n:,}' for n in source.shape)} voxels of {source.dtype}{self._again}"
        yield from foretold.lines(reads, n_bytes, [stored], self.output_bytes, self.memory_bytes, options.memory_bytes)


@dataclass(frozen=True)
class ConvertResult:
    """What was written: of ``n_boxes`` boxes, ``n_read`` were read; the others have no file, or were there already.

    ``n_changed`` voxels have another value than a rounded one.
    """

    path: Path
    shape: ZYX
    n_boxes: int
    n_read: int
    n_changed: int

    @property
    def summary(self) -> str:
        """What was written, in one line for people."""
        z, y, x = self.shape
        return f"{self.path}: {x} x {y} x {z} voxels"


def plan(options: ConvertOptions) -> ConvertPlan:
    """Open the source and check everything before the output is touched.

    Raises
    ------
    ParameterError
        If an option is out of range or the format lacks it, or has no such type of voxels. Also if the memory does not
        suffice, or nothing states the voxel size.
    InputMissingError, DamagedInputError
        If the source is not there or cannot be read.
    OutputExistsError, OutputError
        If the output exists, cannot be created, or would not fit on the disk.
    DeviceError
        If the device cannot be used.
    """
    device = choose_device(options.device, options.device_memory_bytes)
    workers = Workers(checked_workers(options.n_workers), device)
    check_output(options.output, overwrite=options.overwrite)
    check_apart(options.output, plane_files(options.input))
    format = format_for(options.output, options.format)
    check_outside(options.output, options.input, is_image=format.is_image)
    check_takes(format, {"version": options.version, "compression": options.compression, "levels": options.levels})
    options = replace(options, shard_bytes=format.shards_of(options.version, options.shard_bytes))
    inputs = Inputs.of([options.input], apart=[options.output])
    source = open_source(options.input, options.spacing, allow_missing=options.allow_missing, choice=options.choice)
    if options.channel_name:
        source = replace(source, channel=options.channel_name)
    dtype = _type_of(options, format, source)
    block, output_bytes = format.block(source.shape, dtype, source.spacing, options.levels, options.chunk_shape)
    checked = ConvertPlan(
        options=options,
        source=source,
        format=format,
        dtype=dtype,
        cut=Cut(source.shape, block, source.chunk),
        workers=workers,
        file_bytes=None,
        in_flight_bytes=0,
        memory_bytes=0,
        output_bytes=output_bytes,
        inputs=inputs,
    )
    planned = _fitted(checked, block)
    check_free_space(options.output, output_bytes - finished_bytes(options.output))
    return planned


def _type_of(options: ConvertOptions, format: OutputFormat, source: Source) -> np.dtype[Any]:
    """The type of the output's voxels; ParameterError if the format has none such."""
    types = format.types_of(options.codec)
    name = options.dtype or source.dtype.name
    if name not in types:
        given = f"`dtype` {name}" if options.dtype else f"{source.name} holds {name}"
        raise ParameterError(
            f"{given}: {format.title} volumes hold {', '.join(types)}; give one as `dtype`, or another `format`",
            parameter="dtype",
        )
    return np.dtype(name)


def _fitted(plan: ConvertPlan, block: ZYX) -> ConvertPlan:
    """The plan with boxes, files and threads that fit into the memory; ParameterError if none do.

    Of those that fit, it has the most threads with which chunks of the source are hardly read twice.
    """
    options = plan.options
    beside = beside_bytes(plan.source)
    most = max(1, options.memory_bytes - beside)
    best: ConvertPlan | None = None
    for n_workers in numbers_of_workers(plan.workers.n, plan.source.shape, block, most // _voxel_bytes(plan)):
        found = _by(plan, n_workers, block, most, beside)
        if found.memory_bytes > options.memory_bytes:
            continue
        if best is None or found.cut.reads_per_chunk < 0.95 * best.cut.reads_per_chunk:
            best = found
            if best.cut.reads_per_chunk < 1.05:
                break
    if best is None:
        least = size_text(found.memory_bytes)
        raise ParameterError(
            f"`memory_bytes` is {size_text(options.memory_bytes)}, but the run takes at least about {least}; allow it"
        )
    return best


def _by(plan: ConvertPlan, n_workers: int, block: ZYX, most: int, beside: int) -> ConvertPlan:
    """The plan with ``n_workers`` threads, and boxes and files made for ``most`` bytes; others hold ``beside``."""
    options, shape, each = plan.options, plan.source.shape, _voxel_bytes(plan)
    in_flight = min(IN_FLIGHT_BYTES, most // 8)
    # Beside those of the workers a box waits, one is handed over, and one is written, which may be more than what
    # else is in flight. Files that are begun take a quarter.
    n_boxes = n_workers + _BOXES_BESIDE
    voxels = (most - in_flight - most // 4) // (n_boxes * each)
    item = item_shape(shape, block, plan.source.chunk, _file_of(plan, block), voxels)
    front = [2.0 * n for n in item]
    file_bytes = planned_file_bytes(plan.format, options, shape, plan.dtype, plan.source.spacing, front, most // 4)
    memory = n_boxes * each * math.prod(item) + in_flight + _unfinished(plan, file_bytes, front)
    # Files are encoded whole.
    memory += options.n_writers * min(file_bytes or 0, math.prod(shape) * plan.dtype.itemsize)
    return replace(
        plan,
        cut=Cut(shape, item, plan.source.chunk),
        workers=replace(plan.workers, n=n_workers),
        file_bytes=file_bytes,
        in_flight_bytes=in_flight,
        memory_bytes=beside + memory,
    )


def _voxel_bytes(plan: ConvertPlan) -> int:
    """Bytes of a voxel on its way; voxels of another type are a second array."""
    itemsize, read = plan.dtype.itemsize, plan.source.dtype.itemsize
    return itemsize + (read if plan.source.dtype != plan.dtype else 0)


def _file_of(plan: ConvertPlan, block: ZYX) -> ZYX:
    """Voxels of a file of the finest level; a block where files hold no chunks."""
    options, format, source = plan.options, plan.format, plan.source
    file_bytes = planned_file_bytes(
        format, options, source.shape, plan.dtype, source.spacing, [float(n) for n in block]
    )
    if not file_bytes:
        return block
    chunk = options.chunk_shape or format.default_chunk
    return shard_shape(source.shape, chunk, plan.dtype.itemsize, file_bytes)


def _unfinished(plan: ConvertPlan, file_bytes: int | None, front: list[float]) -> int:
    options, format, source = plan.options, plan.format, plan.source
    if file_bytes is None:
        return 0
    levels = format.default_levels if options.levels is None else options.levels
    chunk = options.chunk_shape or format.default_chunk
    factors = level_factors(source.spacing, levels)
    return unfinished_bytes(source.shape, chunk, plan.dtype.itemsize, factors, file_bytes, front)


def run(plan: ConvertPlan, progress: Progress = SILENT) -> ConvertResult:
    """Read and write; a run that was ended is gone on with, if the format keeps a journal.

    Raises
    ------
    DamagedInputError
        If the source cannot be read.
    OutputError, DeviceError
        If the output cannot be written or the device fails.
    OutputExistsError
        If an unfinished run into the output was told otherwise, or had other inputs.
    """
    options = plan.options
    told = () if plan.source.sidecar else cautions(options.input)
    for caution in (*told, *plan.source.cautions):
        progress.warn(caution)
    if plan.lost:
        progress.warn(losses.lost_text(plan.format, options.output, plan.lost, plan.dtype, has_record=True))
    if not plan.format.resumes:
        return write_at(plan, options.output, None, progress)
    making = making_of(options, plan.workers.device, plan.inputs)
    with gone_on_with(options, making, progress) as unfinished:
        # What fits another time may be files of another size; those that are begun stay as they are.
        file_bytes = unfinished.once("files", lambda: {"file_bytes": plan.file_bytes})["file_bytes"]
        result = write_at(replace(plan, file_bytes=file_bytes), unfinished.folder, unfinished.journal, progress)
    return replace(result, path=options.output)


def write_at(plan: ConvertPlan, path: Path, journal: Journal | None, progress: Progress) -> ConvertResult:
    """Write the whole volume at a path, where ``journal`` knows what is finished.

    Raises
    ------
    DamagedInputError, OutputError, DeviceError
        As :func:`run` raises them.
    """
    sidecar = record_of(plan)
    with _opened(plan, path, journal, sidecar) as output:
        result = written(plan, output, progress)
        sidecar |= plan.inputs.tell(progress)
        if result.n_changed:
            progress.warn(changed_text(result.n_changed, plan.dtype))
            sidecar["cut_off_voxels"] = result.n_changed
    return replace(result, path=path)


def written(plan: ConvertPlan, output: VolumeOutput, progress: Progress = SILENT) -> ConvertResult:
    """Give an output all voxels of the source that it has not got from an earlier run."""
    read = functools.partial(_read, plan, output)
    done = ordered_map(read, plan.cut.boxes(), plan.workers.n, in_flight=plan.workers.n + 1)
    n_read = n_changed = freed = 0
    for parts in tracked(done, progress, "convert", plan.cut.n_items, "blocks"):
        for box, voxels, n_beyond in parts:
            n_read += voxels is not None
            n_changed += n_beyond
            if voxels is None:
                output.skip(box)
            else:
                output.write(box, voxels)
                freed += voxels.nbytes
        del parts  # the next ones are read while this loop waits for them
        if freed > _KEPT_FREE_BYTES:
            give_back()
            freed = 0
    return ConvertResult(plan.options.output, plan.source.shape, plan.cut.n_items, n_read, n_changed)


def _read(plan: ConvertPlan, output: VolumeOutput, box: Box) -> list[tuple[Box, Any, int]]:
    """The parts of a box that are to come, their voxels (None: all are 0), and how many of these are cut off."""
    found: list[tuple[Box, Any, int]] = []
    for part in output.missing(box):
        voxels = plan.source.read(part)
        found.append((part, None, 0) if voxels is None else (part, *as_type(voxels, plan.dtype)))
    return found


def _opened(plan: ConvertPlan, path: Path, journal: Journal | None, sidecar: dict[str, Any]) -> VolumeOutput:
    """The output of a conversion, which keeps the source's place and channel."""
    options, source = plan.options, plan.source
    writing = replace(
        writing_of(options, signed_too(hosted(downsample, plan.workers.device)), plan.file_bytes, sidecar),
        version=options.version,
        compression=options.compression,
        affine_lps_mm=source.affine_lps_mm,
        origin_um=source.origin_um if source.affine_lps_mm is None else None,
        in_flight_bytes=plan.in_flight_bytes,
        journal=journal,
        channel=source.channel,
    )
    return open_as(path, source.shape, plan.dtype, source.spacing, writing, format=plan.format.name)


def record_of(plan: ConvertPlan) -> dict[str, Any]:
    """The record of the output: how it was made, and what the source's record says of the voxels."""
    options, source = plan.options, plan.source
    files = [options.input] if options.input.is_file() else []
    used = shared.settled(options, plan.workers.device, plan.workers.n)
    more: dict[str, Any] = {}
    if source.affine_lps_mm is not None:
        more["affine_lps"] = source.affine_lps_mm.tolist()
    if "spacing" in plan.lost:
        more["voxel_size_mm"] = [um / 1000 for um in source.spacing.zyx_um]
    return {
        **provenance(used, files),
        **source.sidecar,
        **more,
        "not_held": list(plan.lost),
        "channel": source.channel,
        "missing": list(source.cautions),
    }
