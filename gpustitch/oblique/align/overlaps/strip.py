"""Parts of a tile for comparison as a whole: coarse, and without levels and shading."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gpustitch.array import Array, Device, namespace, on, to_device
from gpustitch.model import ZYX, Box, Volume
from gpustitch.ops.smooth import smooth

# The wide Gaussian, of what counts as level and shading, is so many times the narrow one.
_WIDE = 4.0
# Part of a binned voxel that must be covered.
_COVERED = 0.5
_ALL = np.ones((1, 1, 1), np.bool_)


@dataclass(frozen=True)
class Strip:
    """A box of a tile, float32 (z, y, x): means over ``binning`` voxels, less their surroundings.

    ``mask`` says which voxels count, None if all do. ``start`` is the tile's voxel at which the first one begins.
    """

    voxels: Array
    mask: Array | None
    start: ZYX
    binning: ZYX


def read_strip(
    volume: Volume, box: Box, binning: ZYX, device: Device, sigma: tuple[float, float, float] = (1.0, 1.0, 1.0)
) -> Strip:
    """Read a box of a tile, bin it, and keep what is neither noise nor shading.

    That is the difference of two Gaussians, of ``sigma`` and four times as many binned voxels (z, y, x), over voxels
    that are covered and finite. Means that the volume makes itself count if they are finite.
    """
    sigmas = (sigma, tuple(_WIDE * s for s in sigma))
    means = getattr(volume, "read_means", None)
    voxels = volume.read(box) if means is None else means(box, binning)
    covered = _covered(volume, box)
    finite = np.isfinite(voxels) if voxels.dtype.kind == "f" else _ALL
    if not finite.all():
        voxels = np.where(finite, voxels, 0)
        if means is None:
            covered, finite = covered & finite, _ALL
    with on(device):
        image = to_device(voxels, device)
        if means is None:
            image = binned(image, binning)
        xp = namespace(image)
        if covered.all() and finite.all():
            # Without a common level little is lost to rounding, and of one level nothing is left.
            image -= image.mean(dtype=xp.float64).astype(xp.float32)
            narrow, wide = (smooth(image, s) for s in sigmas)
            return Strip(narrow - wide, None, box.start, binning)
        weight = binned(to_device(covered, device), [min(n, m) for n, m in zip(binning, covered.shape, strict=True)])
        if not finite.all():
            weight = weight * to_device(finite, device)
        n_covered = float(weight.sum()) * (image.size / weight.size)
        image -= (image.sum(dtype=xp.float64) / max(1.0, n_covered)).astype(xp.float32) * weight
        narrow, wide = (smooth(image, s) / xp.maximum(smooth(weight, s), 1e-3) for s in sigmas)
        mask = weight > _COVERED
        voxels = xp.where(mask, narrow - wide, xp.float32(0))
        return Strip(voxels, None if mask.all() else xp.broadcast_to(mask, voxels.shape), box.start, binning)


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
