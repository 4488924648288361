"""A trend of the spacing along a series: is it one of the thickness of sections, or one of the texture?

Similarity that falls faster from some section on looks the same whether sections are thicker there or structures finer.
Two hypotheses are kept, and what each one predicts is compared:

- *Thickness*: one curve of similarity against distance holds for all sections, and positions follow the trend.
- *Texture*: the mean spacing is the same everywhere. The curve changes along the series, slowly: a few curves, of which
  neighbours are mixed in between.

Textures change at borders of tissue, so a few curves describe them. If these predict similarities far worse than one
curve with the trend, it is one of thickness. Otherwise the similarities do not decide.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.ndimage import gaussian_filter1d

from gpustitch.model.arrays import Floats, Integers
from gpustitch.ops.robust import MAD_TO_SIGMA
from gpustitch.sections.model import EstimateOptions
from gpustitch.sections.positions.curve import fit_curve, linear
from gpustitch.sections.positions.normal import FLOOR
from gpustitch.sections.positions.state import Problem

# Sections of a stretch whose mean spacing is taken.
STRETCH = 30
# Standard deviation, in sections, of the Gaussian that is the slow part of the spacing.
_SLOW = STRETCH / 2.5
# No mean spacing and no slow part is taken to be less than these, in sections: both are divided by.
_LEAST_MEAN, _LEAST_SLOW = 1e-9, 1e-3
# Curves that a texture may have along a series: one for so many sections, and at least and at most.
_SECTIONS_OF_CURVE, _FEWEST, _MOST = 30, 2, 8
# The texture is ruled out if its curves predict similarities worse by this factor. Measured: 1.0 to 2.1 for textures
# that change, 2.5 to 12 for waves of thickness.
RULED_OUT = 2.5
# Rounds in which the weights of a fit settle, and typical residuals beyond which a pair's weight falls.
_ROUNDS, _HUBER = 3, 2.0


@dataclass(frozen=True)
class Trend:
    """Positions under the hypothesis that was taken; arrays float64 (n,), in the order of the positions given.

    Attributes
    ----------
    positions
        In sections, without a scale of its own.
    scale
        Slow part of the spacing that was taken out, as multiples of the usual spacing; 1 where the trend stays.
    doubt
        Distance of the other hypothesis, 0 where it is ruled out. It counts as one standard error: the truth may lie
        beyond it, too.
    assumed
        The hypothesis taken.
    undecided
        Whether there is a trend, and similarities do not tell which one it is.
    ratio
        Ratio of the greatest mean spacing of a stretch of 30 sections to the least one; 1 in shorter series.
    """

    positions: Floats
    scale: Floats
    doubt: Floats
    assumed: Literal["thickness", "texture"]
    undecided: bool
    ratio: float


def judged_trend(
    problem: Problem,
    positions: Floats,
    log_quality: Floats,
    order: Integers,
    beyond_chance: bool,
    options: EstimateOptions,
) -> Trend:
    """Choose between both hypotheses about the trend of positions (n,), or follow ``options.assume``.

    Parameters
    ----------
    problem, log_quality
        The similarities, and the logs of the qualities (n,) that were found.
    order
        The sections in order of position.
    beyond_chance
        Whether slow waves of the positions are higher than independent spacings make them.
    options
        ``assume`` and ``spacing_ratio``.

    Notes
    -----
    Where similarities do not decide, a trend of up to ``spacing_ratio`` is taken for one of thickness, a greater one
    for one of texture: sections are hardly cut three times as thick, while textures do become finer.
    """
    n = len(positions)
    kept = Trend(positions, np.ones(n), np.zeros(n), "thickness", False, 1.0)
    if n <= STRETCH:
        return kept
    spacing = np.diff(positions[order])
    means = np.convolve(spacing, np.full(STRETCH, 1 / STRETCH), "valid")
    ratio = float(means.max() / max(means.min(), _LEAST_MEAN))
    kept = Trend(positions, np.ones(n), np.zeros(n), "thickness", False, ratio)
    limit = options.spacing_ratio if options.local_estimates == 1 else float(np.sqrt(options.spacing_ratio))
    if options.assume == "thickness" or (options.assume == "auto" and ratio <= limit and not beyond_chance):
        return kept
    even, scale = _without(spacing, order)
    texture = Trend(even, scale, np.zeros(n), "texture", False, ratio)
    if options.assume == "texture":
        return texture
    if _misfit(problem, even, log_quality, _number_of_curves(n)) > RULED_OUT * _misfit(
        problem, positions, log_quality, 1
    ):
        return kept
    taken, other = (texture, kept) if ratio > limit else (kept, texture)
    doubt = np.abs(linear(other.positions, taken.positions) - taken.positions)
    return Trend(taken.positions, taken.scale, doubt, taken.assumed, True, ratio)


def _without(spacing: Floats, order: Integers) -> tuple[Floats, Floats]:
    """Positions, from 0, whose mean spacing is the same all along the series, and the scale taken out at each."""
    n = len(order)
    smooth = np.maximum(gaussian_filter1d(spacing, _SLOW, mode="nearest"), _LEAST_SLOW)
    out, scale = np.empty(n), np.empty(n)
    out[order] = np.concatenate([[0], np.cumsum(spacing / smooth)])
    scale[order] = np.concatenate([smooth[:1], (smooth[1:] + smooth[:-1]) / 2, smooth[-1:]])
    return out, scale


def _number_of_curves(n: int) -> int:
    return int(np.clip(n // _SECTIONS_OF_CURVE, _FEWEST, _MOST))


def _misfit(problem: Problem, positions: Floats, log_quality: Floats, count: int) -> float:
    """Mean error, in units of ``1 - similarity^2``, of similarities that ``count`` curves along the series predict.

    Each curve is fitted to the pairs near its place, with weights that fall to 0 at its neighbours' places.
    """
    lags, n = problem.measured.shape
    step = np.arange(1, lags + 1)[:, None]
    later = np.minimum(np.arange(n) + step, n - 1)
    distance = np.abs(positions[later] - positions) * ((n - 1) / np.ptp(positions))
    level = np.exp(log_quality[later] + log_quality)
    place = (np.arange(n) + step / 2) / (n - 1) * (count - 1)
    share = [np.maximum(0, 1 - np.abs(place - k)) for k in range(count)]
    some = problem.counts > 0
    weight = problem.counts * level**2
    for number in range(_ROUNDS):
        predicted = np.zeros_like(distance)
        for part in share:
            if (weight * part).any():
                predicted += part * fit_curve(distance, problem.measured / level, weight * part).at(distance)[0] * level
        error = np.maximum(1 - predicted**2, FLOOR)
        relative = np.abs(problem.measured - predicted) / error
        if number < _ROUNDS - 1:
            noise = _HUBER * MAD_TO_SIGMA * float(np.median(relative[some])) + 1e-12
            weight = problem.counts * level**2 * np.minimum(1, noise / np.maximum(relative, 1e-12)) / error**2
    return float(np.mean(relative[some]))
