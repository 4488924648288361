"""The volumes of tiles on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gpustitch.io.volumes.blockfs import BlockfsVolume
from gpustitch.io.volumes.opening import open_volume
from gpustitch.model import Box, Coverage, Volume, shear_of


def open_tile(path: str | Path, *, allow_missing: bool = False) -> Volume:
    """Open the volume of one tile with :func:`open_volume`; a blockfs volume becomes a :class:`SpimstitchTile`."""
    volume = open_volume(path, allow_missing=allow_missing)
    return SpimstitchTile(volume) if isinstance(volume, BlockfsVolume) else volume


class SpimstitchTile:
    """A tile that spimstitch de-obliqued, with the coverage that its files do not state.

    spimstitch makes a tile of frames + planes columns, whatever the step, and knows sheets at 45 degrees only. So the
    number of frames and the slant follow from shape and spacing. If the step is below pixel / sqrt(2), that width is
    too small and spimstitch lost the end of the scan. The lost end counts as covered here and reads as 0.
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
