"""Along the rows of a grid: a low pass that outliers hardly move."""

from __future__ import annotations

import functools

import numpy as np

from gpustitch.array import Array, kernel
from gpustitch.array.product import matmul_rows

# A value farther than this many standard deviations from the mean loses weight.
_BOUND = 1.5
_ITERATIONS = 3
# Where weights sum to this, half of the mean is believed.
_TRUSTED = 0.05
# A Gaussian is cut off at this many standard deviations.
_CUT = 4.5
_LEAST = 1e-20
# Rows worked on at once: their arrays stay in a core's cache.
_BAND = 256
# Under a Gaussian of so many rows' lengths every sample weighs the same, and no wider one does otherwise.
_WIDEST = 4


@functools.lru_cache(maxsize=64)
def low_pass_matrix(count: int, sigma: float) -> Array:
    """Matrix (count, count): a row of samples times it is the row under a Gaussian of ``sigma`` samples, float32.

    Borders are half-sample symmetric.
    """
    sigma = min(sigma, _WIDEST * count)
    reach = int(np.ceil(_CUT * sigma))
    taps = np.exp(-0.5 * (np.arange(-reach, reach + 1) / max(sigma, 1e-3)) ** 2)
    at = (np.arange(count)[:, None] + np.arange(-reach, reach + 1)) % (2 * count)
    at = np.minimum(at, 2 * count - 1 - at)
    matrix = np.zeros((count, count))
    np.add.at(matrix, (at, np.arange(count)[:, None]), taps / taps.sum())
    return matrix.astype(np.float32)


@kernel("robust_rows.cu", tile=(1, 1, None), threads=(64,))
def robust_low_pass(values: Array, weights: Array, matrix: Array, strengths: Array, out: Array) -> None:
    """Weighted low pass along the rows, in which outliers weigh less; times ``strengths``.

    The mean is ``(w v) K / (w K)``. Three times, a value at distance r from it gets the weight
    ``w min(1, 1.5 s / |r|)**2``, s the weighted standard deviation under the same low pass, and the mean is repeated.
    Where all of a row weighs little, nothing is known: with W the weights ``w K`` of the start, the result is the mean
    times ``W**2 / (W**2 + 0.05**2)``.

    Parameters
    ----------
    values
        float32 (frames, rows, windows).
    weights
        Positive, float32, shape of ``values``.
    matrix
        Low pass K, float32 (windows, windows), none negative: `low_pass_matrix`.
    strengths
        Factor of the result of each row, float32 (rows,).
    out
        float32, shape of ``values``; not the same array.
    """
    for values_of, weights_of, result in zip(values, weights, out, strict=True):
        for start in range(0, len(strengths), _BAND):
            band = slice(start, start + _BAND)
            if strengths[band].any():
                mean = _robust_mean(values_of[band], weights_of[band], matrix)
                np.multiply(mean, strengths[band, None], out=result[band])
            else:
                result[band] = 0


def _robust_mean(v: Array, w: Array, matrix: Array) -> Array:
    known = total = matmul_rows(w, matrix)
    mean: Array = matmul_rows(w * v, matrix) / total
    changed = w
    for _ in range(_ITERATIONS):
        residual = v - mean
        spread = np.sqrt(np.maximum(matmul_rows(changed * residual * residual, matrix) / total, _LEAST))
        changed = w * np.minimum(1, np.float32(_BOUND) * spread / np.maximum(np.abs(residual), 1e-12)) ** 2
        total = matmul_rows(changed, matrix)
        mean = matmul_rows(changed * v, matrix) / total
    mean *= known * known / (known * known + np.float32(_TRUSTED**2))
    return mean
