"""Raw frames on their way to a device: read ahead of the batches that need them, into buffers that are used in turn."""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from gpustitch.array import Device
from gpustitch.array.feed import N_BUFFERS, Fed, Feed
from gpustitch.oblique.deskew.sweep import DEVICE_GRAIN
from gpustitch.oblique.stream.lane import Lane

Read = Callable[[], None]


# Frames in a buffer, as many as a device corrects at a time, and of these what one thread reads.
PIECE_FRAMES, READ_FRAMES = DEVICE_GRAIN.frames, 4


@dataclass(frozen=True)
class _Begun:
    """Frames ``first <= f < stop`` of a lane, and the reads that bring them into a buffer."""

    lane: Lane
    first: int
    stop: int
    buffer: Fed
    reads: list[tuple[Read, Future[None]]]


class Intake:
    """The frames that batches need of all lanes, batch after batch and piece after piece.

    ``batches`` are half-open ranges of f. All threads of ``pool`` read; one at a time takes.
    """

    def __init__(
        self, pool: ThreadPoolExecutor, lanes: Sequence[Lane], batches: Sequence[tuple[int, int]], device: Device
    ) -> None:
        self._pool = pool
        self._wanted = iter(list(_wanted(lanes, batches)))
        n_bytes = PIECE_FRAMES * max((lane.raw_bytes for lane in lanes), default=0)
        self._feed = Feed(n_bytes, n_bytes, device)
        self._begun: deque[_Begun] = deque()
        for _ in range(N_BUFFERS):
            self._begin()

    def _begin(self) -> None:
        """Begin to read what is wanted next, if anything is, into the buffer that was used longest ago."""
        for lane, first, stop in self._wanted:
            buffer = self._feed.take((stop - first, *lane.stored_shape), lane.raw_dtype)
            parts = [(at, min(at + READ_FRAMES, stop)) for at in range(first, stop, READ_FRAMES)]
            jobs = [functools.partial(lane.read_raw, a, b, buffer.host[a - first : b - first]) for a, b in parts]
            self._begun.append(_Begun(lane, first, stop, buffer, [(job, self._pool.submit(job)) for job in jobs]))
            return

    def load(self, lane: Lane, first: int, stop: int, device: Device) -> tuple[int, int]:
        """Load frames of a lane, in the order in which they were wanted: :meth:`Lane.load`."""
        return lane.load(first, stop, device, self._pieces(lane, first, stop))

    def _pieces(self, lane: Lane, first: int, stop: int) -> Iterator[tuple[int, int, Fed]]:
        """The frames of each buffer, once they are read; the request for the next one says that they are sent."""
        while first < stop:
            begun = self._begun.popleft()
            assert (begun.lane, begun.first) == (lane, first)
            for job, future in begun.reads:
                # A thread that waits for a read which none has begun would wait for itself where there is no other.
                if future.cancel():
                    job()
                else:
                    future.result()
            yield first, begun.stop, begun.buffer
            self._begin()
            first = begun.stop


def _wanted(lanes: Sequence[Lane], batches: Sequence[tuple[int, int]]) -> Iterator[tuple[Lane, int, int]]:
    """For each batch and lane the frames that no batch before it needed, in pieces."""
    had = dict.fromkeys(range(len(lanes)), 0)
    for start, stop in batches:
        for number, lane in enumerate(lanes):
            first, end = lane.needed(start, stop)
            first = max(first, min(had[number], end))
            if first < end:
                yield from ((lane, at, min(at + PIECE_FRAMES, end)) for at in range(first, end, PIECE_FRAMES))
                had[number] = end
