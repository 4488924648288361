"""Downsampling by two along every axis, the step between two levels of a pyramid."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np

from gpustitch.array import Array, kernel, namespace
from gpustitch.errors import ParameterError
from gpustitch.model import Box
from gpustitch.model.arrays import HostArray

_TYPES = ("uint8", "uint16", "uint32", "float32", "float64")
_LABEL_TYPES = ("uint8", "uint16", "uint32")
# Planes and rows worked on at a time. With rows of up to 256 voxels the sums stay in the second-level cache.
# The allocator reuses arrays this small without fresh (zeroed, slow) pages.
_TILE = (16, 64)
# Exchanges that sort eight values (Batcher's odd-even merge sort).
_NETWORK = (
    (0, 1), (2, 3), (4, 5), (6, 7), (0, 2), (1, 3), (4, 6), (5, 7), (1, 2), (5, 6),
    (0, 4), (1, 5), (2, 6), (3, 7), (2, 4), (3, 5), (1, 2), (3, 4), (5, 6),
)  # fmt: skip


@kernel("pyramid.cu", T="out: uint8 uint16 uint32 float32 float64", tile=(1, 16, 64), threads=(256,))
def halve(volume: Array, out: Array) -> None:
    """Mean of each 2 x 2 x 2 cell of ``volume``; the last cell of an odd axis has fewer voxels.

    Parameters
    ----------
    volume
        (z, y, x) of uint8, uint16, uint32, float32 or float64, no axis empty.
    out
        Half the shape, odd lengths rounded up; same dtype. Written whole.

    Notes
    -----
    Integers are summed exactly and rounded to nearest, halves to even, so that levels do not drift upwards. Floats are
    added in pairs along z, then y, then x. A NaN makes its cell NaN.
    """
    _in_tiles(volume, out, _float_mean if out.dtype.kind == "f" else _integer_mean)


@kernel("pyramid.cu", T="out: uint8 uint16 uint32 float32 float64", tile=(1, 16, 64), threads=(256,))
def halve_max(volume: Array, out: Array) -> None:
    """Greatest value of each 2 x 2 x 2 cell of ``volume``.

    Parameters
    ----------
    volume
        (z, y, x) of uint8, uint16, uint32, float32 or float64, no axis empty.
    out
        Half the shape, odd lengths rounded up; same dtype. Written whole.

    Notes
    -----
    The last cell of an odd axis has fewer voxels. A NaN makes its cell NaN.
    """
    _in_tiles(volume, out, _maximum)


@kernel("pyramid.cu", T="out: uint8 uint16 uint32", tile=(1, 16, 64), threads=(256,))
def halve_mode(volume: Array, out: Array) -> None:
    """Most frequent value of each 2 x 2 x 2 cell of ``volume``; of equally frequent values the least.

    Parameters
    ----------
    volume
        Labels (z, y, x) of uint8, uint16 or uint32, no axis empty.
    out
        Half the shape, odd lengths rounded up; same dtype. Written whole.

    Notes
    -----
    The last cell of an odd axis has fewer voxels. Every value counts alike, 0 too.
    """
    _in_tiles(volume, out, _mode)


def downsample(volume: Array, method: str = "mean") -> Array:
    """The volume at half the resolution along every axis: each 2 x 2 x 2 cell of voxels becomes one.

    Parameters
    ----------
    volume
        Array (z, y, x) of uint8, uint16, uint32, float32 or float64, no axis empty.
    method
        ``mean`` (:func:`halve`), ``max`` (:func:`halve_max`), ``mode`` (:func:`halve_mode`; labels of uint8, uint16
        or uint32 only) or ``stride``: the first voxel of each cell.

    Returns
    -------
    A new array of shape ``ceil(n / 2)`` and the same dtype. The functions named above state rounding, odd sizes and
    NaN.

    Raises
    ------
    ParameterError
        If the array is not three-dimensional, is empty or has another dtype, or ``method`` is not one of these.
    """
    if method not in ("mean", "max", "mode", "stride"):
        raise ParameterError(f"`method` of downsampling must be mean, max, mode or stride, not {method!r}")
    if volume.ndim != 3 or volume.size == 0:
        raise ParameterError(f"downsampling takes a non-empty volume (z, y, x), not an array of shape {volume.shape}")
    types = _LABEL_TYPES if method == "mode" else _TYPES
    if volume.dtype.name not in types:
        raise ParameterError(f"downsampling by {method} takes voxels of {', '.join(types)}, not {volume.dtype}")
    if method == "stride":
        return volume[::2, ::2, ::2].copy()
    out: Array = namespace(volume).empty([-(-n // 2) for n in volume.shape], volume.dtype)
    {"mean": halve, "max": halve_max, "mode": halve_mode}[method](volume, out)
    return out


def _in_tiles(volume: Array, out: Array, reduce: Callable[[Array], Array]) -> None:
    """Reduce the cells of a few planes and rows at a time, every axis made even first."""
    depth, height, width = _TILE[0] // 2, _TILE[1] // 2, out.shape[2]
    for cells in Box.of_shape(out.shape).blocks((depth, height, width)):
        (z, y, x), (z_stop, y_stop, x_stop) = cells.start, cells.stop
        out[cells.slices()] = reduce(_even(volume[2 * z : 2 * z_stop, 2 * y : 2 * y_stop, 2 * x : 2 * x_stop]))


def _even(volume: Array) -> Array:
    """Repeat the last voxel of odd axes: this keeps the mean, maximum and mode of the voxels that exist."""
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
    """Sums of neighbours along x, in an integer type that also holds the sum of eight.

    A view takes a pair of integers as one integer of twice the width, and the two halves are added. This is
    contiguous arithmetic in place of two strided reads and a conversion.
    """
    wide: Any = {1: np.uint16, 2: np.uint32, 4: np.uint64}[volume.dtype.itemsize]
    bits = 8 * volume.dtype.itemsize
    if volume.strides[2] != volume.itemsize:
        volume = np.ascontiguousarray(volume)
    pairs = volume.view(wide)
    total: Array = np.right_shift(pairs, bits)
    total += pairs & ((1 << bits) - 1)
    return total


def _maximum(volume: Array) -> Array:
    most = np.maximum(volume[0::2], volume[1::2])
    most = np.maximum(most[:, 0::2], most[:, 1::2])
    return np.maximum(most[:, :, 0::2], most[:, :, 1::2])


def _mode(volume: Array) -> Array:
    """Sort each cell's values, and keep the value of the first longest run of equal values."""
    values = [volume[z::2, y::2, x::2].copy() for z in (0, 1) for y in (0, 1) for x in (0, 1)]
    spare = np.empty_like(values[0])
    for low, high in _NETWORK:
        np.minimum(values[low], values[high], out=spare)
        np.maximum(values[low], values[high], out=values[high])
        values[low], spare = spare, values[low]
    mode = values[0].copy()
    run = np.ones(mode.shape, np.uint8)
    longest = np.ones(mode.shape, np.uint8)
    for before, value in itertools.pairwise(values):
        run *= value == before
        run += 1
        np.copyto(mode, value, where=run > longest)
        np.maximum(longest, run, out=longest)
    return mode


_HALF = np.uint16(1 << 15)


def signed_too(op: Callable[[HostArray], HostArray]) -> Callable[[HostArray], HostArray]:
    """Make ``op``, which takes unsigned voxels, take int16 too.

    int16 voxels are shifted by 32768 before ``op`` and back after it. This is exact for an ``op`` like the mean: its
    result lies between the least and the greatest voxel and shifts with the voxels. 32768 is even, so halves round to
    the same side.
    """

    def either(voxels: HostArray) -> HostArray:
        if voxels.dtype != np.int16:
            return op(voxels)
        return (op(voxels.view(np.uint16) ^ _HALF) ^ _HALF).view(np.int16)

    return either
