"""Devices, streams, events and memory of the stand-in for CuPy (``cupy.cuda``). Everything is done at once."""

from __future__ import annotations

import collections
import threading
import time
import types
import weakref

import numpy as np

from tests.cuda_cpu.shim_books import BOOKS, Clock
from tests.cuda_cpu.shim_counts import COUNTS

MEMORY_BYTES = 8 << 30
_state = threading.local()


class CUDARuntimeError(RuntimeError):
    """What the CUDA runtime says."""

    __module__ = "cupy_backends.cuda.api.runtime"


class CUDADriverError(RuntimeError):
    """What the CUDA driver says."""

    __module__ = "cupy_backends.cuda.api.driver"


class CompileException(Exception):
    """What the compiler says."""


class OutOfMemoryError(MemoryError):
    """The memory of the device, or the part of it that may be taken, does not suffice."""


class Pool:
    """Memory of the device: bytes in use, and the most that may be (0: no limit)."""

    def __init__(self):
        # The garbage collector may free an array while one is counted.
        self._lock = threading.RLock()
        self._limit = self._used = self.most_used = 0

    def take(self, n_bytes):
        """Count an array that was made."""
        with self._lock:
            limit = self._limit or MEMORY_BYTES
            if self._used + n_bytes > limit:
                raise OutOfMemoryError(
                    f"Out of memory allocating {n_bytes:,} bytes (allocated so far: {self._used:,} bytes, limit set "
                    f"to: {limit:,} bytes)."
                )
            self._used += n_bytes
            self.most_used = max(self.most_used, self._used)

    def give(self, n_bytes):
        """Count an array that is gone."""
        with self._lock:
            self._used -= n_bytes

    def set_limit(self, size=None, fraction=None):
        """Most bytes that may be in use, 0 for all."""
        self._limit = int(size if fraction is None else fraction * MEMORY_BYTES)

    def get_limit(self):
        """Most bytes that may be in use, 0 for all."""
        return self._limit

    def used_bytes(self):
        """Bytes in use."""
        return self._used

    def total_bytes(self):
        """Bytes taken from the device."""
        return self._used

    def free_all_blocks(self, stream=None):
        """Nothing is kept."""


POOL = Pool()


class Flags:
    """LaunchGrid of an array in memory."""

    def __init__(self, flags):
        self.c_contiguous, self.f_contiguous, self.owndata = flags.c_contiguous, flags.f_contiguous, flags.owndata
        self.forc = flags.forc
        self.fnc = flags.fnc


class MemoryPointer:
    """Address of an array's first element."""

    def __init__(self, ptr):
        self.ptr, self.device_id = ptr, 0


class PinnedPool:
    """Pinned memory: ordinary memory here, of which bytes are counted as CuPy's pool has them.

    That keeps what is freed, for whoever asks for as many bytes again.
    """

    def __init__(self):
        # The garbage collector may free an array while one is counted.
        self._lock = threading.RLock()
        self._free = collections.Counter()
        self._used = self.most = 0

    def empty(self, shape, dtype=float, order="C"):
        """A new array of arbitrary content."""
        host = np.empty(shape, dtype, order)
        with self._lock:
            self._free[host.nbytes] -= self._free[host.nbytes] > 0
            self._used += host.nbytes
            self.most = max(self.most, self.total_bytes())
        weakref.finalize(host, self._give, host.nbytes)
        return host

    def _give(self, n_bytes):
        with self._lock:
            self._used -= n_bytes
            self._free[n_bytes] += 1

    def total_bytes(self):
        """Bytes in use, and those that are kept."""
        return self._used + sum(size * n for size, n in self._free.items())

    def free_all_blocks(self):
        """Give back what is kept."""
        with self._lock:
            self._free.clear()

    def n_free_blocks(self):
        """Number of arrays that are kept."""
        return sum(self._free.values())


PINNED = PinnedPool()


class Device:
    """A device; as a context it is the current one of its thread."""

    def __init__(self, device=None):
        self.id = runtime.getDevice() if device is None else int(device)
        if not 0 <= self.id < runtime.getDeviceCount():
            raise CUDARuntimeError("cudaErrorInvalidDevice: invalid device ordinal")

    compute_capability = "90"
    mem_info = property(lambda self: (MEMORY_BYTES - POOL.used_bytes(), MEMORY_BYTES))

    def use(self):
        """Make this the current device."""
        _state.device = self.id

    def synchronize(self):
        """Everything is done already; the books may count on it from now on."""
        COUNTS.wait()
        BOOKS.all_done()

    def __enter__(self):
        _state.before = [*getattr(_state, "before", []), runtime.getDevice()]
        self.use()
        return self

    def __exit__(self, *_):
        _state.device = _state.before.pop()

    def __int__(self):
        return self.id

    def __eq__(self, other):
        return isinstance(other, Device) and self.id == other.id

    def __hash__(self):
        return self.id

    def __repr__(self):
        return f"<CUDA Device {self.id}>"


class Stream:
    """A stream; as a context it is the current one of its thread."""

    null = None

    def __init__(self, null=False, non_blocking=False, ptds=False, *, priority=None):
        self.non_blocking = non_blocking
        self.ptr = 0 if null else id(self)
        self.done = True
        self.clock = Clock()

    def fill_later(self, out, elements):
        """Memory of the host has its elements when this copy is waited for; nothing useful before."""
        BOOKS.filled(self.clock, out, elements)

    def read_later(self, host):
        """A copy from memory of the host, which must not change before the copy is waited for."""
        BOOKS.unchanged(self.clock, host)

    def synchronize(self):
        """Everything is done already, but for copies to the host; the books may count on it from now on."""
        COUNTS.wait()
        BOOKS.done(self.clock.reached())

    def use(self):
        """Make this the current stream."""
        _state.stream = self
        return self

    def record(self, event=None):
        """An event that happens now."""
        event = event or Event()
        event.record(self)
        return event

    def wait_event(self, event):
        """Everything is done already; the books may count on it for this stream."""
        self.clock.wait_for(event.reached)

    def __enter__(self):
        _state.streams = [*getattr(_state, "streams", []), current_stream()]
        return self.use()

    def __exit__(self, *_):
        _state.stream = _state.streams.pop()


Stream.null = Stream(null=True)


def current_stream(device_id=None):
    """The stream that this thread's work goes to."""
    return getattr(_state, "stream", Stream.null)


class Event:
    """A moment."""

    def __init__(self, block=False, disable_timing=False, interprocess=False):
        self.time_s = None
        self.done = True
        self.reached = {}

    def record(self, stream=None):
        """It happens now."""
        self.time_s = time.perf_counter()
        self.reached = (stream or current_stream()).clock.reached()

    def synchronize(self):
        """It has happened."""
        COUNTS.wait()
        BOOKS.done(self.reached)


def get_elapsed_time(start_event, end_event):
    """Milliseconds between two events."""
    return 1000 * (end_event.time_s - start_event.time_s)


def alloc_pinned_memory(size):
    """Memory of the host."""
    return np.empty(size, np.uint8)


def _properties(index):
    return {
        "name": b"Emulated CUDA device", "totalGlobalMem": MEMORY_BYTES, "major": 9, "minor": 0, "warpSize": 32,
        "multiProcessorCount": 2, "sharedMemPerBlock": 48 << 10, "maxThreadsPerBlock": 1024,
    }  # fmt: skip


runtime = types.SimpleNamespace(
    CUDARuntimeError=CUDARuntimeError,
    getDevice=lambda: getattr(_state, "device", 0),
    getDeviceCount=lambda: 1,
    getDeviceProperties=_properties,
    deviceSynchronize=BOOKS.all_done,
    memGetInfo=lambda: Device(0).mem_info,
    runtimeGetVersion=lambda: 13000,
    driverGetVersion=lambda: 13000,
)


class Nvtx:
    """Ranges of a profiler, kept as they begin: names and how deep they lie in those of their thread."""

    available = True

    def __init__(self):
        self.begun = []
        self._open = threading.local()

    def RangePush(self, message, id_color=-1):
        """A range begins."""
        depth = getattr(self._open, "depth", 0)
        self.begun.append((message, depth))
        self._open.depth = depth + 1

    def RangePop(self):
        """The innermost range of this thread ends."""
        if not self.depth:
            raise RuntimeError("no range has begun")
        self._open.depth -= 1

    @property
    def depth(self):
        """Ranges of this thread that have begun and not ended."""
        return getattr(self._open, "depth", 0)


NVTX = Nvtx()
