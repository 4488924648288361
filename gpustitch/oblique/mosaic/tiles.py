"""The volumes of tiles on disk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gpustitch.errors import MosaicError
from gpustitch.io.volumes.blockfs import BlockfsVolume
from gpustitch.io.volumes.opening import open_volume
from gpustitch.io.volumes.sidecar import SIDECAR
from gpustitch.model import Box, Coverage, Mosaic, Volume, shear_of, stage_position


def open_tile(path: str | Path, *, allow_missing: bool = False) -> Volume:
    """Open the volume of one tile with :func:`open_volume`; a blockfs volume becomes a :class:`SpimstitchTile`."""
    volume = open_volume(path, allow_missing=allow_missing)
    return SpimstitchTile(volume) if isinstance(volume, BlockfsVolume) else volume


def open_tiles(mosaic: Mosaic, *, allow_missing: bool = False) -> list[Volume]:
    """Open the volumes of all tiles with :func:`open_tile`, in the order of the mosaic.

    Raises
    ------
    MosaicError
        If a volume is no tile but stitched of tiles, or the only one and not named by a position.
    DamagedInputError
        If a volume cannot be opened.
    """
    for tile in mosaic.tiles:
        n_tiles = _stitched_of(tile.path)
        if n_tiles:
            raise MosaicError(
                f"{tile.path} is stitched of {n_tiles} tiles and no tile itself; give the folder of the tiles"
            )
    only = mosaic.tiles[0].path
    if len(mosaic.tiles) == 1 and stage_position(only) is None:
        raise MosaicError(
            f"{only} is one volume, not a folder of tiles X/X_Y/Z; a stitched volume needs no alignment or fusion"
        )
    return [open_tile(tile.path, allow_missing=allow_missing) for tile in mosaic.tiles]


def _stitched_of(path: Path) -> int:
    """The number of tiles that a volume was stitched of, as its sidecar says; 0 if it does not say so."""
    try:
        content = json.loads((path / SIDECAR).read_text(encoding="utf-8"))
        return len(content.get("tiles", ()))
    except (OSError, ValueError, AttributeError, TypeError, RecursionError):
        return 0


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
