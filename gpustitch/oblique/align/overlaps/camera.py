"""A tile along the sheet: in the camera's own coordinates the overlap of two tiles is a box."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import as_strided

from gpustitch.model import ZYX, Box, Coverage, Spacing, Volume
from gpustitch.model.geometry import WHOLE_FRAME
from gpustitch.oblique.align.shifts.strip import sums_of_bins
from gpustitch.ops.padded import padded

# Planes are read together, about so many, as chunks hold them: the grid's box around many slanted planes is wide.
_PLANES = 64
# Planes that are slanted together: few enough for the processor's cache.
_TOGETHER = 16


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
    def reads_frames(self) -> bool:
        """Whether a single frame is read as fast as its part of many."""
        return self._frames is not None

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
        for planes, upright in self._upright(box):
            self._slanted(upright, planes, out[planes.start - box.start[0] :][: len(planes)])
        return out

    def _read_means(self, box: Box, binning: ZYX) -> npt.NDArray[np.float32]:
        """Means over bins of ``box``, float32; what is left at the ends of the axes is cut off.

        ``box`` must lie within the grid. Rows are summed before they are interpolated, which is less work.
        """
        n_z, n_y, n_x = binning
        depth, height, width = (n // b for n, b in zip(box.shape, binning, strict=True))
        box = Box.of_shape((depth * n_z, height * n_y, width * n_x), box.start)
        total = np.zeros((depth, height, width * n_x), np.float32)
        for planes, upright in self._upright(box):
            summed = sums_of_bins(upright, 1, n_y)
            for z in range(planes.start, planes.stop, _TOGETHER):
                few = range(z, min(z + _TOGETHER, planes.stop))
                slanted = np.empty((len(few), height, width * n_x), np.float32)
                self._slanted(summed[z - planes.start :], few, slanted, planes.start)
                for plane, image in zip(few, slanted, strict=True):
                    total[(plane - box.start[0]) // n_z] += image
        means: npt.NDArray[np.float32] = sums_of_bins(total, 2, n_x)
        means /= np.float32(math.prod(binning))
        return means

    def _upright(self, box: Box) -> Iterator[tuple[range, npt.NDArray[Any]]]:
        """Planes z, and the voxels of the grid around what ``box`` has on them, from the column of the first one on."""
        for first, last in self._slabs(box.start[0], box.stop[0]):
            low, high = self._column(first), self._column(last - 1) + (not self._is_whole)
            wide = Box((first, box.start[1], box.start[2] + low), (last, box.stop[1], box.stop[2] + high))
            yield range(first, last), self._volume.read(wide)

    def _column(self, z: int) -> int:
        """The column of the grid at which frame 0 begins on a plane, or the one before."""
        return math.floor(self.shear * z + WHOLE_FRAME)

    def _slabs(self, first: int, last: int) -> Iterator[tuple[int, int]]:
        """Ranges of planes that are read together: each chunk of a high box once, a low box at once."""
        if last - first <= 2 * self._step:
            yield first, last
            return
        for start in range(first // self._step * self._step, last, self._step):
            yield max(first, start), min(last, start + self._step)

    def _slanted(
        self, upright: npt.NDArray[Any], planes: range, out: npt.NDArray[Any], first: int | None = None
    ) -> None:
        """Cut ``planes`` of the view out of those of the grid; column 0 of ``upright`` belongs to plane ``first``."""
        low = self._column(planes.start if first is None else first)
        starts = [self._column(z) - low for z in planes]
        at = 0
        while at < len(planes):
            # Planes that are displaced by equally many columns from one to the next are one array of other strides.
            steps = [b - a for a, b in itertools.pairwise(starts[at : at + _TOGETHER])]
            n = 1 + next((i for i, s in enumerate(steps) if s != steps[0]), len(steps))
            z, y, x = upright.strides
            shape = (n, out.shape[1], out.shape[2] + (not self._is_whole))
            slanted = as_strided(upright[at:, :, starts[at] :], shape, (z + (steps[0] if steps else 0) * x, y, x))
            to = out[at : at + n]
            if self._is_whole:
                to[...] = slanted
            else:
                np.subtract(slanted[..., 1:], slanted[..., :-1], out=to, dtype=np.float32)
                beside = [self.shear * z - self._column(z) for z in planes[at : at + n]]
                to *= np.array(beside, np.float32)[:, None, None]
                to += slanted[..., :-1]
            at += n
