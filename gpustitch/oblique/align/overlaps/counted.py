"""How much of a tile is read to find where it lies."""

from __future__ import annotations

import math
import threading
from typing import Any

import numpy.typing as npt

from gpustitch.model import Box, Volume
from gpustitch.oblique.align.through import Through


class Counted(Through):
    """A volume that counts the bytes read of it. Threads may share it.

    A volume may say itself what it reads (``n_bytes_read``), as raw frames do. Else a box counts with all the frames
    that it slants through.
    """

    def __init__(self, volume: Volume) -> None:
        super().__init__(volume, volume.dtype)
        self._lock, self._n_bytes = threading.Lock(), 0
        self._before: int | None = getattr(volume, "n_bytes_read", None)

    @property
    def n_bytes(self) -> int:
        """Bytes read so far."""
        if self._before is None:
            return self._n_bytes
        return self._volume.n_bytes_read - self._before  # type: ignore[attr-defined, no-any-return]

    def read(self, box: Box) -> npt.NDArray[Any]:
        """Voxels of ``box``; zero outside the grid."""
        coverage = self.coverage
        z, y, x = box.intersect(Box.of_shape(coverage.shape)).shape
        frames = min(coverage.n_frames, x + math.ceil(coverage.shear * max(0, z - 1)))
        self._count(z * y * frames)
        return self._volume.read(box)

    def _read_along_sheet(self, box: Box) -> npt.NDArray[Any]:
        self._count(box.size)
        return self._volume.read_along_sheet(box)  # type: ignore[attr-defined, no-any-return]

    def _count(self, n_voxels: int) -> None:
        with self._lock:
            self._n_bytes += n_voxels * self.dtype.itemsize


def bytes_of(volume: Volume) -> int:
    """Bytes of all voxels that a tile holds, absent frames included."""
    covered = volume.coverage
    return covered.n_frames * covered.n_rows * covered.n_columns * volume.dtype.itemsize
