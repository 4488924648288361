"""Feeding a device: a ring of buffers of the host, from which it copies by itself while it works and others are filled.

Three kinds of work go on at the same time: threads fill a buffer, a stream of its own copies another one up, and the
caller's stream works on what is there. Nobody waits but where memory is used again: an event tells when it is free.
"""

from __future__ import annotations

import contextlib
import importlib
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from gpustitch.array.device import Device
from gpustitch.array.namespace import Array
from gpustitch.array.transfer import large_room, told

# One buffer is copied while two are filled; a place on the device is worked on while the other one is copied to.
N_BUFFERS, N_PLACES = 3, 2


class Feed:
    """Buffers of ``n_bytes`` that are taken in turn, and places on a CUDA device for ``part_bytes`` at a time."""

    def __init__(self, n_bytes: int, part_bytes: int, device: Device) -> None:
        self._cupy: Any = importlib.import_module("cupy")
        self._device = device
        with told(device), self._cupy.cuda.Device(device.index):
            self._buffers = [_Memory(large_room(n_bytes)) for _ in range(N_BUFFERS)]
            self._stream = self._cupy.cuda.Stream(non_blocking=True)
            with self._stream:
                self._places = [_Memory(self._cupy.empty((part_bytes,), np.uint8)) for _ in range(N_PLACES)]

    def take(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Fed:
        """The next buffer, of arbitrary content; waits until nothing is copied from it any more."""
        self._buffers.append(self._buffers.pop(0))
        buffer = self._buffers[-1]
        if buffer.free is not None:
            with told(self._device):
                buffer.free.synchronize()
        return Fed(self, buffer, _shaped(buffer.array, shape, np.dtype(dtype)))

    @contextlib.contextmanager
    def _sent(self, buffer: _Memory, host: npt.NDArray[Any]) -> Iterator[Array]:
        self._places.append(self._places.pop(0))
        place, current = self._places[-1], self._cupy.cuda.get_current_stream()
        if place.free is not None:
            self._stream.wait_event(place.free)
        array = _shaped(place.array, host.shape, host.dtype)
        array.set(host, self._stream)
        buffer.free = self._stream.record(self._cupy.cuda.Event(block=True, disable_timing=True))  # waited for by sleep
        current.wait_event(buffer.free)
        try:
            yield array
        finally:
            place.free = current.record()


class Fed:
    """A buffer that was taken: ``host`` is to be filled, and then goes to the device part by part."""

    def __init__(self, feed: Feed, buffer: _Memory, host: npt.NDArray[Any]) -> None:
        self.host = host
        self._feed, self._buffer = feed, buffer

    def sent(self, part: slice) -> contextlib.AbstractContextManager[Array]:
        """A part of ``host`` along its first axis on the device, for the work that the caller's stream gets meanwhile.

        Neither the copy nor the work is waited for. Parts of one feed are sent by one thread at a time.
        """
        return self._feed._sent(self._buffer, self.host[part])


class _Memory:
    """Bytes of the host or of a device, and the event after which they may be written again."""

    def __init__(self, array: Any) -> None:
        self.array, self.free = array, None


def _shaped(memory: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Any:
    return memory[: math.prod(shape) * dtype.itemsize].view(dtype).reshape(shape)
