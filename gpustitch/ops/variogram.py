"""How long structures are within planes: at which distance pixels of one plane are no longer alike."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import scipy

from gpustitch.array import Array, to_host
from gpustitch.model.arrays import Floats

# Distances of pixels, along rows and columns.
LAGS_PX = (1, 2, 3, 4, 6, 8, 12)
# Side of a window, and windows along each side of a plane. Planes take turns with them: each has one in every row.
WINDOW_PX, WINDOWS = 64, 4
# So many planes of a series tell enough, but at least one in so many.
_PLANES, _MOST_STEP = 128, 6
# Standard deviation, in planes, of the Gaussian over which variograms are averaged.
_SLOW = 12.0
# What is tried: exponents of the variogram, and lengths in pixels.
_EXPONENTS = (1.0, 1.25, 1.5, 1.75, 2.0)
_LENGTHS_PX = np.geomspace(0.5, 40, 200)
# Variograms that are fitted at a time.
_AT_A_TIME = 8


def variograms(planes: Array, first: int = 0, n_planes: int = 0) -> Floats:
    """Mean square difference of pixels at each of :data:`LAGS_PX`, as a part of the variance.

    Parameters
    ----------
    planes
        Shape (n, rows, columns), real. Windows with a NaN are not used.
    first, n_planes
        Number of the first of them in a series of so many. Of a long series some planes are taken.

    Returns
    -------
    float64 (n, lags), NaN where a plane is not taken, constant, too small, or has no window.
    """
    n, rows, columns = planes.shape
    found = np.full((n, len(LAGS_PX)), np.nan)
    if min(rows, columns) < 2 * max(LAGS_PX):
        return found
    step = min(_MOST_STEP, -(-n_planes // _PLANES) or 1)
    for at in range(-first % step, n, step):
        plane, values, turn = planes[at], found[at], (first + at) // step
        corners = _corners((rows, columns), turn)
        # Windows of a device's planes are few bytes, and come down for that.
        cut = [to_host(plane[y : y + WINDOW_PX, x : x + WINDOW_PX]) for y, x in corners]
        sums = _sums(np.stack(cut).astype(np.float32))
        total = sums[np.isfinite(sums).all(axis=1)].sum(axis=0)
        if total[-1] > 0:
            values[:] = total[:-1] / total[-1]
    return found


def variogram_bytes(n: int) -> int:
    """Bound on the bytes of host memory that :func:`variograms` of n planes in turn takes, and their results."""
    of_windows, of_fit = 6 * 4 * WINDOWS * WINDOW_PX**2, 8 * 8 * _AT_A_TIME * len(_LENGTHS_PX) * len(LAGS_PX)
    return max(of_windows, of_fit) + 5 * 8 * n * len(LAGS_PX)


def lengths_px(variograms: Floats) -> Floats | None:
    """Distance at which pixels are no longer alike, in pixels, about each plane: float64 (n,).

    Noise, which has no length, does not change it. Planes without a variogram are as their neighbours. None if no plane
    has one.

    Parameters
    ----------
    variograms
        What :func:`variograms` found of all planes, in order.
    """
    is_known = np.asarray(np.isfinite(variograms).all(axis=1))
    if not is_known.any():
        return None
    weight: Floats = scipy.ndimage.gaussian_filter1d(is_known.astype(np.float64), _SLOW, mode="nearest")
    slow: Floats = scipy.ndimage.gaussian_filter1d(
        np.where(is_known[:, None], variograms, 0), _SLOW, axis=0, mode="nearest"
    )
    there = np.flatnonzero(weight > 0)
    values = slow[there] / weight[there][:, None]
    exponent = min(_EXPONENTS, key=lambda p: float(_fitted(values.mean(axis=0)[None], p)[1][0]))
    parts = [_fitted(values[at : at + _AT_A_TIME], exponent)[0] for at in range(0, len(values), _AT_A_TIME)]
    found: Floats = np.interp(np.arange(len(variograms)), there, _LENGTHS_PX[np.concatenate(parts)])
    return found


def _corners(shape: tuple[int, int], turn: int) -> list[tuple[int, int]]:
    """Where the windows of a plane begin; in the next turn each is one further along its row."""
    y, x = (_starts(length) for length in shape)
    return [(top, x[(turn + row) % len(x)]) for row, top in enumerate(y)]


def _starts(length: int) -> list[int]:
    """Where windows may begin along a side: evenly, and not over each other."""
    room, n = max(0, length - WINDOW_PX), min(WINDOWS, length // WINDOW_PX)
    return [int(at) for at in np.linspace(0, room, n)] if n > 1 else [room // 2]


def _sums(windows: npt.NDArray[np.float32]) -> Floats:
    """Mean square differences at each distance, and the variance: (windows, lags + 1)."""
    with np.errstate(invalid="ignore", over="ignore"):  # pixels that are not finite
        windows = windows - windows.mean(axis=(1, 2), keepdims=True, dtype=np.float64).astype(np.float32)
        sums = []
        for lag in LAGS_PX:
            parts = windows[:, lag:] - windows[:, :-lag], windows[..., lag:] - windows[..., :-lag]
            sums.append(sum(np.square(part).mean(axis=(1, 2), dtype=np.float64) for part in parts) / 2)
        sums.append(np.square(windows).mean(axis=(1, 2), dtype=np.float64))
        return np.stack(sums, axis=1)


def _fitted(values: Floats, exponent: float) -> tuple[npt.NDArray[np.intp], Floats]:
    """Best of the lengths for each variogram (n, lags), and the squared error: of noise and a stretched exponential."""
    shape = 1 - np.exp(-((np.array(LAGS_PX) / _LENGTHS_PX[:, None]) ** exponent))
    # Errors count as parts of the value.
    one, curve = 1 / values[:, None], shape / values[:, None]
    aa, ab, bb = (np.square(one).sum(-1), (one * curve).sum(-1), np.square(curve).sum(-1))
    ya, yb = np.broadcast_to(one.sum(-1), bb.shape), curve.sum(-1)
    scale = aa * bb - ab**2
    noise = np.maximum((ya * bb - yb * ab) / np.where(scale > 0, scale, np.inf), 0)
    height = (yb - noise * ab) / bb
    error = np.square(noise[..., None] * one + height[..., None] * curve - 1).sum(-1)
    best = error.argmin(axis=1)
    return best, np.take_along_axis(error, best[:, None], axis=1)[:, 0]
