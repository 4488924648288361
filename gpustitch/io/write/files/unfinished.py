"""Files of which some voxels are still to come; their arrays are used again, as fresh memory costs more than copies."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gpustitch.model import ZYX, Box

_MOST_FREE = 4  # arrays kept for files that are begun later


@dataclass
class _Pending:
    """A file that still lacks pieces; ``missing`` counts their voxels."""

    box: Box
    missing: int
    voxels: npt.NDArray[Any] | None = None


def has_any(voxels: npt.NDArray[Any]) -> bool:
    """Whether any voxel is not 0; mostly the first plane tells."""
    return any(bool(plane.any()) for plane in voxels)


class Unfinished:
    """Puts pieces of files together; may be used from several threads.

    Parameters
    ----------
    dtype
        Type of the voxels.
    """

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self._dtype = dtype
        self._lock = threading.Lock()  # for the attributes below
        self._pending: dict[tuple[int, ZYX], _Pending] = {}
        self._free: list[npt.NDArray[Any]] = []

    def add(
        self, level: int, file: Box, piece: Box, part: npt.NDArray[Any] | None
    ) -> tuple[bool, npt.NDArray[Any] | None]:
        """Put a piece (None: zeros) into its file.

        Returns
        -------
        tuple
            Whether the file is now whole, and then its voxels, None if all are zero. They go back by :meth:`free`.
        """
        key = (level, file.start)
        has_voxels = part is not None and has_any(part)
        with self._lock:
            pending = self._pending.setdefault(key, _Pending(file, file.size))
            if has_voxels and pending.voxels is None:
                pending.voxels = self._zeros(file)
        if has_voxels:
            # Pieces of one file do not overlap: several threads may copy theirs at the same time.
            pending.voxels[piece.slices(file.start)] = part  # type: ignore[index]
        with self._lock:
            pending.missing -= piece.size
            if pending.missing:
                return False, None
            return True, self._pending.pop(key).voxels

    def free(self, voxels: npt.NDArray[Any]) -> None:
        """Take back an array that :meth:`add` or :meth:`drained` gave, once nothing reads it any more."""
        base = voxels
        while isinstance(base.base, np.ndarray):
            base = base.base
        with self._lock:
            self._free = [*self._free, base][-_MOST_FREE:]

    def close(self) -> None:
        """Give the memory back."""
        with self._lock:
            self._pending.clear()
            self._free.clear()

    def drained(self) -> Iterator[tuple[int, Box, npt.NDArray[Any] | None]]:
        """Take out the files that are not whole: level, box, voxels (None: all are zero); what lacks is zero."""
        while self._pending:
            key = min(self._pending, key=lambda at: at[0])
            pending = self._pending.pop(key)
            yield key[0], pending.box, pending.voxels

    def _zeros(self, file: Box) -> npt.NDArray[Any]:
        fits = [number for number, flat in enumerate(self._free) if file.size <= flat.size <= 2 * file.size]
        if not fits:
            return np.zeros(file.shape, self._dtype)
        flat = self._free.pop(min(fits, key=lambda number: self._free[number].size)).reshape(-1)
        voxels = flat[: file.size].reshape(file.shape)
        voxels.fill(0)
        return voxels
