"""Down the columns of a grid: running medians, and one level of a wavelet transform."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from gpustitch.array import Array, kernel


@kernel("columns.cu", tile=(1, 128, 32), threads=(128,))
def running_medians(grid: Array, out: Array, reach: int) -> None:
    """Median of the ``2 * reach + 1`` values about each place of a column.

    Borders are half-sample symmetric, as often as needed.

    Parameters
    ----------
    grid, out
        Finite values and their medians, float32 (frames, rows, windows), not the same array.
    reach
        Values on either side, at least 0.
    """
    # SciPy's own borders are wrong where a window is longer than the column.
    around = mirrored(np.arange(-reach, grid.shape[1] + reach), grid.shape[1])
    inside = slice(reach, reach + grid.shape[1])
    for values, medians in zip(grid, out, strict=True):
        for column, median in zip(np.ascontiguousarray(values.T), medians.T, strict=True):
            median[...] = ndimage.median_filter(column[around], 2 * reach + 1)[inside]


@kernel("columns.cu")
def analyse_columns(grid: Array, taps: Array, out: Array, rows: int) -> None:
    """Low pass, then high pass of the first ``rows`` rows, both halved: coefficients of one level.

    Coefficient k is the sum over m of ``taps[i, m] * x[2k + 1 - m]``. Borders are half-sample symmetric.

    Parameters
    ----------
    grid
        float32 (frames, at least ``rows``, windows).
    taps
        Low and high pass of the analysis, float32 (2, F).
    out
        float32 (2, frames, n, windows), n = (rows + F - 1) // 2: the low pass, then the high pass.
    """
    length, n = taps.shape[1], out.shape[2]
    place = 2 * np.arange(n) + 1
    for m in range(length):
        values = grid[:, mirrored(place - m, rows)]
        for half, tap in zip(out, taps[:, m], strict=True):
            if m:
                half += tap * values
            else:
                np.multiply(values, tap, out=half)


@kernel("columns.cu")
def synthesise_columns(low: Array, high: Array, taps: Array, out: Array, rows: int) -> None:
    """The first ``rows`` rows of the next finer level, from both halves of a level.

    Row i is the sum over k of ``taps[0, i - 2k + F - 2] * low[k]``, and of ``taps[1, ...] * high[k]``.

    Parameters
    ----------
    low, high
        float32 (frames, at least n, windows), n = (rows + F - 1) // 2.
    taps
        Low and high pass of the synthesis, float32 (2, F).
    out
        float32 (frames, at least ``rows``, windows); its first ``rows`` rows are written.
    """
    length = taps.shape[1]
    out[:, :rows] = 0
    for first in (0, 1):
        target = out[:, first:rows:2]
        count = target.shape[1]
        # i = 2j + first meets k = j + t with tap first - 2t + F - 2.
        for t in range(length // 2):
            tap = first - 2 * t + length - 2
            for values, row in ((low, taps[0]), (high, taps[1])):
                target += row[tap] * values[:, t : t + count]


@kernel("columns.cu")
def least_weights(weights: Array, out: Array, length: int) -> None:
    """The least weight of the four rows in the middle of the filter of each coefficient of a level.

    A coefficient that is half in the dark says little.

    Parameters
    ----------
    weights, out
        Weights of the rows and of the coefficients, float32 (frames, rows, windows) and (frames, n, windows).
    length
        Number of taps of the filter.
    """
    rows = weights.shape[1]
    middle = 2 * np.arange(out.shape[1]) + 1 - length // 2
    parts = [weights[:, np.clip(middle + step, 0, rows - 1)] for step in (-1, 0, 1, 2)]
    np.minimum(np.minimum(parts[0], parts[1]), np.minimum(parts[2], parts[3]), out=out)


@kernel("columns.cu", tile=(1, None, 32), threads=(128,))
def continued(grid: Array, out: Array, reach: int) -> None:
    """The grid with ``reach`` rows more at both ends, which go on as the columns do.

    The rows at an end are turned by half a turn about their median, so that a slope goes on; a mirror would bend it.

    Parameters
    ----------
    grid, out
        float32 (frames, rows, windows) and (frames, rows + 2 * reach, windows).
    reach
        At least 1.
    """
    rows = grid.shape[1]
    edge = 2 * min(reach // 4, (rows - 1) // 2)
    source = np.minimum(edge + 1 + np.arange(reach), rows - 1)
    out[:, :reach] = 2 * np.median(grid[:, : edge + 1], axis=1, keepdims=True) - grid[:, source[::-1]]
    out[:, reach : reach + rows] = grid
    out[:, reach + rows :] = (
        2 * np.median(grid[:, rows - edge - 1 :], axis=1, keepdims=True) - grid[:, rows - 1 - source]
    )


@kernel("columns.cu", tile=(1, None, 8), threads=(256,))
def less_medians(grid: Array, out: Array) -> None:
    """The grid less the median of each column.

    Parameters
    ----------
    grid, out
        float32 (frames, rows, windows), without NaN; not the same array.
    """
    np.subtract(grid, np.median(grid, axis=1, keepdims=True), out=out)


def mirrored(places: Array, length: int) -> Array:
    """Indices into ``length`` samples for places on and beyond them; borders are half-sample symmetric."""
    turned = places % (2 * length)
    return np.minimum(turned, 2 * length - 1 - turned)  # type: ignore[no-any-return]
