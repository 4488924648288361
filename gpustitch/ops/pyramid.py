"""Mean downsampling by two along every axis, the step between two levels of a pyramid."""

from __future__ import annotations

from typing import Any

import numpy as np

from gpustitch.array import Array, kernel, namespace
from gpustitch.errors import ParameterError
from gpustitch.model import Box

_TYPES = ("uint8", "uint16", "uint32", "float32", "float64")
# Planes and rows worked on at a time: with rows of up to 256 voxels the sums stay in the second-level cache, and
# they are small enough for the allocator to reuse them without fresh (zeroed, slow) pages.
_TILE = (16, 64)


@kernel("pyramid.cu")
def halve(volume: Array, out: Array) -> None:
    """Mean of each 2 x 2 x 2 cell of ``volume``, of the voxels that exist in the last cell of an odd axis.

    Parameters
    ----------
    volume
        (z, y, x), no axis empty.
    out
        Half the shape, odd lengths rounded up; same dtype. Written whole.

    Notes
    -----
    Integers are summed exactly and rounded to nearest, halves to even, so that levels do not drift upwards. A NaN
    makes its cell NaN.
    """
    depth, height, width = _TILE[0] // 2, _TILE[1] // 2, out.shape[2]
    for cells in Box.of_shape(out.shape).blocks((depth, height, width)):
        (z, y, x), (z_stop, y_stop, x_stop) = cells.start, cells.stop
        tile = _even(volume[2 * z : 2 * z_stop, 2 * y : 2 * y_stop, 2 * x : 2 * x_stop])
        out[cells.slices()] = _float_mean(tile) if out.dtype.kind == "f" else _integer_mean(tile)


def downsample(volume: Array) -> Array:
    """The volume at half the resolution along every axis: the mean of each 2 x 2 x 2 cell of voxels.

    Parameters
    ----------
    volume
        Array (z, y, x) of uint8, uint16, uint32 or floating point, no axis empty.

    Returns
    -------
    Array of shape ``ceil(n / 2)`` and the same dtype; :func:`halve` states rounding, odd sizes and NaN.

    Raises
    ------
    ParameterError
        If the array is not three-dimensional, is empty or has another dtype.
    """
    if volume.ndim != 3 or volume.size == 0:
        raise ParameterError(f"downsampling takes a non-empty volume (z, y, x), not an array of shape {volume.shape}")
    if volume.dtype.name not in _TYPES:
        raise ParameterError(f"downsampling takes voxels of {', '.join(_TYPES)}, not {volume.dtype}")
    out: Array = namespace(volume).empty([-(-n // 2) for n in volume.shape], volume.dtype)
    halve(volume, out)
    return out


def _even(volume: Array) -> Array:
    """Repeat the last voxel of odd axes: each cell then has eight voxels and the mean of those that exist."""
    if all(n % 2 == 0 for n in volume.shape):
        return volume
    return np.pad(volume, [(0, n % 2) for n in volume.shape], mode="edge")


def _float_mean(volume: Array) -> Array:
    total = np.add(volume[0::2], volume[1::2])
    total = np.add(total[:, 0::2], total[:, 1::2])
    total = np.add(total[:, :, 0::2], total[:, :, 1::2])
    total *= total.dtype.type(0.125)
    return total


def _integer_mean(volume: Array) -> Array:
    total = _pair_sums(volume)
    total = np.add(total[0::2], total[1::2])
    total = np.add(total[:, 0::2], total[:, 1::2])
    # Round half to even: 3/8 more, or 4/8 more where the whole part is odd, then drop the fraction.
    odd = np.right_shift(total, 3)
    odd &= 1
    total += odd
    total += 3
    total >>= 3
    return total


def _pair_sums(volume: Array) -> Array:
    """Sums of neighbours along x in an integer that holds the sum of eight.

    A pair of integers is looked at as one integer of twice the width, whose halves are added: contiguous
    arithmetic in place of two strided reads and a conversion.
    """
    wide: Any = {1: np.uint16, 2: np.uint32, 4: np.uint64}[volume.dtype.itemsize]
    bits = 8 * volume.dtype.itemsize
    pairs = np.ascontiguousarray(volume).view(wide)
    total: Array = np.right_shift(pairs, bits)
    total += pairs & ((1 << bits) - 1)
    return total
