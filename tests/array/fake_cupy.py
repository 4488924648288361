"""A stand-in for CuPy that records launches: arrays of host memory under another module's name."""

from __future__ import annotations

import contextlib
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

    def __setitem__(self, key, value):
        self.host[key] = value.host if isinstance(value, FakeArray) else value


FakeArray.__module__ = "cupy._core.core"


class FakeRuntimeError(RuntimeError):
    """What the CUDA driver says."""


def make(devices=("Fake 100",), driver_error=None):
    """A module like ``cupy`` with these devices; ``module.launches`` lists (text, name, options, grid, block, args)."""
    module = types.ModuleType("cupy")
    module.launches = []
    module.on_launch = None
    module.asarray = lambda a: a if isinstance(a, FakeArray) else FakeArray(np.asarray(a))
    module.ascontiguousarray = lambda a: FakeArray(np.ascontiguousarray(a.host))
    module.asnumpy = lambda a: a.host

    def raw_kernel(text, name, options=()):
        def launch(grid, block, args):
            module.launches.append((text, name, options, grid, block, args))
            if module.on_launch:
                module.on_launch(args)

        return launch

    def device_count():
        if driver_error:
            raise FakeRuntimeError(driver_error)
        return len(devices)

    module.RawKernel = raw_kernel
    runtime = types.SimpleNamespace(
        getDeviceCount=device_count,
        getDeviceProperties=lambda i: {
            "name": devices[i].encode(), "totalGlobalMem": 80 << 30, "major": 9, "minor": 0,
        },
        CUDARuntimeError=FakeRuntimeError,
    )  # fmt: skip
    module.selected = []

    @contextlib.contextmanager
    def device(index):
        module.selected.append(index)
        yield

    module.cuda = types.SimpleNamespace(runtime=runtime, Device=device)
    return module
