"""The files of a volume that is written: which are finished, and their content; on the disk before they count."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np

from gpustitch.io.checked import told, whole
from gpustitch.io.journal import Journal
from gpustitch.io.partial import flush
from gpustitch.io.sums import summed
from gpustitch.io.volumes.record import ARRAY_FILES, Files
from gpustitch.io.write.shards import grid_of
from gpustitch.model import ZYX, Box


class FileStates:
    """The files of one level on their grid (z, y, x).

    Attributes
    ----------
    files
        Which files are there, their sizes and checksums.
    is_done
        bool: nothing of the file is to come. A file of zeros is done without being there.
    """

    def __init__(self, shape: ZYX, unit: ZYX) -> None:
        self.shape, self.unit = shape, unit
        self.grid = grid_of(shape, unit)
        self.files = Files.none(self.grid)
        self.is_done = np.zeros(self.grid, np.bool_)
        self._whole = Box.of_shape(shape)

    def index(self, file: Box) -> ZYX:
        """The place of a file, or of the file that holds a box."""
        z, y, x = (s // n for s, n in zip(file.start, self.unit, strict=True))
        return z, y, x

    def box(self, index: ZYX) -> Box:
        """The voxels of a file."""
        return Box.of_shape(self.unit, [i * n for i, n in zip(index, self.unit, strict=True)]).intersect(self._whole)

    def done(self, index: ZYX, n_bytes: int, crc32: int) -> None:
        """Note a finished file; ``n_bytes`` is 0 for one of zeros, which is not there."""
        self.files.there[index] = n_bytes > 0
        self.files.n_bytes[index], self.files.crc32[index] = n_bytes, crc32
        self.is_done[index] = True


def flush_rest(volume: Path) -> None:
    """Flush folders and descriptions in the folder of a volume; the files of chunks are on the disk."""
    for root, _, names in os.walk(volume):
        is_top = Path(root) == volume
        for name in ("", *(name for name in names if is_top or name in ARRAY_FILES)):
            flush(Path(root, name))


class Ledger:
    """Flushes finished files on threads of its own, sums them up, and notes them.

    Parameters
    ----------
    states
        The files of each level.
    place
        The path of a file, by level and index.
    unit
        The name of a file in the journal.
    journal
        Where finished files are noted, or None.
    n_threads
        Number of files at a time.
    failed
        Told the errors of the operating system.
    """

    def __init__(
        self,
        states: Sequence[FileStates],
        place: Callable[[int, ZYX], Path],
        unit: Callable[[int, ZYX], str],
        journal: Journal | None,
        n_threads: int,
        failed: Callable[[BaseException], None],
    ) -> None:
        self._states, self._place, self._unit, self._journal = states, place, unit, journal
        self._pool = ThreadPoolExecutor(n_threads, "gpustitch-seal")
        self._failed = failed

    def resume(self, folders: Iterable[Path]) -> None:
        """Take over the finished files that the journal knows, and remove all others from the levels' folders.

        Where other processes write the volume too, nothing is removed.
        """
        if self._journal is None:
            return
        for (level, state), folder in zip(enumerate(self._states), folders, strict=True):
            kept = {self._place(level, index) for index in np.ndindex(*state.grid) if self._is_kept(level, index)}
            if self._journal.is_part:
                continue
            for root, _, names in os.walk(folder):
                for path in (Path(root, name) for name in names if name not in ARRAY_FILES):
                    if path not in kept:
                        path.unlink()

    def _is_kept(self, level: int, index: ZYX) -> bool:
        """Whether an earlier run has finished a file: the journal says so, and it is there with its size."""
        assert self._journal is not None
        facts = self._journal.found(self._unit(level, index))
        if facts is None:
            return False
        with told(self._journal.path, "the files of an unfinished run", "remove it, and begin anew"):
            n_bytes, crc32 = whole(facts["n_bytes"], "n_bytes"), whole(facts["crc32"], "crc32")
        if n_bytes:
            place = self._place(level, index)
            if not (place.is_file() and place.stat().st_size == n_bytes):
                return False
        self._states[level].done(index, n_bytes, crc32)
        return True

    def seal(self, level: int, file: Box, sums: tuple[int, int] | None = None) -> None:
        """Flush a written file, sum it up, and note it; returns before that is done.

        ``sums`` are the size and CRC-32 of a file that is flushed already.
        """
        index = self._states[level].index(file)
        work = (
            functools.partial(self._note, level, index, *sums) if sums else functools.partial(self._seal, level, index)
        )
        self._pool.submit(work).add_done_callback(self._told)

    def empty(self, level: int, files: Iterable[Box]) -> None:
        """Note files of zeros, which are not written."""
        for file in files:
            self._note(level, self._states[level].index(file), 0, 0)

    def close(self) -> None:
        """Wait for all files."""
        self._pool.shutdown()

    def _seal(self, level: int, index: ZYX) -> None:
        path = self._place(level, index)
        n_bytes, crc32 = summed(path)
        flush(path)
        self._note(level, index, n_bytes, crc32)

    def _note(self, level: int, index: ZYX, n_bytes: int, crc32: int) -> None:
        self._states[level].done(index, n_bytes, crc32)
        if self._journal is not None:
            self._journal.add(self._unit(level, index), {"n_bytes": n_bytes, "crc32": crc32})

    def _told(self, job: Future[None]) -> None:
        if (error := job.exception()) is not None:
            self._failed(error)
