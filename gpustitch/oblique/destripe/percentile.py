"""Percentiles in windows of an image, and the subtraction of stripes that are known on coarse grids."""

from __future__ import annotations

import functools
import itertools
from dataclasses import dataclass

import numpy as np

from gpustitch.array import Array, kernel
from gpustitch.array.product import matmul_rows

# Pixels of windows copied and sorted at once, and pixels subtracted at once: both stay in a core's cache.
_COPIED = 1 << 17
_BAND = 1 << 15
_IMAGES = "images: uint8 uint16 uint32 float32"


@kernel("percentile.cu", T=_IMAGES, tile=(1, 1, 1))
def window_percentiles(
    images: Array, row_starts: Array, row_stops: Array, column_starts: Array, column_stops: Array, out: Array,
    step: int, fraction: float,
) -> None:  # fmt: skip
    """``out[f, i, j]`` = percentile of the window of image f from ``row_starts[i]`` and ``column_starts[j]``.

    A window is ``images[f, row_starts[i]:row_stops[i]:step, column_starts[j]:column_stops[j]:step]``. The percentile
    lies at ``fraction * (n - 1)`` in the window's n sorted values, linear in between. It is computed in float64.

    Parameters
    ----------
    images
        Shape (frames, rows, columns), uint8, uint16, uint32 or float32 without NaN.
    row_starts, row_stops
        Rows of windows, shape (i,), int64, inside the image; no window is empty.
    column_starts, column_stops
        Columns of windows, shape (j,), int64, likewise.
    out
        Shape (frames, i, j), float32; written.
    step
        Distance between the sampled rows, and columns, of a window.
    fraction
        Percentile as a fraction, 0 to 1.
    """
    # Processors select among 32-bit numbers several at a time, among shorter ones most do not.
    wide = images.dtype if images.dtype.itemsize == 4 else np.dtype(np.uint32)
    every = itertools.product(_phases(row_starts, row_stops, step), _phases(column_starts, column_stops, step))
    for rows, columns in every:
        found = np.empty((len(rows.windows), len(columns.windows)), np.float32)
        for image, result in zip(images, out, strict=True):
            sampled = image[rows.phase :: step, columns.phase :: step].astype(wide)
            down, across = sampled.strides
            for (i, height), (j, width) in itertools.product(rows.runs, columns.runs):
                tops, lefts = rows.starts[i], columns.starts[j]
                views = np.lib.stride_tricks.as_strided(
                    sampled[tops[0] :, lefts[0] :],
                    (len(tops), len(lefts), height, width),
                    (_gap(tops) * down, _gap(lefts) * across, down, across),
                    writeable=False,
                )
                _percentiles_of(views, found[i, j], fraction)
            result[np.ix_(rows.windows, columns.windows)] = found


@kernel("percentile.cu", T=_IMAGES, tile=(1, 32, 256))
def subtract_stripes(images: Array, line: Array, background: Array, out: Array, weight: float) -> None:
    """``out = images - min(images, line, weight * background)``, both estimates stretched over the images.

    Parameters
    ----------
    images
        Shape (frames, rows, columns), uint8, uint16, uint32 or float32 without NaN.
    line, background
        Finite float32 grids of each frame, shape (frames, any number of rows, of columns). The grid's corners lie on
        the image's corners. In between a grid is bilinear.
    out
        Shape of ``images``, float32; written.
    weight
        Factor of the background.
    """
    _, rows, columns = images.shape
    line_across = _blend(columns, line.shape[2], 0, columns)[1].T.copy()
    background_across = _blend(columns, background.shape[2], 0, columns)[1].T.copy()
    background_across *= np.float32(weight)
    height = max(1, _BAND // columns)
    stripes = np.empty((height, columns), np.float32)
    is_even = background[0].size == 1  # stretched, it is that value everywhere
    for image, along, behind, result in zip(images, line, background, out, strict=True):
        wide_background = behind if is_even else matmul_rows(behind, background_across)
        for start in range(0, rows, height):
            band = slice(start, min(start + height, rows))
            stripe, counts = stripes[: band.stop - start], result[band]
            near, blend = _blend(rows, len(along), band.start, band.stop)
            matmul_rows(blend @ along[near], line_across, counts)
            if is_even:
                np.minimum(counts, behind * np.float32(weight), out=stripe)
            else:
                near, blend = _blend(rows, len(behind), band.start, band.stop)
                matmul_rows(blend, wide_background[near], stripe)
                np.minimum(stripe, counts, out=stripe)
            counts[...] = image[band]
            np.minimum(stripe, counts, out=stripe)
            np.subtract(counts, stripe, out=counts)


@functools.lru_cache(maxsize=1024)
def _blend(length: int, count: int, start: int, stop: int) -> tuple[slice, Array]:
    """Linear interpolation of ``count`` samples, spread evenly over ``length`` places, at some of the places.

    Returns the slice of the samples needed, and their weights (places, samples).
    """
    at = np.arange(start, stop) * (count - 1)
    step = max(1, length - 1)
    lower = at // step
    near = slice(int(lower[0]), min(int(lower[-1]) + 2, count))
    weights = np.zeros((len(at), int(lower[-1]) + 2 - near.start), np.float32)
    place = np.arange(len(at))
    weights[place, lower - near.start + 1] = (at % step) / step
    weights[place, lower - near.start] = 1 - (at % step) / step
    return near, weights[:, : near.stop - near.start].copy()


@dataclass(frozen=True)
class _Phase:
    """The ``windows`` along an axis that begin at one phase of the step, by number, and so share their samples.

    ``starts`` counts samples. ``runs`` are of windows at equal distances with equally many samples, with that number.
    """

    phase: int
    windows: Array
    starts: Array
    runs: list[tuple[slice, int]]


def _phases(starts: Array, stops: Array, step: int) -> list[_Phase]:
    phases = []
    for phase in np.unique(starts % step).tolist():
        windows = np.flatnonzero(starts % step == phase)
        first, counts = starts[windows] // step, -(-(stops - starts)[windows] // step)
        phases.append(_Phase(phase, windows, first, _runs(first.tolist(), counts.tolist())))
    return phases


def _runs(starts: list[int], counts: list[int]) -> list[tuple[slice, int]]:
    runs = []
    first = 0
    for i in range(1, len(starts) + 1):
        regular = i < len(starts) and counts[i] == counts[first]
        if regular and i - first > 1:
            regular = starts[i] - starts[i - 1] == starts[first + 1] - starts[first]
        if not regular:
            runs.append((slice(first, i), counts[first]))
            first = i
    return runs


def _gap(starts: Array) -> int:
    return int(starts[1] - starts[0]) if len(starts) > 1 else 0


def _percentiles_of(windows: Array, out: Array, fraction: float) -> None:
    """Percentile over the last two axes of (i, j, rows, columns) windows; a few windows are copied at a time."""
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
            # With the upper of the two values in its place, the lower is the largest value before it.
            values.partition(lower + (share > 0), axis=-1)
            found = values[..., lower + (share > 0)].astype(np.float64)
            if share > 0:
                below = values[..., : lower + 1].max(axis=-1)
                found = below + share * (found - below)
            out[i : i + down, j : j + across] = found
