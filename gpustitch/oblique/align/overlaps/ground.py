"""The ground of a tile: what it shows between objects that stand out.

Objects may float, sink or slide from tile to tile; what they lie in, the texture of the specimen, does not.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from gpustitch.model import ZYX, Box, Coverage, Spacing, Volume
from gpustitch.model.arrays import Bools, Floats32
from gpustitch.oblique.align.overlaps.strip import binned
from gpustitch.ops.robust import MAD_TO_SIGMA

# The level about a bin is interpolated between medians of blocks, so many bins long.
_BLOCK = 8
# Bins that are off the level by so many standard deviations belong to objects, and so do the bins beside them.
_STANDS_OUT = 3.0
_ONE_BESIDE = np.ones((3, 3, 3), np.bool_)


class Ground:
    """A volume of which bins are not a number where objects stand out, float32.

    ``structure_px`` (z, y, x) is the size of the smallest structure in voxels. Finer bins are smoothed to it before
    objects are sought.
    """

    def __init__(self, volume: Volume, structure_px: ZYX) -> None:
        self._volume, self._structure = volume, structure_px
        self.spacing: Spacing = volume.spacing
        self.dtype: np.dtype[Any] = np.dtype(np.float32)

    @property
    def coverage(self) -> Coverage:
        """Which voxels hold data."""
        return self._volume.coverage

    def read(self, box: Box) -> npt.NDArray[Any]:
        """Voxels of ``box``, which must lie within the grid."""
        return self.read_means(box, (1, 1, 1))

    def read_means(self, box: Box, binning: ZYX) -> Floats32:
        """Means over bins of ``box``, what is left at the ends of the axes is cut off."""
        means = getattr(self._volume, "read_means", None)
        bins: Floats32 = binned(self._volume.read(box), binning) if means is None else means(box, binning)
        if not (finite := np.isfinite(bins)).any():
            return bins
        finer = [s / n for s, n in zip(self._structure, binning, strict=True)]
        known = bins if finite.all() else np.where(finite, bins, np.median(bins[finite]))
        seen = ndimage.gaussian_filter(known, [0.5 * n if n > 1 else 0.0 for n in finer])
        return np.where(objects(seen), np.float32(np.nan), bins)


def objects(bins: Floats32) -> Bools:
    """Which bins (z, y, x) stand out from the level about them, brighter or darker, and those beside them."""
    off = bins - _level(bins)
    noise = MAD_TO_SIGMA * float(np.median(np.abs(off)))
    stands_out = np.abs(off) > _STANDS_OUT * noise
    return np.asarray(ndimage.binary_dilation(stands_out, _ONE_BESIDE))


def _level(bins: Floats32) -> Floats32:
    whole = [(0, -n % _BLOCK) for n in bins.shape]
    padded = np.pad(bins, whole, mode="symmetric")
    z, y, x = (n // _BLOCK for n in padded.shape)
    blocks = padded.reshape(z, _BLOCK, y, _BLOCK, x, _BLOCK).transpose(0, 2, 4, 1, 3, 5).reshape(z, y, x, -1)
    level: Floats32 = ndimage.zoom(np.median(blocks, axis=3), _BLOCK, order=1, mode="nearest", grid_mode=True)
    return level[tuple(slice(0, n) for n in bins.shape)]
