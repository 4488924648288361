"""A tile along the sheet: in the camera's own coordinates the overlap of two tiles is a box."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from gpustitch.model import ZYX, Box, Coverage, Spacing, Volume
from gpustitch.model.geometry import WHOLE_FRAME
from gpustitch.ops.padded import padded

# Planes are read together, about so many, as chunks hold them: the grid's box around many slanted planes is wide.
_PLANES = 64
# Sums of so many voxels of 16 bits are exact in float32.
_MOST_SUMMED = 256


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
        depth = max(1, getattr(volume, "depth", _PLANES))
        self._step = max(1, round(_PLANES / depth)) * depth
        if not self._is_whole and volume.dtype.kind in "ui" and volume.dtype.itemsize <= 2:
            self.read_means = self._read_means

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
        for planes, upright, starts in self._upright(box):
            for row, image, start, z in zip(out[planes.start - box.start[0] :], upright, starts, planes, strict=False):
                self._slanted(image, start, z, row)
        return out

    def _read_means(self, box: Box, binning: ZYX) -> npt.NDArray[np.float32]:
        """Means over bins of ``box``, float32; what is left at the ends of the axes is cut off.

        ``box`` must lie within the grid. Rows are summed before they are interpolated, which is less work.
        """
        n_z, n_y, n_x = binning
        depth, height, width = (n // b for n, b in zip(box.shape, binning, strict=True))
        box = Box.of_shape((depth * n_z, height * n_y, width * n_x), box.start)
        total, row = np.zeros((depth, height, width * n_x), np.float32), np.empty((height, width * n_x), np.float32)
        for planes, upright, starts in self._upright(box):
            exact = np.float32 if n_y <= _MOST_SUMMED else np.float64
            summed = upright.reshape(len(planes), height, n_y, -1).sum(axis=2, dtype=exact)
            for image, start, z in zip(summed, starts, planes, strict=True):
                self._slanted(image, start, z, row)
                total[(z - box.start[0]) // n_z] += row
        return total.reshape(depth, height, width, n_x).sum(axis=3) / np.float32(math.prod(binning))

    def _upright(self, box: Box) -> Iterator[tuple[range, npt.NDArray[Any], list[int]]]:
        """Planes z, the voxels around a box on them, and at which of these columns the box begins on each plane."""
        for first, last in self._slabs(box.start[0], box.stop[0]):
            starts = [math.floor(self.shear * z + WHOLE_FRAME) for z in range(first, last)]
            low, high = starts[0], starts[-1] + (not self._is_whole)
            wide = Box((first, box.start[1], box.start[2] + low), (last, box.stop[1], box.stop[2] + high))
            yield range(first, last), self._volume.read(wide), [start - low for start in starts]

    def _slabs(self, first: int, last: int) -> Iterator[tuple[int, int]]:
        """Ranges of planes that are read together: each chunk of a high box once, a low box at once."""
        if last - first <= 2 * self._step:
            yield first, last
            return
        for start in range(first // self._step * self._step, last, self._step):
            yield max(first, start), min(last, start + self._step)

    def _slanted(self, image: npt.NDArray[Any], start: int, z: int, out: npt.NDArray[Any]) -> None:
        """A plane of the view, from ``image``: columns of the grid's plane ``z``, of which it begins with ``start``."""
        at, beside = (image[:, start + d : start + d + out.shape[1]] for d in (0, 1))
        if self._is_whole:
            out[...] = at
            return
        between = self.shear * z
        np.subtract(beside, at, out=out, dtype=np.float32)
        out *= np.float32(between - math.floor(between + WHOLE_FRAME))
        out += at
