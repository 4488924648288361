"""Means over bins, and levels taken away, of several arrays at once on a device."""

from __future__ import annotations

import numpy as np

from gpustitch.array import Array, kernel
from gpustitch.oblique.align.shifts.strip import binned


@kernel("bins.cu", T="voxels: uint8 uint16 float32")
def bin_means(voxels: Array, places: Array, depth: int, height: int, width: int, out: Array) -> None:
    """Means over bins, as :func:`~gpustitch.oblique.align.shifts.strip.binned` makes them.

    Parameters
    ----------
    voxels
        An array (z, y, x) at the beginning of each row, shape (arrays, room), uint8, uint16 or float32.
    places
        Their shapes in the first three columns, shape (arrays, columns), int64.
    depth, height, width
        Size of a bin in voxels.
    out
        The means, an array at the beginning of each row, shape (arrays, room), float32; written where there are bins.
    """
    for row, place, means in zip(voxels, places[:, :3], out, strict=True):
        bins = binned(row[: place.prod()].reshape(place), (depth, height, width))
        means[: bins.size] = bins.ravel()


@kernel("bins.cu", tile=(1, None), threads=(1024,))
def less_levels(bins: Array, sizes: Array, weights: Array, divisors: Array, out: Array) -> None:
    """Take its level away from each array: the sum over a number, in float64, times weights.

    Parameters
    ----------
    bins
        An array at the beginning of each row, shape (arrays, room), float32.
    sizes
        How many bins each has, shape (arrays,), int64.
    weights
        How much of its level a bin has, shape of ``bins``, float32; without rows 1 everywhere.
    divisors
        What each sum is divided by, shape (arrays,), float64.
    out
        The bins less their levels, shape of ``bins``, float32; written where there are bins. It may be ``bins``.
    """
    for i, (row, n, divisor) in enumerate(zip(bins, sizes.tolist(), divisors.tolist(), strict=True)):
        level = np.float32(row[:n].sum(dtype=np.float64) / divisor)
        out[i, :n] = row[:n] - (level * weights[i, :n] if len(weights) else level)
