"""One sweep over the frames of all tiles: read, correct, fuse, put upright, hand over.

All tiles advance together, a batch of frames at a time. While a batch is fused, the next one is read and corrected, and
the blocks that earlier batches complete are put upright and written. Each frame is read and corrected once.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gpustitch.array import Array, namespace, on
from gpustitch.array.drain import Drain
from gpustitch.model import ZYX, Box, PlacedVolume
from gpustitch.oblique.deskew.sweep import DEVICE_GRAIN, HOST_GRAIN
from gpustitch.oblique.deskew.tile import ObliqueTile
from gpustitch.oblique.fuse.tables import Tables
from gpustitch.oblique.stream.emission import Emission, Target, drain_of
from gpustitch.oblique.stream.file import Spools
from gpustitch.oblique.stream.fuse_frames import fuse_frames
from gpustitch.oblique.stream.intake import Intake
from gpustitch.oblique.stream.lane import Lane
from gpustitch.oblique.stream.ring import Ring, pieces_of
from gpustitch.oblique.stream.sheet import along_sheet, box_of, stacked
from gpustitch.oblique.stream.windows import window_of
from gpustitch.running.threads import Workers

# Frames that are read at a time, and frames that are turned upright at a time: short runs of these cost more.
BATCH_FRAMES, TURNED_FRAMES = 32, 128
# Rows turned at a time on the host.
_TURNED_ROWS = 16


# Frames to fetch, and the job that tells how many were read, and how many of their pixels were cut off.
Load = tuple[int, Future[tuple[int, int]]]


@dataclass(frozen=True)
class Work:
    """Placed tiles of raw frames, factors of their rows, the mosaic's shape and drift, and how it is cut.

    ``gains`` has the factors of each tile that needs them. ``drift`` is by how many columns each plane is displaced.
    ``piece`` frames, whole batches, are turned upright at a time.
    """

    tiles: Sequence[PlacedVolume]
    gains: Mapping[int, npt.NDArray[np.float32]]
    shape: ZYX
    drift: npt.NDArray[np.int64]
    dtype: np.dtype[Any]
    block_shape: ZYX
    workers: Workers
    piece: int = TURNED_FRAMES


@dataclass(frozen=True)
class Swept:
    """What sweeps did: blocks handed over, frames read, pixels that their type cut off in the correction."""

    n_written: int
    n_read: int
    n_cut_off: int

    def __add__(self, other: Swept) -> Swept:
        return Swept(self.n_written + other.n_written, self.n_read + other.n_read, self.n_cut_off + other.n_cut_off)


NONE_SWEPT = Swept(0, 0, 0)


class Sweep:
    """The sweep of one band of the mosaic, a box of whole blocks along y and z and of all columns.

    ``n_read`` counts the frames read, ``n_cut_off`` the pixels that their type cut off in the correction. Frames that
    are in ``spools`` are not read, and what later bands need goes there. From a device, voxels come through ``drain``.
    """

    def __init__(
        self, work: Work, band: Box, writer: Target, spools: Spools | None = None, drain: Drain | None = None
    ) -> None:
        self._work, self._band, self._writer, self._drain = work, band, writer, drain
        self._device = work.workers.device
        self._grain = DEVICE_GRAIN if self._device.is_cuda else HOST_GRAIN
        self._drift = work.drift[band.start[0] : band.stop[0]]
        self._lanes = list(self._all_lanes(spools))
        self.n_read = self.n_cut_off = 0
        columns = work.shape[2]
        spans = [lane.span for lane in self._lanes]
        whole = -int(self._drift.max()), columns - int(self._drift.min())
        self._from = max(whole[0], min((a for a, _ in spans), default=0))
        self._stop = max(self._from, min(whole[1], max((b for _, b in spans), default=0)))
        # Batches begin at the same f in every band, so that voxels do not depend on where bands end.
        self._begin = self._from // BATCH_FRAMES * BATCH_FRAMES
        self._end = -(-self._stop // BATCH_FRAMES) * BATCH_FRAMES if self._from < self._stop else self._begin
        depth, _, width = work.block_shape
        slabs = [(z, min(z + depth, band.stop[0])) for z in range(band.start[0], band.stop[0], depth)]
        # For each slab of planes, the boxes along x still to do, the next box last.
        self._todo = [
            [
                Box((z, band.start[1], x), (z_stop, band.stop[1], min(x + width, columns)))
                for x in reversed(range(0, columns, width))
            ]
            for z, z_stop in slabs
        ]
        self._first, self._end = self._needed()

    def _needed(self) -> tuple[int, int]:
        """Forget the boxes that are not to be given; the half-open range of f that the others need, in whole batches.

        The batches are those of a run from the beginning, and so are the voxels.
        """
        self._todo = [[box for box in todo if any(self._writer.missing(box))] for todo in self._todo]
        ranges = [self._range_of(box) for todo in self._todo for box in todo[:: max(1, len(todo) - 1)]]
        if not ranges:
            return self._end, self._end
        first, stop = (max(0, end - self._begin) for end in (min(a for a, _ in ranges), max(b for _, b in ranges)))
        piece, end = self._work.piece, self._begin - (-stop // BATCH_FRAMES) * BATCH_FRAMES
        return min(self._begin + first // piece * piece, self._end), min(end, self._end)

    def _all_lanes(self, spools: Spools | None) -> Iterator[Lane]:
        for number, tile in enumerate(self._work.tiles):
            volume = tile.volume
            assert isinstance(volume, ObliqueTile)
            if not window_of(tile, self._band).is_empty:
                yield Lane(number, tile, volume, self._band, self._drift, None if spools is None else spools.of(number))

    @property
    def n_frames(self) -> int:
        """Number of frames to read, or to take from the spools."""
        needed = [lane.needed(self._first, self._end) for lane in self._lanes if self._first < self._end]
        return sum(b - a for a, b in needed)

    def run(self, advance: Callable[[int], None]) -> int:
        """Do all of it; returns the number of blocks handed over. ``advance`` is told the frames."""
        (depth, n_rows, _), piece = self._band.shape, self._work.piece
        ring = Ring((depth, n_rows), self._first, self._reach(), piece, self._work.dtype, self._device)
        with ThreadPoolExecutor(self._work.workers.n, thread_name_prefix="gpustitch") as pool:
            try:
                with self._emission(pool, ring) as emission:
                    intake = self._intake(pool) if self._device.is_cuda else None
                    loads = self._load(pool, intake, self._first)
                    for start in range(self._first, self._end, piece):
                        stop = min(start + piece, self._end)
                        for at in range(start, stop, BATCH_FRAMES):
                            advance(self._loaded(loads))
                            until = min(at + BATCH_FRAMES, stop)
                            loads = self._load(pool, intake, until)
                            _wait(self._fuse(pool, at, ring.room(at, until)))
                        emission.free_ring()
                        _wait(self._turn(pool, ring, start, stop))
                        emission.begin(self._ready(None if stop == self._end else stop))
                    if self._first >= self._end:
                        emission.begin(self._ready(None))
                    return emission.finish()
            finally:
                pool.shutdown(cancel_futures=True)

    def _emission(self, pool: ThreadPoolExecutor, ring: Ring) -> Emission:
        work = self._work
        upright = functools.partial(self._upright, ring)
        return Emission(upright, self._writer, work.dtype, work.block_shape, work.workers, pool, self._drain)

    def _intake(self, pool: ThreadPoolExecutor) -> Intake:
        starts = range(self._first, self._end, BATCH_FRAMES)
        return Intake(pool, self._lanes, [(at, min(at + BATCH_FRAMES, self._end)) for at in starts], self._device)

    def _load(self, pool: ThreadPoolExecutor, intake: Intake | None, start: int) -> list[Load]:
        """Begin to fetch the batch that begins at ``start``, if there is one."""
        stop = min(start + BATCH_FRAMES, self._end)
        if start >= stop:
            return []
        wanted = [(lane, *lane.advance(start, stop, self._device)) for lane in self._lanes]
        if intake is not None:
            # One thread alone asks a device for arrays that it corrects.
            return [(sum(end - first for _, first, end in wanted), pool.submit(self._load_on_device, intake, wanted))]
        jobs = []
        for lane, first, end in wanted:
            for at in range(first, end, self._grain.frames):
                until = min(at + self._grain.frames, end)
                jobs.append((until - at, pool.submit(lane.load, at, until, self._device)))
        return jobs

    def _load_on_device(self, intake: Intake, wanted: Sequence[tuple[Lane, int, int]]) -> tuple[int, int]:
        found = [intake.load(lane, first, end, self._device) for lane, first, end in wanted if first < end]
        return sum(n for n, _ in found), sum(n for _, n in found)

    def _loaded(self, loads: Sequence[Load]) -> int:
        """Wait until the batch is there; returns the number of frames."""
        for _, load in loads:
            n_read, n_cut_off = load.result()
            self.n_read += n_read
            self.n_cut_off += n_cut_off
        for lane in self._lanes:
            lane.turn()
        return sum(n for n, _ in loads)

    def _fuse(self, pool: ThreadPoolExecutor, start: int, out: Array) -> list[Future[None]]:
        """Begin to fuse a batch, some rows at a time."""
        n_rows = out.shape[1]
        each = min(n_rows, self._grain.rows)
        return [pool.submit(self._fuse_rows, start, out[:, y : y + each], y) for y in range(0, n_rows, each)]

    def _turn(self, pool: ThreadPoolExecutor, ring: Ring, start: int, stop: int) -> list[Future[None]]:
        """Begin to turn a piece of fused frames, some rows at a time; nothing where they are turned later."""
        n_rows = self._band.shape[1] if ring.turns else 0
        parts = [slice(y, min(y + _TURNED_ROWS, n_rows)) for y in range(0, n_rows, _TURNED_ROWS)]
        return [pool.submit(ring.turn, start, stop, rows) for rows in parts]

    def _reach(self) -> int:
        """Frames that the ring must hold before a further piece: those of the blocks that are not complete."""
        depth, _, width = self._work.block_shape
        slabs = [self._drift[z : z + depth] for z in range(0, len(self._drift), depth)]
        return width + max(int(np.ptp(drift)) for drift in slabs)

    def _fuse_rows(self, start: int, out: Array, first_row: int) -> None:
        """Fuse some rows of frames, from frame ``start`` on, into ``out`` (frame, row, plane); 0 where no tile is."""
        planes = self._band.start[0], self._band.stop[0]
        first_row += self._band.start[1]
        box = box_of(planes, (first_row, first_row + out.shape[1]), (start, start + len(out)), self._drift)
        here = [
            (lane, footprint)
            for lane in self._lanes
            if lane.is_there
            for footprint in lane.prints(planes)
            if _meets(footprint.rows, box, 1)
        ]
        lanes = [lane for lane, _ in here]
        with on(self._device):
            if not here:
                out[...] = 0
                return
            upright = Tables.of(box, [lane.tile for lane in lanes], [footprint for _, footprint in here])
            tables = along_sheet(upright, box, start, len(out), self._drift)
            gains = {
                n: self._work.gains[lane.number] for n, lane in enumerate(lanes) if lane.number in self._work.gains
            }
            xp = namespace(out)
            t = tables.in_boxes([lane.window for lane in lanes], gains).moved_to(xp)
            held = [lane.held for lane in lanes]
            starts, shares = stacked([lane.taps for lane in lanes])
            starts = starts + (start - np.array([first for first, _ in held]))[:, None, None]
            fuse_frames(
                [frames for _, frames in held], xp.asarray(starts), xp.asarray(shares),
                t.bounds, t.columns, t.edges, t.planes, t.rows, t.axes, out,
            )  # fmt: skip

    def _ready(self, held: int | None) -> Iterator[Box]:
        """Take the blocks that need only f below ``held`` (None: all); skip the boxes that no frame reaches."""
        rows = self._work.block_shape[1]
        for todo in self._todo:
            while todo and (held is None or min(self._range_of(todo[-1])[1], self._stop) <= held):
                box = todo.pop()
                first, stop = self._range_of(box)
                if max(first, self._from) >= min(stop, self._stop):
                    for part in self._writer.missing(box):
                        self._writer.skip(part)
                    continue
                # A device is given all rows at once: what is asked of it costs as much for few.
                parts = [box] if self._device.is_cuda else box.blocks((box.stop[0], rows, box.stop[2]))
                for part in parts:
                    yield from self._writer.missing(part)

    def _range_of(self, box: Box) -> tuple[int, int]:
        """Half-open range of f that a box of the mosaic needs."""
        drift = self._work.drift[box.start[0] : box.stop[0]]
        return box.start[2] - int(drift.max()), box.stop[2] - int(drift.min())

    def _upright(self, ring: Ring, boxes: Sequence[Box], out: Array) -> None:
        """Put boxes of one shape and of the same rows upright."""
        places = [(box.start[0] - self._band.start[0], box.start[2]) for box in boxes]
        ring.take(places, boxes[0].start[1] - self._band.start[1], self._drift, (self._from, self._stop), out)


def swept(work: Work, bands: Sequence[Box], target: Target, spools: Spools, advance: Callable[[int], None]) -> Swept:
    """Sweep bands one after another; ``advance`` is told the frames that each has got."""
    total, drain = NONE_SWEPT, drain_of(work.workers)
    for number, band in enumerate(bands):
        sweep = Sweep(work, band, target, spools, drain)
        n_written = sweep.run(advance)
        total += Swept(n_written, sweep.n_read, sweep.n_cut_off)
        spools.leave(number)
    return total


def fused_frames(reach: int, piece: int) -> int:
    """Fused frames held at once: those that are made, and those in a ring where blocks need ``reach`` of them."""
    return piece + pieces_of(reach, piece) * piece


def _wait(futures: Sequence[Future[None]]) -> None:
    for future in futures:
        future.result()


def _meets(rows: tuple[int, int], box: Box, axis: int) -> bool:
    return max(rows[0], box.start[axis]) < min(rows[1], box.stop[axis])
