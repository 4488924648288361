"""The one queue of writers: a bound on bytes handed over and not yet written, and the first failed write."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any

from gpustitch.errors import OutputError, ParameterError
from gpustitch.io.atomic import os_errors

IN_FLIGHT_BYTES = 1 << 27
N_WRITERS = 2


def checked_writers(n_writers: int) -> int:
    """``n_writers``, or ParameterError if it is less than 1."""
    if n_writers < 1:
        raise ParameterError(f"`n_writers` must be at least 1, not {n_writers}")
    return n_writers


class InFlight:
    """Counts the bytes on their way to ``path``; may be used from several threads.

    Parameters
    ----------
    path
        The output.
    limit_bytes
        Bound on the bytes on their way. A larger amount handed over at once goes alone.
    what
        Name of a piece in errors: ``a chunk`` could not be written.
    """

    def __init__(self, path: Path, limit_bytes: int, what: str) -> None:
        self._path = path
        self._limit = limit_bytes
        self._what = what
        self._error: BaseException | None = None
        self._turn = threading.Condition()
        self.n_bytes = 0

    @property
    def has_failed(self) -> bool:
        """Whether anything could not be written."""
        return self._error is not None

    def enter(self, n_bytes: int) -> None:
        """Wait until ``n_bytes`` more may be on their way, and count them; OutputError if a write failed."""
        with self._turn:
            self._turn.wait_for(lambda: self.has_failed or not self.n_bytes or self.n_bytes + n_bytes <= self._limit)
            self.raise_failure()
            self.n_bytes += n_bytes

    def leave(self, n_bytes: int, error: BaseException | None = None) -> None:
        """Report that ``n_bytes`` are written, or the error that prevented it."""
        with self._turn:
            self.n_bytes -= n_bytes
            self._error = self._error or error
            self._turn.notify_all()

    def wait_for_all(self) -> None:
        """Wait until nothing is on its way."""
        with self._turn:
            self._turn.wait_for(lambda: self.n_bytes == 0)

    def raise_failure(self) -> None:
        """Raise OutputError if anything could not be written."""
        if self._error is None:
            return
        try:
            with os_errors(self._path):
                raise self._error
        except OutputError:
            raise
        except BaseException as error:
            raise OutputError(f"{self._path}: {self._what} could not be written: {error}") from error


class Handed:
    """Counts what is left to do with voxels handed over: ``done`` is called once all is done, with the first error."""

    def __init__(self, n: int, done: Callable[[BaseException | None], None]) -> None:
        self._left, self._done = n, done
        self._error: BaseException | None = None
        self._lock = threading.Lock()

    def one(self, error: BaseException | None = None) -> None:
        """Say that one of them is done."""
        with self._lock:
            self._error = self._error or error
            self._left -= 1
            is_last = self._left == 0
        if is_last:
            self._done(self._error)


class Stopped(Exception):
    """The output is given up: :meth:`InTurn.taken` ends instead of waiting for the next piece."""


class InTurn:
    """Pieces of one file: several threads make them, one thread writes them in order, their bytes are bounded.

    Parameters
    ----------
    in_flight
        Counts the bytes of pieces.
    pool
        Runs the functions that make pieces.
    """

    _COMPLETE, _STOP = object(), object()

    def __init__(self, in_flight: InFlight, pool: Executor) -> None:
        self._in_flight = in_flight
        self._pool = pool
        self._queue: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def put(self, makes: Iterable[Callable[[], Any]], n_bytes: int, release: Callable[[], None] | None = None) -> None:
        """Queue pieces of together ``n_bytes``; ``release`` is called once all are written.

        The caller counts the bytes with :meth:`InFlight.enter` first.
        """
        for make in makes:
            self._queue.put(self._pool.submit(make))
        if release is not None:
            self._queue.put(release)
        self._queue.put(n_bytes)

    def complete(self) -> None:
        """Say that no more pieces follow."""
        self._queue.put(self._COMPLETE)

    def stop(self) -> None:
        """Make :meth:`taken` raise :class:`Stopped`, unless it has ended."""
        self._queue.put(self._STOP)

    def taken(self) -> Iterator[Any]:
        """The pieces in order; the request for the next piece says that all earlier ones are in the file."""
        while (item := self._queue.get()) is not self._COMPLETE:
            if item is self._STOP:
                raise Stopped
            if isinstance(item, Future):
                yield item.result()
            elif callable(item):
                item()
            else:
                self._in_flight.leave(item)
