"""Bodies on the CPU in CuPy's call shape: ``RawModule(code, options).get_function(name)(grid, block, args)``.

The text is compiled by :mod:`tests.cuda_cpu.build` and loaded with ctypes. Before a launch the sizes are compared
with a device's limits and every argument with the kind and size that the compiled function declares: a wrong one
would be read without a word. Then the library's runtime calls the body for every thread, in the order that
:func:`settings` chooses. Launches take turns: the threads' state is global to a library.

With the environment variable ``GPUSTITCH_CUDA_CPU_SANITIZED=1`` bodies are compiled with the address and undefined
behaviour sanitizers (Python must then be started with their libraries preloaded); each array is copied into a block of
memory of exactly its size, so that one element past the end is noticed.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import math
import os
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tests.cuda_cpu import build
from tests.cuda_cpu.build import CompileError, why_not

__all__ = ["CompileError", "EmulatorError", "Function", "RawModule", "launches", "settings", "why_not"]

ORDERS = ("forward", "reverse", "random")
SANITIZED = "GPUSTITCH_CUDA_CPU_SANITIZED"
_MOST_SHARED_BYTES = 48 << 10
_MOST_THREADS = 1024
_MOST_BLOCK = (1024, 1024, 64)
_MOST_GRID = (2**31 - 1, 65535, 65535)
_KINDS = {"i": "a signed integer", "u": "an unsigned integer", "f": "a floating number", "b": "a bool"}


class EmulatorError(RuntimeError):
    """A launch that a device would refuse, never finish, or answer with anything at all."""


@dataclass(frozen=True)
class Settings:
    """Order in which threads and blocks run, the seed of the random one, and whether they run at all."""

    order: str = "forward"
    seed: int = 0
    executes: bool = True


_settings = Settings()
_lock = threading.RLock()
_n_launches = 0


@contextlib.contextmanager
def settings(**changes: Any) -> Iterator[None]:
    """Launch with ``order`` "forward", "reverse" or "random" (with ``seed``) inside the ``with`` block.

    Without ``executes`` launches are checked and do nothing: for those who count calls and bytes alone.
    """
    global _settings
    before, _settings = _settings, replace(_settings, **changes)
    if _settings.order not in ORDERS:
        raise ValueError(f"order is one of {ORDERS}, not {_settings.order!r}")
    try:
        yield
    finally:
        _settings = before


def launches() -> int:
    """Number of launches of this process that ran to their end."""
    return _n_launches


def sanitized() -> bool:
    """Whether bodies are compiled with sanitizers."""
    return os.environ.get(SANITIZED) == "1"


class _Dim3(ctypes.Structure):
    _fields_ = [("x", ctypes.c_uint), ("y", ctypes.c_uint), ("z", ctypes.c_uint)]


class _Launch(ctypes.Structure):
    _fields_ = [
        ("grid", _Dim3),
        ("block", _Dim3),
        ("shared_bytes", ctypes.c_uint),
        ("order", ctypes.c_int),
        ("seed", ctypes.c_ulonglong),
        ("values", ctypes.c_void_p),
    ]


class _Parameter(ctypes.Structure):
    _fields_ = [
        ("kind", ctypes.c_char),
        ("element_kind", ctypes.c_char),
        ("is_const", ctypes.c_char),
        ("size", ctypes.c_int),
        ("element_size", ctypes.c_int),
    ]


class _Entry(ctypes.Structure):
    _fields_ = [
        ("name", ctypes.c_char_p),
        ("run", ctypes.c_void_p),
        ("parameters", ctypes.POINTER(_Parameter)),
        ("n_parameters", ctypes.c_int),
        ("most_threads", ctypes.c_int),
    ]


class RawModule:
    """A text of CUDA C, compiled when the first function is asked for."""

    def __init__(self, *, code: str, options: tuple[str, ...] = ()) -> None:
        self.code = code
        self.options = tuple(options)

    def get_function(self, name: str) -> Function:
        """The body of that name.

        Raises
        ------
        CompileError
            If the text does not compile; lines are those of the file.
        EmulatorError
            If it holds no body of that name.
        """
        path = build.library(self.code, self.options, sanitized=sanitized())
        loaded = _load(path)
        try:
            entry = getattr(loaded, f"cuda_cpu_entry_{name}")
        except AttributeError:
            raise EmulatorError(f'there is no extern "C" __global__ void {name}(...)') from None
        entry.restype = ctypes.POINTER(_Entry)
        return Function(name, loaded, entry(), build.static_shared_bytes(path).get(name, 0))


class Function:
    """One body; calling it runs all its threads before it returns."""

    def __init__(self, name: str, loaded: ctypes.CDLL, entry: Any, static_shared_bytes: int) -> None:
        self.name = name
        self.library = loaded
        self._entry = entry
        self._static_shared_bytes = static_shared_bytes

    @property
    def writes(self) -> list[bool]:
        """For each parameter, whether the body may write through it."""
        found = self._entry.contents
        return [p.kind == b"p" and p.is_const == b"\0" for p in found.parameters[: found.n_parameters]]

    def __call__(self, grid: Sequence[int], block: Sequence[int], args: Sequence[Any], *, shared_mem: int = 0) -> None:
        """Run ``grid`` blocks of ``block`` threads on ``args``: NumPy scalars and arrays of host memory.

        Raises
        ------
        EmulatorError
            If sizes or arguments are wrong, or a thread did what it must not; the text names the thread.
        """
        global _n_launches
        grid3, block3 = _three(grid), _three(block)
        self._check_sizes(grid3, block3, shared_mem)
        parameters = self._entry.contents.parameters[: self._entry.contents.n_parameters]
        if len(args) != len(parameters):
            raise EmulatorError(f"{self.name} takes {len(parameters)} arguments, not {len(args)}")
        with _lock, contextlib.ExitStack() as after:
            copies = _Copies(after) if sanitized() else None
            values = [
                _value(f"{self.name}: argument {i + 1}", argument, parameter, copies)
                for i, (argument, parameter) in enumerate(zip(args, parameters, strict=True))
            ]
            pointers = (ctypes.c_void_p * len(values))(*[v.ctypes.data for v in values])
            launch = _Launch(
                _Dim3(*grid3), _Dim3(*block3), shared_mem, ORDERS.index(_settings.order), _settings.seed,
                ctypes.addressof(pointers),
            )  # fmt: skip
            if not _settings.executes:
                return
            error = self.library.cuda_cpu_launch(self._entry, ctypes.byref(launch))
            if error is not None:
                raise EmulatorError(error.decode())
            _n_launches += 1

    def _check_sizes(self, grid: tuple[int, int, int], block: tuple[int, int, int], shared_bytes: int) -> None:
        for what, sizes, most in (("grid", grid, _MOST_GRID), ("block", block, _MOST_BLOCK)):
            if not all(1 <= n <= limit for n, limit in zip(sizes, most, strict=True)):
                raise EmulatorError(f"{self.name}: a {what} of {sizes} is not within 1 and {most}")
        most_threads = self._entry.contents.most_threads or _MOST_THREADS
        if math.prod(block) > most_threads:
            raise EmulatorError(f"{self.name}: a block of {block} has more than {most_threads} threads")
        total = shared_bytes + self._static_shared_bytes
        if shared_bytes < 0 or total > _MOST_SHARED_BYTES:
            raise EmulatorError(f"{self.name}: {total} bytes of shared memory, not at most {_MOST_SHARED_BYTES}")


class _Copies:
    """Copies of arrays, alone in blocks of their size; what was written goes back when the launch is over."""

    def __init__(self, after: contextlib.ExitStack) -> None:
        self._after = after
        self._made: dict[tuple[int, int], int] = {}
        self._returned: set[tuple[int, int]] = set()
        self._libc = ctypes.CDLL(None)
        self._libc.malloc.restype = ctypes.c_void_p
        self._libc.malloc.argtypes = [ctypes.c_size_t]
        self._libc.free.argtypes = [ctypes.c_void_p]

    def of(self, address: int, n_bytes: int, *, is_written: bool) -> int:
        """Address of the copy; an argument that is passed twice has one."""
        key = address, n_bytes
        if key not in self._made:
            self._made[key] = self._libc.malloc(n_bytes)
            ctypes.memmove(self._made[key], address, n_bytes)
            self._after.callback(self._libc.free, self._made[key])
        if is_written and key not in self._returned:
            self._returned.add(key)
            self._after.callback(ctypes.memmove, address, self._made[key], n_bytes)
        return self._made[key]


def _three(sizes: Sequence[int]) -> tuple[int, int, int]:
    x, y, z = (*map(int, sizes), 1, 1, 1)[:3]
    return x, y, z


@functools.cache
def _load(path: Path) -> ctypes.CDLL:
    loaded = ctypes.CDLL(str(path))
    loaded.cuda_cpu_launch.restype = ctypes.c_char_p
    loaded.cuda_cpu_launch.argtypes = [ctypes.POINTER(_Entry), ctypes.c_void_p]
    return loaded


def _value(where: str, argument: Any, parameter: Any, copies: _Copies | None) -> np.ndarray[Any, Any]:
    """The bytes of one argument, in an array of one element."""
    kind = parameter.kind.decode()
    if isinstance(argument, np.generic):
        found = argument.dtype
        if kind == "p":
            raise EmulatorError(f"{where} is a number, but the body takes an array")
        if (found.kind, found.itemsize) != (kind, parameter.size):
            said = f"{_KINDS.get(kind, 'a structure')} of {8 * parameter.size} bits"
            raise EmulatorError(f"{where} is {found.name}, but the body takes {said}")
        return np.array([argument])
    interface = _interface(where, argument)
    if kind != "p":
        raise EmulatorError(f"{where} is an array, but the body takes a number")
    _check_elements(where, np.dtype(interface["typestr"]), parameter)
    address = interface["data"][0] or 0
    if copies is not None and address:
        n_bytes = np.dtype(interface["typestr"]).itemsize * math.prod(interface["shape"])
        address = copies.of(address, n_bytes, is_written=parameter.is_const == b"\0")
    return np.array([address], np.uint64)


def _interface(where: str, argument: Any) -> dict[str, Any]:
    if isinstance(argument, np.ndarray):
        interface = argument.__array_interface__
    else:
        interface = getattr(argument, "__cuda_array_interface__", None)
    if interface is None:
        raise EmulatorError(f"{where} is {type(argument).__name__}, not an array or a NumPy scalar")
    strides, itemsize = interface.get("strides"), np.dtype(interface["typestr"]).itemsize
    if strides is not None and math.prod(interface["shape"]):
        expected = [itemsize * math.prod(interface["shape"][i + 1 :]) for i in range(len(strides))]
        if any(n > 1 and s != e for n, s, e in zip(interface["shape"], strides, expected, strict=True)):
            raise EmulatorError(f"{where} is an array that is not C-contiguous")
    return interface  # type: ignore[no-any-return]


def _check_elements(where: str, found: np.dtype[Any], parameter: Any) -> None:
    kind, size = parameter.element_kind.decode(), parameter.element_size
    if kind == "p":
        kind = "u"
    if kind != "?" and (found.kind, found.itemsize) != (kind, size):
        said = "pointers" if parameter.element_kind == b"p" else f"{_KINDS[kind]} of {8 * size} bits"
        raise EmulatorError(f"{where} is an array of {found.name}, but the elements that the body takes are {said}")
