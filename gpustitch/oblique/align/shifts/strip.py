"""Parts of a tile for comparison as a whole: coarse, and without levels and shading."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gpustitch.array import Array, namespace
from gpustitch.model import ZYX, Box, Volume
from gpustitch.model.arrays import Bools, Floats32
from gpustitch.ops.smooth import smooth

# The wide Gaussian, of what counts as level and shading, is so many times the narrow one.
_WIDE = 4.0
# Part of a binned voxel that must be covered.
COVERED = 0.5
# Less than this of what is smoothed over says nothing.
LEAST_WEIGHT = 1e-3
_ALL = np.ones((1, 1, 1), np.bool_)


@dataclass(frozen=True)
class Strip:
    """A box of a tile, float32 (z, y, x): means over bins, less their surroundings.

    ``mask`` says which bins count, None if all do. ``start`` is the tile's voxel at which the first one begins.
    """

    voxels: Floats32
    mask: npt.NDArray[np.bool_] | None
    start: ZYX


@dataclass(frozen=True)
class RawStrip:
    """A box of a tile as it was read, and the part of each bin (z, y, x) that counts, float32; None if all count.

    ``binning`` (z, y, x) is what is still to be taken as one; means that the volume made itself are not.
    """

    voxels: npt.NDArray[Any]
    weight: Floats32 | None
    start: ZYX
    binning: ZYX

    @property
    def shape(self) -> ZYX:
        """How many bins there are."""
        z, y, x = (n // k for n, k in zip(self.voxels.shape, self.binning, strict=True))
        return z, y, x

    def in_bins(self) -> RawStrip:
        """The same with means over bins."""
        return RawStrip(binned(self.voxels, self.binning), self.weight, self.start, (1, 1, 1))


def raw_strip(volume: Volume, box: Box, binning: ZYX) -> RawStrip:
    """Read a box of a tile: what :func:`read_strip` begins with."""
    voxels, covered, finite, is_binned = _read(volume, box, binning)
    raw = RawStrip(voxels, None, box.start, (1, 1, 1) if is_binned else binning)
    if covered.all() and finite.all():
        return raw
    weight = _weight(covered, binning)
    return dataclasses.replace(raw, weight=np.broadcast_to(weight * finite, raw.shape).astype(np.float32))


def read_strip(volume: Volume, box: Box, binning: ZYX, sigma: tuple[float, float, float] = (1.0, 1.0, 1.0)) -> Strip:
    """Read a box of a tile, bin it, and keep what is neither noise nor shading.

    That is the difference of two Gaussians, of ``sigma`` and four times as many bins (z, y, x), over voxels that are
    covered and finite. Means that the volume makes itself count if they are finite.
    """
    sigmas = both_sigmas(sigma)
    voxels, covered, finite, is_binned = _read(volume, box, binning)
    image: Floats32 = voxels if is_binned else binned(voxels, binning)
    if covered.all() and finite.all():
        # Without a common level little is lost to rounding, and of one level nothing is left.
        image -= image.mean(dtype=np.float64).astype(np.float32)
        narrow, wide = (smooth(image, s) for s in sigmas)
        return Strip(narrow - wide, None, box.start)
    weight = _weight(covered, binning)
    if not finite.all():
        weight = weight * finite
    n_covered = float(weight.sum()) * (image.size / weight.size)
    image -= (image.sum(dtype=np.float64) / max(1.0, n_covered)).astype(np.float32) * weight
    narrow, wide = (smooth(image, s) / np.maximum(smooth(weight, s), LEAST_WEIGHT) for s in sigmas)
    mask = weight > COVERED
    values = np.where(mask, narrow - wide, np.float32(0))
    return Strip(values, None if mask.all() else np.broadcast_to(mask, values.shape), box.start)


def both_sigmas(sigma: tuple[float, float, float]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Standard deviations of the narrow Gaussian and of the wide one, bins."""
    return sigma, tuple(_WIDE * s for s in sigma)


def _read(volume: Volume, box: Box, binning: ZYX) -> tuple[npt.NDArray[Any], Bools, Bools, bool]:
    """Voxels of a box, or means over bins; which are covered, which means are finite, and whether they are means."""
    means = getattr(volume, "read_means", None)
    voxels = volume.read(box) if means is None else means(box, binning)
    covered = _covered(volume, box)
    finite: Bools = np.isfinite(voxels) if voxels.dtype.kind == "f" else _ALL
    if not finite.all():
        voxels = np.where(finite, voxels, 0)
        if means is None:
            covered, finite = covered & finite, _ALL
    return voxels, covered, finite, means is not None


def _weight(covered: Bools, binning: ZYX) -> Floats32:
    """The part of each bin that is covered."""
    part: Floats32 = binned(covered, [min(n, m) for n, m in zip(binning, covered.shape, strict=True)])
    return part


def _covered(volume: Volume, box: Box) -> npt.NDArray[np.bool_]:
    """Which voxels of a box are covered; one plane and row where all are alike, one voxel where nothing is absent."""
    coverage = volume.coverage
    if not coverage.absent:
        return np.ones((1, 1, 1), np.bool_)
    if not coverage.shear and Box.of_shape(coverage.shape).contains(box):
        box = Box(box.start, (box.start[0] + 1, box.start[1] + 1, box.stop[2]))
    return coverage.mask(box)


def binned(voxels: Array, binning: Sequence[int]) -> Array:
    """Means over bins, float32; what is left at the ends of the axes is cut off."""
    for axis, n in enumerate(binning):
        voxels = sums_of_bins(voxels, axis, n) / np.float32(n)
    return voxels


def sums_of_bins(voxels: Array, axis: int, n: int) -> Array:
    """Sums of ``n`` voxels after each other, float32; what is left at the end of the axis is cut off."""
    xp, stop = namespace(voxels), voxels.shape[axis] // n * n
    nth = [voxels[tuple(slice(i, stop, n) if k == axis else slice(None) for k in range(3))] for i in range(n)]
    total: Array = xp.asarray(voxels, np.float32) if n == 1 else xp.add(nth[0], nth[1], dtype=np.float32)
    for one in nth[2:]:
        total += one
    return total


def between_bins(bins: npt.NDArray[np.float32], axis: int, size: int, n: int) -> npt.NDArray[np.float32]:
    """``n`` voxels along an axis, interpolated between the middles of bins of ``size`` voxels, and beyond the last."""
    last = bins.shape[axis] - 1
    if not last:
        return np.broadcast_to(bins, [n if k == axis else m for k, m in enumerate(bins.shape)])
    place = (np.arange(n, dtype=np.float32) - np.float32((size - 1) / 2)) / np.float32(size)
    before = np.clip(np.floor(place), 0, last - 1).astype(np.int64)
    part = (place - before).astype(np.float32).reshape([-1 if k == axis else 1 for k in range(bins.ndim)])
    here, there = (np.take(bins, before + k, axis=axis) for k in (0, 1))
    there -= here
    there *= part
    there += here
    return np.asarray(there, np.float32)
