"""The ground of a tile: what it shows between objects that stand out.

Objects may float, sink or slide from tile to tile; what they lie in, the texture of the specimen, does not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import scipy

from gpustitch.array import Device
from gpustitch.model import ZYX, Box, Coverage, Spacing, Volume
from gpustitch.model.arrays import Bools, Floats32, PxZYX
from gpustitch.oblique.align.overlaps.candidates import TRUSTED, find_candidates
from gpustitch.oblique.align.overlaps.peaks import Peak
from gpustitch.oblique.align.points import Overlap
from gpustitch.oblique.align.shifts.parts import structure_px
from gpustitch.oblique.align.shifts.strip import between_bins, binned
from gpustitch.ops.robust import MAD_TO_SIGMA

# The level about a bin is interpolated between medians of blocks, so many bins long.
_BLOCK = 8
# Bins that are off the level by so many standard deviations belong to objects, and so do the bins beside them.
_STANDS_OUT = 3.0
# A ground is elsewhere than objects if it is off by more than so many bins, and fits by so much better where it is. It
# may be elsewhere if it is off by more than this part of a bin.
_FAR_BINS, _BETTER, _DOUBTFUL_BINS = 1.25, 40.0, 0.3
# Once it is settled, it is elsewhere if it is off by so many voxels and standard errors along an axis, and may be from
# so many of both along all axes together. In tissue that did not move it was off by up to 1.8 voxels, at 4.7 errors.
_OFF_PX, _OFF_SIGMAS, _DOUBTFUL_PX, _DOUBTFUL_SIGMAS = 1.5, 3.0, 1.0, 5.0


class Ground:
    """A volume of which bins are not a number where objects stand out, float32.

    ``structure_px`` (z, y, x) is the size of the smallest structure in voxels. Finer bins are smoothed to it before
    objects are sought.
    """

    def __init__(self, volume: Volume, structure_px: ZYX) -> None:
        self._volume, self._structure = volume, structure_px
        self.spacing: Spacing = volume.spacing
        self.dtype: np.dtype[Any] = np.dtype(np.float32)
        # The slant of a volume along the sheet.
        self.shear: float = getattr(volume, "shear", 0.0)

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
        seen = scipy.ndimage.gaussian_filter(known, [0.5 * n if n > 1 else 0.0 for n in finer])
        return np.where(objects(seen), np.float32(np.nan), bins)


def objects(bins: Floats32) -> Bools:
    """Which bins (z, y, x) stand out from the level about them, brighter or darker, and those beside them."""
    off = bins - _level(bins)
    size = np.abs(off, out=off)
    noise = MAD_TO_SIGMA * float(_medians(size.reshape(-1).copy()))
    return _with_neighbours(size > _STANDS_OUT * noise)


def _with_neighbours(there: Bools) -> Bools:
    """Also the bins beside those that are there, along edges and corners too."""
    for axis in range(there.ndim):
        before, behind = (
            tuple(part if k == axis else slice(None) for k in range(there.ndim))
            for part in (slice(None, -1), slice(1, None))
        )
        grown = there.copy()
        grown[behind] |= there[before]
        grown[before] |= there[behind]
        there = grown
    return there


def _medians(values: Floats32) -> Floats32:
    """What ``numpy.median`` gives along the last axis of finite numbers, which are put in another order."""
    half = values.shape[-1] // 2
    values.partition(half, axis=-1)
    upper: Floats32 = values[..., half]
    if values.shape[-1] % 2:
        return upper
    return np.asarray((values[..., :half].max(axis=-1) + upper) / np.float32(2))


def _level(bins: Floats32) -> Floats32:
    """The level about each bin. What goes up or down to the ends goes on beyond them."""
    beyond = [(0, -n % _BLOCK) for n in bins.shape]
    padded = np.pad(bins, beyond, mode="reflect", reflect_type="odd")
    z, y, x = (n // _BLOCK for n in padded.shape)
    blocks = padded.reshape(z, _BLOCK, y, _BLOCK, x, _BLOCK).transpose(0, 2, 4, 1, 3, 5).reshape(z, y, x, -1)
    level = _medians(np.ascontiguousarray(blocks))
    for axis, n in enumerate(bins.shape):
        level = between_bins(level, axis, _BLOCK, n)
    return level


@dataclass(frozen=True)
class GroundFound:
    """Where the grounds of two tiles fit, if they tell.

    ``overlap`` is that of the grounds, ``peak`` the one place, in bins of ``binning``; None if there is none.
    ``fine_px`` are bins in which it can be settled.
    """

    overlap: Overlap
    fine_px: ZYX
    binning: ZYX
    peak: Peak | None

    def is_elsewhere(self, offset_px: PxZYX) -> Literal["no", "perhaps", "yes"]:
        """Whether the ground fits elsewhere than at an offset (z, y, x) at which objects fit."""
        if self.peak is None:
            return "no"
        off = np.abs(np.subtract(self.peak.offset_px, offset_px)) / self.binning
        if (off > _FAR_BINS).any() and self.peak.odds_against(offset_px) > _BETTER:
            return "yes"
        return "perhaps" if (off > _DOUBTFUL_BINS).any() else "no"


def settled_elsewhere(off_px: npt.ArrayLike, sigma_px: npt.ArrayLike) -> Literal["no", "perhaps", "yes"]:
    """Whether a ground that is off by so much, with this standard error (z, y, x both), is elsewhere than objects.

    What moved did so along any direction: the axes count together.
    """
    off, sigma = np.abs(np.asarray(off_px)), np.asarray(sigma_px)
    if (off > _OFF_PX + _OFF_SIGMAS * sigma).any():
        return "yes"
    together = float(np.linalg.norm(off)), float(np.linalg.norm(off / sigma))
    return "perhaps" if together[0] > _DOUBTFUL_PX and together[1] > _DOUBTFUL_SIGMAS else "no"


def find_ground(
    overlap: Overlap, reach_px: ZYX, sigma_um: float, rng: np.random.Generator, device: Device, *, is_cleared: bool
) -> GroundFound:
    """Where what two tiles show between objects fits as a whole, as :func:`find_candidates` does.

    Where a pattern of the camera was taken away (``is_cleared``), what is left of it fits where the camera has not
    moved, and tells nothing.
    """
    shapes = [v.coverage.shape for v in (overlap.fixed, overlap.moving)]
    size = structure_px(overlap.fixed, sigma_um, shapes)
    grounds = Overlap(Ground(overlap.fixed, size), Ground(overlap.moving, size), overlap.offset)
    found = find_candidates(grounds, reach_px, sigma_um, rng, device, is_quick=True)
    # Masked voxels take several times the memory of others.
    fine = size if math.prod(size) > 1 else found.binning
    best = found.peaks[0] if found.peaks else None
    if best is None or best.confidence < TRUSTED or best.is_drawn_out:
        return GroundFound(grounds, fine, found.binning, None)
    z, y, _ = np.abs(best.offset_px) <= found.binning
    stands_still = is_cleared and bool(z and y)
    return GroundFound(grounds, fine, found.binning, None if stands_still else best)
