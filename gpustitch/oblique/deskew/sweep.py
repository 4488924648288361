"""One pass over the frames, in batches: read, correct, interpolate, hand over.

A block is interpolated as soon as its last frame is there. A frame is forgotten as soon as no block needs it any more.
While blocks are interpolated and written, the next batch is read and corrected. Voxels that need an absent frame are 0.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from gpustitch.array import Array, Device, empty, on, to_device, to_host
from gpustitch.errors import DamagedInputError, ParameterError
from gpustitch.model import ZYX, Box, Frames, ObliqueScan
from gpustitch.oblique.deskew.deoblique import clear_holes, deoblique
from gpustitch.oblique.destripe.correction import Correction
from gpustitch.running.progress import Progress
from gpustitch.running.threads import Workers

BATCH_FRAMES = 64


@dataclass(frozen=True)
class Grain:
    """Frames corrected at a time, and rows interpolated at a time."""

    frames: int
    rows: int


# On the host: so few frames that every thread has some, and so few rows that their frames stay in the cache.
# On a device: enough to keep all of it busy.
HOST_GRAIN, DEVICE_GRAIN = Grain(8, 64), Grain(16, 1 << 30)


class Window:
    """The corrected frames in memory, on the device that computes."""

    def __init__(self) -> None:
        self._pieces: list[tuple[int, Array]] = []

    def append(self, start: int, piece: Array) -> None:
        self._pieces.append((start, piece))

    def forget_before(self, number: int) -> None:
        self._pieces = [(start, piece) for start, piece in self._pieces if start + len(piece) > number]

    def copy_to(self, out: Array, start: int, rows: slice, columns: slice) -> None:
        """Fill ``out`` with ``rows`` and ``columns`` of the frames from ``start`` on."""
        for first, piece in self._pieces:
            a, b = max(start, first), min(start + len(out), first + len(piece))
            if a < b:
                out[a - start : b - start] = piece[a - first : b - first, rows, columns]


class Buffers:
    """Arrays to reuse: fresh memory costs the operating system more time than the interpolation takes."""

    def __init__(self, dtype: np.dtype[Any], device: Device) -> None:
        self._dtype = dtype
        self._device = device
        self._free: deque[Array] = deque()

    def take(self, shape: tuple[int, ...]) -> tuple[Array, Callable[[], None]]:
        """An array of that shape, and a function that returns it to the buffers after use."""
        size = math.prod(shape)
        try:
            buffer = self._free.pop()
        except IndexError:
            buffer = empty((size,), self._dtype, self._device)
        if buffer.size < size:
            buffer = empty((size,), self._dtype, self._device)
        return buffer[:size].reshape(shape), functools.partial(self._free.append, buffer)


@dataclass(frozen=True)
class Work:
    """Frames to de-oblique, the correction of each frame (None for none), the blocks to make, and the threads.

    Frames may become absent when they are read.
    """

    frames: Frames
    scan: ObliqueScan
    correction: Correction | None
    dtype: np.dtype[Any]
    block_shape: ZYX
    workers: Workers


class Sink(Protocol):
    """An object that takes blocks, such as :class:`gpustitch.io.write.format.VolumeOutput`."""

    def write(self, box: Box, voxels: npt.NDArray[Any], release: Callable[[], None] | None = None) -> None:
        """Take the voxels of a box, which stay unchanged until ``release`` is called."""

    def skip(self, box: Box) -> None:
        """Learn that a box holds only zeros."""

    def missing(self, box: Box) -> Iterator[Box]:
        """The parts of a box that an earlier run has not given; only these are to come."""


class Batches(Protocol):
    """Remembers of each batch of frames, also for later runs, how many pixels were cut off in it."""

    def found(self, start: int, stop: int) -> int | None:
        """Pixels cut off in frames that an earlier run has read; None if none has."""

    def done(self, start: int, stop: int, n_cut_off: int) -> None:
        """Learn that frames were read and corrected."""


class Sweep:
    """One pass over the frames; ``n_cut_off`` counts the pixels that their type cut off in the correction.

    With ``batches``, frames that only blocks of an earlier run needed are not read again.
    """

    def __init__(self, work: Work, writer: Sink, batches: Batches | None = None) -> None:
        self._work = work
        self._scan = work.scan
        self._writer = writer
        self._batches = batches
        self.n_cut_off = 0
        self._window = Window()
        self._device = work.workers.device
        self._grain = DEVICE_GRAIN if self._device.is_cuda else HOST_GRAIN
        self._blocks, self._stacks = (Buffers(work.dtype, self._device) for _ in range(2))
        depth, _, width = work.block_shape
        planes, rows, columns = work.scan.shape
        slabs = Box.of_shape((planes, rows, columns)).blocks((depth, rows, columns))
        boxes = ([*slab.blocks((depth, rows, width))][::-1] for slab in slabs)
        # For each slab of planes, the boxes along x still to do, the next box last.
        self._todo = [[box for box in along if any(True for _ in writer.missing(box))] for along in boxes]
        self._needed: set[int] = set()  # numbers of batches
        for box in itertools.chain.from_iterable(self._todo):
            first, end = work.scan.frames_of(box)
            self._needed.update(range(first // BATCH_FRAMES, -(-end // BATCH_FRAMES)))

    def run(self, progress: Progress) -> int:
        """Read, correct, interpolate and hand over everything; returns the number of blocks written."""
        n_frames, n_blocks, held = self._scan.n_frames, 0, 0
        progress.start("de-oblique", n_frames, "frames")
        with ThreadPoolExecutor(self._work.workers.n, thread_name_prefix="gpustitch") as pool:
            try:
                while held < n_frames or any(self._todo):
                    n_read, n_written = self._step(pool, held)
                    held += n_read
                    n_blocks += n_written
                    progress.advance(n_read)
            finally:
                pool.shutdown(cancel_futures=True)
                progress.finish()
        return n_blocks

    def _step(self, pool: ThreadPoolExecutor, held: int) -> tuple[int, int]:
        """Read the next batch, and meanwhile make the blocks that the frames held suffice for."""
        stop = min(held + BATCH_FRAMES, self._scan.n_frames)
        known = None if self._batches is None else self._batches.found(held, stop)
        is_read = known is None or held // BATCH_FRAMES in self._needed
        starts = range(held, stop if is_read else held, self._grain.frames)
        pieces = [pool.submit(self._load, start, min(start + self._grain.frames, stop)) for start in starts]
        blocks = [pool.submit(self._emit, box) for box in self._ready(held)]
        for block in blocks:
            block.result()
        n_cut_off = 0 if is_read else known or 0
        for start, piece in zip(starts, pieces, strict=True):
            frames, cut_off = piece.result()
            self._window.append(start, frames)
            n_cut_off += cut_off
        self.n_cut_off += n_cut_off
        if self._batches is not None and starts:
            self._batches.done(held, stop, n_cut_off)
        self._window.forget_before(self._oldest_needed())
        return stop - held, len(blocks)

    def _load(self, start: int, stop: int) -> tuple[Array, int]:
        """The corrected frames, and the number of pixels cut off."""
        raw = self._work.frames.read(start, stop)
        correction = self._work.correction
        with on(self._device):
            frames = to_device(raw, self._device)
            if correction is None:
                return frames, 0
            try:
                corrected = correction.apply(frames)
            except (DamagedInputError, ParameterError) as error:
                raise type(error)(f"frames {start} to {stop - 1} of those used: {error}") from error
            return corrected, correction.n_cut_off(frames, corrected)

    def _ready(self, held: int) -> Iterator[Box]:
        """Take the blocks that need only frames held; skip the boxes that no frame reaches."""
        rows = self._work.block_shape[1]
        for todo in self._todo:
            while todo and self._scan.frames_of(todo[-1])[1] <= held:
                box = todo.pop()
                if not self._scan.coverage.intersects(box):
                    for part in self._writer.missing(box):
                        self._writer.skip(part)
                    continue
                for block in box.blocks((box.stop[0], rows, box.stop[2])):
                    yield from self._writer.missing(block)

    def _oldest_needed(self) -> int:
        return min((self._scan.frames_of(todo[-1])[0] for todo in self._todo if todo), default=self._scan.n_frames)

    def _emit(self, box: Box) -> None:
        """Make a block from the frames in the window, and hand it to the writer."""
        start, stop = self._scan.frames_of(box)
        columns = slice(box.start[0], box.stop[0])
        with on(self._device):
            out, release = self._blocks.take(box.shape)
            n_rows = min(self._grain.rows, box.shape[1])
            room, done = self._stacks.take(((stop - start) * n_rows * box.shape[0],))
            for part in box.blocks((box.stop[0], n_rows, box.stop[2])):
                rows = slice(part.start[1], part.stop[1])
                shape = (stop - start, part.shape[1], part.shape[0])
                frames = room[: math.prod(shape)].reshape(shape)
                self._window.copy_to(frames, start, rows, columns)
                deoblique(frames, part, self._scan.shear, first_frame=start, out=out[part.slices(box.start)])
            voxels = to_host(out)
        # Only now: earlier, another thread's stream could overwrite frames that this thread's stream still reads.
        done()
        # All frames of the box were read before, so that by now it is known which of them are absent.
        clear_holes(voxels, box, dataclasses.replace(self._scan, absent=tuple(self._work.frames.absent)).coverage)
        if voxels is out:
            self._writer.write(box, voxels, release)
        else:
            release()
            self._writer.write(box, voxels)
