"""Whole files on their way to the disk: handed over, counted while they are written, then sealed."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy.typing as npt

from gpustitch.io.write.files.sealing import FileStates, Ledger
from gpustitch.io.write.files.unfinished import has_any
from gpustitch.io.write.in_flight import Handed, InFlight
from gpustitch.io.write.stores import system_error
from gpustitch.model import Box


class Store(Protocol):
    """Hands the voxels of a file to who writes it."""

    def __call__(self, level: int, box: Box, voxels: npt.NDArray[Any], *, may_refer: bool) -> Any:
        """The futures of the write: ``copy`` and ``commit``, whose result may be what the ledger's ``seal`` is given.

        None if the file is written.
        """


class WholeFiles:
    """Takes the voxels of whole files of a volume, and writes them unless they are zeros or done.

    Parameters
    ----------
    states, ledger
        The volume's files, and what seals and notes them.
    in_flight
        Counts the bytes on their way.
    store
        Writes a file.
    write_empty
        Whether files of zeros are written.
    seal
        Whether written files are sealed.
    """

    def __init__(
        self,
        states: Sequence[FileStates],
        ledger: Ledger,
        in_flight: InFlight,
        store: Store,
        *,
        write_empty: bool,
        seal: bool,
    ) -> None:
        self._states, self._ledger, self._in_flight, self._store = states, ledger, in_flight, store
        self._write_empty, self._is_sealed = write_empty, seal

    def hand_over(
        self,
        level: int,
        box: Box,
        voxels: npt.NDArray[Any],
        release: Callable[[], None] | None = None,
        after: Callable[[], None] | None = None,
    ) -> None:
        """Write the files of ``box``, first waiting while too many bytes are on their way.

        ``release`` is called once the voxels are copied, ``after`` once they are written.
        """
        state = self._states[level]
        files = [file for file in box.blocks(state.unit) if not state.is_done[state.index(file)]]
        parts = [(file, voxels[file.slices(box.start)]) for file in files]
        there = [(file, part) for file, part in parts if self._write_empty or has_any(part)]
        if len(there) < len(parts):
            self._ledger.empty(level, set(files) - {file for file, _ in there})
        self._in_flight.enter(voxels.nbytes)
        # One more than there are files: what is handed over here must not end before all of it is.
        written = Handed(len(there) + 1, functools.partial(self._written, voxels.nbytes, after))
        copied = Handed(len(there) + 1, lambda error: None if error or release is None else release())
        for file, part in there:
            self._write_file(level, file, part, written, None if release is None else copied)
        copied.one()
        written.one()

    def _written(self, n_bytes: int, after: Callable[[], None] | None, error: BaseException | None) -> None:
        if after is not None:
            after()
        self._in_flight.leave(n_bytes, error)

    def _write_file(
        self, level: int, file: Box, voxels: npt.NDArray[Any], written: Handed, copied: Handed | None
    ) -> None:
        """Begin to write a file; tell ``written`` when it is on the disk, ``copied`` when its voxels may change."""
        future, failure, is_written = None, None, False
        try:
            if not self._in_flight.has_failed:
                future = self._store(level, file, voxels, may_refer=copied is None)
                self._states[level].files.there[self._states[level].index(file)] = True
                is_written = future is None
        except BaseException as error:
            failure = system_error(error)
        if future is None:
            if is_written:
                self._seal(level, file)
            written.one(failure)
            if copied is not None:
                copied.one(failure)
            return

        def committed(done: Any) -> None:
            failure = _failure(done)
            if failure is None:
                self._seal(level, file, done.result())
            written.one(failure)

        future.commit.add_done_callback(committed)
        if copied is not None:
            tell = copied.one
            future.copy.add_done_callback(lambda done: tell(_failure(done)))

    def _seal(self, level: int, file: Box, sums: tuple[int, int] | None = None) -> None:
        if self._is_sealed:
            self._ledger.seal(level, file, sums)


def _failure(done: Any) -> BaseException | None:
    error = done.exception()
    return None if error is None else system_error(error)
