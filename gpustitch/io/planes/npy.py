"""Planes in a NumPy file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gpustitch.io.images.files import reading
from gpustitch.io.planes.adapters import check_range, checked_stack
from gpustitch.io.planes.format import PlaneFormat, Planes
from gpustitch.io.windows import StoredArray, StoredFile


class NpyPlanes:
    """An array (plane, row, column) in a ``.npy`` file (:class:`gpustitch.io.planes.format.Planes`).

    Raises
    ------
    InputMissingError
        If there is no such file.
    DamagedInputError
        If the file is no array, ends early, or holds other than real numbers along three axes.
    """

    depth = 1
    absent: frozenset[int] = frozenset()
    spacing = None

    def __init__(self, file: Path) -> None:
        self.name = str(file)
        with reading(file, "a NumPy array"):
            described = np.lib.format.open_memmap(file, mode="r")  # of which no value is looked at
            self.shape = checked_stack(self.name, described.shape, described.dtype)
            self.dtype: np.dtype[Any] = described.dtype.newbyteorder("=")
            # In Fortran's order the last axis of the array is the first one in the file.
            self._is_turned = not described.flags.c_contiguous
            shape = self.shape[::-1] if self._is_turned else self.shape
            self._stored = StoredArray(StoredFile(file), described.offset, described.dtype, shape)

    def read(self, start: int, stop: int, rows: slice = slice(None), columns: slice = slice(None)) -> npt.NDArray[Any]:
        """Planes ``start <= z < stop``, cut to ``rows`` and ``columns``, as a new array."""
        check_range(self.name, self.shape[0], start, stop)
        if not self._is_turned:
            return self._stored.read(start, stop, rows, columns)
        wanted = range(self.shape[2])[columns]
        out = np.empty((stop - start, len(range(self.shape[1])[rows]), len(wanted)), self.dtype)
        for at, column in enumerate(wanted):
            self._stored.fill(out[:, :, at].T, column, rows, slice(start, stop))
        return out


class NpyFormat(PlaneFormat):
    """An array (plane, row, column) in a ``.npy`` file."""

    name = ".npy"
    suffixes = (".npy",)

    def open(self, file: Path) -> Planes:
        """The array of a file."""
        return NpyPlanes(file)
