"""Launching a body on the arrays of a CUDA device: threads, arguments, compilation."""

from __future__ import annotations

import contextlib
import functools
import importlib
import logging
import math
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gpustitch.array.body import C_TYPES, FLOATING, INTEGER, Parameter, entry_points, program, why_no_body
from gpustitch.array.device import said_by_cuda
from gpustitch.array.sources import Source, said
from gpustitch.errors import DeviceError

_log = logging.getLogger(__name__)

# Without contraction of a product and a sum, bodies round as NumPy does. They write fmaf where one rounding helps.
# CuPy adds -ftz=true: float32 numbers below 1.2e-38 are 0 on a device.
OPTIONS = ("--std=c++17", "--fmad=false")
_MOST_BLOCKS = 2**31 - 1
# Threads that need the same body wait for the one that compiles it.
_compiling = threading.Lock()
# For every source: all type names of its bodies, each with one type that the name may stand for.
_type_names: dict[Source, dict[str, str]] = {}


@dataclass(frozen=True)
class LaunchGrid:
    """How a body's threads cover ``out``, and the types that the body is compiled for.

    Parameters
    ----------
    types
        For each type name in the body: the argument whose dtype the name stands for, and the allowed dtypes.
    tile
        Elements of ``out``, along its axes, that one block of threads writes (None: the whole axis). Blocks are
        numbered in C order by ``blockIdx.x``. Without a tile there is one thread per element.
    threads
        Threads of a block along x, y and z.
    """

    types: Mapping[str, tuple[str, tuple[str, ...]]] = field(default_factory=dict)
    tile: tuple[int | None, ...] | None = None
    threads: tuple[int, ...] = (256,)

    def n_blocks(self, shape: Sequence[int]) -> int:
        """Number of blocks for ``out`` of a shape."""
        if self.tile is None:
            return -(-math.prod(shape) // math.prod(self.threads))
        return math.prod(1 if t is None else -(-n // t) for n, t in zip(shape, self.tile, strict=True))

    def c_types(self, name: str, dtypes: Mapping[str, str]) -> dict[str, str]:
        """The C type of each type name, given the dtypes of the arguments.

        Raises
        ------
        TypeError
            If the body does not take the dtype of an argument.
        """
        found = {}
        for type_name, (argument, allowed) in self.types.items():
            if dtypes[argument] not in allowed:
                raise TypeError(f"{name} takes {argument} of {', '.join(allowed)}, not of {dtypes[argument]}")
            found[type_name] = C_TYPES[dtypes[argument]]
        return found


def declare_types(source: Source, grid: LaunchGrid) -> None:
    """Note the type names of a body: its file is compiled whole, also for bodies without these names."""
    names = {name: C_TYPES[allowed[0]] for name, (_, allowed) in grid.types.items()}
    _type_names[source] = names | _type_names.get(source, {})


def launch(source: Source, name: str, grid: LaunchGrid, arguments: Mapping[str, Any]) -> None:
    """Run body ``name`` on these arguments.

    An array is passed as a pointer and its shape. A list of arrays is passed as a table of pointers, a table of shapes
    and the number of arrays. Shapes and integers are 64-bit, other numbers doubles. Bodies expect C-contiguous
    arrays: other views are copied, and results are copied back.

    Raises
    ------
    TypeError
        If an argument is not of the type that the body takes.
    DeviceError
        If the body does not compile or cannot be launched; the text names it.
    """
    dtypes = {argument: _dtype(value) for argument, value in arguments.items()}
    types = grid.c_types(name, dtypes)
    _check(source, name, tuple(dtypes.items()), tuple(types.items()), tuple(map(_rank, arguments.values())))
    out = arguments["out"]
    if not out.size:
        return
    n_blocks = grid.n_blocks(out.shape)
    if n_blocks > _MOST_BLOCKS:
        raise DeviceError(f"{name} cannot write an array of shape {out.shape} in one launch; work on smaller blocks")
    with _told(f"{name} ({said(source)})"), out.device:
        packed = {argument: _packed(value) for argument, value in arguments.items()}
        with _compiling:
            body = _compiled(source, name, tuple(types.items()), out.device.id)
        body((n_blocks,), grid.threads, _flat_arguments(packed.values()))
        for written in _written(source, name):
            if packed[written] is not arguments[written]:
                arguments[written][...] = packed[written]


@contextlib.contextmanager
def _told(what: str) -> Iterator[None]:
    """What CuPy and CUDA raise about a body, as a DeviceError that names it."""
    cupy = importlib.import_module("cupy")
    try:
        yield
    except (cupy.cuda.compiler.CompileException, cupy.cuda.driver.CUDADriverError) as error:
        raise DeviceError(f"{what} failed: {error}") from error
    except RuntimeError as error:
        if not (text := said_by_cuda(error)):
            raise
        raise DeviceError(f"{what} failed: {text}") from error


def _written(source: Source, name: str) -> list[str]:
    """The arrays that a body writes into: its pointers that are not to constants."""
    return [p.name for p in entry_points(source)[name] if p.pointers == 1 and not p.is_const]


def launched_text(source: Source, types: Mapping[str, str]) -> str:
    """The text to compile, with ``OPTIONS``, before any body of the file is launched with these types.

    Raises
    ------
    DeviceError
        If the file, or a header that it names, is not there.
    """
    return program(source, _type_names.get(source, {}) | dict(types))


@functools.cache
def _compiled(source: Source, name: str, types: tuple[tuple[str, str], ...], _device: int) -> Any:
    """The body for these types; CuPy keeps the binary on disk, under a key that includes the whole text."""
    cupy = importlib.import_module("cupy")
    _log.debug("compiling %s for %s", name, dict(types))
    return cupy.RawModule(code=launched_text(source, dict(types)), options=OPTIONS).get_function(name)


@functools.lru_cache(maxsize=1024)
def _check(
    source: Source,
    name: str,
    dtypes: tuple[tuple[str, str], ...],
    types: tuple[tuple[str, str], ...],
    ranks: tuple[int, ...],
) -> None:
    """Compare the arguments with the body's declaration: CUDA would read through a wrong pointer without an error."""
    if missing := why_no_body(source, name):
        raise DeviceError(f"{name} has no CUDA body: {missing}; `device` cpu computes it")
    declared = list(entry_points(source)[name])
    c_types = dict(types)
    for (argument, dtype), rank in zip(dtypes, ranks, strict=True):
        expected = _expected(argument, dtype, rank)
        found, declared = declared[: len(expected)], declared[len(expected) :]
        resolved = [Parameter(p.name, c_types.get(p.c_type, p.c_type), p.pointers) for p in found]
        if len(resolved) < len(expected) or resolved[0].name != argument:
            raise DeviceError(f"{said(source)}: {name} does not take {argument} where its definition does")
        for ours, theirs in zip(expected, resolved, strict=True):
            if (ours.c_type, ours.pointers) != (theirs.c_type, theirs.pointers):
                raise TypeError(
                    f"{name}: {argument} of {dtype} would be passed as {_said(ours)}, but {said(source)} declares "
                    f"{_said(theirs)} {theirs.name}"
                )
    if declared:
        raise DeviceError(f"{said(source)}: {name} takes more than its definition, from {declared[0].name} on")


def _expected(argument: str, dtype: str, rank: int) -> list[Parameter]:
    """What a body declares for an argument; ``rank`` is the number of axes, -1 for a list of arrays."""
    if dtype in (INTEGER, FLOATING):
        return [Parameter(argument, dtype, 0)]
    c_type = C_TYPES.get(dtype, dtype)
    if rank < 0:
        table = [Parameter(argument, c_type, 2), Parameter("", INTEGER, 1)]
        return [*table, Parameter("", INTEGER, 0)]
    return [Parameter(argument, c_type, 1)] + [Parameter("", INTEGER, 0)] * rank


def _said(parameter: Parameter) -> str:
    return parameter.c_type + "*" * parameter.pointers


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple)


def _dtype(value: Any) -> str:
    """Dtype of an array or of the arrays of a list; the C type of a number."""
    if _is_list(value):
        dtypes = {array.dtype.name for array in value}
        if len(dtypes) != 1:
            raise TypeError(f"a list of arrays must hold arrays of one dtype, not of {sorted(dtypes)}")
        return str(dtypes.pop())
    if hasattr(value, "__cuda_array_interface__"):
        return str(value.dtype.name)
    return INTEGER if isinstance(value, bool | int | np.integer | np.bool_) else FLOATING


def _rank(value: Any) -> int:
    """Number of axes of an array, 0 of a number, -1 for a list of arrays."""
    return -1 if _is_list(value) else int(getattr(value, "ndim", 0))


def _packed(value: Any) -> Any:
    """The argument with C-contiguous arrays: itself, or a copy."""
    if _is_list(value):
        return [_packed(array) for array in value]
    if not hasattr(value, "__cuda_array_interface__") or value.flags.c_contiguous:
        return value
    return importlib.import_module("cupy").ascontiguousarray(value)


def _flat_arguments(values: Iterable[Any]) -> tuple[Any, ...]:
    """What the body is called with, in the order of its declaration."""
    return tuple(flat for value in values for flat in _flat(value))


def _flat(value: Any) -> Iterator[Any]:
    """What the body takes for one argument: :func:`launch` says how."""
    if _is_list(value):
        # Pointers and shapes in one transfer.
        shapes = [n for array in value for n in array.shape]
        words = np.array([*(array.data.ptr for array in value), *shapes], np.uint64)
        table = importlib.import_module("cupy").asarray(words)
        yield table[: len(value)]
        yield table[len(value) :].view(np.int64).reshape(len(value), -1)
        yield np.int64(len(value))
    elif hasattr(value, "__cuda_array_interface__"):
        yield value
        yield from map(np.int64, value.shape)
    elif isinstance(value, bool | int | np.integer | np.bool_):
        yield np.int64(value)
    else:
        yield np.float64(value)
