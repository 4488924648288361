"""Outputs that end once, whole or not at all."""

from __future__ import annotations

import abc
import contextlib
from types import TracebackType
from typing import Self


class Closing(abc.ABC):
    """A ``with`` block around what is written, which :meth:`close` may end too.

    Subclasses set ``_stack``, whose end gives the output its name; an error that leaves it removes the partial output.
    """

    _stack: contextlib.ExitStack
    _is_closed = False

    @abc.abstractmethod
    def _end(self, error: BaseException | None) -> None:
        """Write what is left, and wait for all of it; raise the ``error`` of the block, or that of a write."""

    def close(self) -> None:
        """Wait for all writes and give the output its name. Voxels that were never given are zero.

        Raises
        ------
        OutputError
            If any write failed; the partial output is then removed.
        """
        self.__exit__(None, None, None)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._is_closed:
            return
        self._is_closed = True
        with self._stack:
            self._end(error)
