"""Stripes removed by comparing a percentile along the sheet with one around the pixel (ClearMap's correction).

C. Kirst et al., Cell 180, 780 (2020). A percentile in a window along the rows estimates the stripe, one in a large
square window the background; where the stripe is not much brighter than the background it is subtracted.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from gpustitch.array import Array, kernel, namespace
from gpustitch.errors import DamagedInputError, ParameterError
from gpustitch.ops.dwt import product, product_along_rows

BACKGROUND_SPACING_PX = 25
BACKGROUND_STEP_PX = 2
# Pixels of windows copied and sorted at once, and rows subtracted at once: both stay in a core's cache.
_COPIED = 1 << 18
_BAND = 16


@dataclass(frozen=True)
class LightsheetOptions:
    """How stripes along the rows are estimated.

    Parameters
    ----------
    artifact_length
        Length of the window along the rows, in pixels.
    background_window_size
        Side of the square window, in pixels.
    percentile
        Percentile that is a window's estimate, as a fraction from 0 to 1.
    lightsheet_vs_background
        The background's estimate is multiplied by this before it is compared with the one along the rows.

    Raises
    ------
    ParameterError
        If one is out of range.
    """

    artifact_length: int = 150
    background_window_size: int = 200
    percentile: float = 0.25
    lightsheet_vs_background: float = 2.0

    def __post_init__(self) -> None:
        for name, length in (
            ("--artifact-length", self.artifact_length),
            ("--background-window-size", self.background_window_size),
        ):
            if length < 1:
                raise ParameterError(f"{name} must be at least 1 pixel, not {length}")
        if not 0 <= self.percentile <= 1:
            raise ParameterError(f"--percentile must be from 0 to 1, not {self.percentile}")
        if not (math.isfinite(self.lightsheet_vs_background) and self.lightsheet_vs_background >= 0):
            raise ParameterError(
                f"--lightsheet-vs-background must be 0 or a positive number, not {self.lightsheet_vs_background}"
            )


def destripe_lightsheet(image: Array, options: LightsheetOptions) -> Array:
    """The image less its stripes along the rows: ``I - min(I, line, weight * background)``.

    Parameters
    ----------
    image
        Counts (rows, columns), any real dtype.

    Returns
    -------
    float32 image of the same shape.

    Raises
    ------
    ParameterError
        If the image is not 2-D and real.
    DamagedInputError
        If it holds NaN.
    """
    xp = namespace(image)
    if image.ndim != 2 or image.dtype.kind not in "uif" or image.size == 0:
        raise ParameterError(
            f"one image (rows, columns) of real numbers is destriped, not shape {tuple(image.shape)} of {image.dtype}"
        )
    if image.dtype.kind == "f" and bool(xp.isnan(image).any()):
        raise DamagedInputError("the image holds NaN; replace those pixels before destriping")
    out = xp.empty(image.shape, np.float32)
    line, background = line_estimate(image, options), background_estimate(image, options)
    subtract_stripes(image, line, background, out, options.lightsheet_vs_background)
    return out  # type: ignore[no-any-return]


def line_estimate(image: Array, options: LightsheetOptions) -> Array:
    """Percentile along the rows, float32: for each row, windows side by side (fewer where the image is shorter)."""
    rows, columns = image.shape
    length = options.artifact_length
    return _percentiles(image, (1, length), (centres(rows, 1), centres(columns, length)), 1, options.percentile)


def background_estimate(image: Array, options: LightsheetOptions) -> Array:
    """Percentile of every second pixel either way in square windows, float32, at every 25th row and column."""
    size = options.background_window_size
    at = [centres(n, BACKGROUND_SPACING_PX) for n in image.shape]
    return _percentiles(image, (size, size), (at[0], at[1]), BACKGROUND_STEP_PX, options.percentile)


def centres(length: int, spacing: int) -> Array:
    """Window centres along an axis: as many as fit at this spacing but at least one, in the middle of the axis."""
    count = max(1, length // spacing)
    return np.arange(count) * spacing + (length - (count - 1) * spacing) // 2


@kernel("lightsheet.cu")
def window_percentiles(
    image: Array, row_starts: Array, row_stops: Array, column_starts: Array, column_stops: Array, out: Array,
    step: int, fraction: float,
) -> None:  # fmt: skip
    """``out[i, j]`` = percentile of ``image[row_starts[i]:row_stops[i]:step, column_starts[j]:column_stops[j]:step]``.

    The percentile lies at ``fraction * (n - 1)`` in the sorted n values of the window, linear in between. Starts and
    stops are int64 inside the image, ``out`` is float32.
    """
    for i, row_count in _runs(row_starts, row_stops, step):
        for j, column_count in _runs(column_starts, column_stops, step):
            rows, columns = row_starts[i], column_starts[j]
            down, right = image.strides
            views = np.lib.stride_tricks.as_strided(
                image[rows[0] :, columns[0] :],
                (len(rows), len(columns), row_count, column_count),
                (_gap(rows) * down, _gap(columns) * right, step * down, step * right),
                writeable=False,
            )
            _percentiles_of(views, out[i, j], fraction)


@kernel("lightsheet.cu")
def subtract_stripes(image: Array, line: Array, background: Array, out: Array, weight: float) -> None:
    """``out = image - min(image, line, weight * background)`` with both estimates stretched over the image.

    ``line`` and ``background`` are float32 grids of any size whose corners lie on the image's corners; in between
    they are bilinear. ``out`` is float32.
    """
    rows, columns = image.shape
    line_across = _blend(columns, line.shape[1], slice(0, columns))[1].T.copy()
    background_across = _blend(columns, background.shape[1], slice(0, columns))[1].T.copy()
    background_across *= np.float32(weight)
    wide_background = product(background, background_across)
    stripes = np.empty((_BAND, columns), np.float32)
    for start in range(0, rows, _BAND):
        band = slice(start, min(start + _BAND, rows))
        stripe, counts = stripes[: band.stop - start], out[band]
        near, blend = _blend(rows, len(line), band)
        product_along_rows(blend @ line[near], line_across, counts, 0)
        near, blend = _blend(rows, len(background), band)
        product_along_rows(blend, wide_background[near], stripe, 0)
        np.minimum(stripe, counts, out=stripe)
        counts[...] = image[band]
        np.minimum(stripe, counts, out=stripe)
        np.subtract(counts, stripe, out=counts)


def stretched(grid: Array, shape: tuple[int, int]) -> Array:
    """The grid (rows, columns) made ``shape`` large, bilinear, its corners on the corners; float32."""
    xp = namespace(grid)
    down, across = (_blend(n, m, slice(0, n))[1] for n, m in zip(shape, grid.shape, strict=True))
    return xp.asarray(down) @ grid @ xp.asarray(across.T)  # type: ignore[no-any-return]


def _blend(length: int, count: int, part: slice) -> tuple[slice, Array]:
    """Linear interpolation of ``count`` samples, spread evenly over ``length`` places, at the places ``part``.

    Returns the slice of samples that are needed and their weights (places, samples).
    """
    at = np.arange(part.start, part.stop) * (count - 1)
    step = max(1, length - 1)
    lower = at // step
    near = slice(int(lower[0]), min(int(lower[-1]) + 2, count))
    weights = np.zeros((len(at), int(lower[-1]) + 2 - near.start), np.float32)
    place = np.arange(len(at))
    weights[place, lower - near.start + 1] = (at % step) / step
    weights[place, lower - near.start] = 1 - (at % step) / step
    return near, weights[:, : near.stop - near.start].copy()


def _percentiles(image: Array, size: tuple[int, int], at: tuple[Array, Array], step: int, fraction: float) -> Array:
    xp = namespace(image)
    limits = []
    for centre, length, stop in zip(at, size, image.shape, strict=True):
        first = centre - length // 2
        limits.append((xp.asarray(np.maximum(first, 0)), xp.asarray(np.minimum(first + length, stop))))
    out = xp.empty((len(at[0]), len(at[1])), np.float32)
    (top, bottom), (left, right) = limits
    window_percentiles(image, top, bottom, left, right, out, step, fraction)
    return out  # type: ignore[no-any-return]


def _runs(starts: Array, stops: Array, step: int) -> list[tuple[slice, int]]:
    """Runs of windows at equal distances that hold the same number of samples; each with that number."""
    counts = -(-(stops - starts) // step)
    runs = []
    first = 0
    for i in range(1, len(starts) + 1):
        regular = i < len(starts) and counts[i] == counts[first]
        if regular and i - first > 1:
            regular = starts[i] - starts[i - 1] == starts[first + 1] - starts[first]
        if not regular:
            runs.append((slice(first, i), int(counts[first])))
            first = i
    return runs


def _gap(starts: Array) -> int:
    return int(starts[1] - starts[0]) if len(starts) > 1 else 0


def _percentiles_of(windows: Array, out: Array, fraction: float) -> None:
    """Percentile over the last two axes of (i, j, rows, columns) windows, some of them copied at a time."""
    height, width, *size = windows.shape
    samples = size[0] * size[1]
    lower = int(fraction * (samples - 1))
    share = fraction * (samples - 1) - lower
    across = max(1, min(width, _COPIED // samples))
    down = max(1, _COPIED // (samples * across))
    for i in range(0, height, down):
        for j in range(0, width, across):
            values = windows[i : i + down, j : j + across].copy()
            values = values.reshape(*values.shape[:2], samples)
            # With the upper of the two values at its place, the lower is the largest of those before it.
            values.partition(lower + (share > 0), axis=-1)
            found = values[..., lower + (share > 0)].astype(np.float64)
            if share > 0:
                below = values[..., : lower + 1].max(axis=-1)
                found = below + share * (found - below)
            out[i : i + down, j : j + across] = found
