"""Many arrays of the host in one piece of pinned memory, to be sent to a device at once."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from gpustitch.array.namespace import Array
from gpustitch.array.transfer import host_room
from gpustitch.model.arrays import HostArray

# What voxels go up as; others are float32 from here on.
_SMALL = ("uint8", "uint16", "float32")
# Tables begin at multiples of so many bytes, as the largest of their numbers must.
_STEP = 8


def sent_type(dtypes: Sequence[np.dtype[Any]]) -> np.dtype[Any]:
    """The type in which voxels of these types go up together."""
    names = {dtype.name for dtype in dtypes}
    return np.dtype(names.pop() if len(names) == 1 and names <= {*_SMALL} else "float32")


class Packed:
    """Arrays, each at the beginning of a row, and tables, copied to one piece of pinned memory, ``host``.

    Parameters
    ----------
    rows
        Arrays of any shapes, at least one.
    tables
        Small arrays of any shapes and dtypes, which go along.
    """

    def __init__(self, rows: Sequence[HostArray], tables: Sequence[npt.NDArray[Any]]) -> None:
        self._dtype = sent_type([a.dtype for a in rows])
        self._shape = len(rows), max(a.size for a in rows)
        self._tables = [(t.shape, t.dtype) for t in tables]
        sizes = [math.prod(shape) * dtype.itemsize for shape, dtype in self._tables]
        self._begins = list(itertools.accumulate((-(-n // _STEP) * _STEP for n in sizes), initial=0))
        n_bytes = self._begins[-1] + self._dtype.itemsize * math.prod(self._shape)
        # Of few sizes, as memory that was pinned once is kept for its size.
        self.host = host_room((1 << max(0, n_bytes - 1).bit_length(),), np.uint8)[:n_bytes]
        voxels, *there = self.parts(self.host)
        for row, array in zip(voxels, rows, strict=True):
            row[: array.size].reshape(array.shape)[...] = array
        for room, table in zip(there, tables, strict=True):
            room[...] = table

    def parts(self, memory: Any) -> list[Array]:
        """The rows, shape (arrays, room), and the tables within this memory of the host or of a device."""
        found = [memory[self._begins[-1] :].view(self._dtype).reshape(self._shape)]
        for first, (shape, dtype) in zip(self._begins, self._tables, strict=False):
            found.append(memory[first : first + math.prod(shape) * dtype.itemsize].view(dtype).reshape(shape))
        return found
