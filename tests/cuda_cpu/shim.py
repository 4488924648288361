"""A stand-in for CuPy, cupyx.scipy and cuCIM on NumPy, SciPy and scikit-image, with bodies run by the emulator.

With it everything behind ``--device cuda`` runs where there is no GPU::

    from tests.cuda_cpu import shim

    with shim.installed():
        a = shim.asarray(host)
        operation(a)

It is as strict as CuPy, and stricter where CuPy copies from the host without a word: arrays of the host are no
operands, nothing is converted to NumPy by itself, reductions give arrays, and names and keywords that CuPy lacks are
not there.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
import types
from collections.abc import Iterator

import numpy as np

from tests.cuda_cpu import shim_cuda as cuda_parts
from tests.cuda_cpu import shim_names as names
from tests.cuda_cpu.shim_array import call_ufunc, check_call, holds_array, ndarray, note, unwrap, wrap
from tests.cuda_cpu.shim_books import BOOKS
from tests.cuda_cpu.shim_counts import COUNTS
from tests.cuda_cpu.shim_cuda import PINNED, POOL

__all__ = ["COUNTS", "PINNED", "POOL", "asarray", "asnumpy", "installed", "ndarray"]


@contextlib.contextmanager
def installed() -> Iterator[types.ModuleType]:
    """Importing CuPy, cupyx and cuCIM gives the stand-ins inside; yields the one for ``cupy``."""
    before = {name: sys.modules.pop(name) for name in _imported()}
    sys.modules.update(_MODULES)
    _forget()
    BOOKS.forget_faults()
    try:
        yield _MODULES["cupy"]
    finally:
        _forget()
        POOL.set_limit(0)
        for name in _MODULES:  # a stand-in holds no module of another name
            sys.modules.pop(name, None)
        sys.modules.update(before)
    BOOKS.raise_faults()


def _imported() -> list[str]:
    """Names of modules of CuPy, cupyx and cuCIM that are imported: none without the package itself."""
    if sys.modules.keys().isdisjoint(_ROOTS):
        return []
    return [name for name in sys.modules if name.startswith(_ROOTS) and name.partition(".")[0] in _ROOTS]


def asarray(a, dtype=None, order=None, *, copy=None, blocking=False):
    """An array of the device with these elements; the same one if it is there already."""
    if isinstance(a, ndarray) and dtype in (None, a.dtype) and not copy:
        return a
    return array(a, dtype, order=order or "K")


def array(obj, dtype=None, copy=True, order="K", subok=False, ndmin=0, *, blocking=False):
    """A new array of the device. Lists hold numbers, or arrays of one of the two libraries, never of both."""
    is_here = holds_array(obj)
    if isinstance(obj, ndarray):
        obj = unwrap(obj)
    elif isinstance(obj, tuple | list) and is_here:
        if not all(isinstance(part, ndarray) for part in obj):
            ndarray.__array__(None)
        obj = unwrap(obj)
    elif hasattr(obj, "__cuda_array_interface__"):
        # Of another library; here addresses of the device are those of the host.
        obj = np.asarray(types.SimpleNamespace(__array_interface__=obj.__cuda_array_interface__))
    COUNTS.note("calls" if is_here else "uploads", np.asarray(obj).nbytes)
    if not is_here:
        COUNTS.note("staged", np.asarray(obj).nbytes)
    with np.errstate(all="ignore"):
        host = np.array(obj, dtype, order=order, ndmin=ndmin)
    return wrap(host.astype(host.dtype.newbyteorder("="), copy=False))


def asnumpy(a, stream=None, order="C", out=None, *, blocking=True):
    """The elements in host memory."""
    if isinstance(a, ndarray):
        return a.get(stream, order, out)
    return np.asarray(a, order=order)


def _forget() -> None:
    """Compiled bodies, streams and residents are of one library or the other."""
    launch, transfer = (importlib.import_module(f"gpustitch.array.{name}") for name in ("launch", "transfer"))
    launch._compiled.cache_clear()
    transfer._idle_streams.clear()
    transfer._residents.clear()


def _function(original, name, text, takes_arrays=True):
    """A function of NumPy, SciPy or scikit-image as one of arrays of the device."""
    by_position, by_name = names.parameters(text)
    is_variadic = not by_position

    def function(*args, **kwargs):
        check_call(name, [""] * len(args) if is_variadic else by_position, by_name, args, kwargs)
        if takes_arrays and not any(map(holds_array, [*args, *kwargs.values()])):
            raise TypeError(f"{name}() takes arrays of the device, not {', '.join(str(type(a)) for a in args)}")
        hosts, named = [unwrap(a) for a in args], {k: unwrap(v) for k, v in kwargs.items()}
        with np.errstate(all="ignore"):
            result = original(*hosts, **named)
        for key in ("out", "output"):
            out = args[by_position.index(key)] if key in by_position[: len(args)] else kwargs.get(key)
            if isinstance(out, ndarray):
                COUNTS.note("calls")
                return note(out, writes=True)
        COUNTS.call(name, result, [*hosts, *named.values()])
        return wrap(result)

    function.__name__ = name
    return function


def _module(name, functions=(), original=None, **attributes):
    """A module of functions of another module; ``functions`` maps names to parameters."""
    module = types.ModuleType(name)
    for key, text in dict(functions).items():
        setattr(module, key, _function(getattr(original, key), key, text))
    for key, value in attributes.items():
        setattr(module, key, value)
    return module


def _numbers(original, functions):
    """Functions that take and give plain numbers."""
    return {name: _checked(getattr(original, name), name, text) for name, text in functions.items()}


def _checked(original, name, text):
    def function(*args, **kwargs):
        check_call(name, *names.parameters(text), args, kwargs)
        return original(*args, **kwargs)

    return function


def _creation(original, functions):
    return {
        name: _function(getattr(original, name), name, text, takes_arrays=False) for name, text in functions.items()
    }


class RawModule:
    """CUDA C as a module of bodies that run on the CPU."""

    def __init__(self, code=None, *, path=None, options=(), backend="nvrtc", name_expressions=None):
        self._emulator = importlib.import_module("tests.cuda_cpu.module")
        self._module = self._emulator.RawModule(code=code, options=tuple(options))

    def get_function(self, name):
        """A body: called with the number of blocks, the threads of a block and the arguments."""
        try:
            body = self._module.get_function(name)
        except self._emulator.CompileError as error:
            raise cuda_parts.CompileException(str(error)) from error

        def launch(grid, block, args, *, shared_mem=0, stream=None):
            for value in args:
                if not isinstance(value, ndarray | np.generic):
                    raise TypeError(f"Unsupported type {type(value)}")
            for value, is_written in zip(args, body.writes, strict=False):
                if isinstance(value, ndarray):
                    note(value, writes=is_written)
            COUNTS.note("bodies")
            return body(grid, block, args, shared_mem=shared_mem)

        return launch


def _cupy():
    module = _module("cupy", {**names.FUNCTIONS, **names.VARIADIC}, np, ndarray=ndarray, RawModule=RawModule)
    for name in names.UFUNCS:
        setattr(module, name, lambda *args, _name=name, **kwargs: call_ufunc(_name, *args, **kwargs))
    for name in names.SHARED:
        setattr(module, name, getattr(np, name))
    for name, function in _creation(np, names.CREATION).items():
        setattr(module, name, function)
    module.__version__ = "14.2.0"
    module.array, module.asarray, module.asnumpy = array, asarray, asnumpy
    module.shape, module.size = (lambda a: a.shape), (lambda a: a.size)
    module.get_array_module = lambda *args: module if any(isinstance(a, ndarray) for a in args) else np
    module.get_default_memory_pool = lambda: POOL
    module.get_default_pinned_memory_pool = lambda: PINNED
    module.cuda = _cuda()
    module.lib = _module("cupy.lib")
    module.lib.stride_tricks = _module("cupy.lib.stride_tricks", names.STRIDE_TRICKS, np.lib.stride_tricks)
    module.linalg = _module("cupy.linalg", {"norm": "x ord axis keepdims |"}, np.linalg)
    return module


def _cuda():
    compiler = _module("cupy.cuda.compiler", CompileException=cuda_parts.CompileException)
    driver = _module("cupy.cuda.driver", CUDADriverError=cuda_parts.CUDADriverError)
    memory = _module("cupy.cuda.memory", OutOfMemoryError=cuda_parts.OutOfMemoryError)
    return _module(
        "cupy.cuda",
        Device=cuda_parts.Device,
        Stream=cuda_parts.Stream,
        Event=cuda_parts.Event,
        runtime=cuda_parts.runtime,
        compiler=compiler,
        driver=driver,
        memory=memory,
        get_current_stream=cuda_parts.current_stream,
        get_elapsed_time=cuda_parts.get_elapsed_time,
        alloc_pinned_memory=cuda_parts.alloc_pinned_memory,
        is_available=lambda: True,
        nvtx=cuda_parts.NVTX,
        set_allocator=lambda allocator=None: None,
        get_allocator=lambda: None,
    )


def _cupyx():
    scipy = importlib.import_module("scipy")
    fft, ndimage = importlib.import_module("scipy.fft"), importlib.import_module("scipy.ndimage")
    module = _module("cupyx", empty_pinned=PINNED.empty, zeros_pinned=np.zeros)
    module.scipy = _module("cupyx.scipy", __version__=scipy.__version__)
    module.scipy.fft = _module("cupyx.scipy.fft", names.SCIPY_FFT, fft)
    for functions in (_creation(fft, names.SCIPY_FFT_CREATION), _numbers(fft, names.SCIPY_FFT_NUMBERS)):
        module.scipy.fft.__dict__.update(functions)
    module.scipy.ndimage = _module("cupyx.scipy.ndimage", names.SCIPY_NDIMAGE, ndimage)
    return module


def _cucim():
    module = _module("cucim", skimage=_module("cucim.skimage"))
    tables = {
        "filters": names.SKIMAGE_FILTERS,
        "feature": names.SKIMAGE_FEATURE,
        "measure": names.SKIMAGE_MEASURE,
        "registration": names.SKIMAGE_REGISTRATION,
    }
    for name, table in tables.items():
        original = importlib.import_module(f"skimage.{name}")
        setattr(module.skimage, name, _module(f"cucim.skimage.{name}", table, original))
    return module


def _by_name(module):
    """The module and those inside it, by their full names."""
    found = {module.__name__: module}
    for value in vars(module).values():
        if isinstance(value, types.ModuleType) and value.__name__.startswith(f"{module.__name__}."):
            found |= _by_name(value)
    return found


_MODULES = {name: module for root in (_cupy(), _cupyx(), _cucim()) for name, module in _by_name(root).items()}
_ROOTS = ("cupy", "cupyx", "cucim")
for _name, _root in _MODULES.items():
    # Packages, as far as the import system asks: what they do not hold is not to be found on disk.
    _root.__path__ = []
