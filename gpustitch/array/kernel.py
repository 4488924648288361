"""Kernel twins: a NumPy function that defines an operation, and a CUDA body of the same name.

The NumPy function (the *definition*) is reference, documentation and CPU path. Called with NumPy arrays, a twin runs
its definition. Called with CuPy arrays, the twin compiles and launches the *body*: the CUDA function of its name in the
``.cu`` file. The body takes the same arguments in the same order.
A *tile* here is the part of ``out`` that one block of threads writes, not a stage run.

Another package adds an operation the same way, with the path of its own file::

    @kernel(Path(__file__).with_name("invert.cu"), T="out: uint8 uint16")
    def invert(values: Array, out: Array, most: int) -> None:
        # out = most - values, element by element
        np.subtract(most, values, out=out)

The file ``invert.cu`` lies beside it. A header that is not beside ``invert.cu`` is taken from gpustitch::

    #include "common.cuh"

    extern "C" __global__ void invert(const T* values, long long n_values, T* out, long long n, long long most) {
        const int64 i = thread_number();
        if (i < n) out[i] = (T)(most - values[i]);
    }

The body receives an array as a pointer and its length along each axis. A whole number arrives as ``long long``, any
other number as ``double``. A list of arrays arrives as a table of pointers, a table of shapes and the number of arrays.
Twins write arrays and return nothing.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, Generic, ParamSpec, TypeVar

from gpustitch.array.body import why_no_body
from gpustitch.array.launch import LaunchGrid, declare_types, launch
from gpustitch.array.namespace import library_of
from gpustitch.array.sources import Source, checked_source

P = ParamSpec("P")
R = TypeVar("R")

_REGISTRY: dict[str, Kernel[..., Any]] = {}


class Kernel(Generic[P, R]):
    """One twin: ``name``, ``source`` of its body, ``grid`` of its threads and the NumPy ``definition``.

    The array called ``out`` is written; others may be too.
    """

    def __init__(self, source: Source, grid: LaunchGrid, definition: Callable[P, R]) -> None:
        self.name = definition.__name__
        self.source = source
        self.grid = grid
        self.definition = definition
        self._signature = inspect.signature(definition)
        parameters = self._signature.parameters.values()
        self._floats = tuple(p.name for p in parameters if p.annotation in (float, "float"))
        functools.update_wrapper(self, definition)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        if library_of(*_arrays(args), *_arrays(kwargs.values())) == "numpy":
            return self.definition(*args, **kwargs)
        bound = self._signature.bind(*args, **kwargs)
        bound.apply_defaults()
        # Where the definition asks for a float, a caller may pass a whole number.
        arguments = bound.arguments | {name: float(bound.arguments[name]) for name in self._floats}
        launch(self.source, self.name, self.grid, arguments)
        return None  # type: ignore[return-value]

    @property
    def has_cuda_body(self) -> bool:
        """Whether the CUDA source is there and holds the body."""
        return not why_no_body(self.source, self.name)


def kernel(
    source: Source,
    *,
    tile: tuple[int | None, ...] | None = None,
    threads: tuple[int, ...] = (256,),
    **types: str,
) -> Callable[[Callable[P, R]], Kernel[P, R]]:
    """Register the decorated NumPy function as the twin of the CUDA function of its name in ``source``.

    Parameters
    ----------
    source
        Name of a file of gpustitch's own kernels, or the absolute path of any other file.
    tile, threads
        How threads cover ``out``: :class:`gpustitch.array.launch.LaunchGrid`.
    types
        Type names of the body. ``T="out: uint8 uint16"`` makes T the type of ``out``, which is uint8 or uint16.

    Raises
    ------
    ParameterError
        If ``source`` is neither a file name nor an absolute path.
    ValueError
        If another twin has this name.
    """
    source = checked_source(source)
    named = {name: (text.partition(":")[0], tuple(text.partition(":")[2].split())) for name, text in types.items()}
    grid = LaunchGrid(named, tile, threads)

    def register(definition: Callable[P, R]) -> Kernel[P, R]:
        twin = Kernel(source, grid, definition)
        if twin.name in _REGISTRY:
            raise ValueError(f"two kernels are called {twin.name}")
        _REGISTRY[twin.name] = twin
        declare_types(source, grid)
        return twin

    return register


def kernels() -> Mapping[str, Kernel[..., Any]]:
    """All registered twins by name (those of modules imported so far)."""
    return dict(_REGISTRY)


def _arrays(values: Any) -> Any:
    """The arguments, with the arrays of lists one by one."""
    for value in values:
        if isinstance(value, list | tuple):
            yield from value
        else:
            yield value
