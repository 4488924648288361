"""One sweep over the frames of all tiles: read, correct, fuse, put upright, hand over.

All tiles advance together, a batch of frames at a time. While a batch is fused, the next one is read and corrected, and
the blocks that earlier batches complete are put upright and written. Each frame is read and corrected once.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gpustitch.array import Array, empty, namespace, on, to_host
from gpustitch.model import ZYX, Box, PlacedVolume
from gpustitch.oblique.deskew.deoblique import shear_lerp
from gpustitch.oblique.deskew.sweep import DEVICE_GRAIN, HOST_GRAIN, Buffers, Sink, Window
from gpustitch.oblique.deskew.tile import ObliqueTile
from gpustitch.oblique.fuse.tables import Tables
from gpustitch.oblique.stream.fuse_frames import fuse_frames
from gpustitch.oblique.stream.lane import Lane, window_of
from gpustitch.oblique.stream.sheet import along_sheet, box_of, stacked
from gpustitch.running.progress import Progress
from gpustitch.running.threads import Workers

BATCH_FRAMES = 32


@dataclass(frozen=True)
class Work:
    """Placed tiles of raw frames, factors of their rows, the mosaic's shape and drift, and how it is cut.

    ``gains`` has the factors of each tile that needs them. ``drift`` is by how many columns each plane is displaced.
    """

    tiles: Sequence[PlacedVolume]
    gains: Mapping[int, npt.NDArray[np.float32]]
    shape: ZYX
    drift: npt.NDArray[np.int64]
    dtype: np.dtype[Any]
    block_shape: ZYX
    workers: Workers


class Sweep:
    """The sweep of one band of the mosaic, a box of whole blocks along y and z and of all columns.

    ``n_read`` counts the frames read, ``n_cut_off`` the pixels that their type cut off in the correction.
    """

    def __init__(self, work: Work, band: Box, writer: Sink) -> None:
        self._work, self._band, self._writer = work, band, writer
        self._device = work.workers.device
        self._grain = DEVICE_GRAIN if self._device.is_cuda else HOST_GRAIN
        self._drift = work.drift[band.start[0] : band.stop[0]]
        self._lanes = list(self._all_lanes())
        self.n_read = self.n_cut_off = 0
        self._window = Window()
        self._blocks, self._stacks = (Buffers(work.dtype, self._device) for _ in range(2))
        self._fused: list[tuple[int, Array]] = []
        self._free: list[Array] = []
        columns = work.shape[2]
        spans = [lane.span for lane in self._lanes]
        whole = -int(self._drift.max()), columns - int(self._drift.min())
        self._first = max(whole[0], min((a for a, _ in spans), default=0))
        self._stop = max(self._first, min(whole[1], max((b for _, b in spans), default=0)))
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

    def _all_lanes(self) -> Iterator[Lane]:
        for number, tile in enumerate(self._work.tiles):
            volume = tile.volume
            assert isinstance(volume, ObliqueTile)
            if not window_of(tile, self._band).is_empty:
                yield Lane(number, tile, volume, self._band, self._drift)

    @property
    def n_frames(self) -> int:
        """Number of frames to read."""
        needed = [lane.needed(self._first, self._stop) for lane in self._lanes if self._first < self._stop]
        return sum(b - a for a, b in needed)

    def run(self, progress: Progress) -> int:
        """Do all of it; returns the number of blocks handed over. ``progress`` advances by the frames read."""
        n_blocks = 0
        with ThreadPoolExecutor(self._work.workers.n, thread_name_prefix="gpustitch") as pool:
            try:
                loads = self._load(pool, self._first)
                for start in range(self._first, self._stop, BATCH_FRAMES):
                    progress.advance(self._loaded(loads))
                    stop = min(start + BATCH_FRAMES, self._stop)
                    loads = self._load(pool, stop)
                    blocks = [pool.submit(self._emit, box) for box in self._ready(start)]
                    fused = self._fuse(pool, start, stop)
                    for future in (*fused, *blocks):
                        future.result()
                    n_blocks += len(blocks)
                    self._forget()
                for last in [pool.submit(self._emit, box) for box in self._ready(None)]:
                    last.result()
                    n_blocks += 1
            finally:
                pool.shutdown(cancel_futures=True)
        return n_blocks

    def _load(self, pool: ThreadPoolExecutor, start: int) -> list[tuple[int, Future[int]]]:
        """Begin to read the batch that begins at ``start``, if there is one."""
        stop = min(start + BATCH_FRAMES, self._stop)
        if start >= stop:
            return []
        jobs = []
        for lane in self._lanes:
            first, end = lane.advance(start, stop, self._device)
            for at in range(first, end, self._grain.frames):
                until = min(at + self._grain.frames, end)
                jobs.append((until - at, pool.submit(lane.load, at, until, self._device)))
        return jobs

    def _loaded(self, loads: Sequence[tuple[int, Future[int]]]) -> int:
        """Wait until the batch is read; returns the number of frames."""
        for _, load in loads:
            self.n_cut_off += load.result()
        for lane in self._lanes:
            lane.turn()
        n_read = sum(n for n, _ in loads)
        self.n_read += n_read
        return n_read

    def _fuse(self, pool: ThreadPoolExecutor, start: int, stop: int) -> list[Future[None]]:
        """Begin to fuse the batch, some rows at a time."""
        depth, n_rows, _ = self._band.shape
        size = (BATCH_FRAMES, n_rows, depth)
        with on(self._device):
            piece = self._free.pop() if self._free else empty(size, self._work.dtype, self._device)
        fused = piece[: stop - start]
        self._window.append(start, fused)
        self._fused.append((stop, piece))
        each = min(n_rows, self._grain.rows)
        return [pool.submit(self._fuse_rows, start, fused[:, y : y + each], y) for y in range(0, n_rows, each)]

    def _fuse_rows(self, start: int, out: Array, first_row: int) -> None:
        planes = self._band.start[0], self._band.stop[0]
        first_row += self._band.start[1]
        box = box_of(planes, (first_row, first_row + out.shape[1]), (start, start + len(out)), self._drift)
        prints = [(lane, footprint) for lane in self._lanes for footprint in lane.prints(planes)]
        prints = [(lane, footprint) for lane, footprint in prints if _meets(footprint.rows, box, 1)]
        with on(self._device):
            if not prints:
                out[...] = 0
                return
            lanes = [lane for lane, _ in prints]
            tables = Tables.of(box, [lane.tile for lane in lanes], [footprint for _, footprint in prints])
            tables = along_sheet(tables, box, start, len(out), self._drift)
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
                if max(first, self._first) >= min(stop, self._stop):
                    self._writer.skip(box)
                    continue
                yield from box.blocks((box.stop[0], rows, box.stop[2]))

    def _range_of(self, box: Box) -> tuple[int, int]:
        """Half-open range of f that a box of the mosaic needs."""
        drift = self._work.drift[box.start[0] : box.stop[0]]
        return box.start[2] - int(drift.max()), box.stop[2] - int(drift.min())

    def _forget(self) -> None:
        """Free what no block needs any more."""
        oldest = min((self._range_of(todo[-1])[0] for todo in self._todo if todo), default=self._stop)
        self._window.forget_before(oldest)
        self._free += [piece for stop, piece in self._fused if stop <= oldest]
        self._fused = [(stop, piece) for stop, piece in self._fused if stop > oldest]

    def _emit(self, box: Box) -> None:
        first, stop = self._range_of(box)
        first, stop = max(first, self._first), min(stop, self._stop)
        origin = self._band.start
        columns = slice(box.start[0] - origin[0], box.stop[0] - origin[0])
        offset = box.start[2] - self._work.drift[box.start[0] : box.stop[0]] - first
        with on(self._device):
            out, release = self._blocks.take(box.shape)
            n_rows = min(self._grain.rows, box.shape[1])
            room, done = self._stacks.take(((stop - first) * n_rows * box.shape[0],))
            xp = namespace(out)
            offset, weight = xp.asarray(offset), xp.zeros(len(offset), np.float32)
            for part in box.blocks((box.stop[0], n_rows, box.stop[2])):
                rows = slice(part.start[1] - origin[1], part.stop[1] - origin[1])
                shape = (stop - first, part.shape[1], part.shape[0])
                frames = room[: math.prod(shape)].reshape(shape)
                self._window.copy_to(frames, first, rows, columns)
                shear_lerp(frames, out[part.slices(box.start)], offset, weight)
            voxels = to_host(out)
        # Only now: earlier, another thread's stream could overwrite frames that this thread's stream still reads.
        done()
        if voxels is out:
            self._writer.write(box, voxels, release)
        else:
            release()
            self._writer.write(box, voxels)


def _meets(rows: tuple[int, int], box: Box, axis: int) -> bool:
    return max(rows[0], box.start[axis]) < min(rows[1], box.stop[axis])
