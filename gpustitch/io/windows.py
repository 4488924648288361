"""Windows of arrays in files, by reads at a place and never by a memory map.

A map of a file that becomes shorter, or of a disk that fails, ends the program; a read raises an error.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from gpustitch.errors import DamagedInputError

_BAND_BYTES = 1 << 18


class StoredFile:
    """An open file that is read at given places; may be read from several threads.

    Another process that gets it opens the file again.

    Raises
    ------
    OSError
        As opening a file raises it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._file = path.open("rb", buffering=0)

    def __reduce__(self) -> tuple[type[Self], tuple[Path]]:
        return type(self), (self.path,)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def size(self) -> int:
        """Bytes in the file now."""
        return os.fstat(self._file.fileno()).st_size

    def bytes_at(self, offset: int, count: int) -> bytes:
        """Bytes of the file; fewer where it ends."""
        if hasattr(os, "pread"):
            return os.pread(self._file.fileno(), count, offset)
        with self._lock:  # a system without reads at a place
            self._file.seek(offset)
            return self._file.read(count)

    def fill(self, target: npt.NDArray[Any], offset: int, what: str) -> None:
        """Fill a contiguous array; ``what`` it is stands in the error.

        Raises
        ------
        DamagedInputError
            If the disk fails, or the file became shorter.
        """
        if not target.size:
            return
        view = target.view(np.uint8).data.cast("B")  # of any byte order; an error unless it is contiguous
        while view:
            try:
                count = self._take(view, offset)
            except OSError as error:
                raise DamagedInputError(f"{self.path}: {what} cannot be read: {error.strerror or error}") from error
            if count == 0:
                raise DamagedInputError(f"{self.path} became shorter while {what} was read")
            view, offset = view[count:], offset + count

    def _take(self, view: memoryview, offset: int) -> int:
        """Read some bytes; their number."""
        if hasattr(os, "preadv"):
            return os.preadv(self._file.fileno(), [view], offset)
        with self._lock:
            self._file.seek(offset)
            return self._file.readinto(view)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class StoredArray:
    """An array (plane, row, column) that lies in a file, plane after plane.

    Parameters
    ----------
    file
        The file.
    offset
        Where the array begins, in bytes.
    dtype, shape
        Of the array; the dtype has the byte order of the file. Each column may be an array itself.
    what
        Name of a plane in errors.

    Raises
    ------
    DamagedInputError
        If the file ends before the array.
    """

    def __init__(
        self, file: StoredFile, offset: int, dtype: np.dtype[Any], shape: tuple[int, ...], what: str = "plane"
    ) -> None:
        self.file = file
        self.shape = shape
        self.dtype = dtype
        self._offset, self._what = offset, what
        self._column_bytes = dtype.itemsize * int(np.prod(shape[3:], dtype=np.int64))
        self._row_bytes = self._column_bytes * shape[2]
        self._plane_bytes = self._row_bytes * shape[1]
        needed, size = offset + self._plane_bytes * shape[0], file.size
        if size < needed:
            raise DamagedInputError(f"{file.path} is cut short: it has {size} bytes, and its pixels end at {needed}")

    def fill(self, out: npt.NDArray[Any], plane: int, rows: slice = slice(None), columns: slice = slice(None)) -> None:
        """Fill ``out`` with a window of a plane; DamagedInputError if it cannot be read."""
        down, along = range(self.shape[1])[rows], range(self.shape[2])[columns]
        if not out.size:
            return
        start = self._offset + plane * self._plane_bytes
        what = f"{self._what} {plane}"
        is_wide = len(along) == self.shape[2] and along.step == 1
        if is_wide and down.step == 1 and out.dtype == self.dtype and out.flags.c_contiguous:
            self.file.fill(out, start + down.start * self._row_bytes, what)
            return
        # Whole rows, a few at a time: they stay in the processor's cache until the wanted columns are taken.
        n_lines = max(1, _BAND_BYTES // max(1, self._row_bytes * abs(down.step)))
        lines = np.empty(((min(n_lines, len(down)) - 1) * abs(down.step) + 1, *self.shape[2:]), self.dtype)
        for first in range(0, len(down), n_lines):
            wanted = down[first : first + n_lines]
            top, bottom = min(wanted[0], wanted[-1]), max(wanted[0], wanted[-1]) + 1
            band = lines[: bottom - top]
            self.file.fill(band, start + top * self._row_bytes, what)
            out[first : first + n_lines] = band[wanted[0] - top :: down.step][: len(wanted), columns]

    def read(self, start: int, stop: int, rows: slice = slice(None), columns: slice = slice(None)) -> npt.NDArray[Any]:
        """Planes ``start <= z < stop``, cut to ``rows`` and ``columns``: a new array in the machine's byte order."""
        window = (len(range(self.shape[1])[rows]), len(range(self.shape[2])[columns]))
        out = np.empty((stop - start, *window, *self.shape[3:]), self.dtype.newbyteorder("="))
        for to, plane in zip(out, range(start, stop), strict=True):
            self.fill(to, plane, rows, columns)
        return out
