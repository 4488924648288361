"""Moving arrays between host and device, each thread at work on a stream of its own.

Copies go through pinned memory (CuPy's pool of it), so that those of one thread overlap the work of another.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from gpustitch.array.device import Device
from gpustitch.array.namespace import Array, library_of
from gpustitch.errors import DeviceError
from gpustitch.model.arrays import HostArray

# Below this a copy is over before a pinned buffer is found.
_PINNED_BYTES = 1 << 16

# Threads on one device at a time: while one computes, one sends and one fetches; more would only take memory.
_AT_ONCE = 3

_of_thread = threading.local()
_turns: dict[int, threading.Semaphore] = {}
# Streams go with the turns, not with the threads, of which there are more and which end: CuPy keeps freed memory for
# the stream that it was made on.
_idle_streams: dict[int, list[Any]] = {}
_residents: dict[tuple[int, int], tuple[weakref.ref[npt.NDArray[Any]], Array]] = {}
_upload = threading.Lock()


@contextlib.contextmanager
def on(device: Device) -> Iterator[None]:
    """Work on ``device``: what is done inside goes to a stream of this thread alone, and is finished at the end.

    Only a few threads are let in at a time. May be nested.

    Raises
    ------
    DeviceError
        If the device's memory, or the part of it that may be taken, does not suffice, or the driver or one of its
        libraries reports an error.
    """
    if device.index is None:
        yield
        return
    cupy = importlib.import_module("cupy")
    try:
        with _turn(device.index), cupy.cuda.Device(device.index), _stream(cupy, device.index) as stream:
            yield
            stream.synchronize()
    except cupy.cuda.memory.OutOfMemoryError as error:
        raise DeviceError(
            f"the memory of cuda:{device.index} that may be taken ({device.memory_bytes or 0:,} bytes) does not "
            f"suffice: {error}; raise `device_memory_bytes`, or `device` cpu computes it"
        ) from error
    except RuntimeError as error:
        # Of the runtime, the driver (CuPy's own kernels), cuBLAS or cuFFT, each with a class of its own.
        if type(error).__module__.partition(".")[0] not in ("cupy", "cupy_backends"):
            raise
        raise DeviceError(f"cuda:{device.index} failed: {error}") from error


@contextlib.contextmanager
def _turn(index: int) -> Iterator[None]:
    """This thread's turn on the device, waited for unless it has one already."""
    held = _held()
    if index in held:
        yield
        return
    with _turns.setdefault(index, threading.Semaphore(_AT_ONCE)):
        held[index] = None
        try:
            yield
        finally:
            stream = held.pop(index)
            if stream is not None:
                _idle_streams.setdefault(index, []).append(stream)


def to_device(array: Array, device: Device) -> Array:
    """The array on ``device`` (itself if it is there already)."""
    if not device.is_cuda:
        return to_host(array)
    if library_of(array) == "numpy":
        array = np.ascontiguousarray(array, array.dtype.newbyteorder("="))
    cupy = importlib.import_module("cupy")
    with cupy.cuda.Device(device.index):
        moved: Array = cupy.asarray(array)
    return moved


def to_host(array: Array) -> npt.NDArray[Any]:
    """The array in host memory (itself if it is there already)."""
    if library_of(array) == "numpy":
        return np.asarray(array)
    device_array: Any = array
    if array.nbytes < _PINNED_BYTES:
        return device_array.get()  # type: ignore[no-any-return]
    try:
        host: npt.NDArray[Any] = importlib.import_module("cupyx").empty_pinned(array.shape, array.dtype)
    except RuntimeError:  # the system gives no more memory that stays in place
        host = np.empty(array.shape, array.dtype)
    device_array.get(out=host)
    return host


def empty(shape: tuple[int, ...], dtype: npt.DTypeLike, device: Device) -> Array:
    """A new array on ``device``, of arbitrary content."""
    if not device.is_cuda:
        return np.empty(shape, dtype)
    cupy = importlib.import_module("cupy")
    with cupy.cuda.Device(device.index):
        array: Array = cupy.empty(shape, dtype)
    return array


def resident(host: npt.NDArray[Any], like: Array) -> Array:
    """``host``, which must not change, where ``like`` lives; moved there once for as long as ``host`` exists."""
    if library_of(like) == "numpy":
        return host
    owner: Any = like
    key = (id(host), int(owner.device.id))
    with _upload:
        known = _residents.get(key)
        if known is not None and known[0]() is host:
            return known[1]
        cupy = importlib.import_module("cupy")
        with owner.device as device:
            moved: Array = cupy.asarray(host)
            # Threads with other streams use it too, and may still read those whose originals are gone.
            device.synchronize()
        for gone in [k for k, (original, _) in _residents.items() if original() is None and k[1] == key[1]]:
            del _residents[gone]
        _residents[key] = (weakref.ref(host), moved)
        return moved


def _held() -> dict[int, Any]:
    """Devices on which it is this thread's turn, and the streams that it works on."""
    held: dict[int, Any] = _of_thread.__dict__.setdefault("held", {})
    return held


def _stream(cupy: Any, index: int) -> Any:
    """The stream of this thread's turn on the device."""
    held = _held()
    if held[index] is None:
        try:
            held[index] = _idle_streams.setdefault(index, []).pop()
        except IndexError:
            held[index] = cupy.cuda.Stream(non_blocking=True)
    return held[index]


def hosted(op: Callable[[Array], Array], device: Device) -> Callable[[HostArray], HostArray]:
    """``op`` as a function from host to host: its argument is moved to ``device``, its result back."""
    return functools.partial(_run, op, device)


def _run(op: Callable[[Array], Array], device: Device, array: HostArray) -> HostArray:
    with on(device):
        return to_host(op(to_device(array, device)))
