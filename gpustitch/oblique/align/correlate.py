"""Pearson correlation of two windows at the 27 shifts of at most one voxel along each axis."""

from __future__ import annotations

import numpy as np

from gpustitch.array import Array
from gpustitch.ops.rounding import FLAT

# Products of this many voxels are summed in float32, such sums in float64. A chunk also stays in the fastest cache.
_CHUNK = 16384


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
    for f, m, w, o in zip(fixed, moving, wanted, out, strict=True):
        if w.any():
            _one_window(f, m, w != 0, o)


def _one_window(fixed: Array, moving: Array, wanted: Array, out: Array) -> None:
    level = moving[1:-1, 1:-1, 1:-1].mean()
    centred = np.subtract(moving, level)
    padded, fixed_sum, fixed_squares = _padded(fixed, moving.shape)
    count = fixed.size
    sums = _window_sums(centred)
    squares = _window_sums(np.square(centred))
    variance = squares - sums**2 / count
    fixed_variance = fixed_squares - fixed_sum**2 / count
    defined = (variance > count * (FLAT * float(level)) ** 2) & (variance > FLAT * squares)
    if not fixed_variance > count * (FLAT * float(fixed[0, 0, 0])) ** 2:
        defined[:] = False
    cross = _cross_sums(padded, centred, wanted & defined) - fixed_sum * sums / count
    with np.errstate(divide="ignore", invalid="ignore"):
        correlation = cross / np.sqrt(fixed_variance * variance)
    out[wanted] = np.where(defined, correlation, 0.0)[wanted]


def _padded(fixed: Array, shape: tuple[int, ...]) -> tuple[Array, float, float]:
    """The centred fixed window as one run of memory, and the window's sum and sum of squares.

    The run has the row and plane lengths of ``shape``.
    """
    depth, height, width = fixed.shape
    planes = np.zeros((depth, *shape[1:]), np.float32)
    inside = planes[:, :height, :width]
    np.subtract(fixed, fixed.mean(), out=inside)
    run = planes.reshape(-1)[: ((depth - 1) * shape[1] + height - 1) * shape[2] + width]
    squares = sum(float(run[i : i + _CHUNK].dot(run[i : i + _CHUNK])) for i in range(0, run.size, _CHUNK))
    return run, float(inside.sum(dtype=np.float64)), squares


def _cross_sums(padded: Array, moving: Array, wanted: Array) -> Array:
    """Sums of products of the padded run with ``moving`` at the wanted shifts, float64, shape (3, 3, 3)."""
    _, height, width = moving.shape
    shifts = np.argwhere(wanted)
    offsets = shifts @ np.array([height * width, width, 1])
    run = moving.reshape(-1)
    totals = np.zeros(len(offsets))
    for start in range(0, padded.size, _CHUNK):
        piece = padded[start : start + _CHUNK]
        totals += [piece.dot(run[o : o + piece.size]) for o in (offsets + start).tolist()]
    out = np.zeros((3, 3, 3))
    out[wanted] = totals
    return out


def _window_sums(moving: Array) -> Array:
    """Sums of ``moving`` over the window at each of the 27 shifts, float64, shape (3, 3, 3)."""
    bands = [_band(n) for n in moving.shape]
    rows = (moving.reshape(-1, moving.shape[2]) @ bands[2].astype(np.float32)).astype(np.float64)
    planes = np.matmul(bands[1].T, rows.reshape(*moving.shape[:2], 3))
    return np.tensordot(bands[0].T, planes, axes=1)


def _band(n: int) -> Array:
    """Columns that pick elements 0..n-3, 1..n-2 and 2..n-1 of ``n``, shape (n, 3)."""
    position = np.arange(n)[:, None] - np.arange(3)[None, :]
    return ((position >= 0) & (position < n - 2)).astype(np.float64)
