"""Mean downsampling by two along every axis, the step between two levels of a pyramid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gpustitch.array import Array, namespace
from gpustitch.errors import ParameterError


def downsampled_shape(shape: Sequence[int], times: int = 1) -> tuple[int, ...]:
    """Shape after halving every axis ``times`` times; odd lengths round up, so 1 stays 1."""
    return tuple(-(-n // (1 << times)) for n in shape)


def downsample(volume: Array) -> Array:
    """Mean of each 2 x 2 x 2 cell of voxels.

    Parameters
    ----------
    volume
        Array (z, y, x), unsigned integers of up to 32 bits or floating point, no axis empty.

    Returns
    -------
    Array of shape ``ceil(n / 2)`` and the same dtype. The last cell of an odd axis is the mean of the voxels that
    exist. Integers are rounded to nearest, halves to even (so that levels do not drift upwards); a NaN makes its
    cell NaN.

    Raises
    ------
    ParameterError
        If the array is not three-dimensional, is empty or has another dtype.
    """
    if volume.ndim != 3 or volume.size == 0:
        raise ParameterError(f"downsampling takes a non-empty volume (z, y, x), not an array of shape {volume.shape}")
    if volume.dtype.kind == "f":
        return _float_mean(_even(volume))
    if volume.dtype.kind != "u" or volume.dtype.itemsize > 4:
        raise ParameterError(f"downsampling takes uint8, uint16, uint32 or floating point voxels, not {volume.dtype}")
    return _integer_mean(_even(volume))


def _even(volume: Array) -> Array:
    """Repeat the last voxel of odd axes: each cell then has eight voxels and the mean of those that exist."""
    if all(n % 2 == 0 for n in volume.shape):
        return volume
    padded: Array = namespace(volume).pad(volume, [(0, n % 2) for n in volume.shape], mode="edge")
    return padded


def _float_mean(volume: Array) -> Array:
    total = volume[0::2] + volume[1::2]
    total = total[:, 0::2] + total[:, 1::2]
    total = total[:, :, 0::2] + total[:, :, 1::2]
    total *= total.dtype.type(0.125)
    return total


def _integer_mean(volume: Array) -> Array:
    xp = namespace(volume)
    total = _pair_sums(volume)
    total = total[:, 0::2] + total[:, 1::2]
    total = total[0::2] + total[1::2]
    # Round half to even: 3/8 more, or 4/8 more where the whole part is odd, then drop the fraction.
    odd = total >> 3
    odd &= 1
    total += odd
    total += 3
    total >>= 3
    mean: Array = xp.empty(total.shape, volume.dtype)
    mean[...] = total
    return mean


def _pair_sums(volume: Array) -> Array:
    """Sums of neighbours along x in an integer that holds the sum of eight.

    A pair of integers is looked at as one integer of twice the width, whose halves are added: contiguous
    arithmetic in place of two strided reads and a conversion.
    """
    xp = namespace(volume)
    wide: Any = {1: xp.uint16, 2: xp.uint32, 4: xp.uint64}[volume.dtype.itemsize]
    bits = 8 * volume.dtype.itemsize
    pairs = xp.ascontiguousarray(volume).view(wide)
    total: Array = pairs >> bits
    total += pairs & ((1 << bits) - 1)
    return total
