"""Down the columns of a grid: running medians, and one level of a wavelet transform."""

from __future__ import annotations

import numpy as np
import scipy

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
        # All columns at once, one after another: no window of a place within one reaches beyond its borders.
        columns = np.ascontiguousarray(values.T[:, around])
        found = scipy.ndimage.median_filter(columns.ravel(), 2 * reach + 1)
        medians[...] = found.reshape(columns.shape)[:, inside].T


@kernel("columns.cu", tile=(1, None, 8), threads=(256,))
def analyse_columns(grid: Array, weights: Array, taps: Array, lows: Array, least: Array, out: Array) -> None:
    """Low pass and high pass of all levels down the columns, each half of the finer low pass, and their weights.

    Coefficient k of a level is the sum over m of ``taps[i, m] * x[2k + 1 - m]``. Borders are half-sample symmetric. Its
    weight is the least one of the four rows in the middle of its filter: what is half in the dark says little.

    Parameters
    ----------
    grid, weights
        float32 (frames, rows, windows).
    taps
        Low and high pass of the analysis, float32 (2, F).
    lows, least, out
        Low passes, weights and high passes, float32 (frames, n, windows); written. Levels lie in a row, the finest
        first: ``n`` is the sum of some of `level_rows`.
    """
    length, low, weight = taps.shape[1], grid, weights
    for level in levels_within(grid.shape[1], length, out.shape[1]):
        halves = lows[:, level], out[:, level]
        _analyse(low, taps, halves)
        _least_of_four(weight, least[:, level], length)
        low, weight = halves[0], least[:, level]


def _analyse(grid: Array, taps: Array, halves: tuple[Array, Array]) -> None:
    """Low pass and high pass of one level."""
    place = 2 * np.arange(halves[0].shape[1]) + 1
    for m in range(taps.shape[1]):
        values = grid[:, mirrored(place - m, grid.shape[1])]
        for half, tap in zip(halves, taps[:, m], strict=True):
            if m:
                half += tap * values
            else:
                np.multiply(values, tap, out=half)


def _least_of_four(weights: Array, out: Array, length: int) -> None:
    rows = weights.shape[1]
    middle = 2 * np.arange(out.shape[1]) + 1 - length // 2
    parts = [weights[:, np.clip(middle + step, 0, rows - 1)] for step in (-1, 0, 1, 2)]
    np.minimum(np.minimum(parts[0], parts[1]), np.minimum(parts[2], parts[3]), out=out)


@kernel("columns.cu", tile=(1, None, 8), threads=(256,))
def synthesise_columns(details: Array, taps: Array, lows: Array, out: Array) -> None:
    """The grid of which all levels have these high passes, and the coarsest one no low pass.

    Row i of a level is the sum over k of ``taps[0, i - 2k + F - 2] * low[k]``, and of ``taps[1, ...] * high[k]``.

    Parameters
    ----------
    details
        High passes as `analyse_columns` has them, float32 (frames, n, windows).
    taps
        Low and high pass of the synthesis, float32 (2, F).
    lows
        Room for the low passes, of the shape of ``details``; written, but for the coarsest one.
    out
        float32 (frames, rows, windows); written.
    """
    levels = levels_within(out.shape[1], taps.shape[1], details.shape[1])
    coarsest = details.shape[0], levels[-1].stop - levels[-1].start, details.shape[2]
    low: Array = np.zeros(coarsest, np.float32)
    for number in reversed(range(len(levels))):
        finer = lows[:, levels[number - 1]] if number else out
        _synthesise(low, details[:, levels[number]], taps, finer)
        low = finer


def _synthesise(low: Array, high: Array, taps: Array, out: Array) -> None:
    """One level."""
    length, rows = taps.shape[1], out.shape[1]
    out[...] = 0
    for first in (0, 1):
        target = out[:, first:rows:2]
        count = target.shape[1]
        # i = 2j + first meets k = j + t with tap first - 2t + F - 2.
        for t in range(length // 2):
            tap = first - 2 * t + length - 2
            for values, row in ((low, taps[0]), (high, taps[1])):
                target += row[tap] * values[:, t : t + count]


def level_rows(rows: int, length: int, count: int) -> list[int]:
    """Coefficients of each of ``count`` levels of columns of ``rows`` samples, with filters of ``length`` taps."""
    found: list[int] = []
    for _ in range(count):
        rows = (rows + length - 1) // 2
        found.append(rows)
    return found


def levels_within(rows: int, length: int, total: int) -> list[slice]:
    """Where each level lies among ``total`` coefficients, the finest first."""
    found: list[slice] = []
    stop = 0
    while stop < total:
        rows = (rows + length - 1) // 2
        found.append(slice(stop, stop + rows))
        stop += rows
    return found


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
