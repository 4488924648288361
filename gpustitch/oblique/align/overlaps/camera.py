"""A tile along the sheet: in the camera's own coordinates the overlap of two tiles is a box."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from gpustitch.model import Box, Coverage, Spacing, Volume
from gpustitch.model.geometry import WHOLE_FRAME
from gpustitch.ops.padded import padded

# Planes are read together in boxes of at most so many voxels: the grid's box around a slanted strip is wider than the
# strip, but each read looks into the same chunks of a volume once more.
_MOST_VOXELS = 2**24


class CameraView:
    """A volume whose grid is slanted like the sheet: planes z, rows y, frames f.

    A volume that can ``read_along_sheet``, raw frames, is read so. Of any other, voxel (z, y, f) is that at column
    ``f + shear * z``, interpolated along x unless the shear is whole. A volume that is a box is its own view.
    """

    def __init__(self, volume: Volume) -> None:
        self._volume = volume
        self.spacing: Spacing = volume.spacing
        self.shear = volume.coverage.shear
        self._frames = getattr(volume, "read_along_sheet", None)
        self._is_whole = self._frames is not None or abs(self.shear - round(self.shear)) <= WHOLE_FRAME
        self.dtype: np.dtype[Any] = volume.dtype if self._is_whole else np.dtype(np.float32)

    @property
    def coverage(self) -> Coverage:
        """Which voxels hold data: a box with holes. Interpolation needs the frames beside a frame too."""
        own = self._volume.coverage
        absent = set(own.absent)
        if not self._is_whole:
            beside = {a + d for a in (-1, *own.absent, own.n_frames) for d in (-1, 0, 1)}
            absent = {a for a in beside if 0 <= a < own.n_frames}
        return Coverage(own.n_frames, own.n_rows, own.n_columns, 0.0, tuple(absent))

    def read(self, box: Box) -> npt.NDArray[Any]:
        """Voxels of ``box``; zero outside the grid."""
        return padded(box, self.coverage.shape, self.dtype, self._inside)

    def _inside(self, box: Box) -> npt.NDArray[Any]:
        if self._frames is not None:
            voxels: npt.NDArray[Any] = self._frames(box)
            return voxels
        out = np.empty(box.shape, self.dtype)
        (n_planes, n_rows, width), step = box.shape, 1
        while step < n_planes and 2 * step * n_rows * (width + self.shear * 2 * step) <= _MOST_VOXELS:
            step *= 2
        for first in range(box.start[0], box.stop[0], step):
            last = min(first + step, box.stop[0])
            low, high = (math.floor(self.shear * z + WHOLE_FRAME) for z in (first, last - 1))
            wide = Box((first, box.start[1], box.start[2] + low), (last, box.stop[1], box.stop[2] + high + 1))
            voxels = self._volume.read(wide)
            for plane, image in enumerate(voxels, first):
                start = math.floor(self.shear * plane + WHOLE_FRAME)
                cut = slice(start - low, start - low + box.shape[2])
                row = out[plane - box.start[0]]
                if self._is_whole:
                    row[...] = image[:, cut]
                else:
                    weight = np.float32(self.shear * plane - start)
                    np.subtract(image[:, cut.start + 1 : cut.stop + 1], image[:, cut], out=row, dtype=np.float32)
                    row *= weight
                    row += image[:, cut]
        return out
