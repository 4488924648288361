"""The volumes of tiles on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gpustitch.io.volumes.blockfs import BlockfsVolume
from gpustitch.io.volumes.opening import open_volume
from gpustitch.model import Box, Coverage, Volume, shear_of


def open_tile(path: str | Path) -> Volume:
    """The volume of one tile: as :func:`open_volume`, but a blockfs volume is a :class:`SpimstitchTile`."""
    volume = open_volume(path)
    return SpimstitchTile(volume) if isinstance(volume, BlockfsVolume) else volume


class SpimstitchTile:
    """A tile that spimstitch de-obliqued, with the coverage that its files do not state.

    spimstitch gives a tile frames + planes columns, whatever the step, and knows sheets at 45 degrees only; so number
    of frames and slant follow from shape and spacing. Where that width was too small for the scan (a step below
    pixel / sqrt(2)) spimstitch lost the end, which counts as covered here and reads as 0.
    """

    def __init__(self, volume: Volume) -> None:
        self._volume = volume
        self.dtype: np.dtype[Any] = volume.dtype
        self.spacing = volume.spacing
        planes, rows, columns = volume.coverage.shape
        shear = shear_of(self.spacing.y_um, self.spacing.x_um, 45)
        # spimstitch copies, with a shear of 1, where the step is within 0.01 um of the exact one.
        shear = 1.0 if abs(shear - 1) * self.spacing.x_um < 0.01 else shear
        self.coverage = Coverage(max(1, columns - planes), rows, planes, shear)

    def read(self, box: Box) -> npt.NDArray[Any]:
        """Voxels of ``box``; zero outside the volume."""
        return self._volume.read(box)
