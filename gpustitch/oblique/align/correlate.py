"""Pearson correlation of two windows at the 27 shifts of at most one voxel along each axis."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np

from gpustitch.array import Array
from gpustitch.ops.rounding import FLAT

# Products of this many voxels are summed in float32, such sums in float64. A chunk also stays in the fastest cache.
_CHUNK = 16384
# Numbers of the shifts along z, y and x, shape (3, 3, 3, 3).
_SHIFTS = np.indices((3, 3, 3)).transpose(1, 2, 3, 0)


def pearson_shifts(fixed: Array, moving: Array, wanted: Array, out: Array) -> None:
    """Correlate windows with windows of other arrays, shifted by -1, 0 and 1 voxel along each axis, on the host.

    Where ``wanted[p, i, j, k]`` is not 0, ``out[p, i, j, k]`` becomes Pearson's correlation of ``fixed[p]`` with
    ``moving[p, i:i+Z, j:j+Y, k:k+X]``. Elsewhere ``out`` keeps its values.
    The correlation with a constant window is undefined: 0 is written, never NaN. If ``fixed[p]`` or ``moving[p]``
    holds a NaN or an infinity anywhere, all wanted shifts become 0.

    Parameters
    ----------
    fixed
        Windows, shape (P, Z, Y, X), float32.
    moving
        Windows one voxel larger on every side, shape (P, Z+2, Y+2, X+2), float32.
    wanted
        Which of the shifts to compute, shape (P, 3, 3, 3), uint8.
    out
        Correlations, shape (P, 3, 3, 3), float64; written.

    Notes
    -----
    Both windows are centred first, so that float32 products lose nothing to a high background. The 27 sums and sums
    of squares of ``moving`` come from one pass over it. The fixed window is laid out with the row length of the moving
    window. So each of the 27 cross sums is a dot product of two runs of memory. Coefficients are good to 2e-7 where
    the level is 10,000 times the noise, and to 2e-6 for windows of two values.
    """
    count = math.prod(fixed.shape[1:])
    levels = np.array([m[1:-1, 1:-1, 1:-1].mean() for m in moving], np.float32)
    centred = moving - levels[:, None, None, None]
    padded = [_padded(f, m.shape) for f, m in zip(fixed, moving, strict=True)]
    firsts = [float(f[0, 0, 0]) for f in fixed]
    fixed_sum, fixed_squares, first, level = (
        np.array(numbers)[:, None, None, None]
        for numbers in ([p.sum for p in padded], [p.squares for p in padded], firsts, levels.astype(np.float64))
    )
    sums, squares = _window_sums(centred), _window_sums(np.square(centred))
    variance, fixed_variance = squares - sums**2 / count, fixed_squares - fixed_sum**2 / count
    defined = (variance > count * (FLAT * level) ** 2) & (variance > FLAT * squares)
    defined &= fixed_variance > count * (FLAT * first) ** 2
    cross = np.stack(
        [_cross_sums(p.run, m, w) for p, m, w in zip(padded, centred, (wanted != 0) & defined, strict=True)]
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        correlation = (cross - fixed_sum * sums / count) / np.sqrt(fixed_variance * variance)
    np.copyto(out, np.where(defined, correlation, 0.0), where=wanted != 0)


@dataclass(frozen=True)
class _Padded:
    """A centred fixed window as one run of memory, and the window's sum and sum of squares."""

    run: Array
    sum: float
    squares: float


def _padded(fixed: Array, shape: tuple[int, ...]) -> _Padded:
    """The window as a run with the row and plane lengths of ``shape``."""
    depth, height, width = fixed.shape
    planes = np.zeros((depth, *shape[1:]), np.float32)
    inside = planes[:, :height, :width]
    with np.errstate(invalid="ignore"):  # a window that holds an infinity is undefined
        np.subtract(fixed, fixed.mean(), out=inside)
    run = planes.reshape(-1)[: ((depth - 1) * shape[1] + height - 1) * shape[2] + width]
    squares = sum(float(run[i : i + _CHUNK].dot(run[i : i + _CHUNK])) for i in range(0, run.size, _CHUNK))
    return _Padded(run, float(inside.sum(dtype=np.float64)), squares)


def _cross_sums(padded: Array, moving: Array, wanted: Array) -> Array:
    """Sums of products of the padded run with ``moving`` at the wanted shifts, float64, shape (3, 3, 3)."""
    _, height, width = moving.shape
    offsets = (_SHIFTS[wanted] @ (height * width, width, 1)).tolist()
    run, size = moving.reshape(-1), padded.size
    totals = np.zeros(len(offsets))
    for start in range(0, size, _CHUNK):
        piece = padded[start : start + _CHUNK]
        totals += [piece.dot(run[o : o + piece.size]) for o in (start + k for k in offsets)]
    out = np.zeros((3, 3, 3))
    out[wanted] = totals
    return out


def _window_sums(moving: Array) -> Array:
    """Sums of ``moving`` over the windows at each of the 27 shifts, float64, shape (P, 3, 3, 3)."""
    n, depth, height, width = moving.shape
    along_z, along_y, along_x = (_band(k) for k in (depth, height, width))
    # Window by window: sums of one must not depend on how many others there are.
    rows = np.matmul(moving.reshape(n, -1, width), along_x.astype(np.float32)).astype(np.float64)
    planes = np.matmul(along_y.T, rows.reshape(n * depth, height, 3))
    sums: Array = np.matmul(along_z.T, planes.reshape(n, depth, 9)).reshape(n, 3, 3, 3)
    return sums


@functools.lru_cache(maxsize=64)
def _band(n: int) -> Array:
    """Columns that pick elements 0..n-3, 1..n-2 and 2..n-1 of ``n``, shape (n, 3)."""
    position = np.arange(n)[:, None] - np.arange(3)[None, :]
    return ((position >= 0) & (position < n - 2)).astype(np.float64)
