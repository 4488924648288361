"""Kernel twins: a NumPy function that defines an operation, and a CUDA body of the same name.

The NumPy function is definition, reference, documentation and CPU path. Called with NumPy arrays it runs;
called with CuPy arrays the ``.cu`` file named in the decorator is compiled and launched with the same
arguments in the same order.
"""

from __future__ import annotations

import functools
import importlib
import importlib.resources
import inspect
from collections.abc import Callable, Mapping
from typing import Any, Generic, ParamSpec, TypeVar

import numpy as np

from gpustitch.array.namespace import library_of
from gpustitch.errors import DeviceError

P = ParamSpec("P")
R = TypeVar("R")

THREADS_PER_BLOCK = 256
_C_TYPES = {
    "uint8": "unsigned char", "uint16": "unsigned short", "int32": "int", "uint32": "unsigned int",
    "int64": "long long", "float32": "float", "float64": "double",
}  # fmt: skip
_REGISTRY: dict[str, Kernel[..., Any]] = {}


class Kernel(Generic[P, R]):
    """One twin: ``name``, ``source`` (file in ``kernels/``) and the NumPy ``definition``.

    The last array argument called ``out`` is written; one CUDA thread is launched per element of it,
    and its dtype is given to the compiler as ``T``.
    """

    def __init__(self, source: str, definition: Callable[P, R]) -> None:
        self.name = definition.__name__
        self.source = source
        self.definition = definition
        functools.update_wrapper(self, definition)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        if library_of(*args, *kwargs.values()) == "numpy":
            return self.definition(*args, **kwargs)
        bound = inspect.signature(self.definition).bind(*args, **kwargs)
        bound.apply_defaults()
        return _launch(self, bound.arguments)

    @property
    def has_cuda_body(self) -> bool:
        """Whether the CUDA source is installed."""
        return bool(_source_file(self.source).is_file())


def kernel(source: str) -> Callable[[Callable[P, R]], Kernel[P, R]]:
    """Register the decorated NumPy function as the twin of the CUDA function of its name in ``source``."""

    def register(definition: Callable[P, R]) -> Kernel[P, R]:
        twin = Kernel(source, definition)
        if twin.name in _REGISTRY:
            raise ValueError(f"two kernels are called {twin.name}")
        _REGISTRY[twin.name] = twin
        return twin

    return register


def kernels() -> Mapping[str, Kernel[..., Any]]:
    """All registered twins by name (those of modules imported so far)."""
    return dict(_REGISTRY)


def _source_file(name: str) -> Any:
    return importlib.resources.files("gpustitch.kernels") / name


@functools.cache
def _compiled(source: str, name: str, c_type: str) -> Any:
    cupy = importlib.import_module("cupy")
    text = f'#line 1 "kernels/{source}"\n' + _source_file(source).read_text(encoding="utf-8")
    return cupy.RawKernel(text, name, options=(f"-DT={c_type}", "--std=c++17", "--fmad=false"))


def _launch(twin: Kernel[..., R], arguments: Mapping[str, Any]) -> R:
    if not twin.has_cuda_body:
        raise DeviceError(f"{twin.name} has no CUDA body yet; run it with --device cpu")
    out = arguments["out"]
    c_type = _C_TYPES.get(out.dtype.name)
    if c_type is None:
        raise TypeError(f"{twin.name} does not write {out.dtype} on a CUDA device")
    if out.size:
        # The bodies index rows one after another: views are copied, and what was written is copied back.
        packed = {name: _contiguous(value) for name, value in arguments.items()}
        blocks = -(-out.size // THREADS_PER_BLOCK)
        _compiled(twin.source, twin.name, c_type)((blocks,), (THREADS_PER_BLOCK,), _device_arguments(packed))
        if packed["out"] is not out:
            out[...] = packed["out"]
    return None  # type: ignore[return-value]


def _contiguous(value: Any) -> Any:
    if not hasattr(value, "__cuda_array_interface__") or value.flags.c_contiguous:
        return value
    return importlib.import_module("cupy").ascontiguousarray(value)


def _device_arguments(arguments: Mapping[str, Any]) -> tuple[Any, ...]:
    """Arrays followed by their shape as int64, integers as int64, floats as float32."""
    flat: list[Any] = []
    for value in arguments.values():
        if hasattr(value, "shape") and hasattr(value, "__cuda_array_interface__"):
            flat.append(value)
            flat.extend(np.int64(n) for n in value.shape)
        elif isinstance(value, bool | int | np.integer):
            flat.append(np.int64(value))
        else:
            flat.append(np.float32(value))
    return tuple(flat)
