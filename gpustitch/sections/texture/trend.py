"""A trend of the spacing along a series: is it one of the thickness of sections, or one of the texture?

Similarity that falls faster from some section on looks the same whether sections are thicker there or structures finer.
So similarity alone never tells. What does is how the trend runs. Textures change steadily: they become finer or coarser
along a series, or do so and return. A trend that comes and goes more often is one of thickness. For others two
hypotheses are kept:

- *Thickness*: one curve of similarity against distance holds for all sections, and positions follow the trend.
- *Texture*: the mean spacing is the same all along, and the curve changes.

Planes themselves may tell more. Structures that become finer within the planes become finer across them too, as a rule,
and that looks like thicker sections. So the part of the slow spacing that goes with their length is taken out first.
How far both go together is fitted: blur in the planes, for one, changes lengths within them more than across.

Parts of the planes may differ in their trends (:mod:`gpustitch.sections.texture.disagreement`), as where another tissue
grows into view. All parts are cut equally thick, so a steady trend with which such differences come is one of texture.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import scipy

from gpustitch.model.arrays import Floats, Integers
from gpustitch.sections.model import EstimateOptions
from gpustitch.sections.texture.curve import linear
from gpustitch.sections.texture.disagreement import Disagreement

# Sections of a stretch whose mean spacing is taken.
STRETCH = 30
# Standard deviation, in sections, of the Gaussian that is the slow part of the spacing.
_SLOW = STRETCH / 2.5
# No mean spacing and no slow part is taken to be less than these, in sections: both are divided by.
_LEAST_MEAN, _LEAST_SLOW = 1e-9, 1e-3
# Half waves along a series that are a steady change of the logarithm of spacing.
_STEADY = 2
# Least unsteadiness of waves. Measured: 0.2 to 0.6 in ramps, steps and textures that change, 0.9 to 1.2 in waves and a
# real series.
OF_WAVES = 0.75

# Lengths below this, in pixels, are none.
LEAST_LENGTH_PX = 1e-3
# Greatest length over the least one from which on the texture changes. Measured in planes of 128 x 128 pixels: up to
# 1.17 where it stays, 1.3 and more where blur grows to a pixel.
CHANGES = 1.25
# By how much similarity along the series follows that change, as a power, and the error of this. Measured where blur
# grows within the planes alone: .35 to .64; it is 1 where structures grow alike in all directions.
SHARE, SHARE_ERROR = 0.5, 0.3
# Product of probabilities below which differences of parts of the planes are no chance, and below which they surely are
# none. Measured in 96 series: 6e-8 and more where textures stay, 2e-7 and less where borders of tissues move, 2e-13 and
# less where half the planes change. Between both bounds positions stay, and uncertainties span texture.
CHANCE_OF_PARTS, SURELY_PARTS = 1e-6, 1e-8
# A steady trend is one of texture if differences of parts are at least this part of it, measured: .6 and more. Where no
# trend is seen, one of this part of the differences may be hidden.
OF_TREND = 0.5
# The positions with what is taken out lie at the end of the 90 % interval.
_SIGMAS = 1.645
# Positions without what lengths within planes tell lie at the end of the 99 % interval at least.
_FAR_SIGMAS = 2.5


@dataclass(frozen=True)
class Verdict:
    """What is thought of the trend.

    Attributes
    ----------
    assumed
        The hypothesis that is taken.
    undecided
        Whether there is a trend, and nothing tells which one it is.
    are_waves
        Whether there is a trend that comes and goes: one of thickness.
    ratio
        Greatest mean spacing of a stretch of 30 sections over the least one; 1 in shorter series.
    """

    assumed: Literal["thickness", "texture"]
    undecided: bool
    are_waves: bool
    ratio: float


@dataclass(frozen=True)
class Trend:
    """Positions under the hypothesis that is taken; arrays float64 (n,), in the order of the positions given.

    Attributes
    ----------
    positions
        In sections, without a scale of its own.
    scale
        Slow part of the spacing that was taken out, as multiples of the usual spacing; 1 where the trend stays.
    doubt
        Distance of the other hypothesis, at least its root mean square; 0 where it is ruled out. It counts as one
        standard error: the truth may lie beyond it, too.
    """

    positions: Floats
    scale: Floats
    doubt: Floats


@dataclass(frozen=True)
class Seen:
    """Positions less what the texture makes; arrays float64 (n,), in the order of the positions given.

    Attributes
    ----------
    positions
        In sections.
    scale
        By how much similarities fall faster than in the usual texture; 1 where nothing changes.
    doubt
        Standard error that lets the interval span positions with it.
    ratio
        Greatest length of structures over the least one; NaN if they are not known.
    is_texture
        Whether something was taken out.
    undecided
        Whether something was, or may have to be.
    parts_ratio
        Ratio of the apparent spacings of parts of the planes along the series, typically: 1 if no more than chance
        makes, NaN if that is not known.
    """

    positions: Floats
    scale: Floats
    doubt: Floats
    ratio: float
    is_texture: bool = False
    undecided: bool = False
    parts_ratio: float = float("nan")


def verdict_on_trend(positions: Floats, order: Integers, beyond_chance: bool, options: EstimateOptions) -> Verdict:
    """Judge the trend of positions (n,), or follow ``options.assume``.

    Parameters
    ----------
    order
        The sections in order of position.
    beyond_chance
        Whether slow waves of the positions are higher than independent spacings make them.
    options
        ``assume``, ``spacing_ratio`` and ``local_estimates``.

    Notes
    -----
    Where nothing decides, a trend of up to ``spacing_ratio`` is taken for one of thickness, a greater one for one of
    texture: sections are hardly cut three times as thick, while textures do become finer.
    """
    if len(positions) <= STRETCH:
        return Verdict("thickness", False, False, 1.0)
    spacing = np.diff(positions[order])
    ratio = _ratio(spacing)
    limit = options.spacing_ratio if options.local_estimates == 1 else float(np.sqrt(options.spacing_ratio))
    is_trend = ratio > limit or beyond_chance
    are_waves = is_trend and options.assume != "texture" and unsteadiness(spacing) > OF_WAVES
    if options.assume != "auto":
        return Verdict(options.assume, False, are_waves, ratio)
    assumed: Literal["thickness", "texture"] = "texture" if ratio > limit and not are_waves else "thickness"
    return Verdict(assumed, is_trend and not are_waves, are_waves, ratio)


def taken_trend(positions: Floats, order: Integers, verdict: Verdict) -> Trend:
    """Positions (n,) with the trend, or without it, as the verdict says, and how far the other hypothesis is."""
    n = len(positions)
    kept = Trend(positions, np.ones(n), np.zeros(n))
    if n <= STRETCH or (verdict.assumed == "thickness" and not verdict.undecided):
        return kept
    even, scale = _without(np.diff(positions[order]), order)
    without = Trend(even, scale, np.zeros(n))
    taken, other = (without, kept) if verdict.assumed == "texture" else (kept, without)
    if not verdict.undecided:
        return taken
    apart = np.abs(linear(other.positions, taken.positions) - taken.positions)
    # Where both happen to cross the truth need not do so.
    return Trend(taken.positions, taken.scale, np.maximum(apart, np.sqrt(np.mean(apart**2))))


def less_texture(positions: Floats, order: Integers, in_plane_px: Floats | None) -> Seen:
    """Take out of positions (n,) what goes with the length of structures within the planes.

    Parameters
    ----------
    order
        The sections in order of position.
    in_plane_px
        Length of structures (n,), smooth along the series; None if it is not known.
    """
    n = len(positions)
    ratio = float("nan") if in_plane_px is None else float(in_plane_px.max() / in_plane_px.min())
    as_found = Seen(positions, np.ones(n), np.zeros(n), ratio)
    if in_plane_px is None or n <= STRETCH or ratio < CHANGES:
        return as_found
    length = np.log(in_plane_px[order])
    between = (length[1:] + length[:-1]) / 2
    between -= between.mean()
    slow = np.log(slow_part(np.diff(positions[order])))
    # Finer structures look like wider spacing. How much is fitted, less by the trend that chance makes of the spacings.
    known = between @ between
    chance = float(np.var(np.log(np.maximum(np.diff(positions[order]), _LEAST_SLOW)))) / known
    weight = SHARE_ERROR**2 / (SHARE_ERROR**2 + chance)
    share = float(np.clip(SHARE + weight * (-(slow @ between) / known - SHARE), 0, 1))
    if share == 0:
        return as_found
    taken = _less(as_found, order, -share * between)
    off = _less(replace(taken, doubt=as_found.doubt), order, SHARE_ERROR * np.sqrt(1 - weight) * between)
    # Chance or not, it may be a change of thickness: as found is at the end of the 99 % interval at least.
    return replace(taken, doubt=np.maximum(taken.doubt * _SIGMAS / _FAR_SIGMAS, off.doubt * _SIGMAS))


def less_unshared(seen: Seen, order: Integers, parts: Disagreement | None) -> Seen:
    """Take out of positions a steady trend that goes with differences between parts of the planes.

    Parameters
    ----------
    seen
        Positions so far.
    order
        The sections in order of position.
    parts
        How far parts of the planes differ; None if that is not known.
    """
    if parts is None:
        return seen
    height = parts.height if parts.chance < CHANCE_OF_PARTS else 0.0
    seen = replace(seen, parts_ratio=float(np.exp(2 * height)))
    if height == 0:
        return seen
    trend = np.log(_steady(np.diff(seen.positions[order])))
    trend -= trend.mean()
    share = min(1.0, height / (OF_TREND * max(float(trend.std()), _LEAST_MEAN)))
    hidden = _less(seen, order, OF_TREND * height * np.sqrt(2) * np.cos(np.pi * _places(len(trend))))
    taken = _less(seen, order, share * trend)
    is_sure = parts.chance <= SURELY_PARTS
    # Something of the trend is texture then: the positions with all of it are at the end of the 99 % interval.
    doubt = np.maximum(taken.doubt * (_SIGMAS / _FAR_SIGMAS if is_sure else 1), np.sqrt(np.mean(hidden.doubt**2)))
    return replace(taken if is_sure else seen, doubt=doubt, undecided=True)


def _less(seen: Seen, order: Integers, texture: Floats) -> Seen:
    """Positions less what makes the spacing wider by a texture whose logarithm is (n - 1,), and with doubt of it."""
    positions = seen.positions
    spacing = np.diff(positions[order])
    even = spacing * np.exp(-texture)
    even *= spacing.sum() / even.sum()
    without, scale = np.empty_like(positions), np.empty_like(positions)
    without[order] = positions[order[0]] + np.concatenate([[0], np.cumsum(even)])
    scale[order] = np.exp(np.concatenate([texture[:1], (texture[1:] + texture[:-1]) / 2, texture[-1:]]))
    apart = np.abs(linear(positions, without) - without) / _SIGMAS
    doubt = np.hypot(seen.doubt, np.maximum(apart, np.sqrt(np.mean(apart**2))))
    return replace(seen, positions=without, scale=seen.scale * scale, doubt=doubt, is_texture=True, undecided=True)


def spacing_ratio(positions: Floats, order: Integers) -> float:
    """Greatest mean spacing of a stretch of 30 sections over the least one; 1 in shorter series."""
    return _ratio(np.diff(positions[order])) if len(positions) > STRETCH else 1.0


def steady_apart(positions: Floats, order: Integers) -> float:
    """How far positions (n,) would be elsewhere if the steady part of their spacing were one of texture.

    In sections, root mean square; 0 in series that are too short for a trend.
    """
    if len(positions) <= STRETCH:
        return 0.0
    trend = np.log(_steady(np.diff(positions[order])))
    one = np.ones(len(positions))
    seen = Seen(positions, one, 0 * one, float("nan"))
    without = _less(seen, order, trend - trend.mean()).positions
    return float(np.sqrt(np.mean((linear(without, positions) - positions) ** 2)))


def unsteadiness(spacing: Floats) -> float:
    """Part of the range of the mean spacing, in logarithms, that is left once its steady part is taken out.

    ``spacing`` is float64 (n,), of at least 30 sections. It is 0 where the mean spacing does not change at all, and may
    be above 1.
    """
    whole = np.log(_ratio(spacing))
    return float(np.log(_ratio(spacing / _steady(spacing))) / whole) if whole > 0 else 0.0


def _ratio(spacing: Floats) -> float:
    """Greatest mean of a stretch over the least one."""
    means = np.convolve(spacing, np.full(STRETCH, 1 / STRETCH), "valid")
    return float(means.max() / max(means.min(), _LEAST_MEAN))


def slow_part(spacing: Floats) -> Floats:
    """The slow part of the spacing."""
    # Mirrored: with the last spacing repeated beyond the end, that one would be half of all that is slow there.
    smooth: Floats = np.maximum(scipy.ndimage.gaussian_filter1d(spacing, _SLOW, mode="reflect"), _LEAST_SLOW)
    return smooth


def _steady(spacing: Floats) -> Floats:
    """The part of the slow spacing that changes steadily: the nearest sum of half waves, of its logarithm."""
    waves = np.cos(np.pi * np.arange(_STEADY + 1) * _places(len(spacing))[:, None])
    slow = np.log(slow_part(spacing))
    steady: Floats = np.exp(waves @ np.linalg.lstsq(waves, slow, rcond=None)[0])
    return steady


def _places(n: int) -> Floats:
    """Middles of n equal parts of the stretch from 0 to 1."""
    places: Floats = (np.arange(n) + 0.5) / n
    return places


def _without(spacing: Floats, order: Integers) -> tuple[Floats, Floats]:
    """Positions, from 0, whose mean spacing is the same all along the series, and the scale taken out at each."""
    n = len(order)
    slow = slow_part(spacing)
    out, scale = np.empty(n), np.empty(n)
    out[order] = np.concatenate([[0], np.cumsum(spacing / slow)])
    scale[order] = np.concatenate([slow[:1], (slow[1:] + slow[:-1]) / 2, slow[-1:]])
    return out, scale
