"""Parts of the similarity of planes: moments of pixels, rows in tiles, and coefficients from products of rows."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from gpustitch.array import Array, namespace, to_host

Moments = npt.NDArray[np.float64]

# Pixels worked on at a time, which stay in a core's cache.
BAND = 1 << 16
# Pixels that are summed in float32.
_RUN = 2048
# Where less than this part of the raw second moment is variance, float32 sums have lost too much.
_LEAST_VARIANCE = 0.1


def run_moments(values: Array, mask: Array, segment: int) -> Moments:
    """Moments (segments, runs, 3) of runs of values: number used, mean, squared deviations.

    Parameters
    ----------
    values
        1-D, uint8, uint16 or float32.
    mask
        Not 0 where a value is used: 1-D of the same length, or of length 1.
    segment
        Values of a segment.
    """
    n_segments = -(-values.size // segment)
    is_plain = values.size % _RUN == 0 and mask.size == 1 and bool(mask[0])
    found = _whole_runs(values) if is_plain else None
    if found is None:
        found = _masked_runs(values, mask)
    moments = np.zeros((n_segments * (segment // _RUN), 3))
    moments[: found.shape[1]] = found.T
    return moments.reshape(n_segments, -1, 3)


def combined_moments(parts: Moments) -> Moments:
    """Moments (..., 3) of sets of values from those (..., k, 3) of their parts."""
    count = parts[..., 0]
    total = count.sum(axis=-1)
    mean = (count * parts[..., 1]).sum(axis=-1) / np.maximum(total, 1)
    between = np.where(count > 0, parts[..., 1] - mean[..., None], 0)
    squares = parts[..., 2].sum(axis=-1) + (count * between**2).sum(axis=-1)
    moments: Moments = np.stack([total, mean, squares], axis=-1)
    return moments


def scaling_of(
    count: Moments, mean: Moments, squares: Moments, n_pixels: int
) -> tuple[npt.NDArray[np.float32], Moments]:
    """The scaling that ``centred_rows`` takes, and the mean of the row that it gives; constant planes have factor 0.

    Whole numbers are best left on their grid, where float32 sums are exact or nearly so: the mean is rounded unless the
    contrast is too small for that, and the factor is a power of two.
    """
    variance = squares / np.maximum(count, 1)
    on_grid = variance >= (mean - np.rint(mean)) ** 2
    high = np.where(on_grid, np.rint(mean), mean).astype(np.float32)
    low = np.where(on_grid, 0, mean - high).astype(np.float32)
    factor = np.where(variance > 0, 2 ** -np.rint(np.log2(np.where(variance > 0, variance, 1)) / 2), 0)
    scaling = np.stack([high, low, factor, count == n_pixels], axis=-1).astype(np.float32)
    return scaling, (mean - high - low) * factor


def plain_correlation(centred: Array, new: slice, n_used: int, mean: Moments, squares: Moments) -> Moments:
    """Pearson's coefficients of the rows ``new`` with all rows, of which all use the same pixels.

    Parameters
    ----------
    centred
        float32 (tiles, rows, width), each row about centred, 0 where not used.
    new
        Some of the rows.
    n_used
        Number of used pixels.
    mean, squares
        (rows,): mean of each row, and the sum of squared deviations from it. The squares of the new rows are replaced
        by those that the product gives.

    Returns
    -------
    float64 (new, rows) in host memory; those of rows that are 0 mean nothing.

    Notes
    -----
    Sums of float32 products of few distinct values are all rounded the same way. So are the squares: they cancel.
    """
    xp = namespace(centred)
    total = xp.zeros((new.stop - new.start, centred.shape[1]), np.float64)
    for tile in centred:
        total += xp.matmul(tile[new], tile.T)
    found: Moments = to_host(total) - n_used * np.outer(mean[new], mean)
    own = np.diagonal(found, new.start)
    squares[new] = np.where(own > 0, own, squares[new])
    return np.clip(found / np.sqrt(np.outer(squares[new], squares)), -1, 1)


def masked_correlation(centred: Array, used: Array, new: slice, wanted: npt.NDArray[np.bool_]) -> Moments:
    """Pearson's coefficients of the rows ``new`` with all rows, over the pixels that are used in both.

    Parameters
    ----------
    centred
        float32 (tiles, rows, width), each row about centred, 0 where not used.
    used
        uint8 of the same shape: 1 where a pixel is used.
    new
        Some of the rows.
    wanted
        (new, rows): pairs that must be right. Where the common pixels of one plane are far from its mean, or hardly
        vary, the pair is done again in float64.

    Returns
    -------
    float64 (new, rows) in host memory; NaN where the common pixels of a plane are constant, or fewer than two.
    """
    n, s_a, s_b, s_aa, s_bb, s_ab = to_host(_pair_sums(centred, used, new))
    variance_a, variance_b = n * s_aa - s_a**2, n * s_bb - s_b**2
    doubtful = (variance_a <= _LEAST_VARIANCE * n * s_aa) | (variance_b <= _LEAST_VARIANCE * n * s_bb)
    with np.errstate(divide="ignore", invalid="ignore"):
        found: Moments = np.clip((n * s_ab - s_a * s_b) / np.sqrt(variance_a * variance_b), -1, 1)
    found[doubtful] = np.nan
    for i, j in zip(*np.nonzero(doubtful & wanted), strict=True):
        found[i, j] = _pair(centred, used, new.start + int(i), int(j))
    return found


def mask_of(mask: Array, i: int) -> Array:
    """The mask of plane i, pixel after pixel, or one value."""
    flat: Array = mask[i if mask.shape[0] > 1 else 0].reshape(-1)
    return flat


def used_pixels(values: Array, mask: Array, pixels: slice) -> npt.NDArray[np.bool_]:
    """Which of these values of a plane are used; ``mask`` is that of the plane."""
    used: npt.NDArray[np.bool_] = np.isfinite(values)
    used &= mask != 0 if mask.size == 1 else mask[pixels].reshape(values.shape) != 0
    return used


def tiled(row: Array, n_pixels: int) -> Iterator[tuple[slice, Array]]:
    """Slices of a plane's pixels with the parts (tiles, pixels) of its row that they go to."""
    tiles, width = row.shape
    full = n_pixels // width
    step = max(1, BAND // width)
    for t in range(0, full, step):
        stop = min(full, t + step)
        yield slice(t * width, stop * width), row[t:stop]
    if full < tiles:
        yield slice(full * width, n_pixels), row[full : full + 1, : n_pixels - full * width]


def clear_end(row: Array, n_pixels: int) -> None:
    """Zeros beyond the last pixel."""
    row[-1, n_pixels - (row.shape[0] - 1) * row.shape[1] :] = 0


def _pair_sums(centred: Array, used: Array, new: slice) -> Array:
    """Over common pixels: number, sums of a, b, a squared, b squared, a times b; float64 (6, new, rows)."""
    xp = namespace(centred)
    n_new, n_rows = new.stop - new.start, centred.shape[1]
    total = xp.zeros((6, n_new, n_rows), np.float64)
    for a, valid in zip(centred, used, strict=True):
        w, squared = valid.astype(np.float32), a * a
        left = xp.concatenate([w[new], a[new], squared[new]])
        total[[0, 1, 3]] += xp.matmul(left, w.T).reshape(3, n_new, n_rows)
        total[[2, 5]] += xp.matmul(left[: 2 * n_new], a.T).reshape(2, n_new, n_rows)
        total[4] += xp.matmul(left[:n_new], squared.T)
    return total  # type: ignore[no-any-return]


def _pair(centred: Array, used: Array, i: int, j: int) -> float:
    """The coefficient of two rows in float64; NaN where there is none."""
    common = (used[:, i] & used[:, j]) != 0
    a, b = centred[:, i][common].astype(np.float64), centred[:, j][common].astype(np.float64)
    if a.size < 2 or float(a.min()) == float(a.max()) or float(b.min()) == float(b.max()):
        return float("nan")
    a -= a.mean()
    b -= b.mean()
    norms = math.sqrt(float((a * a).sum())) * math.sqrt(float((b * b).sum()))
    return min(1.0, max(-1.0, float((a * b).sum()) / norms))


def _whole_runs(values: Array) -> Moments | None:
    """Moments (3, runs) of full runs; None if a value is not finite."""
    runs = values.reshape(-1, _RUN).astype(np.float32, copy=False)
    mean = runs.mean(axis=1)
    if not np.isfinite(mean).all():
        return None
    # The rounded mean of equal values may differ from them: clipped it does not, and deviations are exactly 0.
    shift = np.clip(mean, runs.min(axis=1), runs.max(axis=1))
    return _moments(np.full(len(runs), float(_RUN)), shift, runs - shift[:, None])


def _masked_runs(values: Array, mask: Array) -> Moments:
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


def _moments(count: npt.NDArray[np.float64], shift: Array, deviations: Array) -> Moments:
    total = deviations.sum(axis=1).astype(np.float64)
    # NumPy sums rows pairwise: a long float32 sum of a few distinct squares would be off by more than 1e-6.
    squares = np.square(deviations, out=deviations).sum(axis=1).astype(np.float64)
    rest = total / np.maximum(count, 1)
    moments: Moments = np.stack([count, shift + rest, np.maximum(squares - rest * total, 0)])
    return moments
