"""Planes of a stack as rows of a matrix: their moments, and their pixels, centred or as used or not."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gpustitch.array import Array, kernel, namespace
from gpustitch.model.arrays import Floats
from gpustitch.sections.similarity.parts import (
    PIXELS_AT_A_TIME,
    combined_moments,
    mask_of,
    run_moments,
    tiled,
    used_pixels,
)

# Pixels of a tile: 2^8 * 15, which has divisors of every size for the pieces that products are cut into.
TILE = 3840
# Pixels whose moments are put together at once: a number of runs, and a part of what is worked on at a time.
SEGMENT = 16384
# Widths of tiles are multiples of this number, which itself has many divisors.
_WIDTH_STEP = 240
_SIGNATURE = "planes: uint8 uint16 float32"


@kernel("similarity_rows.cu", T=_SIGNATURE, tile=(1, 1, None))
def plane_moments(planes: Array, mask: Array, out: Array) -> None:
    """Number, mean and sum of squared deviations from it of the used pixels in each segment of each plane.

    Parameters
    ----------
    planes
        (n, rows, columns) of uint8, uint16 or float32.
    mask
        uint8, not 0 where a pixel is used: (1 or n, rows, columns), or (1, 1, 1) for one value everywhere. Pixels
        that are NaN or infinite are never used.
    out
        float64 (n, segments, 3): a segment is :data:`SEGMENT` pixels in reading order, the last may be shorter. A
        segment without a used pixel is 0, 0, 0. Squares are exactly 0 where all values are equal, and nowhere else;
        contrasts in float32 planes must be between 1e-15 and 1e15 for that.
    """
    n_pixels = math.prod(planes.shape[1:])
    for i in range(planes.shape[0]):
        plane, used = planes[i].reshape(-1), mask_of(mask, i)
        for start in range(0, n_pixels, PIXELS_AT_A_TIME):
            pixels = slice(start, min(start + PIXELS_AT_A_TIME, n_pixels))
            first = start // SEGMENT
            runs = run_moments(plane[pixels], used if used.size == 1 else used[pixels], SEGMENT)
            out[i, first : first + len(runs)] = combined_moments(runs)


@kernel("similarity_rows.cu", T=_SIGNATURE, tile=(1, 1, 4096))
def centred_rows(planes: Array, mask: Array, scaling: Array, out: Array, first: int) -> None:
    """Rows ``first`` to ``first + n`` of every tile: ``((plane - high) - low) * factor`` in float32.

    Parameters
    ----------
    planes, mask
        As of :func:`plane_moments`.
    scaling
        float32 (n, 4): the mean in two parts, high and low; the factor; 1 where all pixels of the plane are used, 0
        where each one has to be looked up.
    out
        float32 (tiles, rows, width), pixel ``t * width + k`` at ``[t, :, k]``; 0 where a pixel is not used and beyond
        the last one. Other rows are left as they are.
    """
    high, low, factor, is_whole = scaling.T[:, :, None]
    flat, used = planes.reshape(len(planes), -1), mask.reshape(len(mask), -1)
    for pixels, into in tiled(out[:, first : first + len(planes)], flat.shape[1]):
        values = flat[:, pixels].reshape(len(flat), len(into), -1).swapaxes(0, 1)
        into[...] = values
        with np.errstate(invalid="ignore"):
            np.subtract(into, high, out=into)
            if low.any():
                np.subtract(into, low, out=into)
            if (factor != 1).any():
                np.multiply(into, factor, out=into)
        if not is_whole.all():
            into[~used_pixels(values, used, pixels)] = 0
    _clear_end(out[:, first : first + len(planes)], flat.shape[1])


@kernel("similarity_rows.cu", T=_SIGNATURE, tile=(1, 1, 4096))
def used_rows(planes: Array, mask: Array, out: Array, first: int) -> None:
    """Rows ``first`` to ``first + n`` of every tile: 1 where a pixel is used, 0 elsewhere and beyond the last one.

    ``planes`` and ``mask`` are as of :func:`plane_moments`, ``out`` is uint8, laid out as of :func:`centred_rows`.
    """
    flat, used = planes.reshape(len(planes), -1), mask.reshape(len(mask), -1)
    for pixels, into in tiled(out[:, first : first + len(planes)], flat.shape[1]):
        values = flat[:, pixels].reshape(len(flat), len(into), -1).swapaxes(0, 1)
        into[...] = used_pixels(values, used, pixels)
    _clear_end(out[:, first : first + len(planes)], flat.shape[1])


@dataclass(frozen=True)
class Rows:
    """Prepared planes: ``max_lag`` rows of those before the current block, then its own.

    ``plane`` is which one each row holds (-1 none); ``mean`` is what is left of its mean, ``squares`` the squared
    deviations as the product rounds them.
    """

    centred: Array
    plane: npt.NDArray[np.int64]
    varies: npt.NDArray[np.bool_]
    is_whole: npt.NDArray[np.bool_]
    mean: Floats
    squares: Floats

    def begin_block(self, max_lag: int) -> None:
        """Move what is known of the last planes before the block; not their pixels."""
        for known in (self.plane, self.varies, self.is_whole, self.mean, self.squares):
            move_rows(known, max_lag, 0)

    @classmethod
    def none(cls, shape: tuple[int, int], max_lag: int, block: int, like: Array) -> Rows:
        """Rows that hold no planes yet, in the library of ``like``."""
        n, (tiles, width) = max_lag + block, tiles_of(shape)
        centred = namespace(like).zeros((tiles, n, width), np.float32)
        return cls(centred, np.full(n, -1), np.zeros(n, bool), np.ones(n, bool), np.zeros(n), np.ones(n))


def move_rows(rows: Array, max_lag: int, axis: int) -> None:
    """Move the last ``max_lag`` rows along an axis to the front, in parts that do not overlap."""
    block = rows.shape[axis] - max_lag
    before = (slice(None),) * axis
    for start in range(0, max_lag, block):
        stop = min(start + block, max_lag)
        rows[(*before, slice(start, stop))] = rows[(*before, slice(start + block, stop + block))]


def used_in_common(shape: tuple[int, int], mask: Array, like: Array) -> Array:
    """Used pixels of every row, uint8 of the shape of ``like``, as long as all planes use those of one ``mask``."""
    xp = namespace(like)
    tiles, n_rows, width = like.shape
    one = xp.empty((tiles, 1, width), np.uint8)
    used_rows(xp.zeros((1, *shape), np.uint8), mask, one, 0)
    return xp.repeat(one, n_rows, axis=1)  # type: ignore[no-any-return]


def tiles_of(shape: tuple[int, int]) -> tuple[int, int]:
    """Number of tiles of a plane, and their width in pixels."""
    n_pixels = math.prod(shape)
    width = min(TILE, -(-n_pixels // _WIDTH_STEP) * _WIDTH_STEP)
    return -(-n_pixels // width), width


def _clear_end(rows: Array, n_pixels: int) -> None:
    """Zeros beyond the last pixel."""
    rows[-1, :, n_pixels - (rows.shape[0] - 1) * rows.shape[2] :] = 0
