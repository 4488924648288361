"""From placed tiles of raw frames to one volume, without a file in between: each frame is read and corrected once."""

from __future__ import annotations

import contextlib
import functools
import math
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gpustitch.array import CPU
from gpustitch.errors import MosaicError, ParameterError
from gpustitch.io.journal import Journal
from gpustitch.io.partial import locked_folder
from gpustitch.io.write.formats import unordered_format
from gpustitch.io.write.in_flight import IN_FLIGHT_BYTES
from gpustitch.io.write.pyramid_layout import block_shape_of, check_block
from gpustitch.io.write.shards import (
    DEFAULT_SHARD_BYTES,
    MOST_UNFINISHED_BYTES,
    file_shape,
    shard_shape,
    straddling_bytes,
    unfinished_bytes,
)
from gpustitch.io.write.storing import planned_file_bytes
from gpustitch.model import ZYX, Box, level_factors
from gpustitch.oblique.deskew.sweep import HOST_GRAIN
from gpustitch.oblique.deskew.tile import ObliqueTile
from gpustitch.oblique.destripe.correction import cut_off_text, working_bytes
from gpustitch.oblique.fuse import stage as fuse
from gpustitch.oblique.fuse.options import StitchOptions, TreeOptions
from gpustitch.oblique.fuse.stage import StitchPlan, StitchResult
from gpustitch.oblique.mosaic.placing import PlacedMosaic
from gpustitch.oblique.stream.bands import Cut, Extents, cut_at, part_axis_of
from gpustitch.oblique.stream.device_bytes import OnDevice
from gpustitch.oblique.stream.emission import Target
from gpustitch.oblique.stream.file import Spools
from gpustitch.oblique.stream.host_bytes import sent_bytes
from gpustitch.oblique.stream.jobs import Runner, Sharing, sweep_units
from gpustitch.oblique.stream.sheet import drift_of
from gpustitch.oblique.stream.sweep import (
    BATCH_FRAMES,
    NONE_SWEPT,
    TURNED_FRAMES,
    Sweep,
    Swept,
    Work,
    fused_frames,
    swept,
)
from gpustitch.oblique.stream.units import Cutting, PartTarget, Unit
from gpustitch.oblique.stream.windows import Kept, kept_of
from gpustitch.running.processes import run_jobs
from gpustitch.running.progress import SILENT, InSteps, Progress, size_text
from gpustitch.running.threads import Workers

# A block needs depth * slope more frames than it is wide: neighbours about this wide share most of their frames.
_BLOCK_WIDTH, _BLOCK_ROWS = 128, 256
_PROCESS_BYTES = 200 << 20  # program and libraries of a process
# Folder of what bands leave for later ones.
_KEPT = "rows"


@dataclass(frozen=True)
class StreamPlan:
    """A checked job: the plan of the fusion, and the bands of the mosaic that are swept one after another.

    ``piece`` frames are turned upright at a time. ``kept`` is what bands leave of corrected frames for later ones.
    ``units`` are parts of the bands that processes sweep at the same time; a single one is swept by this process.
    """

    stitch: StitchPlan
    slope: float
    bands: tuple[Box, ...]
    piece: int = TURNED_FRAMES
    kept: tuple[Kept, ...] = ()
    units: tuple[Unit, ...] = ()

    @property
    def cutting(self) -> Cutting:
        """What units consist of."""
        return _cutting(self.stitch, self.slope)

    @property
    def memory_bytes(self) -> int:
        """Bound on the bytes held."""
        return self.stitch.memory_bytes

    @property
    def kept_bytes(self) -> int:
        """Bytes of corrected frames that are written for later bands, and read again."""
        return sum(kept.box.size for kept in self.kept) * self.stitch.dtype.itemsize

    @property
    def most_kept_bytes(self) -> int:
        """The most bytes of these that are on the disk at a time."""
        at_once = (sum(k.box.size for k in self.kept if k.first <= n <= k.last) for n in range(len(self.bands)))
        return max(at_once) * self.stitch.dtype.itemsize

    @property
    def summary(self) -> str:
        """Tiles in, voxels out, disk, in one line for people."""
        return self.stitch.summary


def plan(
    mosaic: PlacedMosaic,
    options: StitchOptions,
    *,
    source: TreeOptions | None = None,
    cut: Cut | None = None,
    n_units: int = 1,
    least_units: int = 1,
) -> StreamPlan:
    """Check the fusion of placed tiles, each an :class:`gpustitch.oblique.deskew.tile.ObliqueTile`.

    ``cut`` says how it is fitted into memory. There are at most ``n_units`` parts that processes share,
    and not under ``least_units`` where fewer would let parts make more of the coarse levels.

    Raises
    ------
    MosaicError
        If the tiles do not lean alike.
    ParameterError
        If a band takes more than may be taken of a device's memory.
    GpustitchError
        Errors of :func:`gpustitch.oblique.fuse.stage.plan`.
    """
    stitch = fuse.plan(mosaic, options, source=source)
    slopes = {tile.volume.coverage.shear + tile.shear_px for tile in stitch.mosaic.tiles}
    if max(slopes) - min(slopes) > 1e-9:
        raise MosaicError(f"tiles of one mosaic must lean alike, not by {min(slopes):g} to {max(slopes):g} columns")
    slope = max(slopes)
    z, y, x = block_shape_of(level_factors(stitch.spacing, options.levels), options.chunk_shape)
    block_shape = (z, y * max(1, _BLOCK_ROWS // y), x * max(1, _BLOCK_WIDTH // x))
    check_block(block_shape, stitch.shape, stitch.dtype)
    stitch = replace(stitch, block_shape=block_shape)
    cut = cut or Cut()
    bands, file_bytes = _bands(stitch, slope, cut)
    is_apart = part_axis_of(stitch.mosaic.tiles) is not None
    kept = () if is_apart else tuple(kept_of(stitch.mosaic.tiles, bands))
    stitch = replace(stitch, file_bytes=file_bytes)
    units = _cutting(stitch, slope).units(bands, n_units, by_bands=is_apart, least=least_units)
    each = replace(stitch, n_workers=_threads_each(stitch, units))
    memory_bytes = max(map(_memory_of(each, slope, cut.piece, file_bytes), bands))
    if len(units) > 1:
        memory_bytes = len(units) * (memory_bytes + _PROCESS_BYTES)
    _check_device(stitch, slope, cut, bands, len(units))
    return StreamPlan(replace(stitch, memory_bytes=memory_bytes), slope, bands, cut.piece, kept, units)


def run(
    plan: StreamPlan,
    progress: Progress = SILENT,
    journal: Journal | None = None,
    scratch: Path | None = None,
    runner: Runner = run_jobs,
) -> StitchResult:
    """Read, correct, fuse and write.

    With a ``journal`` the run goes on where an earlier one ended, and leaves what is finished if an error ends it. Then
    several units are swept at the same time, each in a process that ``runner`` starts. What bands leave for later ones
    lies in the folder ``scratch``, or beside the output.

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
        plan.piece,
    )
    record = fuse.sidecar(stitch, last_to_first)
    with stitch.fused.opened(record, journal) as writer, _room(plan, scratch) as folder:
        done = _swept(plan, work, writer, folder, journal, progress, runner)
    if done.n_cut_off:
        progress.warn(cut_off_text(done.n_cut_off))
    return StitchResult(
        stitch.options.output, stitch.shape, stitch.spacing, done.n_written, stitch.n_blocks, last_to_first
    )


def _swept(
    plan: StreamPlan,
    work: Work,
    writer: Any,
    folder: Path,
    journal: Journal | None,
    progress: Progress,
    runner: Runner,
) -> Swept:
    """Sweep all bands: units of them in processes at first, then whatever is left."""
    targets = [PartTarget(writer, unit, plan.cutting) for unit in plan.units]
    counts = [_n_frames(work, unit.bands, target) for unit, target in zip(plan.units, targets, strict=True)]
    n_frames = min(sum(tile.volume.coverage.n_frames for tile in plan.stitch.mosaic.tiles), sum(counts))
    progress.start("stitch", n_frames, "frames")
    advance = InSteps(progress, n_frames, sum(counts)).advance  # each band counts its frames
    done = NONE_SWEPT
    try:
        if journal is not None and len(plan.units) > 1:
            to_do = [unit for unit, count in zip(plan.units, counts, strict=True) if count]
            each = _threads_each(plan.stitch, plan.units)
            sharing = Sharing(
                replace(plan.stitch, n_workers=each),
                replace(work, workers=replace(work.workers, n=each)),
                plan.cutting,
                plan.kept,
                folder.resolve(),
            )
            done = sweep_units(sharing, to_do, journal, advance, progress.warn, runner)
            writer.go_on()
        with Spools(plan.kept, plan.stitch.dtype, folder) as spools:
            return done + swept(work, plan.bands, writer, spools, advance)
    finally:
        progress.finish()


def _n_frames(work: Work, bands: Sequence[Box], target: Target) -> int:
    return sum(Sweep(work, band, target).n_frames for band in bands)


def _threads_each(stitch: StitchPlan, units: Sequence[Unit]) -> int:
    return max(1, stitch.n_workers // len(units))


def _cutting(stitch: StitchPlan, slope: float) -> Cutting:
    options, itemsize = stitch.options, stitch.dtype.itemsize
    coarser = []
    for factor in level_factors(stitch.spacing, options.levels)[1:]:
        z, y, x = file_shape(stitch.shape, options.chunk_shape, itemsize, factor, stitch.file_bytes)
        coarser.append((z * factor[0], y * factor[1], x * factor[2]))
    drift = drift_of(slope, stitch.shape[0])
    return Cutting(_unit_shape(stitch, stitch.file_bytes), drift, stitch.shape[2], tuple(coarser))


@contextlib.contextmanager
def _room(plan: StreamPlan, scratch: Path | None) -> Iterator[Path]:
    """The folder where bands leave what later ones need; what an earlier run left there goes."""
    output = plan.stitch.options.output
    with contextlib.ExitStack() as stack:
        if scratch is not None:
            folder = scratch / _KEPT
            shutil.rmtree(folder, ignore_errors=True)
        elif plan.kept:
            folder = stack.enter_context(locked_folder(output.resolve().with_name(f"{output.name}.{_KEPT}")))
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
        else:
            folder = output
        yield folder


def _bands(stitch: StitchPlan, slope: float, cut: Cut) -> tuple[tuple[Box, ...], int]:
    """The mosaic in bands along y, or z where only columns can be read in parts, and the size of a file."""
    whole, axis = Box.of_shape(stitch.shape), part_axis_of(stitch.mosaic.tiles)
    if axis is None:
        file_bytes = _file_bytes(stitch, slope, whole, cut)
        if _excess_of(stitch, slope, cut, file_bytes)(whole) <= 0:
            return (whole,), file_bytes
    along = 1 if axis is None else axis
    places = [*range(0, stitch.shape[along], _band_length(stitch, along)), stitch.shape[along]]
    file_bytes = _file_bytes(stitch, slope, _band(whole, along, places[0], places[1]), cut)
    excess = _excess_of(stitch, slope, cut if axis is None else replace(cut, most_bytes=0), file_bytes)
    left = Extents(stitch.mosaic.tiles, whole, stitch.dtype.itemsize).left_bytes if axis is None else _nothing
    found = cut_at(places, lambda start, stop: excess(_band(whole, along, start, stop)), left, 0)
    return tuple(_band(whole, along, start, stop) for start, stop in found), file_bytes


def _excess_of(stitch: StitchPlan, slope: float, cut: Cut, file_bytes: int) -> Callable[[Box], int]:
    """By how much a band takes more than it may, of the host's memory or of the device's; 0 or less if it does not.

    Where not all fits on a device, it is taken to hold what a host without one would: that is counted faster.
    """
    limits = []
    if cut.most_bytes is not None:
        limits.append((_memory_of(stitch, slope, cut.piece, file_bytes), cut.most_bytes))
    most = stitch.device.memory_bytes if stitch.device.is_cuda else None
    if most is not None and _on_device(stitch, slope, cut).bytes_of(Box.of_shape(stitch.shape)) > most:
        limits.append((_memory_of(replace(stitch, device=CPU), slope, cut.piece, file_bytes), most))
    return lambda band: max((memory_of(band) - most for memory_of, most in limits), default=0)


def _check_device(stitch: StitchPlan, slope: float, cut: Cut, bands: Sequence[Box], n_units: int) -> None:
    """ParameterError if the device's memory does not hold what a band takes."""
    most = stitch.device.memory_bytes
    if not stitch.device.is_cuda or most is None:
        return
    held = _on_device(stitch, slope, cut)
    needed = n_units * max(held.bytes_of(band) for band in bands)
    if needed > most:
        raise ParameterError(
            f"stitching takes {size_text(needed)} of the device's memory, and may take {size_text(most)}; allow more "
            "(`device_memory_bytes`), or stitch on `device` cpu"
        )


def _on_device(stitch: StitchPlan, slope: float, cut: Cut) -> OnDevice:
    coarse = sum(1 / math.prod(factor) for factor in level_factors(stitch.spacing, stitch.options.levels)[1:])
    drift = drift_of(slope, stitch.shape[0])
    return OnDevice(stitch.mosaic.tiles, drift, stitch.dtype, stitch.block_shape, cut.piece, coarse)


def _nothing(_: int, __: int) -> int:
    return 0


def _band(whole: Box, axis: int, start: int, stop: int) -> Box:
    low, high = list(whole.start), list(whole.stop)
    low[axis], high[axis] = start, stop
    return Box((low[0], low[1], low[2]), (high[0], high[1], high[2]))


def _band_length(stitch: StitchPlan, axis: int) -> int:
    """Planes or rows of the smallest band: whole blocks and whole files, and whole parts that are fused together."""
    file_bytes = DEFAULT_SHARD_BYTES if stitch.options.shard_bytes is None else stitch.options.shard_bytes
    return math.lcm(_unit_shape(stitch, file_bytes)[axis], HOST_GRAIN.rows if axis == 1 else 1)


def _unit_shape(stitch: StitchPlan, file_bytes: int) -> ZYX:
    """Voxels (z, y, x) of whole blocks and whole files."""
    file = shard_shape(stitch.shape, stitch.options.chunk_shape, stitch.dtype.itemsize, file_bytes)
    z, y, x = (math.lcm(a, b) for a, b in zip(stitch.block_shape, file, strict=True))
    return z, y, x


def _file_bytes(stitch: StitchPlan, slope: float, band: Box, cut: Cut) -> int:
    """Size of a file: that of an earlier run, or one of which a band leaves few unfinished."""
    if cut.file_bytes is not None:
        return cut.file_bytes
    options, front = stitch.options, _front_px(stitch, slope, band)
    most = (cut.unfinished_bytes or MOST_UNFINISHED_BYTES) // (1 + len(options.beside))
    format = unordered_format(options.output)
    return planned_file_bytes(format, options, stitch.shape, stitch.dtype, stitch.spacing, front, most) or 0


def _front_px(stitch: StitchPlan, slope: float, band: Box) -> tuple[float, float, float]:
    """How far apart voxels (z, y, x) are that are made at the same time: the moving front leans with the sheet."""
    z, y, x = band.shape
    depth = min(z, 4 * stitch.options.chunk_shape[0])
    return float(z), float(y), min(x, _BLOCK_WIDTH + slope * depth + 4 * stitch.options.chunk_shape[2])


def _memory_of(stitch: StitchPlan, slope: float, piece: int, file_bytes: int) -> Callable[[Box], int]:
    """Bound on the host's bytes held by a band: frames, fused ones, blocks, and files that are begun.

    Of these a device holds all but the files; beside it the host has what goes there and comes back.
    """
    options, itemsize, tiles = stitch.options, stitch.dtype.itemsize, stitch.mosaic.tiles
    whole = Box.of_shape(stitch.shape)
    depth, _, width = stitch.block_shape
    n_fused = fused_frames(width + math.ceil(slope * (depth - 1)), piece)
    least = math.prod(min(b, n) for b, n in zip(stitch.block_shape, stitch.shape, strict=True)) * itemsize
    volumes = [tile.volume for tile in tiles if isinstance(tile.volume, ObliqueTile)]
    working = max((working_bytes(v.correction, v.frames, HOST_GRAIN.frames) for v in volumes), default=0)
    extents = Extents(tiles, whole, itemsize)
    factors = level_factors(stitch.spacing, options.levels)
    beside = functools.partial(sent_bytes, tiles, stitch.block_shape, stitch.dtype, factors, stitch.n_workers)
    files = stitch.shape, options.chunk_shape, itemsize, factors, file_bytes

    @functools.cache
    def begun(*front_px: float) -> int:
        return unfinished_bytes(*files, front_px)

    @functools.cache
    def straddling(axis: int, place: int) -> int:
        return straddling_bytes(*files, axis, place)

    def memory_bytes(band: Box) -> int:
        plane = band.shape[0] * band.shape[1] * itemsize
        lanes = 2 * (BATCH_FRAMES + math.ceil(slope) + 3) * min(extents.frame_bytes(band), 4 * plane)
        waiting = sum(max(straddling(axis, band.start[axis]), straddling(axis, band.stop[axis])) for axis in (0, 1))
        written = (1 + len(options.beside)) * (IN_FLIGHT_BYTES + begun(*_front_px(stitch, slope, band)) + waiting)
        if stitch.device.is_cuda:
            return beside(band, whole) + written
        return n_fused * plane + lanes + stitch.n_workers * (3 * least + working) + written

    return memory_bytes
