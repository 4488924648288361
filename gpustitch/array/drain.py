"""What comes back from a device: copied by a stream of its own, into buffers of the host that are used in turn.

The stream that computes goes on at once: the copy waits for it by an event, and the host waits for the copy alone. A
buffer is used again when nothing refers to its arrays any more. Whoever takes them may hand them on without a word.
"""

from __future__ import annotations

import contextlib
import importlib
import queue
import threading
import weakref
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from gpustitch.array.device import Device
from gpustitch.array.namespace import Array
from gpustitch.array.transfer import large_room, told

# One place is copied from while the arrays of another one are computed.
N_BEING_MADE = 2


class Drain:
    """At most ``n_buffers`` buffers of the host, to which arrays of a CUDA device are copied.

    Buffers grow with what is copied. Threads wait in :meth:`place` while all of them are in use.
    """

    def __init__(self, n_buffers: int, device: Device) -> None:
        self._cupy: Any = importlib.import_module("cupy")
        self._device = device
        # A buffer comes back when its last array goes, maybe within a call of this queue: no other lock allows that.
        self._free: queue.SimpleQueue[npt.NDArray[Any] | None] = queue.SimpleQueue()
        for _ in range(n_buffers):
            self._free.put(np.empty(0, np.uint8))
        self._being_made = threading.Semaphore(N_BEING_MADE)
        self._error: BaseException | None = None
        with told(device), self._cupy.cuda.Device(device.index):
            self._stream = self._cupy.cuda.Stream(non_blocking=True)

    @contextlib.contextmanager
    def place(self) -> Iterator[Place]:
        """A place to send arrays to; only a few threads are within this block at a time.

        Raises
        ------
        BaseException
            That of :meth:`stop`.
        """
        with self._being_made:
            room = self._free.get()
            if room is None:
                self._free.put(None)
                assert self._error is not None
                raise self._error
            place = Place(self, room)
            try:
                yield place
            finally:
                place._close()

    def stop(self, error: BaseException) -> None:
        """End the waiting of all threads with an error, as buffers that are held by its traceback do not come back."""
        self._error = self._error or error
        self._free.put(None)


class Place:
    """A buffer that was taken, for arrays that are sent to it once."""

    def __init__(self, drain: Drain, room: npt.NDArray[Any]) -> None:
        self._drain = drain
        self._room: npt.NDArray[Any] | None = room
        self._sent: Sequence[Array] = ()
        self._found: list[npt.NDArray[Any]] = []
        self._there: Any = None

    def send(self, arrays: Sequence[Array]) -> None:
        """Begin to copy arrays of one dtype, made on the caller's stream, which does not wait.

        There are two copies: of the first array, and of the others together. No array may be written before
        :meth:`received`.
        """
        drain, (first, *others) = self._drain, arrays
        parts: list[Any] = [first]
        if others:
            parts.append(drain._cupy.concatenate([array.reshape(-1) for array in others]))
        host = self._host(sum(part.nbytes for part in parts)).view(first.dtype)
        self._sent = parts
        drain._stream.wait_event(drain._cupy.cuda.get_current_stream().record())
        at = 0
        for part in parts:
            part.get(drain._stream, out=host[at : at + part.size].reshape(part.shape), blocking=False)
            at += part.size
        # A thread that waits for this event leaves its core to others.
        self._there = drain._stream.record(drain._cupy.cuda.Event(block=True, disable_timing=True))
        at = 0
        for array in arrays:
            self._found.append(host[at : at + array.size].reshape(array.shape))
            at += array.size

    def received(self) -> list[npt.NDArray[Any]]:
        """Wait for the copies: the arrays in memory of the host. Those that were sent may be written from now on."""
        self._wait()
        found, self._found = self._found, []
        return found

    def _host(self, n_bytes: int) -> npt.NDArray[Any]:
        """Bytes of the buffer, which is free again when no view of them is left."""
        room, self._room = self._room, None
        assert room is not None
        if len(room) < n_bytes:
            del room
            room = large_room(n_bytes)
        # Views of this array refer to it, as its own base is no array.
        host = np.frombuffer(room.data, np.uint8)
        weakref.finalize(host, self._drain._free.put, room).atexit = False
        return host[:n_bytes]

    def _wait(self) -> None:
        if self._there is not None:
            with told(self._drain._device):
                self._there.synchronize()
        self._there, self._sent = None, ()

    def _close(self) -> None:
        """Wait for what was begun, and give back what was not used."""
        self._wait()
        self._found = []
        if self._room is not None:
            self._drain._free.put(self._room)
            self._room = None
