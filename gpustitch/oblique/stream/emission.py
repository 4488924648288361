"""Boxes on their way from the ring of fused frames to the writer, while later frames are made."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, Protocol, Self

import numpy as np
import numpy.typing as npt

from gpustitch.array import Array, on
from gpustitch.array.drain import Drain
from gpustitch.model import ZYX, Box
from gpustitch.oblique.deskew.sweep import Buffers, Sink
from gpustitch.running.threads import Workers, helped

# Bytes of the boxes that a device puts upright at a time, or of one if that is more: a call costs as much for few.
TOGETHER_BYTES = 1 << 27
# Buffers for boxes of a device: two that are filled, and others whose boxes are being written.
_MOST_BUFFERS = 4

# Puts boxes of one shape upright, in an array (n, z, y, x).
Upright = Callable[[Sequence[Box], Array], None]


class Target(Sink, Protocol):
    """A sink that may have some of the blocks already."""

    def missing(self, box: Box) -> Iterator[Box]:
        """The parts of a box of blocks that are to be given."""

    def reduced(self, voxels: Array) -> list[Array]:
        """The voxels of a box of whole blocks on all levels, where these voxels are."""

    def write_levels(
        self, box: Box, levels: Sequence[npt.NDArray[Any]], release: Callable[[], None] | None = None
    ) -> None:
        """Take the voxels of a box on all levels, which stay unchanged until ``release`` is called."""


def n_buffers(n_workers: int) -> int:
    """Buffers for what comes back from a device."""
    return min(_MOST_BUFFERS, n_workers + 1)


def drain_of(workers: Workers) -> Drain | None:
    """The way back from the device; None on the host."""
    return Drain(n_buffers(workers.n), workers.device) if workers.device.is_cuda else None


class Emission:
    """Puts boxes upright and hands them over: a context manager, for one band.

    On the host, threads of ``pool`` do that for a box each. A device does it for several at a time, and is asked by
    threads of this object, of which those of ``pool`` then take boxes to the writer.
    """

    def __init__(
        self,
        upright: Upright,
        writer: Target,
        dtype: np.dtype[Any],
        block_shape: ZYX,
        workers: Workers,
        pool: ThreadPoolExecutor,
        drain: Drain | None,
    ) -> None:
        self._upright, self._writer, self._pool, self._drain = upright, writer, pool, drain
        self._device, self._block_shape, self._itemsize = workers.device, block_shape, dtype.itemsize
        self._blocks = Buffers(dtype, workers.device)
        self._own = pool if drain is None else ThreadPoolExecutor(n_buffers(workers.n), "gpustitch-back")
        self._read: list[Future[Any]] = []
        self._jobs: list[Future[int]] = []
        self._n_written = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._drain is not None:
            if error is not None:
                self._drain.stop(error)
            self._own.shutdown(cancel_futures=True)

    def begin(self, boxes: Iterable[Box]) -> None:
        """Begin to put boxes upright and to hand them over."""
        for together in self._together(boxes):
            if self._drain is None:
                job = self._own.submit(self._emit, together[0])
                self._read.append(job)
            else:
                read: Future[None] = Future()
                job = self._own.submit(self._emit_together, self._drain, together, read)
                self._read.append(read)
            self._jobs.append(job)

    def free_ring(self) -> None:
        """Wait until all that was begun is read, so that older frames may go: on the host until it is handed over."""
        for read in self._read:
            read.result()
        self._read = []
        ended = [job for job in self._jobs if job.done()]
        self._n_written += sum(job.result() for job in ended)
        self._jobs = [job for job in self._jobs if job not in ended]

    def finish(self) -> int:
        """Wait until all is handed over; returns the number of blocks."""
        self.free_ring()
        self._n_written += sum(job.result() for job in self._jobs)
        self._jobs = []
        return self._n_written

    def _together(self, boxes: Iterable[Box]) -> Iterator[list[Box]]:
        """Boxes of one shape and of the same rows, as many as are put upright at a time: one on the host."""
        alike: dict[Any, list[Box]] = {}
        for box in boxes:
            key: Any = box.shape, box.start[1]
            # One after another, planes of whole blocks are halved as if each box were alone.
            if self._drain is None or box.shape[0] % self._block_shape[0]:
                key = box
            alike.setdefault(key, []).append(box)
        for found in alike.values():
            n = max(1, TOGETHER_BYTES // (found[0].size * self._itemsize))
            yield from (found[at : at + n] for at in range(0, len(found), n))

    def _emit(self, box: Box) -> int:
        """Put a box upright on the host and hand it over; returns the number of its blocks."""
        out, release = self._blocks.take((1, *box.shape))
        self._upright([box], out)
        self._writer.write(box, out[0], release)
        return self._n_blocks(box)

    def _emit_together(self, drain: Drain, boxes: Sequence[Box], read: Future[None]) -> int:
        """Let a device put boxes upright and make their levels, fetch these and hand them over; tells once it did."""
        try:
            with drain.place() as place:
                with on(self._device):
                    out, release = self._blocks.take((len(boxes), *boxes[0].shape))
                    self._upright(boxes, out)
                    place.send(self._writer.reduced(out.reshape(-1, *out.shape[2:])))
                read.set_result(None)
                levels = place.received()
                release()
            of_boxes = [level.reshape(len(boxes), -1, *level.shape[1:]) for level in levels]
            del levels
            numbers = range(len(boxes))
            helped(self._pool, lambda n: self._writer.write_levels(boxes[n], [level[n] for level in of_boxes]), numbers)
        except BaseException as error:
            with contextlib.suppress(Exception):  # it was read before
                read.set_exception(error)
            # Buffers that this thread had may be held by the error.
            drain.stop(error)
            raise
        return sum(map(self._n_blocks, boxes))

    def _n_blocks(self, box: Box) -> int:
        return math.prod(-(-n // of_block) for n, of_block in zip(box.shape, self._block_shape, strict=True))
