"""Planes made smaller by averaging blocks of pixels, of which some may not be used."""

from __future__ import annotations

import numpy as np

from gpustitch.array import Array, namespace
from gpustitch.errors import ParameterError


def bin_planes(planes: Array, factors: tuple[int, int], mask: Array | None = None) -> Array:
    """The mean of the used pixels in each block of each plane.

    Parameters
    ----------
    planes
        (n, rows, columns) of whole numbers of up to 32 bits, or floats; those that are NaN or infinite are not used.
    factors
        Rows and columns of a block, each from 1 to those of a plane. Rows and columns beyond the last whole block are
        left out.
    mask
        uint8 or bool (rows, columns), not 0 where a pixel is used; None for all.

    Returns
    -------
    float32 (n, rows // factors[0], columns // factors[1]), NaN where a block has no used pixel.

    Raises
    ------
    ParameterError
        If a shape or factor does not fit.
    """
    _, rows, columns = planes.shape
    if not (1 <= factors[0] <= rows and 1 <= factors[1] <= columns):
        raise ParameterError(f"blocks of {factors[0]} x {factors[1]} pixels do not fit in planes of {rows} x {columns}")
    if mask is not None and mask.shape != (rows, columns):
        raise ParameterError(f"the mask is of shape {tuple(mask.shape)}, the planes of {(rows, columns)}")
    xp = namespace(planes)
    is_float = planes.dtype.kind == "f"
    if mask is None and not is_float:
        return (_sums(planes, factors) / (factors[0] * factors[1])).astype(np.float32)
    used = xp.isfinite(planes) if is_float else xp.ones((1, rows, columns), bool)
    if mask is not None:
        used &= mask != 0
    count = _sums(used.view(np.uint8), factors)
    mean = (_sums(xp.where(used, planes, planes.dtype.type(0)), factors) / xp.maximum(count, 1)).astype(np.float32)
    mean[xp.broadcast_to(count == 0, mean.shape)] = np.nan
    return mean  # type: ignore[no-any-return]


def _sums(planes: Array, factors: tuple[int, int]) -> Array:
    """Sums over blocks, of a type that they fit in."""
    xp = namespace(planes)
    down, across = factors
    n, rows, columns = planes.shape
    fits = planes.dtype.kind == "u" and (down * across) << (8 * planes.dtype.itemsize) < 1 << 32
    wide = np.dtype("float64" if planes.dtype.kind == "f" else "uint32" if fits else "int64")
    n_rows, n_columns = rows // down, columns // across
    summed = planes[:, : n_rows * down].reshape(n, n_rows, down, columns).sum(axis=2, dtype=wide)
    total = xp.zeros((n, n_rows, n_columns), wide)
    for at in range(across):
        total += summed[:, :, at : n_columns * across : across]
    return total  # type: ignore[no-any-return]
