"""Parts of the similarity of planes: moments of their pixels, and how these become rows in tiles."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gpustitch.array import Array
from gpustitch.model.arrays import Floats

# Pixels worked on at a time, which stay in a core's cache.
PIXELS_AT_A_TIME = 1 << 16
# Pixels of a run, whose sums are float32.
_RUN = 2048
# Variances whose sums of squares float32 holds without scaling.
_USUAL_VARIANCE = (2.0**-40, 2.0**60)
# Up to this variance sums of some 500 squares of whole numbers are below 2^24.
_EXACT_VARIANCE = 2.0**14
# Where between whole numbers squares have no simple binary digits; and the part of a contrast that does not matter.
_OFF_GRID, _LEAST_LOW = 0.29, 2.0**-13
# A sample is this many pixels of every so many: 63 * 64, so that samples lie in all columns of planes of usual widths.
_SAMPLED, _EVERY = 64, 4032
# Smaller planes are taken whole: a sample of them would be too few pixels for a mean.
_LEAST_SAMPLED = 1 << 14
# Greatest part of the sum of squares that may be the mean's: the rest is variance, and sums have lost little.
_MOST_OF_MEAN = 0.8


def run_moments(values: Array, mask: Array, segment: int) -> Floats:
    """Moments of runs of values: number used, mean, sum of squared deviations from it.

    Parameters
    ----------
    values
        1-D, uint8, uint16 or float32.
    mask
        Not 0 where a value is used: 1-D of the same length, or of length 1.
    segment
        Values of a segment, a multiple of a run.

    Returns
    -------
    float64 (segments, runs of a segment, 3); 0, 0, 0 for runs without a used value.
    """
    n_segments = -(-values.size // segment)
    is_plain = values.size % _RUN == 0 and mask.size == 1 and bool(mask[0])
    found = _whole_runs(values) if is_plain else None
    if found is None:
        found = _masked_runs(values, mask)
    moments = np.zeros((n_segments * (segment // _RUN), 3))
    moments[: found.shape[1]] = found.T
    return moments.reshape(n_segments, -1, 3)


def combined_moments(parts: Floats) -> Floats:
    """Moments float64 (..., 3) of sets of values from those (..., k, 3) of their parts."""
    count = parts[..., 0]
    total = count.sum(axis=-1)
    mean = (count * parts[..., 1]).sum(axis=-1) / np.maximum(total, 1)
    between = np.where(count > 0, parts[..., 1] - mean[..., None], 0)
    squares = parts[..., 2].sum(axis=-1) + (count * between**2).sum(axis=-1)
    moments: Floats = np.stack([total, mean, squares], axis=-1)
    return moments


def scaling_of(count: Floats, mean: Floats, variance: Floats, n_pixels: int) -> tuple[npt.NDArray[np.float32], Floats]:
    """The scaling that ``centred_rows`` takes, and the mean of the row that it gives; constant planes have factor 0.

    Whole numbers of small contrast are best left on their grid, where float32 sums are exact: the mean is rounded,
    unless that would shift them by more than the contrast. Sums of greater ones are not exact, and squares of whole
    numbers are mostly rounded down: they are shifted off their grid, and so are floats that are near multiples of the
    spacing of floats. The factor is a power of two, mostly 1.
    """
    contrast, whole = np.sqrt(variance), np.rint(mean)
    is_exact = (contrast >= np.abs(mean - whole)) & (variance <= _EXACT_VARIANCE)
    high = np.where(is_exact, whole, np.where(variance > _EXACT_VARIANCE, whole + _OFF_GRID, mean)).astype(np.float32)
    spacing = np.spacing(np.abs(high)).astype(np.float64)
    low = np.where(contrast < 4 * spacing, mean - high, _OFF_GRID * spacing)
    low = np.where(is_exact | (np.abs(low) <= _LEAST_LOW * contrast), 0, low).astype(np.float32)
    usual = (variance >= _USUAL_VARIANCE[0]) & (variance <= _USUAL_VARIANCE[1])
    power = np.where(usual, 0, -np.rint(np.log2(np.where(variance > 0, variance, 1)) / 2))
    factor = np.where(variance > 0, 2**power, 0)
    scaling = np.stack([high, low, factor, count == n_pixels], axis=-1).astype(np.float32)
    return scaling, (mean - high - low) * factor


@dataclass(frozen=True)
class Sampled:
    """Scaling of planes from a sample of their pixels.

    ``is_sure`` (n,) has the planes that a sample can be taken for; ``mean`` that of the rows it lets expect;
    ``tolerance`` how far the true one may be from it: as far and no plane is off its mean by more than its contrast.
    """

    scaling: npt.NDArray[np.float32]
    is_sure: npt.NDArray[np.bool_]
    mean: Floats
    tolerance: Floats


def sampled_scaling(planes: npt.NDArray[Any]) -> Sampled:
    """Scaling of planes (n, rows, columns), from one in 63 of their pixels, if all are used.

    A part s of the pixels has at most 1 / s times the variance of all. Let a mean be off the true one by at most
    ``sqrt(s)`` times the sample's contrast: then it is off by at most the true contrast.
    """
    n, n_pixels = len(planes), math.prod(planes.shape[1:])
    sample = planes.reshape(n, -1)
    if n_pixels > _LEAST_SAMPLED:
        n_runs = n_pixels // _EVERY
        sample = sample[:, : n_runs * _EVERY].reshape(n, n_runs, _EVERY)[:, :, :_SAMPLED].reshape(n, -1)
    share = sample.shape[1] / n_pixels
    sample = sample.astype(np.float32)
    with np.errstate(invalid="ignore", over="ignore"):
        varies = sample.max(axis=1) > sample.min(axis=1)
        mean = sample.mean(axis=1, dtype=np.float64)
        sample -= mean[:, None].astype(np.float32)
        variance = np.square(sample, out=sample).mean(axis=1).astype(np.float64)
        # Where the sample is constant or not finite, or contrasts are extreme, the plane's own moments decide.
        is_sure = varies & (variance >= _USUAL_VARIANCE[0]) & (variance <= _USUAL_VARIANCE[1])
    mean, variance = np.where(is_sure, mean, 0), np.where(is_sure, variance, 1)
    scaling, expected = scaling_of(np.full(n, n_pixels), mean, variance, n_pixels)
    return Sampled(scaling, is_sure, expected, np.sqrt(variance * share))


def confirmed(
    sampled: Sampled, mean: Floats, n_pixels: int, floats: npt.NDArray[np.float32] | None
) -> npt.NDArray[np.bool_]:
    """Which planes (n,) their samples were right about.

    ``mean`` (n,) is that of the rows that the scaling made; ``floats`` these rows, (tiles, n, width), if the planes are
    of float32. Sums of small whole numbers are exact; others must not be far from 0 for their contrast.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        is_sure: npt.NDArray[np.bool_] = sampled.is_sure & (np.abs(mean - sampled.mean) <= sampled.tolerance)
        if floats is not None and (np.abs(mean) > sampled.tolerance)[is_sure].any():
            is_sure &= n_pixels * mean**2 <= _MOST_OF_MEAN * row_sums(floats, squared=True)
    return is_sure


def sample_bytes(shape: tuple[int, int]) -> int:
    """Memory that the sample of a plane takes."""
    n_pixels = math.prod(shape)
    return 5 * (n_pixels // _EVERY * _SAMPLED if n_pixels > _LEAST_SAMPLED else n_pixels)


def row_sums(rows: npt.NDArray[np.float32], squared: bool = False) -> Floats:
    """Sums (n,) of rows (tiles, n, width), or of their squares; not finite if a pixel is not."""
    by = rows[..., None] if squared else np.ones((rows.shape[2], 1), np.float32)
    total: Floats = np.matmul(rows[:, :, None], by).sum(axis=(0, 2, 3), dtype=np.float64)
    return total


def mask_of(mask: Array, i: int) -> Array:
    """The mask of plane i, pixel after pixel, or one value."""
    flat: Array = mask[i if mask.shape[0] > 1 else 0].reshape(-1)
    return flat


def used_pixels(values: Array, mask: Array, pixels: slice) -> npt.NDArray[np.bool_]:
    """Which of these pixels (tiles, planes, width) of planes are used; ``mask`` is (1 or planes, pixels or 1)."""
    used: npt.NDArray[np.bool_] = np.isfinite(values)
    own = mask if mask.shape[1] == 1 else mask[:, pixels]
    tiles = 1 if mask.shape[1] == 1 else len(values)
    used &= own.reshape(len(own), tiles, -1).swapaxes(0, 1) != 0
    return used


def tiled(rows: Array, n_pixels: int) -> Iterator[tuple[slice, Array]]:
    """Slices of planes' pixels with the parts (tiles, planes, pixels) of their rows that they go to."""
    tiles, n, width = rows.shape
    full = n_pixels // width
    step = max(1, 4 * PIXELS_AT_A_TIME // (n * width))
    for t in range(0, full, step):
        stop = min(full, t + step)
        yield slice(t * width, stop * width), rows[t:stop]
    if full < tiles:
        yield slice(full * width, n_pixels), rows[full : full + 1, :, : n_pixels - full * width]


def _whole_runs(values: Array) -> Floats | None:
    """Moments (3, runs) of full runs; None if a value is not finite."""
    runs = values.reshape(-1, _RUN).astype(np.float32, copy=False)
    mean = runs.mean(axis=1)
    if not np.isfinite(mean).all():
        return None
    # The rounded mean of equal values may differ from them: clipped it does not, and deviations are exactly 0.
    shift = np.clip(mean, runs.min(axis=1), runs.max(axis=1))
    return _moments(np.full(len(runs), float(_RUN)), shift, runs - shift[:, None])


def _masked_runs(values: Array, mask: Array) -> Floats:
    """Moments (3, runs) of runs of which some values are not used, the last perhaps short."""
    n_runs = -(-values.size // _RUN)
    runs, used = np.zeros((n_runs, _RUN), np.float32), np.zeros((n_runs, _RUN), bool)
    runs.reshape(-1)[: values.size] = values
    used.reshape(-1)[: values.size] = mask != 0
    used &= np.isfinite(runs)
    runs[~used] = 0
    count = used.sum(axis=1)
    mean = runs.sum(axis=1) / np.maximum(count, 1).astype(np.float32)
    least = np.where(used, runs, np.float32(np.inf)).min(axis=1)
    most = np.where(used, runs, np.float32(-np.inf)).max(axis=1)
    shift = np.where(count > 0, np.clip(mean, least, np.maximum(least, most)), np.float32(0))
    deviations = runs - shift[:, None]
    deviations[~used] = 0
    return _moments(count.astype(np.float64), shift, deviations)


def _moments(count: Floats, shift: Array, deviations: Array) -> Floats:
    """Moments (3, runs) from deviations (runs, values) from a shift (runs,), which is near the mean."""
    total = deviations.sum(axis=1).astype(np.float64)
    # NumPy sums rows pairwise: a long float32 sum of a few distinct squares would be off by more than 1e-6.
    squares = np.square(deviations, out=deviations).sum(axis=1).astype(np.float64)
    rest = total / np.maximum(count, 1)
    moments: Floats = np.stack([count, shift + rest, np.maximum(squares - rest * total, 0)])
    return moments
