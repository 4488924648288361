"""From placed tiles of raw frames to one volume, without a file in between: each frame is read and corrected once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from gpustitch.errors import MosaicError
from gpustitch.io.journal import Journal
from gpustitch.io.write.formats import unordered_format
from gpustitch.io.write.in_flight import IN_FLIGHT_BYTES
from gpustitch.io.write.pyramid_layout import block_shape_of, check_block
from gpustitch.io.write.shards import DEFAULT_SHARD_BYTES, shard_shape, unfinished_bytes
from gpustitch.io.write.storing import planned_file_bytes
from gpustitch.model import ZYX, Box, part_axis
from gpustitch.oblique.deskew.sweep import HOST_GRAIN
from gpustitch.oblique.deskew.tile import ObliqueTile
from gpustitch.oblique.destripe.correction import cut_off_text, working_bytes
from gpustitch.oblique.fuse import stage as fuse
from gpustitch.oblique.fuse.options import StitchOptions, TreeOptions
from gpustitch.oblique.fuse.stage import StitchPlan, StitchResult
from gpustitch.oblique.mosaic.placing import PlacedMosaic
from gpustitch.oblique.stream.jobs import Runner, sweep_units
from gpustitch.oblique.stream.sheet import drift_of
from gpustitch.oblique.stream.sweep import BATCH_FRAMES, Sweep, Swept, Target, Work, fused_frames, swept
from gpustitch.oblique.stream.units import Cutting, PartTarget, Unit
from gpustitch.running.processes import run_jobs
from gpustitch.running.progress import SILENT, Progress
from gpustitch.running.threads import Workers

# A block needs depth * slope more frames than it is wide: neighbours about this wide share most of their frames.
_BLOCK_WIDTH, _BLOCK_ROWS = 128, 256
_PROCESS_BYTES = 200 << 20  # program and libraries of a process


@dataclass(frozen=True)
class StreamPlan:
    """A checked job: the plan of the fusion, and the bands of the mosaic that are swept one after another.

    ``units`` are parts of these that processes sweep at the same time; a single one is swept by this process.
    """

    stitch: StitchPlan
    slope: float
    bands: tuple[Box, ...]
    units: tuple[Unit, ...]

    @property
    def cutting(self) -> Cutting:
        """What units consist of."""
        return _cutting(self.stitch, self.slope)

    @property
    def memory_bytes(self) -> int:
        """Bound on the bytes held."""
        return self.stitch.memory_bytes

    @property
    def summary(self) -> str:
        """Tiles in, voxels out, disk, in one line for people."""
        return self.stitch.summary


def plan(
    mosaic: PlacedMosaic, options: StitchOptions, *, source: TreeOptions | None = None, n_units: int = 1
) -> StreamPlan:
    """Check the fusion of placed tiles, each an :class:`gpustitch.oblique.deskew.tile.ObliqueTile`.

    Raises
    ------
    MosaicError
        If the tiles do not lean alike.
    GpustitchError
        Errors of :func:`gpustitch.oblique.fuse.stage.plan`.
    """
    stitch = fuse.plan(mosaic, options, source=source)
    slopes = {tile.volume.coverage.shear + tile.shear_px for tile in stitch.mosaic.tiles}
    if max(slopes) - min(slopes) > 1e-9:
        raise MosaicError(f"tiles of one mosaic must lean alike, not by {min(slopes):g} to {max(slopes):g} columns")
    slope = max(slopes)
    z, y, x = block_shape_of(options.levels, options.chunk_shape)
    block_shape = (z, y * max(1, _BLOCK_ROWS // y), x * max(1, _BLOCK_WIDTH // x))
    check_block(block_shape, stitch.shape, stitch.dtype)
    stitch = replace(stitch, block_shape=block_shape)
    bands = _bands(stitch)
    front = _front_px(stitch, slope, bands[0])
    file_bytes = planned_file_bytes(unordered_format(options.output), options, stitch.shape, stitch.dtype, front) or 0
    stitch = replace(stitch, file_bytes=file_bytes)
    units = _cutting(stitch, slope).units(bands, n_units, by_bands=_part_axis(stitch) is not None)
    memory_bytes = _memory_bytes(stitch, slope, bands[0], _threads_each(stitch, units))
    if len(units) > 1:
        memory_bytes = len(units) * (memory_bytes + _PROCESS_BYTES)
    return StreamPlan(replace(stitch, memory_bytes=memory_bytes), slope, bands, units)


def _threads_each(stitch: StitchPlan, units: Sequence[Unit]) -> int:
    return max(1, stitch.n_workers // len(units))


def _cutting(stitch: StitchPlan, slope: float) -> Cutting:
    return Cutting(_unit_shape(stitch, stitch.file_bytes), drift_of(slope, stitch.shape[0]), stitch.shape[2])


def run(
    plan: StreamPlan, progress: Progress = SILENT, journal: Journal | None = None, runner: Runner = run_jobs
) -> StitchResult:
    """Read, correct, fuse and write.

    With a ``journal`` the run goes on where an earlier one ended, and leaves what is finished if an error ends it. Then
    several units are swept at the same time, each in a process that ``runner`` starts.

    Raises
    ------
    DamagedInputError
        If a frame cannot be read, and its tile does not skip such frames.
    ParameterError
        If the intensity correction cannot be estimated from the overlaps.
    OutputError
        If the output cannot be written. Then no part of the output remains.
    """
    stitch = plan.stitch
    for note in stitch.mosaic.notes:
        progress.warn(note)
    last_to_first = fuse.row_brightness(stitch, progress)
    work = Work(
        stitch.mosaic.tiles,
        fuse.gains_of(stitch.mosaic.tiles, last_to_first),
        stitch.shape,
        drift_of(plan.slope, stitch.shape[0]),
        stitch.dtype,
        stitch.block_shape,
        Workers(stitch.n_workers, stitch.device),
    )
    record = fuse.sidecar(stitch, last_to_first)
    with fuse.opened(stitch, record, journal) as writer:
        done = _swept(plan, work, writer, journal, progress, runner)
    if done.n_cut_off:
        progress.warn(cut_off_text(done.n_cut_off))
    return StitchResult(
        stitch.options.output, stitch.shape, stitch.spacing, done.n_written, stitch.n_blocks, last_to_first
    )


def _swept(
    plan: StreamPlan, work: Work, writer: Any, journal: Journal | None, progress: Progress, runner: Runner
) -> Swept:
    """Sweep all bands: units of them in processes at first, then whatever is left."""
    units, cutting = plan.units, plan.cutting
    if journal is None or len(units) < 2:
        progress.start("stitch", _n_frames(work, plan.bands, writer), "frames")
        try:
            return swept(work, plan.bands, writer, progress)
        finally:
            progress.finish()
    targets = [PartTarget(writer, unit, cutting) for unit in units]
    counts = [_n_frames(work, unit.bands, target) for unit, target in zip(units, targets, strict=True)]
    progress.start("stitch", sum(counts), "frames")
    try:
        each = _threads_each(plan.stitch, units)
        stitch, shared = replace(plan.stitch, n_workers=each), replace(work, workers=replace(work.workers, n=each))
        to_do = [unit for unit, count in zip(units, counts, strict=True) if count]
        done = sweep_units(stitch, shared, cutting, to_do, journal, progress, runner)
        writer.go_on()
        return done + swept(work, plan.bands, writer, progress)
    finally:
        progress.finish()


def _n_frames(work: Work, bands: Sequence[Box], target: Target) -> int:
    return sum(Sweep(work, band, target).n_frames for band in bands)


def _bands(stitch: StitchPlan) -> tuple[Box, ...]:
    """The mosaic in bands of whole files, along the axis of frames that is read in parts: y or z.

    It is one band where frames have to be read or corrected whole: every band would do so again.
    """
    whole, axis = Box.of_shape(stitch.shape), _part_axis(stitch)
    if axis is None:
        return (whole,)
    size = list(stitch.shape)
    size[axis] = _unit_shape(stitch, DEFAULT_SHARD_BYTES)[axis]
    return tuple(whole.blocks((size[0], size[1], size[2])))


def _part_axis(stitch: StitchPlan) -> int | None:
    """The axis of the mosaic of which frames are read and corrected in parts; None if they are whole."""
    volumes = [tile.volume for tile in stitch.mosaic.tiles]
    axes = {part_axis(v.frames) if isinstance(v, ObliqueTile) else None for v in volumes}
    is_whole = any(isinstance(v, ObliqueTile) and v.correction is not None and v.correction.destripes for v in volumes)
    axis = None if is_whole or len(axes) > 1 else axes.pop()
    return None if axis is None else 1 - axis  # columns run along z, rows along y


def _unit_shape(stitch: StitchPlan, file_bytes: int) -> ZYX:
    """Voxels (z, y, x) of whole blocks and whole files."""
    file = shard_shape(stitch.shape, stitch.options.chunk_shape, stitch.dtype.itemsize, file_bytes)
    z, y, x = (math.lcm(a, b) for a, b in zip(stitch.block_shape, file, strict=True))
    return z, y, x


def _front_px(stitch: StitchPlan, slope: float, band: Box) -> tuple[float, float, float]:
    """How far apart voxels (z, y, x) are that are made at the same time: the moving front leans with the sheet."""
    z, y, x = band.shape
    depth = min(z, 4 * stitch.options.chunk_shape[0])
    return float(z), float(y), min(x, _BLOCK_WIDTH + slope * depth + 4 * stitch.options.chunk_shape[2])


def _memory_bytes(stitch: StitchPlan, slope: float, band: Box, n_workers: int) -> int:
    """Bound on the bytes held by a process: frames, fused ones, blocks, and files that are begun."""
    options, itemsize = stitch.options, stitch.dtype.itemsize
    depth, _, width = stitch.block_shape
    plane = band.shape[0] * band.shape[1] * itemsize
    fused = fused_frames(width + math.ceil(slope * (depth - 1))) * plane
    frames = 0
    for tile in stitch.mosaic.tiles:
        cover = tile.volume.coverage
        frames += min(cover.n_columns, band.shape[0] + 2) * min(cover.n_rows, band.shape[1] + 2) * itemsize
    lanes = 2 * (BATCH_FRAMES + math.ceil(slope) + 3) * min(frames, 4 * plane)
    block = math.prod(min(b, n) for b, n in zip(stitch.block_shape, stitch.shape, strict=True)) * itemsize
    unfinished = unfinished_bytes(
        stitch.shape, options.chunk_shape, itemsize, options.levels, stitch.file_bytes, _front_px(stitch, slope, band)
    )
    tiles = [tile.volume for tile in stitch.mosaic.tiles if isinstance(tile.volume, ObliqueTile)]
    working = max((working_bytes(tile.correction, tile.frames, HOST_GRAIN.frames) for tile in tiles), default=0)
    return fused + lanes + n_workers * (3 * block + working) + IN_FLIGHT_BYTES + unfinished
