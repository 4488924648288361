"""Moving arrays between host and device, each thread on a stream of its own.

Copies go through CuPy's pool of pinned memory, so that copies of one thread overlap the work of another.
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

from gpustitch.array.device import Device, choose_device, said_by_cuda
from gpustitch.array.namespace import Array, library_of, refuse_unlike
from gpustitch.array.ranges import caller, named_range
from gpustitch.errors import DeviceError
from gpustitch.model.arrays import HostArray

# The library for each kind of memory that DLPack knows: of the host, of CUDA, pinned, managed.
_DLPACK = {1: "numpy", 2: "cupy", 3: "numpy", 13: "cupy"}
# A smaller copy ends before a pinned buffer is found.
_PINNED_BYTES = 1 << 16

# Modules that lie between a block on a device and the function that it is in.
_BETWEEN = (__name__, "contextlib")

# Threads on one device at a time: one computes, one sends and one fetches. More would only take memory.
AT_ONCE = 3

_of_thread = threading.local()
_turns: dict[int, threading.Semaphore] = {}
# Streams belong to turns, not to threads: CuPy keeps freed memory for the stream that allocated it.
# Threads outnumber turns and end, so memory freed on a thread's own stream would be lost to the others.
_idle_streams: dict[int, list[Any]] = {}
# By the array's id and its device: the array, as long as it lives, and its copy.
_residents: dict[tuple[int, int], tuple[weakref.ref[npt.NDArray[Any]], Array]] = {}
_upload = threading.Lock()


@contextlib.contextmanager
def on(device: Device, name: str = "") -> Iterator[None]:
    """Work on ``device``: the block's work goes to a stream of this thread alone, and is finished at the end.

    It begins when the work is done that the thread has given to its current stream. Only a few threads work on a device
    at a time; others wait. Blocks may be nested.

    Arrays may go from one thread's block to another's: they are complete where the block ends that made them. What
    other blocks made must live until this one ends, or be read in :func:`handed_over`. Profilers show the block under
    ``name``, by default that of the function that it is in.

    Raises
    ------
    DeviceError
        If the device's memory, or the part that may be taken, does not suffice. Also if the driver or one of its
        libraries reports an error.
    """
    if device.index is None:
        yield
        return
    cupy = importlib.import_module("cupy")
    name = name or caller(_BETWEEN)
    with told(device), _turn(device.index), cupy.cuda.Device(device.index), named_range(name):
        before, stream = cupy.cuda.get_current_stream(), _stream(cupy, device.index)
        if before != stream:
            stream.wait_event(before.record())
        with stream:
            try:
                yield
            finally:
                # Also after an error: arrays that the block read are freed on other streams.
                stream.synchronize()


@contextlib.contextmanager
def told(device: Device) -> Iterator[None]:
    """What CuPy and CUDA's libraries raise, as errors of ours that say what to do: see :func:`on`."""
    cupy = importlib.import_module("cupy")
    try:
        yield
    except cupy.cuda.memory.OutOfMemoryError as error:
        raise DeviceError(
            f"the memory of cuda:{device.index} that may be taken ({device.memory_bytes or 0:,} bytes) does not "
            f"suffice: {error}; raise `device_memory_bytes`, or `device` cpu computes it"
        ) from error
    except cupy.cuda.compiler.CompileException as error:
        raise DeviceError(f"cuda:{device.index} failed: {error}") from error
    except RuntimeError as error:
        if not (text := said_by_cuda(error)):
            raise
        raise DeviceError(f"cuda:{device.index} failed: {text}") from error


@contextlib.contextmanager
def handed_over(*arrays: Array) -> Iterator[None]:
    """Read, within a block of :func:`on`, arrays that another thread's block made, and which may go afterwards.

    CuPy gives freed memory back to the stream on which it was made, at once, whoever may still read it. Here the arrays
    live until this thread's stream has been waited for. On the host nothing is to be done.
    """
    try:
        yield
    finally:
        if library_of(*arrays) != "numpy":
            importlib.import_module("cupy").cuda.get_current_stream().synchronize()


@contextlib.contextmanager
def _turn(index: int) -> Iterator[None]:
    """Wait for this thread's turn on the device, unless the thread has one already."""
    held = _held()
    if index in held:
        yield
        return
    with _turns.setdefault(index, threading.Semaphore(AT_ONCE)):
        held[index] = None
        try:
            yield
        finally:
            stream = held.pop(index)
            if stream is not None:
                _idle_streams.setdefault(index, []).append(stream)


def taken(array: Any) -> Array:
    """A NumPy or CuPy array of what any library holds: PyTorch, JAX, numba, dask, zarr ...; copied where it must be.

    Raises
    ------
    TypeError
        If the array is masked or a matrix, or lies on a device of another kind.
    """
    refuse_unlike(array)
    if isinstance(array, np.ndarray) or type(array).__module__.partition(".")[0] == "cupy":
        return array  # type: ignore[no-any-return]
    if hasattr(array, "__cuda_array_interface__"):
        return importlib.import_module("cupy").asarray(array)  # type: ignore[no-any-return]
    if hasattr(array, "__array__") or hasattr(array, "__array_interface__") or not hasattr(array, "__dlpack__"):
        return np.asarray(array)
    kind = int(array.__dlpack_device__()[0])
    if kind not in _DLPACK:
        raise TypeError(f"the array lies on a device of DLPack's kind {kind}; move it to the host or a CUDA device")
    return importlib.import_module(_DLPACK[kind]).from_dlpack(array)  # type: ignore[no-any-return]


def to_device(array: Array, device: Device | str) -> Array:
    """The array of any library on ``device`` (or ``"cpu"``, ``"cuda:0"``); the same array if it lies there already."""
    array = taken(array)
    device = choose_device(device) if isinstance(device, str) else device
    if not device.is_cuda:
        return to_host(array)
    if library_of(array) == "numpy":
        array = np.ascontiguousarray(array, array.dtype.newbyteorder("="))
    cupy = importlib.import_module("cupy")
    with cupy.cuda.Device(device.index):
        moved: Array = cupy.asarray(array)
    return moved


def to_host(array: Array) -> npt.NDArray[Any]:
    """The array of any library in host memory; the same array if it lies there already."""
    array = taken(array)
    if library_of(array) == "numpy" or array.nbytes < _PINNED_BYTES:
        return to_pageable(array)
    device_array: Any = array
    host = host_room(array.shape, array.dtype)
    device_array.get(out=host)
    return host


def to_pageable(array: Array) -> npt.NDArray[Any]:
    """What :func:`to_host` gives, without pinned memory, of which CuPy keeps as much for each size that there was."""
    if library_of(array) == "numpy":
        return np.asarray(array)
    device_array: Any = array
    return device_array.get()  # type: ignore[no-any-return]


def sent(host: npt.NDArray[Any], device: Device) -> Array:
    """An array of the host on ``device``, within a block of :func:`on`, which does not wait for the copy.

    ``host`` must live, and stay as it is, until the block ends. Of pinned memory no other copy is made.
    """
    if not device.is_cuda:
        return host
    there: Any = empty(host.shape, host.dtype, device)
    there.set(host, importlib.import_module("cupy").cuda.get_current_stream())
    return there  # type: ignore[no-any-return]


def fetched(array: Array) -> npt.NDArray[Any]:
    """The array in host memory, complete where the block of :func:`on` ends: the copy to it is not waited for."""
    if library_of(array) == "numpy":
        return np.asarray(array)
    device_array: Any = array
    host = host_room(array.shape, array.dtype)
    device_array.get(out=host, blocking=False)
    return host


def host_room(shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """New memory of the host, of arbitrary content, for copies: pinned, unless the system gives no more of it."""
    try:
        room: npt.NDArray[Any] = importlib.import_module("cupyx").empty_pinned(shape, dtype)
    except RuntimeError:
        return np.empty(shape, dtype)
    return room


def large_room(n_bytes: int) -> npt.NDArray[Any]:
    """Bytes for a buffer that is used many times; what CuPy's pool keeps goes first, as it fits no other size."""
    importlib.import_module("cupy").get_default_pinned_memory_pool().free_all_blocks()
    return host_room((n_bytes,), np.uint8)


def empty(shape: tuple[int, ...], dtype: npt.DTypeLike, device: Device) -> Array:
    """A new array on ``device``, of arbitrary content."""
    if not device.is_cuda:
        return np.empty(shape, dtype)
    cupy = importlib.import_module("cupy")
    with cupy.cuda.Device(device.index):
        array: Array = cupy.empty(shape, dtype)
    return array


def resident(host: npt.NDArray[Any], like: Array) -> Array:
    """``host`` on the device of ``like``, moved once as long as ``host`` exists; ``host`` must not change."""
    if library_of(like) == "numpy":
        return host
    owner: Any = like
    with owner.device as device, _upload:
        key = (id(host), int(device.id))
        known = _residents.get(key)
        if known is None or known[0]() is not host:  # the id of an array that is gone may be another's
            known = _residents[key] = (weakref.ref(host), _upload_of(host, device))
        return known[1]


def _upload_of(host: npt.NDArray[Any], device: Any) -> Array:
    """A copy on the device, complete for the streams of all threads; copies of arrays that are gone make room."""
    # Listed before the wait: of originals that go later, streams may still read the copies.
    gone = [key for key, (original, _) in _residents.items() if key[1] == device.id and original() is None]
    copy: Array = importlib.import_module("cupy").asarray(host)
    device.synchronize()  # for this copy, and for threads that still read one of those
    for key in gone:
        del _residents[key]
    return copy


def _held() -> dict[int, Any]:
    """The devices on which this thread has a turn, each with the stream that the thread works on."""
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


def hosted(op: Callable[..., Array], device: Device) -> Callable[..., HostArray]:
    """``op`` as a function from host to host: its first argument is moved to ``device``, the result back."""
    return functools.partial(_run, op, device)


def where_it_lies(op: Callable[..., Array], device: Device) -> Callable[..., Array]:
    """Like :func:`hosted`, but for an array that lies on a device: it stays there, and so does the result.

    Such an array is taken within a block of :func:`on`.
    """

    def either(array: Array, **how: Any) -> Array:
        return _run(op, device, array, **how) if library_of(array) == "numpy" else op(array, **how)

    return either


def _run(op: Callable[..., Array], device: Device, array: HostArray, **how: Any) -> HostArray:
    with on(device):
        return to_host(op(to_device(array, device), **how))
