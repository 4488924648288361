"""Downsampling by two along every axis or some, the step between two levels of a pyramid."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from gpustitch.array import Array, kernel, namespace
from gpustitch.errors import ParameterError
from gpustitch.model import ZYX, Box
from gpustitch.model.arrays import HostArray

_TYPES = ("uint8", "uint16", "uint32", "float32", "float64")
_LABEL_TYPES = ("uint8", "uint16", "uint32")
# By bytes of an integer a type that holds the sum of eight.
_WIDE: dict[int, Any] = {1: np.uint16, 2: np.uint32, 4: np.uint64}
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
    """Mean of each cell of ``volume``, of two voxels along the axes that ``out`` halves.

    Parameters
    ----------
    volume
        (z, y, x) of uint8, uint16, uint32, float32 or float64, no axis empty.
    out
        Half the length along some axes, odd ones rounded up, the same along the others; same dtype. Written whole.

    Notes
    -----
    The last cell of an odd axis has fewer voxels. Integers are summed exactly and rounded to nearest, halves to even,
    so that levels do not drift upwards. Floats are added in pairs along z, then y, then x. A NaN makes its cell NaN.
    """
    _in_tiles(volume, out, _float_mean if out.dtype.kind == "f" else _integer_mean)


@kernel("pyramid.cu", T="out: uint8 uint16 uint32 float32 float64", tile=(1, 16, 64), threads=(256,))
def halve_max(volume: Array, out: Array) -> None:
    """Greatest value of each cell of ``volume``, of two voxels along the axes that ``out`` halves.

    Parameters
    ----------
    volume
        (z, y, x) of uint8, uint16, uint32, float32 or float64, no axis empty.
    out
        Half the length along some axes, odd ones rounded up, the same along the others; same dtype. Written whole.

    Notes
    -----
    The last cell of an odd axis has fewer voxels. A NaN makes its cell NaN.
    """
    _in_tiles(volume, out, _maximum)


@kernel("pyramid.cu", T="out: uint8 uint16 uint32", tile=(1, 16, 64), threads=(256,))
def halve_mode(volume: Array, out: Array) -> None:
    """Most frequent value of each cell of ``volume``, of two voxels along the axes that ``out`` halves.

    Parameters
    ----------
    volume
        Labels (z, y, x) of uint8, uint16 or uint32, no axis empty.
    out
        Half the length along some axes, odd ones rounded up, the same along the others; same dtype. Written whole.

    Notes
    -----
    The last cell of an odd axis has fewer voxels. Every value counts alike, 0 too. Of equally frequent values the least
    one is taken.
    """
    _in_tiles(volume, out, _mode)


def downsample(volume: Array, method: str = "mean", factors: ZYX = (2, 2, 2)) -> Array:
    """The volume at half the resolution along every axis, or along some: each cell of voxels becomes one.

    Parameters
    ----------
    volume
        Array (z, y, x) of uint8, uint16, uint32, float32 or float64, no axis empty.
    method
        ``mean`` (:func:`halve`), ``max`` (:func:`halve_max`), ``mode`` (:func:`halve_mode`; labels of uint8, uint16
        or uint32 only) or ``stride``: the first voxel of each cell.
    factors
        Voxels of a cell along (z, y, x), each 1 or 2. :func:`gpustitch.model.level_factors` has those that bring uneven
        voxels towards even ones.

    Returns
    -------
    A new array of shape ``ceil(n / factor)`` and the same dtype. The functions named above state rounding, odd sizes
    and NaN.

    Raises
    ------
    ParameterError
        If the array is not three-dimensional, is empty or has another dtype, or ``method`` or ``factors`` are not as
        stated.
    """
    if method not in ("mean", "max", "mode", "stride"):
        raise ParameterError(f"`method` of downsampling must be mean, max, mode or stride, not {method!r}")
    if volume.ndim != 3 or volume.size == 0:
        raise ParameterError(f"downsampling takes a non-empty volume (z, y, x), not an array of shape {volume.shape}")
    types = _LABEL_TYPES if method == "mode" else _TYPES
    if volume.dtype.name not in types:
        raise ParameterError(f"downsampling by {method} takes voxels of {', '.join(types)}, not {volume.dtype}")
    if np.shape(factors) != (3,) or not set(factors) <= {1, 2}:
        raise ParameterError(f"`factors` of downsampling must be three numbers (z, y, x), 1 or 2, not {factors!r:.60}")
    if method == "stride":
        return volume[:: factors[0], :: factors[1], :: factors[2]].copy()
    out: Array = namespace(volume).empty([-(-n // f) for n, f in zip(volume.shape, factors, strict=True)], volume.dtype)
    {"mean": halve, "max": halve_max, "mode": halve_mode}[method](volume, out)
    return out


def _in_tiles(volume: Array, out: Array, reduce: Callable[[Array, ZYX], Array]) -> None:
    """Reduce the cells of a few planes and rows at a time, every axis that is halved made even first."""
    z, y, x = (1 if n == m else 2 for n, m in zip(volume.shape, out.shape, strict=True))
    if (z, y, x) == (1, 1, 1):
        out[...] = volume
        return
    for cells in Box.of_shape(out.shape).blocks((_TILE[0] // z, _TILE[1] // y, out.shape[2])):
        fine = tuple(slice(a * n, b * n) for a, b, n in zip(cells.start, cells.stop, (z, y, x), strict=True))
        out[cells.slices()] = reduce(_even(volume[fine], (z, y, x)), (z, y, x))


def _even(volume: Array, cell: ZYX) -> Array:
    """Repeat the last voxel of odd axes: this keeps the mean, maximum and mode of the voxels that exist."""
    missing = [-n % of_cell for n, of_cell in zip(volume.shape, cell, strict=True)]
    return np.pad(volume, [(0, n) for n in missing], mode="edge") if any(missing) else volume


def _of_pairs(op: np.ufunc, volume: Array, axis: int) -> Array:
    """``op`` of each two neighbours along an axis."""
    before = (slice(None),) * axis
    found: Array = op(volume[(*before, slice(0, None, 2))], volume[(*before, slice(1, None, 2))])
    return found


def _float_mean(volume: Array, cell: ZYX) -> Array:
    total = volume
    for axis, n in enumerate(cell):
        if n == 2:
            total = _of_pairs(np.add, total, axis)
    total *= total.dtype.type(1 / math.prod(cell))
    return total


def _integer_mean(volume: Array, cell: ZYX) -> Array:
    total = _pair_sums(volume) if cell[2] == 2 else volume.astype(_WIDE[volume.dtype.itemsize])
    for axis in (0, 1):
        if cell[axis] == 2:
            total = _of_pairs(np.add, total, axis)
    # Round half to even: of eighths 3 more, or 4 more where the whole part is odd, then drop the fraction.
    bits = cell.count(2)
    odd = np.right_shift(total, bits)
    odd &= 1
    total += odd
    total += (1 << bits - 1) - 1
    total >>= bits
    return total


def _pair_sums(volume: Array) -> Array:
    """Sums of neighbours along x, in an integer type that also holds the sum of eight.

    A view takes a pair of integers as one integer of twice the width, and the two halves are added. This is
    contiguous arithmetic in place of two strided reads and a conversion.
    """
    bits = 8 * volume.dtype.itemsize
    if volume.strides[2] != volume.itemsize:
        volume = np.ascontiguousarray(volume)
    pairs = volume.view(_WIDE[volume.dtype.itemsize])
    total: Array = np.right_shift(pairs, bits)
    total += pairs & ((1 << bits) - 1)
    return total


def _maximum(volume: Array, cell: ZYX) -> Array:
    most = volume
    for axis, n in enumerate(cell):
        if n == 2:
            most = _of_pairs(np.maximum, most, axis)
    return most


def _mode(volume: Array, cell: ZYX) -> Array:
    """Sort each cell's values, and keep the value of the first longest run of equal values.

    Cells of fewer than eight voxels have each of them several times.
    """
    sides = itertools.product(*([slice(k, None, 2) for k in (0, 1)] if n == 2 else [slice(None)] * 2 for n in cell))
    values = [volume[side].copy() for side in sides]
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


def signed_too(op: Callable[..., HostArray]) -> Callable[..., HostArray]:
    """Make ``op``, which takes unsigned voxels, take int16 too.

    int16 voxels are shifted by 32768 before ``op`` and back after it. This is exact for an ``op`` like the mean: its
    result lies between the least and the greatest voxel and shifts with the voxels. 32768 is even, so halves round to
    the same side.
    """

    def either(voxels: HostArray, **how: Any) -> HostArray:
        if voxels.dtype != np.int16:
            return op(voxels, **how)
        return (op(voxels.view(np.uint16) ^ _HALF, **how) ^ _HALF).view(np.int16)

    return either
