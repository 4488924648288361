"""A stand-in for CuPy that records launches: arrays of host memory under another module's name."""

from __future__ import annotations

import types

import numpy as np


class FakeArray:
    """Owned by ``cupy`` as far as anybody can tell; ``host`` holds the elements."""

    def __init__(self, host):
        self.host = host

    __array_ufunc__ = None
    __cuda_array_interface__ = {"version": 3}  # noqa: RUF012

    @property
    def shape(self):
        return self.host.shape

    @property
    def size(self):
        return self.host.size

    @property
    def dtype(self):
        return self.host.dtype

    @property
    def flags(self):
        return self.host.flags

    @property
    def ndim(self):
        return self.host.ndim

    @property
    def nbytes(self):
        return self.host.nbytes

    @property
    def data(self):
        return types.SimpleNamespace(ptr=self.host.ctypes.data)

    @property
    def device(self):
        return FakeDevice(0)

    def get(self, out=None):
        if out is None:
            return self.host.copy()
        out[...] = self.host
        return out

    def view(self, dtype):
        return FakeArray(self.host.view(dtype))

    def reshape(self, *shape):
        return FakeArray(self.host.reshape(*shape))

    def __getitem__(self, key):
        return FakeArray(self.host[key])

    def __setitem__(self, key, value):
        self.host[key] = value.host if isinstance(value, FakeArray) else value


FakeArray.__module__ = "cupy._core.core"


class FakeDevice:
    """A device as a context manager."""

    def __init__(self, index, entered=None):
        self.id = index
        self._entered = entered

    def synchronize(self):
        pass

    def __enter__(self):
        if self._entered is not None:
            self._entered.append(self.id)
        return self

    def __exit__(self, *_):
        return None


class FakeStream:
    """A stream that counts how often it was waited for."""

    def __init__(self, non_blocking=False):
        self.non_blocking = non_blocking
        self.waits = self.recorded = 0
        self.waited_for = []

    def synchronize(self):
        self.waits += 1

    def record(self):
        self.recorded += 1
        return self

    def wait_event(self, event):
        self.waited_for.append(event)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None


class FakeRuntimeError(RuntimeError):
    """What the CUDA driver says."""

    __module__ = "cupy_backends.cuda.api.runtime"


class FakeBlasError(RuntimeError):
    """What cuBLAS says."""

    __module__ = "cupy_backends.cuda.libs.cublas"


class FakeCompileError(Exception):
    """What the compiler says."""


class FakeMemoryError(MemoryError):
    """No memory is left on the device."""


def make(devices=("Fake 100",), driver_error=None):
    """A module like ``cupy`` with these devices.

    ``module.launches`` lists (text, name, options, grid, block, args), ``module.selected`` the devices entered,
    ``module.limits`` the limits set on the memory pool.
    """
    module = types.ModuleType("cupy")
    module.launches, module.selected, module.limits = [], [], []
    module.on_launch = None
    module.asarray = lambda a: a if isinstance(a, FakeArray) else FakeArray(np.array(a))
    module.ascontiguousarray = lambda a: FakeArray(np.ascontiguousarray(a.host))
    module.empty = lambda shape, dtype: FakeArray(np.empty(shape, dtype))

    class RawModule:
        def __init__(self, code, options=()):
            self.code, self.options = code, options

        def get_function(self, name):
            def launch(grid, block, args):
                module.launches.append((self.code, name, self.options, grid, block, args))
                if module.on_launch:
                    module.on_launch(args)

            return launch

    def device_count():
        if driver_error:
            raise FakeRuntimeError(driver_error)
        return len(devices)

    module.RawModule = RawModule
    runtime = types.SimpleNamespace(
        getDeviceCount=device_count,
        getDeviceProperties=lambda i: {
            "name": devices[i].encode(), "totalGlobalMem": 80 << 30, "major": 9, "minor": 0,
        },
        CUDARuntimeError=FakeRuntimeError,
    )  # fmt: skip
    module.streams = []

    def stream(non_blocking=False):
        module.streams.append(FakeStream(non_blocking))
        return module.streams[-1]

    module.cuda = types.SimpleNamespace(
        runtime=runtime,
        Device=lambda index: FakeDevice(index, module.selected),
        Stream=stream,
        get_current_stream=FakeStream,
        compiler=types.SimpleNamespace(CompileException=FakeCompileError),
        driver=types.SimpleNamespace(CUDADriverError=FakeRuntimeError),
        memory=types.SimpleNamespace(OutOfMemoryError=FakeMemoryError),
    )
    module.get_default_memory_pool = lambda: types.SimpleNamespace(
        set_limit=lambda size: module.limits.append(size), get_limit=lambda: (module.limits or [0])[-1]
    )
    return module
