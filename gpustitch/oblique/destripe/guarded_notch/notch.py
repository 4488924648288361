"""Remove stripes along the rows, and nothing else: a wavelet notch of fixed length that cells and borders do not feel.

The wavelet notch of pystripe (`gpustitch.oblique.destripe.wavelet`) takes a bright cell for a short bright stripe, and
the border of a tissue for the border of a stripe. Here three estimates of the stripes are robust instead of linear:

1. The low pass along the rows starts with the mean of the darker pixels in windows of 32 (`window_means`).
2. A running median down the columns, too long for stripes, takes tissue and its borders out of their logarithm.
3. What is left is split into wavelet levels. At each level a robust low pass along the rows keeps what stays alike over
   the notch's length (`robust_low_pass`).

All of it happens on the grid of windows. The gain found there is then applied to every pixel, bright or dark.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
import pywt

from gpustitch.array import Array, namespace, resident
from gpustitch.array.product import batches
from gpustitch.oblique.destripe.dwt import wavelet_taps
from gpustitch.oblique.destripe.guarded_notch.columns import (
    analyse_columns,
    continued,
    less_medians,
    level_rows,
    running_medians,
    synthesise_columns,
)
from gpustitch.oblique.destripe.guarded_notch.robust_rows import low_pass_matrix, robust_low_pass
from gpustitch.oblique.destripe.guarded_notch.shadows import shadows_of
from gpustitch.oblique.destripe.guarded_notch.window_grid import (
    WINDOW_PX,
    apply_gains,
    between_windows_px,
    grid_logarithm,
    window_means,
    window_places,
    window_starts,
)
from gpustitch.oblique.destripe.saturation import full_scale
from gpustitch.oblique.flat.flatfield import Counts

# Lengths that are tried where frames choose. The mildest notch comes first: a long one takes least of the tissue.
LENGTHS_PX = (2048.0, 1024.0, 512.0, 256.0)
# Fewer pixels than this fraction of a window say nothing.
_LEAST_COUNTED = 0.25
# Types that the kernels read; frames of other types are first converted to float32.
_READ_AS_THEY_ARE = ("uint8", "uint16", "uint32", "float32")


@dataclass(frozen=True)
class Notch:
    """How stripes are told from tissue.

    Attributes
    ----------
    length_px
        Structures longer than this along the rows are stripes. The notch's bandwidth is ``2 * columns / length_px``.
    level
        Number of wavelet levels. Level n holds periods of about ``2**n`` to ``2**(n + 1)`` rows.
    wavelet
        Name of the wavelet in PyWavelets.
    strengths
        Part of the stripes that is taken at each level, the finest first, from 0 to 1; all of them if it is empty.
    shadows
        Whether stripes only darken, with rows of full light between them.
    """

    length_px: float
    level: int
    wavelet: str
    strengths: tuple[float, ...] = ()
    shadows: bool = False

    @property
    def reach_px(self) -> tuple[int, int]:
        """How far, in rows and columns, the pixels lie that tell the stripes of a pixel.

        Along the columns that is the support of the coarsest wavelet, along the rows three sigma of the low pass.
        """
        return len(pywt.Wavelet(self.wavelet).dec_lo) << self.level, math.ceil(self.length_px / 2)

    def strength(self, level: int) -> float:
        """Part of the stripes that is taken at ``level``, from 1 for the finest."""
        return self.strengths[level - 1] if self.strengths else 1.0


def destripe_guarded(frames: Array, notch: Notch, dark: float, counts: Counts | None = None) -> Array:
    """Frames without their offset and without stripes along the rows.

    Borders are half-sample symmetric on both axes. Pixels of 0 are padding: they stay 0 and say nothing about stripes.
    Saturated pixels stay saturated. Frames of too few rows for one level only lose their offset.

    Parameters
    ----------
    frames
        Counts (frames, rows, columns), finite, any real dtype.
    notch
        What a stripe is.
    dark
        Counts that the camera shows without light; they are subtracted first.
    counts
        Where the result goes, and what the flat field makes of it; it takes no other offset. Else the result is light.

    Returns
    -------
    ``counts.out``, or a float32 array of the same shape, not clipped. The result of a frame does not depend on the
    other frames.
    """
    xp, put = namespace(frames), Counts.of_light(frames) if counts is None else counts
    for part in batches(frames):
        batch, scales = frames[part], full_scale(frames[part])
        if batch.dtype.name not in _READ_AS_THEY_ARE:
            batch = batch.astype(np.float32)
        grid, weights = window_grid(batch, dark)
        stripes = stripes_of(grid, weights, notch, frames.shape[2])
        places = resident(window_places(frames.shape[2]), batch)
        apply_gains(batch, xp.exp(-stripes), places, scales, put.gain, put.out[part], dark, put.truncate)
    return put.out


def sigma_px(length_px: float) -> float:
    """Standard deviation of the low pass of a notch of this length."""
    return length_px / (2 * np.pi)


def window_grid(frames: Array, dark: float) -> tuple[Array, Array]:
    """Logarithm of the mean light in windows of frames, and how much each counts, both float32.

    Both have the shape (frames, rows, windows). Windows of padding hold the value of the nearest row with data.
    """
    xp = namespace(frames)
    starts = window_starts(frames.shape[2])
    shape = (*frames.shape[:2], len(starts))
    means, counts = xp.empty(shape, np.float32), xp.empty(shape, np.int32)
    window_means(frames, resident(starts, frames), counts, means)
    least = _LEAST_COUNTED * min(WINDOW_PX, frames.shape[2])
    logarithm, weights = xp.empty(shape, np.float32), xp.empty(shape, np.float32)
    grid_logarithm(means, counts, weights, logarithm, dark, least)
    return logarithm, weights


def stripes_of(grid: Array, weights: Array, notch: Notch, columns: int) -> Array:
    """The logarithm of the stripes' gain on the grid of windows (frames, rows, windows) of frames of ``columns``."""
    xp = namespace(grid)
    sigma = sigma_px(notch.length_px) / between_windows_px(columns)
    matrix = resident(low_pass_matrix(grid.shape[2], sigma), grid)
    count = levels_in(grid.shape[1], notch)
    if not count:
        return xp.zeros_like(grid)  # type: ignore[no-any-return]
    found = details(without_tissue(grid, notch.level), weights, notch, count)
    taken, low = xp.empty_like(found.values), xp.empty_like(grid)
    strengths = resident(_strengths(tuple(found.rows), tuple(notch.strength(n + 1) for n in range(count))), grid)
    robust_low_pass(found.values, found.weights, matrix, strengths, taken)
    # The low passes of the analysis are no longer needed.
    synthesise_columns(taken, resident(wavelet_taps(notch.wavelet)[1], grid), found.lows, low)
    if notch.shadows:
        return shadows_of(low, 1 << (count - 1))
    # Levels have no mean, but shadows among light rows do: most rows of a column are light.
    stripes: Array = xp.empty_like(low)
    less_medians(low, stripes)
    return stripes


def without_tissue(grid: Array, level: int) -> Array:
    """The grid less its running median down the columns, which is longer than stripes are wide."""
    xp, reach = namespace(grid), min(1 << level, grid.shape[1])
    longer = xp.empty((len(grid), grid.shape[1] + 2 * reach, grid.shape[2]), np.float32)
    continued(grid, longer, reach)
    medians = xp.empty_like(longer)
    running_medians(longer, medians, reach)
    return grid - medians[:, reach : reach + grid.shape[1]]  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Details:
    """What levels down the columns hold: high passes, their weights, and low passes, float32 (frames, n, windows).

    Levels lie in a row, the finest first; ``rows`` has the coefficients of each.
    """

    values: Array
    weights: Array
    lows: Array
    rows: list[int]

    def by_level(self) -> list[tuple[Array, Array]]:
        """The high pass and the weights of each level."""
        stops = np.cumsum(self.rows).tolist()
        parts = [slice(stop - n, stop) for stop, n in zip(stops, self.rows, strict=True)]
        return [(self.values[:, part], self.weights[:, part]) for part in parts]


def details(grid: Array, weights: Array, notch: Notch, count: int) -> Details:
    """Details and weights of ``count`` levels, at least one, down the columns.

    Where there are too few rows for a level, its details are what the mirrored borders give.
    """
    xp, taps = namespace(grid), resident(wavelet_taps(notch.wavelet)[0], grid)
    rows = level_rows(grid.shape[1], taps.shape[1], count)
    lows, least, values = (xp.empty((len(grid), sum(rows), grid.shape[2]), np.float32) for _ in range(3))
    analyse_columns(grid, weights, taps, lows, least, values)
    return Details(values, least, lows, rows)


@functools.lru_cache(maxsize=16)
def _strengths(rows: tuple[int, ...], of_levels: tuple[float, ...]) -> Array:
    """The strength of each row of all levels, kept so that a device gets them once."""
    return np.repeat(np.array(of_levels, np.float32), rows)


def levels_in(rows: int, notch: Notch) -> int:
    """Number of levels of frames of ``rows`` rows."""
    return min(notch.level, int(pywt.dwt_max_level(rows, pywt.Wavelet(notch.wavelet).dec_len)) if rows > 1 else 0)
