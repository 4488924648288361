"""One set of arguments that a twin's body is compared with its definition on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Case:
    """A set of arguments of a twin.

    Parameters
    ----------
    twin
        Name of the twin.
    id
        What is particular about these arguments, in a word or two.
    arguments
        Makes fresh NumPy arguments by name, the same each time: C-contiguous arrays, lists of them, numbers.
    written
        Arguments that are compared afterwards; all others must be left as they were.
    rtol, atol
        Greatest difference as in :func:`numpy.testing.assert_allclose`; where both are 0 values are equal.
    """

    twin: str
    id: str
    arguments: Callable[[], dict[str, Any]]
    written: tuple[str, ...] = ("out",)
    rtol: float = 0.0
    atol: float = 0.0
