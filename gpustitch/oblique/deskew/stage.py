"""From raw frames to a de-obliqued volume on disk: every frame is read and corrected once, every chunk written once.

:mod:`gpustitch.oblique.deskew.sweep` makes the one pass over the frames.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gpustitch.array import Device, choose_device
from gpustitch.array.stated import Shaped
from gpustitch.array.transfer import hosted
from gpustitch.errors import DamagedInputError, ParameterError
from gpustitch.io.atomic import check_apart, check_free_space, check_output
from gpustitch.io.frames.formats import frame_files, frames_help
from gpustitch.io.frames.opening import Oriented, Slice, cautions, open_frames
from gpustitch.io.frames.readable import Lost, Readable
from gpustitch.io.journal import Journal
from gpustitch.io.provenance import provenance
from gpustitch.io.resumable import finished_bytes
from gpustitch.io.stacks.choice import StackChoice
from gpustitch.io.write.format import OutputFormat
from gpustitch.io.write.formats import names_of_outputs, unordered_format
from gpustitch.io.write.in_flight import IN_FLIGHT_BYTES, checked_writers
from gpustitch.io.write.opening import open_as
from gpustitch.io.write.pyramid_layout import (
    DEFAULT_LEVELS,
    block_shape_of,
    check_block,
    checked_levels,
    pyramid_bytes,
    triple,
)
from gpustitch.io.write.shards import grid_of, unfinished_bytes
from gpustitch.io.write.storing import planned_file_bytes, writing_of
from gpustitch.model import ZYX, Frames, ObliqueScan, level_factors
from gpustitch.model.options import documented, nested, option
from gpustitch.oblique.deskew.file import ReadBatches
from gpustitch.oblique.deskew.sweep import BATCH_FRAMES, DEVICE_GRAIN, HOST_GRAIN, Sweep, Work
from gpustitch.oblique.destripe import DESTRIPING
from gpustitch.oblique.destripe.correction import Correction, cut_off_text, working_bytes
from gpustitch.oblique.destripe.device_bytes import corrected_bytes
from gpustitch.oblique.flat.file import flat_file, read_flat
from gpustitch.ops.pyramid import downsample
from gpustitch.running import foretold
from gpustitch.running import options as shared
from gpustitch.running.foretold import Stored
from gpustitch.running.inputs import Inputs
from gpustitch.running.progress import SILENT, Progress, counted
from gpustitch.running.threads import Workers, capped_workers, checked_workers

# A block needs depth * shear frames more than it is wide: neighbours about this wide share most of their frames.
_BLOCK_WIDTH, _BLOCK_ROWS = 128, 256
_FRAME_TYPES = ("uint8", "uint16", "float32")


@documented
@dataclass(frozen=True)
class DeobliqueOptions:
    """What to de-oblique and how; the geometry is that of :class:`gpustitch.model.ObliqueScan`."""

    input: str | Path = option(flag="--input -i", help=frames_help())
    output: Path = option(
        flag="--output -o", help=f"Folder of the volume to write: {names_of_outputs(in_order=False)}."
    )
    pixel_um: float = option(1.8, flag="--y-voxel-size", unit="um", help="Camera pixel in the sample, um.")
    step_um: float = option(1.28, flag="--x-step-size", unit="um", help="Distance between frames, um.")
    angle_deg: float = option(45.0, flag="--angle", help="Angle between the sheet and the stage's motion, degrees.")
    start: int | None = option(None, help="First frame to use.", shown="0")
    stop: int | None = option(None, help="Frame to stop before.", shown="all frames")
    rotate_90: int = shared.rotate_90()
    flip_ud: bool = shared.flip_ud()
    correction: Correction = nested(Correction)
    levels: int = shared.levels(DEFAULT_LEVELS)
    chunk_shape: ZYX = shared.chunk_shape()
    shard_bytes: int | None = shared.shard_bytes()
    codec: str | None = shared.codec()
    writer: shared.Writer | None = shared.writer()
    write_empty: bool = shared.write_empty()
    n_workers: int | None = shared.n_workers()
    n_writers: int = shared.n_writers()
    overwrite: bool = shared.overwrite()
    restart: bool = shared.restart()
    flush: bool = True  # wait until the disk has everything; a volume that is read once and removed needs no flush
    allow_missing: bool = shared.allow_missing()
    on_error: shared.OnError = shared.on_error()
    choice: StackChoice = shared.stack_choice()
    device: str | Device = shared.device()
    device_memory_bytes: int | None = shared.device_memory()
    flat: Path | None = flat_file(DESTRIPING)


@dataclass(frozen=True)
class DeobliquePlan:
    """A checked job: the frames, their geometry, and the disk and memory that the run will need.

    ``correction`` is applied to each frame; None leaves frames alone. ``output_bytes`` bounds the chunks on disk.
    ``memory_bytes`` bounds the frames, blocks and unfinished files in memory, ``worker_bytes`` what one thread adds.
    ``file_bytes`` is the size of a file. ``caution`` is a warning about the frames' values; empty if there is none.
    ``inputs`` is what is read, as it looked when the job was planned.
    """

    options: DeobliqueOptions
    frames: Readable
    scan: ObliqueScan
    correction: Correction | None
    block_shape: ZYX
    n_workers: int
    device: Device
    output_bytes: int
    memory_bytes: int
    file_bytes: int
    caution: str = ""
    inputs: Inputs = Inputs()
    worker_bytes: int = 0

    def by(self, n_workers: int) -> DeobliquePlan:
        """The same job with so many threads, and the memory that they take."""
        less = (self.n_workers - n_workers) * self.worker_bytes
        options = dataclasses.replace(self.options, n_workers=n_workers)
        return dataclasses.replace(self, options=options, n_workers=n_workers, memory_bytes=self.memory_bytes - less)

    @property
    def shape(self) -> ZYX:
        """Shape (z, y, x) of the volume."""
        return self.scan.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the volume's voxels: that of the frames, or the one that the correction states."""
        return _voxel_type(self.correction, self.frames)

    @property
    def summary(self) -> str:
        """Frames in, voxels out, disk and memory, in one line for people."""
        z, y, x = self.shape
        return (
            f"{self.scan.n_frames} frames of {self.scan.n_rows} x {self.scan.n_columns} to {x} x {y} x {z} voxels "
            f"(x, y, z), at most {self.output_bytes / 1e9:.2f} GB on disk, about {self.memory_bytes / 1e9:.2f} GB "
            "of memory"
        )

    def lines(self) -> Iterator[str]:
        """What the run will take, in lines for people."""
        options, scan, frames = self.options, self.scan, self.frames
        format = unordered_format(options.output)
        stored = Stored(options.output, format, options, self.shape, self.dtype, scan.spacing, self.file_bytes)
        reads = f"{counted(scan.n_frames, 'frames')} of {scan.n_rows} x {scan.n_columns} {frames.dtype}"
        n_bytes = math.prod(frames.shape) * frames.dtype.itemsize
        return foretold.lines(reads, n_bytes, [stored], self.output_bytes, self.memory_bytes)


@dataclass(frozen=True)
class DeobliqueResult:
    """What was written, and how many pixels of corrected frames their type may have cut off.

    ``scan`` names as absent all frames that were not there or not readable; ``lost`` says why.
    """

    path: Path
    scan: ObliqueScan
    n_blocks: int
    lost: Lost
    n_cut_off: int = 0


def plan(options: DeobliqueOptions, *, checks_disk: bool = True) -> DeobliquePlan:
    """Open the frames and check the job, before the output is touched.

    A larger job checks the room on the disk for all of it, and needs no check here.

    Raises
    ------
    InputMissingError, DamagedInputError
        If the frames cannot be opened.
    ParameterError
        If an option is out of range, or the correction cannot take the values of a float frame in the middle.
    OutputExistsError, OutputError
        If the output exists, cannot be created, or would not fit on the disk.
    """
    format = _checked_format(options)
    n_workers = checked_workers(options.n_workers)
    given = [options.input, *([options.flat] if options.flat else [])]
    inputs = Inputs.of(given, apart=[options.output], below=False)
    frames = _opened(options)
    scan = ObliqueScan(*frames.shape, options.pixel_um, options.step_um, options.angle_deg, absent=tuple(frames.absent))
    correction = _correction(options)
    if correction is not None:
        correction.check_shape((scan.n_rows, scan.n_columns))
    dtype = _voxel_type(correction, frames)
    factors = level_factors(scan.spacing, options.levels)
    block_shape = _block_shape(factors, options.chunk_shape)
    check_block(block_shape, scan.shape, dtype)
    # Threads beyond the blocks have nothing to do, and are given no memory.
    n_workers = capped_workers(n_workers, math.prod(grid_of(scan.shape, block_shape)))
    output_bytes = _output_bytes(scan, dtype, options)
    if checks_disk:
        check_free_space(options.output, output_bytes - finished_bytes(options.output))
    front = _front_px(scan, options)
    file_bytes = planned_file_bytes(format, options, scan.shape, dtype, scan.spacing, front) or 0
    worker_bytes = _worker_bytes(scan, dtype, block_shape) + working_bytes(correction, frames, HOST_GRAIN.frames)
    memory_bytes = _held_bytes(scan, dtype, block_shape) + IN_FLIGHT_BYTES + n_workers * worker_bytes
    memory_bytes += unfinished_bytes(scan.shape, options.chunk_shape, dtype.itemsize, factors, file_bytes, front)
    job = DeobliquePlan(
        options=options,
        frames=frames,
        scan=scan,
        correction=correction,
        block_shape=block_shape,
        n_workers=n_workers,
        device=choose_device(options.device, options.device_memory_bytes),
        output_bytes=output_bytes,
        memory_bytes=memory_bytes,
        file_bytes=file_bytes,
        caution=_caution(correction, frames),
        inputs=inputs,
        worker_bytes=worker_bytes,
    )
    _check_device(job)
    return job


def run(plan: DeobliquePlan, progress: Progress = SILENT, journal: Journal | None = None) -> DeobliqueResult:
    """Read, correct, de-oblique and write.

    With a ``journal`` the run goes on where an earlier one ended, and leaves what is finished if an error ends it.

    Raises
    ------
    DamagedInputError
        If a frame cannot be read, and ``on_error`` is ``"stop"``. With ``"skip"``, if no frame can be read.
    OutputError
        If the output cannot be written. Then no part of the output remains.
    """
    options = plan.options
    for caution in (*cautions(options.input), plan.caution):
        if caution:
            progress.warn(caution)
    work = Work(
        plan.frames, plan.scan, plan.correction, plan.dtype, plan.block_shape, Workers(plan.n_workers, plan.device)
    )
    used = shared.settled(options, plan.device, plan.n_workers)
    if plan.correction is not None:
        # The filter that was left open, as it was used.
        used = dataclasses.replace(used, correction=dataclasses.replace(plan.correction, flat=options.correction.flat))
    sidecar = {
        **provenance(used, [Path(options.input)] if Path(options.input).exists() else []),
    }
    writing = writing_of(options, hosted(downsample, plan.device), plan.file_bytes, sidecar)
    writing = dataclasses.replace(writing, flush=options.flush, journal=journal)
    with open_as(options.output, plan.shape, plan.dtype, plan.scan.spacing, writing) as writer:
        sweep = Sweep(work, writer, None if journal is None else ReadBatches(journal, plan.frames))
        n_blocks = sweep.run(progress)
        # Only now is it known which frames could be read.
        lost = Lost.of(plan.frames, options.start or 0)
        lost.check_any_left(options.input)
        scan = dataclasses.replace(plan.scan, absent=tuple(plan.frames.absent))
        sidecar |= {"scan": dataclasses.asdict(scan), **lost.record, **plan.inputs.tell(progress)}
    for line in lost.lines():
        progress.warn(f"{options.input}: {line}")
    if sweep.n_cut_off:
        progress.warn(cut_off_text(sweep.n_cut_off))
    return DeobliqueResult(options.output, scan, n_blocks, lost, sweep.n_cut_off)


def _checked_format(options: DeobliqueOptions) -> OutputFormat:
    """The format of the output; raises what :func:`plan` does of options that need no frames."""
    check_output(options.output, overwrite=options.overwrite)
    checked_writers(options.n_writers)
    checked_levels(options.levels)
    triple(options.chunk_shape, "chunk_shape")
    check_apart(options.output, frame_files(options.input))
    return unordered_format(options.output)


def _opened(options: DeobliqueOptions) -> Readable:
    skips = shared.checked_on_error(options.on_error)
    frames = open_frames(options.input, allow_missing=options.allow_missing, skip_damaged=skips, choice=options.choice)
    if options.start is not None or options.stop is not None:
        frames = Slice(frames, options.start or 0, options.stop)
    if options.rotate_90 % 4 or options.flip_ud:
        frames = Oriented(frames, options.rotate_90, options.flip_ud)
    if frames.dtype.name not in _FRAME_TYPES:
        raise ParameterError(f"{options.input} holds {frames.dtype}, not one of {', '.join(_FRAME_TYPES)}")
    readable = Readable(frames, skips=skips)
    Lost.of(readable, options.start or 0).check_any_left(options.input)
    return readable


def _correction(options: DeobliqueOptions) -> Correction | None:
    """The correction of each frame, with the flat read from its file; None if frames stay as they are."""
    correction = options.correction
    if options.flat is not None:
        correction = dataclasses.replace(correction, flat=read_flat(options.flat))
    if correction.method == "wavelet":
        correction = dataclasses.replace(correction, wavelet=correction.wavelet.completed)
    return None if correction.is_identity else correction


def _caution(correction: Correction | None, frames: Frames) -> str:
    """Refuse values that the correction cannot take, or warn of them, by a frame in the middle."""
    if correction is None or not (frames.dtype.kind == "f" or correction.subtracts_dark):
        return ""
    middle = frames.shape[0] // 2
    try:
        frame = frames.read(middle, middle + 1)
        correction.check_values(frame)
    except DamagedInputError:
        return ""  # the run names damaged frames
    return correction.caution_about(frame)


def _voxel_type(correction: Correction | None, frames: Frames) -> np.dtype[Any]:
    return np.dtype(frames.dtype) if correction is None else correction.result_type(np.dtype(frames.dtype))


def _block_shape(factors: Sequence[ZYX], chunk_shape: ZYX) -> ZYX:
    z, y, x = block_shape_of(factors, chunk_shape)
    return z, y * max(1, _BLOCK_ROWS // y), x * max(1, _BLOCK_WIDTH // x)


def _output_bytes(scan: ObliqueScan, dtype: np.dtype[Any], options: DeobliqueOptions) -> int:
    """Bytes of the chunks that are written on all levels: those that the covered parallelogram touches, or all."""
    whole = pyramid_bytes(scan.shape, dtype, level_factors(scan.spacing, options.levels))
    if options.write_empty:
        return whole
    depth, _, width = (min(c, n) for c, n in zip(options.chunk_shape, scan.shape, strict=True))
    covered = min(1.0, (scan.n_frames + scan.shear * depth + 2 * width) / scan.shape[2])
    return math.ceil(whole * covered)


def _held_bytes(scan: ObliqueScan, dtype: np.dtype[Any], block_shape: ZYX) -> int:
    """Bytes of the frames that are held: those that a block needs, and two batches more."""
    n_frames = min(scan.n_frames, math.ceil(block_shape[2] + scan.shear * block_shape[0]) + 2 * BATCH_FRAMES)
    return n_frames * scan.n_rows * scan.n_columns * dtype.itemsize


def _worker_bytes(scan: ObliqueScan, dtype: np.dtype[Any], block_shape: ZYX) -> int:
    """Bytes of the blocks that one thread makes."""
    return 3 * math.prod(min(b, n) for b, n in zip(block_shape, scan.shape, strict=True)) * dtype.itemsize


def _front_px(scan: ObliqueScan, options: DeobliqueOptions) -> tuple[float, float, float]:
    """How far apart voxels (z, y, x) are that are made at the same time: the moving front leans with the sheet."""
    z, y, x = scan.shape
    depth = min(z, 4 * options.chunk_shape[0])
    return float(z), float(y), min(x, _BLOCK_WIDTH + scan.shear * depth + 4 * options.chunk_shape[2])


def _check_device(plan: DeobliquePlan) -> None:
    """Refuse a CUDA device that cannot hold the frames of a block and the arrays that correct the next frames."""
    if plan.device.memory_bytes is None:
        return
    scan = plan.scan
    working = 0
    if plan.correction is not None:
        batch = Shaped((DEVICE_GRAIN.frames, scan.n_rows, scan.n_columns), np.dtype(plan.frames.dtype))
        working = batch.nbytes + corrected_bytes(plan.correction, batch)
    needed = _held_bytes(scan, plan.dtype, plan.block_shape) + 2 * working
    if needed > plan.device.memory_bytes:
        raise ParameterError(
            f"{plan.options.input} needs about {needed / 1e9:.1f} GB of the device's memory, but may take only "
            f"{plan.device.memory_bytes / 1e9:.1f} GB; give `device` cpu, fewer `levels` or a smaller `chunk_shape`"
        )
