"""A coarse grid of a frame: robust means of windows along its rows, and gains known on the grid put on the pixels.

A window is short against a stripe and one row high, so its mean follows stripes. It is taken over the darker part of
the window, and so cells do not move it.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from gpustitch.array import Array, kernel
from gpustitch.oblique.flat.flatfield import put_counts

# A warp of 32 threads sorts one window.
WINDOW_PX = 32
# The mean goes over the sorted pixels from 1/20 to 2/5: the darkest may be dead, the brighter ones cells.
_FROM, _TO = (1, 20), (2, 5)
# Windows of the widest frames lie farther apart; a CUDA body has room for as many in a row.
MOST_WINDOWS = 1024
# Windows of narrow frames overlap, so that a border of tissue lies in few of many. There are as many as this if the
# smallest step allows.
_ENOUGH_WINDOWS = 24
_STEPS_PX = (WINDOW_PX, WINDOW_PX // 2, WINDOW_PX // 4)
_BAND = 64
# Windows darker than this fraction of the tissue count less, by the square of how much darker they are.
_DARK = 0.1
# Added before the logarithm, as a fraction of the tissue, and at least in counts.
_FLOOR, _FLOOR_COUNTS = 0.01, 1.0
_LEAST_WEIGHT = 1e-6
_IMAGES = "images: uint8 uint16 uint32 float32"


@functools.lru_cache(maxsize=16)
def window_starts(columns: int) -> Array:
    """First columns of windows that cover rows of ``columns`` pixels evenly, int64."""
    span = max(0, columns - WINDOW_PX)
    count = min(span // _step_px(columns) + 1, MOST_WINDOWS)
    return np.rint(np.linspace(0, span, count)).astype(np.int64)


def between_windows_px(columns: int) -> float:
    """Columns from one window to the next in rows of ``columns`` pixels; all of them where there is one window."""
    starts = window_starts(columns)
    return float((starts[-1] - starts[0]) / max(1, len(starts) - 1)) or float(columns)


def windows_apart(columns: int) -> int:
    """How many windows farther on in rows of ``columns`` pixels is the first that shares no pixel."""
    return WINDOW_PX // _step_px(columns)


def _step_px(columns: int) -> int:
    return next((s for s in _STEPS_PX if (columns - WINDOW_PX) // s + 1 >= _ENOUGH_WINDOWS), _STEPS_PX[-1])


@functools.lru_cache(maxsize=16)
def window_places(columns: int) -> Array:
    """Where each of ``columns`` pixels lies between the centres of windows, in windows, float32."""
    starts = window_starts(columns)
    centres = starts + (min(WINDOW_PX, columns) - 1) / 2
    return np.interp(np.arange(columns), centres, np.arange(len(centres))).astype(np.float32)


@kernel("window_grid.cu", T=_IMAGES, tile=(1, 1, 8), threads=(256,))
def window_means(images: Array, starts: Array, counts: Array, out: Array) -> None:
    """Mean of the darker pixels of windows of 32 columns; pixels of 0 are padding and do not count.

    Of m sorted pixels those from m // 20 up to ceil(2 m / 5) enter, at least one.

    Parameters
    ----------
    images
        Frames (frames, rows, columns) without NaN.
    starts
        First column of each window, int64 (windows,). Windows end with the row at the latest.
    counts
        Pixels of each window that count, int32 (frames, rows, windows); written.
    out
        Means, float32 (frames, rows, windows), 0 where no pixel counts; written.
    """
    width = min(WINDOW_PX, images.shape[2])
    columns = starts[:, None] + np.arange(width)
    whole = bool((columns.ravel() == np.arange(columns.size)).all())
    for image, number, mean in zip(images, counts, out, strict=True):
        for start in range(0, len(image), _BAND):
            band = slice(start, start + _BAND)
            rows = image[band].astype(np.float32)
            windows = rows[:, : columns.size].reshape(-1, *columns.shape) if whole else rows[:, columns]
            _darker_means(windows, number[band], mean[band])


def _darker_means(windows: Array, number: Array, mean: Array) -> None:
    width = windows.shape[-1]
    if windows.min() > 0:
        number[...] = width
        windows.sort(axis=-1)
        first, last = _entering(width)
        mean[...] = windows[..., first:last].mean(axis=-1)
        return
    number[...] = np.count_nonzero(windows, axis=-1)
    ordered = np.sort(np.where(windows == 0, np.float32(np.inf), windows), axis=-1)
    place = np.arange(width)
    first, last = (x[..., None] for x in _entering(number))
    enters = (place >= first) & (place < np.minimum(last, number[..., None]))
    sums = np.where(enters, ordered, 0).sum(axis=-1)
    mean[...] = sums / np.maximum(enters.sum(axis=-1), 1)


def _entering(count: Any) -> tuple[Any, Any]:
    """First and end of the sorted pixels that enter the mean of ``count`` pixels."""
    first = count * _FROM[0] // _FROM[1]
    last = -(-count * _TO[0] // _TO[1])
    return first, np.maximum(last, first + 1)


@kernel("window_grid.cu", tile=(1, None, None), threads=(1024,))
def grid_logarithm(means: Array, counts: Array, weights: Array, out: Array, dark: float, least: float) -> None:
    """Logarithm of the light in windows, and how much each counts: less in the dark, nothing without pixels.

    Windows of padding hold the value of the nearest row with data, and columns of them that of the nearest column.

    Parameters
    ----------
    means, counts
        Mean of each window and number of its pixels that count, float32 and int32 (frames, rows, windows).
    weights, out
        float32 of that shape; written. Weights are from 1e-6 to 1.
    dark
        Counts to subtract from the means; the light is 0 or more.
    least
        Windows in which fewer pixels count are padding, and say nothing.
    """
    light, empty = np.maximum(means - np.float32(dark), 0), counts < least
    if empty.any():
        light = filled(light, empty)
    # The mean weighted with itself: that of the tissue, however little of the frame it fills.
    wide = light.astype(np.float64)
    tissue = (wide * wide).sum((1, 2)) / np.maximum(wide.sum((1, 2)), 1e-9)
    tissue = tissue.astype(np.float32)[:, None, None]
    shares = np.clip(light / np.maximum(_DARK * tissue, _FLOOR_COUNTS), 0, 1) ** 2
    shares[empty] = 0
    np.log(light + np.maximum(_FLOOR * tissue, np.float32(_FLOOR_COUNTS)), out=out)
    np.maximum(shares, np.float32(_LEAST_WEIGHT), out=weights)


def filled(light: Array, empty: Array) -> Array:
    """The grid with the nearest row's value of the column, then of the next columns, where a window is empty."""
    for axis in (1, 2):
        length = light.shape[axis]
        places = np.arange(length).reshape((-1, 1) if axis == 1 else (1, -1))
        before = np.maximum.accumulate(np.where(empty, -2 * length, places), axis)
        behind = np.maximum.accumulate(np.flip(np.where(empty, -2 * length, -places), axis), axis)
        after = np.flip(-behind, axis)
        nearest = np.where(places - before <= after - places, before, after)
        empty = (nearest < 0) | (nearest >= length)
        light = np.take_along_axis(light, np.clip(nearest, 0, length - 1), axis)
    return light


@kernel("window_grid.cu", T=_IMAGES, O="out: uint8 uint16 float32", tile=(1, 32, 256), threads=(256,))
def apply_gains(
    images: Array,
    gains: Array,
    places: Array,
    full_scale: Array,
    flat_gain: Array,
    out: Array,
    dark: float,
    truncate: bool,
) -> None:
    """``out = (images - dark) * gain * flat_gain``, where the gain is linear between the windows of a row.

    Pixels of 0 are padding and give 0. Pixels at full scale keep their counts, and no other pixel gets more, before
    the flat field. Of what comes before it, `flat_counts` makes counts.

    Parameters
    ----------
    images
        Frames (frames, rows, columns) without NaN.
    gains
        Gain of each window, float32 (frames, rows, windows).
    places
        Place of each column between windows, float32 (columns,), from 0 to windows - 1.
    full_scale
        Counts at which each frame is saturated, float32 (frames,), infinite where it is not.
    flat_gain
        Factor of each pixel, float32 (rows, columns), or (1, 1) for one factor everywhere.
    out
        uint8, uint16 or float32 (frames, rows, columns); written.
    dark
        Counts to subtract first.
    truncate
        Truncate whole numbers instead of rounding them.
    """
    room = np.empty((min(_BAND, images.shape[1]), images.shape[2]), np.float32)
    left = np.minimum(places.astype(np.int64), max(0, gains.shape[2] - 2))
    share = places - left.astype(np.float32)
    slopes = np.diff(gains, axis=2, append=gains[:, :, -1:])
    for image, gain, slope, most, target in zip(images, gains, slopes, full_scale, out, strict=True):
        for start in range(0, len(image), _BAND):
            band = slice(start, start + _BAND)
            raw = image[band].astype(np.float32)
            result = room[: len(raw)]
            np.take(slope[band], left, axis=1, out=result, mode="clip")
            result *= share
            result += np.take(gain[band], left, axis=1, mode="clip")
            result *= raw - np.float32(dark)
            if np.isfinite(most):
                np.minimum(result, most - np.float32(dark), out=result)
                result[raw >= most] = most - np.float32(dark)
            result[raw == 0] = 0
            put_counts(result, flat_gain, target, start, 0.0, truncate, result)
