"""Slices in stretches: of one spacing with gaps between, or of spacings that change on the way."""

from __future__ import annotations

import itertools
import math

import numpy as np

from gpustitch.model.arrays import Floats
from gpustitch.regrid.plan import planes_over
from gpustitch.slices.fit.grid import CHANCE, GAP_FACTOR, Slack, fitted_grid, plane_tolerance, usual_gap
from gpustitch.slices.fit.lines import band_slopes, narrowest_band
from gpustitch.slices.model import SpacingClass, SpacingFit, Stretch

# Fewest slices that make a stretch, and the greatest part of all slices that may lie in shorter pieces.
SHORTEST_STRETCH = 3
MOST_LOOSE = 0.25


def stretches_of(t: Floats, slack: Slack) -> SpacingFit | None:
    """RUNS_WITH_GAPS or VARIABLE; None if too few slices lie in stretches."""
    return _separate_stretches(t, slack) or _variable(t, slack)


def _separate_stretches(t: Floats, slack: Slack) -> SpacingFit | None:
    """Cut at the wide gaps; one spacing must then fit all pieces, each with an offset of its own."""
    gaps = np.diff(t)
    usual = usual_gap(gaps)
    # Both ends may be rounded, but an interval of more than two spacings is a gap whatever the decimals.
    excuse = np.minimum(slack.allowed, usual / 4)
    edges = (np.flatnonzero(gaps > GAP_FACTOR * usual + excuse[:-1] + excuse[1:]) + 1).tolist()
    if not edges:
        return None
    bounds = list(itertools.pairwise([0, *edges, len(t)]))
    real = [(a, b) for a, b in bounds if b - a >= SHORTEST_STRETCH]
    loose = len(t) - sum(b - a for a, b in real)
    if not real or loose > MOST_LOOSE * len(t) or 2 + sum(b - a - 2 for a, b in real) < _least_stretch(t, slack):
        return None
    if any(b - a < SHORTEST_STRETCH and d - c < SHORTEST_STRETCH for (a, b), (c, d) in itertools.pairwise(bounds)):
        return None
    spacing = _shared_spacing([(t[a:b], slack.part(a, b)) for a, b in bounds if b - a > 1])
    if spacing is None or (gaps[np.array(edges) - 1] <= GAP_FACTOR * spacing).any():
        return None
    stretches = tuple(Stretch(a, b, spacing) for a, b in bounds)
    longest = max(stretches, key=lambda stretch: stretch.n_slices)
    return _of_stretches(t, SpacingClass.RUNS_WITH_GAPS, stretches, spacing, _uncertainty(longest, slack), slack)


def _uncertainty(stretch: Stretch, slack: Slack) -> float:
    """How far the spacing of a stretch may be off by the decimals of its slices."""
    return 2 * float(slack.rounding[stretch.first : stretch.stop].max()) / (stretch.n_slices - 1)


def _shared_spacing(pieces: list[tuple[Floats, Slack]]) -> float | None:
    """The middle of the spacings that fit every piece within the rounding errors, or else within the tolerance."""
    steps = [np.arange(len(t), dtype=np.float64) for t, _ in pieces]
    within = [(k, t, slack.rounding) for k, (t, slack) in zip(steps, pieces, strict=True)]
    excused = [(k, t, slack.allowed) for k, (t, slack) in zip(steps, pieces, strict=True)]
    bands = [narrowest_band(*one) for one in excused]
    widest = [slack.tolerance * slope for (slope, _), (_, slack) in zip(bands, pieces, strict=True)]
    if any(beyond > most for (_, beyond), most in zip(bands, widest, strict=True)):
        return None
    least = [max(0.0, narrowest_band(*one)[1]) for one in within]
    for points, halves in ((within, least), (excused, widest)):
        ranges = [band_slopes(k, t, half, errors) for (k, t, errors), half in zip(points, halves, strict=True)]
        low, high = max(r[0] for r in ranges), min(r[1] for r in ranges)
        if low <= high:
            return (low + high) / 2
    return None


def _variable(t: Floats, slack: Slack) -> SpacingFit | None:
    """Stretches of different spacings, one after another."""
    stretches = _cut(t, slack)
    least = _least_stretch(t, slack)
    real = [stretch for stretch in stretches if stretch.n_slices >= least]
    loose = len(t) - sum(stretch.n_slices for stretch in real)
    if not real or loose > MOST_LOOSE * len(t):
        return None
    finest = min(real, key=lambda stretch: stretch.spacing_mm)
    if all(_agree(stretch, finest, slack) for stretch in real):
        return None
    uncertainty = _uncertainty(finest, slack)
    return _of_stretches(t, SpacingClass.VARIABLE, tuple(stretches), finest.spacing_mm, uncertainty, slack)


def _of_stretches(
    t: Floats,
    spacing_class: SpacingClass,
    stretches: tuple[Stretch, ...],
    spacing: float,
    uncertainty: float,
    slack: Slack,
) -> SpacingFit:
    """The fit of slices at ``t`` (mm) that stretches explain; steps are not counted across gaps."""
    bands = [
        narrowest_band(np.arange(stretch.n_slices, dtype=np.float64), t[stretch.first : stretch.stop])
        for stretch in stretches
        if stretch.n_slices >= SHORTEST_STRETCH
    ]
    rounding = float(slack.rounding.max())
    tolerance = plane_tolerance(spacing, rounding, is_end=True)
    return SpacingFit(
        spacing_class=spacing_class,
        spacing_mm=spacing,
        uncertainty_mm=uncertainty,
        origin_mm=float(t[0]),
        steps=np.arange(len(t), dtype=np.int64),
        residual_mm=max(half for _, half in bands),
        rounding_mm=rounding,
        is_rounded=any(half > slack.tolerance * own for own, half in bands),
        by_number=False,
        stretches=stretches,
        n_output=planes_over(float(t[-1] - t[0]), spacing, tolerance),
    )


def _least_stretch(t: Floats, slack: Slack) -> int:
    """Fewest equally spaced slices that are no chance: rounded positions are equally spaced more easily.

    Two slices always are a stretch. The two slices before another one point to a place for it. By chance it lies in the
    band if it is within two half heights of that place: on 4 half heights of the spacing over which it might lie.
    """
    # 1 would say that no number of slices is evidence.
    chance = min(4 * (float(slack.allowed.max()) / float(np.median(np.diff(t))) + slack.tolerance), 0.95)
    return max(SHORTEST_STRETCH, 2 + math.ceil(math.log(CHANCE) / math.log(chance)))


def _agree(one: Stretch, other: Stretch, slack: Slack) -> bool:
    """Whether the spacings of two stretches are equal but for rounding."""
    off = _uncertainty(one, slack) + _uncertainty(other, slack)
    return abs(one.spacing_mm - other.spacing_mm) <= off + slack.tolerance * other.spacing_mm


def _cut(t: Floats, slack: Slack) -> list[Stretch]:
    """Stretches one after another, each as long as its slices are equally spaced; a slice that starts none is one."""
    stretches: list[Stretch] = []
    first = 0
    while first < len(t):
        stop = _end_of_stretch(t, first, slack)
        steps = np.arange(stop - first)
        spacing = np.nan
        if len(steps) > 1:
            spacing = fitted_grid(t[first:stop], steps, slack.part(first, stop)).spacing
        stretches.append(Stretch(first, stop, spacing))
        first = stop
    return stretches


def _end_of_stretch(t: Floats, first: int, slack: Slack) -> int:
    """One past the last slice of the longest stretch from ``first``; ``first + 1`` if not even three slices are one."""

    def fits(stop: int) -> bool:
        steps = np.arange(stop - first, dtype=np.float64)
        mean = float(t[stop - 1] - t[first]) / (stop - 1 - first)
        spacing, beyond = narrowest_band(steps, t[first:stop], np.minimum(slack.allowed[first:stop], mean / 4))
        return beyond <= slack.tolerance * spacing

    if first + SHORTEST_STRETCH > len(t) or not fits(first + SHORTEST_STRETCH):
        return first + 1
    # By doubling, then by halving: not every length is tried.
    low, high = first + SHORTEST_STRETCH, first + SHORTEST_STRETCH + 1
    while high <= len(t) and fits(high):
        low, high = high, min(len(t), 2 * high - first) if high < len(t) else high + 1
    high = min(high, len(t) + 1)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low
