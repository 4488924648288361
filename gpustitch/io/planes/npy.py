"""Planes in a NumPy file."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from gpustitch.io.images.files import reading
from gpustitch.io.planes.adapters import ArrayPlanes
from gpustitch.io.planes.format import PlaneFormat, Planes


class NpyFormat(PlaneFormat):
    """An array (plane, row, column) in a ``.npy`` file, mapped into memory."""

    name = ".npy"
    suffixes = (".npy",)

    def open(self, file: Path) -> Planes:
        """The array of a file."""
        with reading(file, "a NumPy array"):
            array = np.asarray(np.lib.format.open_memmap(file, mode="r"))
        return ArrayPlanes(array, str(file))
