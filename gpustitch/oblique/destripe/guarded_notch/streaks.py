"""What lines along the rows are that end within the frame: tissue, vessels, or streaks of light.

Tissue that lies along the rows is alike over a few of its own lengths. Vessels are darker than what is around them, or
brighter. Streaks of light go on for long, and there are as many light ones as dark ones: the light that one row lacks
is in another one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy

from gpustitch.model.arrays import Floats

Grids = Sequence[tuple[Floats, Floats]]

# Lines are followed over so many windows' widths, and at most over this part of a row.
_FURTHER, _MOST_PART = 4, 1 / 3
# Lines of which less than this is left there are short, where lines exceed chance by so many standard errors. What is
# left is that at the best of many leans: by chance it is rather too much, so faint stripes are not taken for short.
_GOES_ON, _SEEN = 0.3, 1.5
# Lines may leave their row by this angle.
_MOST_DEG = 5.0
# Rows at least so far apart have nothing in common but by chance.
_APART_ROWS = 16
# Streaks hold this part of the energy of all lines. The mean cube of their light lies between so many times the
# energy to the power of 3/2: many dark vessels among stripes are hardly darker than light streaks are light.
_PART, _SKEWED = 1 / 3, (-0.75, 1.6)
# The mean of four windows in a row, over the energy of all lines squared, is 3 of streaks, which are everywhere and
# long. It is more of vessels of both kinds, which are few, and less of dense tissue, which ends before.
_EVERYWHERE = (2.6, 4.5)
# Lines of which the mean cube surely exceeds so many times their energy to the power of 3/2 are bright among dark.
_BRIGHT, _SURELY = 1.6, 2.0
# Rows that count as one sample.
_ROWS = 8


@dataclass(frozen=True)
class Length:
    """Energy of what windows side by side, and windows far apart, have in common: relative variances.

    ``error`` is the standard error of ``near``. ``far`` is that at the lean at which lines are most alike.
    """

    near: float = 0.0
    error: float = 0.0
    far: float = np.inf

    @property
    def is_short(self) -> bool:
        """Whether lines are surely there, and are too short for stripes."""
        return self.near > _SEEN * self.error and self.far < _GOES_ON * self.near


def length_of(upright: Grids, turned: Grids, apart: int, apart_turned: int, step_px: float) -> Length:
    """How far lines along the rows go on; as far as can be where rows have too few windows to tell.

    Parameters
    ----------
    upright, turned
        Light without tissue, as a logarithm, and weights of the windows (rows, windows) of each frame; of the frames,
        and of the frames turned by 90 degrees.
    apart, apart_turned
        How many windows farther on the next one is that shares no pixel.
    step_px
        Columns from one window to the next.
    """
    further = min(_FURTHER * apart, int(_MOST_PART * upright[0][0].shape[1]))
    if further < 2 * apart:
        return Length()
    near, rows = _down(upright, apart), upright[0][0].shape[0]
    far = _down(upright, further)
    leaning = int(further * step_px * np.tan(np.deg2rad(_MOST_DEG))) + 1
    by_chance = near[leaning + _APART_ROWS : rows // 2]
    if not by_chance.size:
        return Length()
    tissue = max(float(_down(turned, apart_turned)[0]), 0.0)
    leans = np.arange(-leaning, leaning + 1) % len(far)
    return Length(float(near[0]) - tissue, float(by_chance.std()), float(far[leans].max()))


def are_streaks(upright: Grids, turned: Grids, apart: int, apart_turned: int, ending: float) -> bool:
    """Whether lines that end, of this energy, are streaks of light: most of all lines, of both kinds, everywhere."""
    lines, cubes, fourth = (
        _products(upright, apart, n).value - _products(turned, apart_turned, n).value for n in (2, 3, 4)
    )
    return (
        ending >= _PART * lines
        and _SKEWED[0] * ending**1.5 <= cubes <= _SKEWED[1] * ending**1.5
        and _EVERYWHERE[0] * lines**2 <= fourth <= _EVERYWHERE[1] * lines**2
    )


def bright_lines(upright: Grids, turned: Grids, apart: int, apart_turned: int) -> float:
    """Energy of lines along the rows if they are surely bright among dark, as fibres are and stripes are not; or 0."""
    of_rows, of_columns = (
        [_products(*grids, n) for n in (2, 3)] for grids in ((upright, apart), (turned, apart_turned))
    )
    lines, cubes = (rows.value - columns.value for rows, columns in zip(of_rows, of_columns, strict=True))
    error = float(np.hypot(of_rows[1].error, of_columns[1].error))
    return lines if lines > 0 and cubes > max(_BRIGHT * lines**1.5, _SURELY * error) else 0.0


def _down(grids: Grids, apart: int) -> Floats:
    """Covariance of windows ``apart`` with those of rows farther down, from 0 rows on; the last ones are farther up."""
    rows = grids[0][0].shape[0]
    length = scipy.fft.next_fast_len(2 * rows, real=True)
    spectrum, total = np.zeros(length // 2 + 1, np.complex128), 0.0
    for values, weights in grids:
        of_columns = scipy.fft.rfft((values - values.mean(axis=0)) * weights, length, axis=0)
        spectrum += (np.conj(of_columns[:, :-apart]) * of_columns[:, apart:]).sum(axis=1)
        total += float((weights[:, :-apart] * weights[:, apart:]).sum())
    return np.asarray(scipy.fft.irfft(spectrum, length) / max(total, 1e-12), np.float64)


@dataclass(frozen=True)
class _Mean:
    """A mean and its standard error."""

    value: float
    error: float


def _products(grids: Grids, apart: int, count: int) -> _Mean:
    """Weighted mean product of ``count`` windows of a row, each ``apart`` from the next; 0 where rows are too short.

    Rows of all frames count as one sample, as do some neighbours: the lines of tissue are no wider.
    """
    windows = max(0, grids[0][0].shape[1] - (count - 1) * apart)
    parts = [slice(n * apart, n * apart + windows) for n in range(count)]
    sums = weights = np.zeros(grids[0][0].shape[0])
    for values, weight in grids:
        together = np.prod([weight[:, part] for part in parts], axis=0)
        sums = sums + (np.prod([values[:, part] for part in parts], axis=0) * together).sum(axis=1)
        weights = weights + together.sum(axis=1)
    total = max(float(weights.sum()), 1e-12)
    mean = float(sums.sum()) / total
    of_samples = np.add.reduceat(sums - mean * weights, np.arange(0, len(sums), _ROWS))
    return _Mean(mean, float(np.sqrt(np.square(of_samples).sum())) / total)
