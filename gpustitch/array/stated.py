"""How many bytes of a device's memory an operation takes, stated before it runs.

A statement is a function of the same arguments as its operation, of which it uses shapes and dtypes alone: arrays need
not be there yet (:class:`Shaped`). It gives the most bytes that the operation holds at once beside its arguments: its
result, what it computes on the way, and its libraries' own room. Each lies in a module ``device_bytes`` beside its
operation. Tests hold it against what is taken.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

Statement = TypeVar("Statement", bound=Callable[..., int])

_STATEMENTS: dict[Callable[..., Any], Callable[..., int]] = {}


@dataclass(frozen=True)
class Shaped:
    """Shape and dtype of an array that is not there yet."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of the elements."""
        return self.size * self.dtype.itemsize


def states(operation: Callable[..., Any]) -> Callable[[Statement], Statement]:
    """Register the decorated function as the statement of an operation.

    Raises
    ------
    ValueError
        If the operation has one already.
    """

    def register(statement: Statement) -> Statement:
        if operation in _STATEMENTS:
            raise ValueError(f"{operation.__qualname__} has two statements of its device's memory")
        _STATEMENTS[operation] = statement
        return statement

    return register


def statements() -> Mapping[Callable[..., Any], Callable[..., int]]:
    """All statements by operation (those of modules imported so far)."""
    return dict(_STATEMENTS)
