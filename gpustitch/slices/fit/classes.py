"""How slices lie along their normal: equally spaced, with holes, in stretches, or irregular.

The classes are tried in order and the first that fits is taken. Positions are written with few decimals in many
series; what rounding explains is not called irregular.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from dataclasses import dataclass

import numpy as np

from gpustitch.errors import ParameterError
from gpustitch.model.arrays import Floats, Integers
from gpustitch.regrid.plan import planes_over
from gpustitch.slices.fit.lines import band_slopes, least_squares_line, narrowest_band
from gpustitch.slices.model import SpacingClass, SpacingFit, Stretch

# Greatest distance of a slice from the grid, as a part of the spacing.
TOLERANCE = 0.01
# Widest hole that still counts as missing slices, in spacings (5: four slices), and the part of all intervals that may
# be holes.
MOST_STEPS = 5
MOST_HOLES = 0.2
# An interval wider than this many spacings is a gap between stretches: nothing is interpolated across it unasked.
GAP_FACTOR = 1.5
# Fewest slices that make a stretch, and the greatest part of all slices that may lie in shorter pieces.
SHORTEST_STRETCH = 3
MOST_LOOSE = 0.25
# Equal spacings of a few slices count as chance if they are more probable than this.
CHANCE = 0.05


def fit_slices(
    positions_mm: Floats, rounding_mm: float, numbers: Integers | None = None, tolerance: float = TOLERANCE
) -> SpacingFit:
    """Explain the positions of slices along their normal.

    Parameters
    ----------
    positions_mm
        float64 (n,): ascending; equal ones only where ``numbers`` tell the slices apart.
    rounding_mm
        Greatest error from the decimals that the positions were written with.
    numbers
        int64 (n,): InstanceNumber of each slice, if all have one.
    tolerance
        Greatest distance of a slice from the grid, as a part of the spacing: above 0, below 0.5.

    Returns
    -------
    The first class that fits: UNIFORM; MISSING; both with rounded positions; RUNS_WITH_GAPS or VARIABLE; IRREGULAR.
    SINGLE for one slice.

    Raises
    ------
    ParameterError
        If there is no slice, a position is not a number, positions descend, or the tolerance is out of range.
    """
    check_tolerance(tolerance)
    t = np.asarray(positions_mm, np.float64)
    if t.ndim != 1 or not len(t) or not np.isfinite(t).all() or (np.diff(t) < 0).any():
        raise ParameterError("positions of slices are ascending numbers, at least one")
    if len(t) == 1:
        return _single(float(t[0]), rounding_mm)
    if t[-1] == t[0]:
        raise ParameterError("all slices have one position")
    # Decimals excuse half an interval at most: more would make anything even.
    slack = _Slack(rounding_mm, min(rounding_mm, float(t[-1] - t[0]) / (len(t) - 1) / 2), tolerance)
    are_apart = bool((np.diff(t) > 0).all())
    as_written = _even(t, dataclasses.replace(slack, allowed=0.0)) if are_apart else None
    if as_written is not None and as_written.spacing_class is SpacingClass.UNIFORM:
        return as_written
    counted = _by_number(t, rounding_mm, numbers)
    if counted is not None and not (are_apart and _is_plain(counted, as_written)):
        return counted
    if not are_apart:
        raise ParameterError("several slices have one position")
    return as_written or _even(t, slack) or _stretches(t, slack) or _irregular(t, rounding_mm)


def check_tolerance(tolerance: float) -> None:
    """Raise ParameterError unless it is above 0 and below 0.5."""
    if not 0 < tolerance < 0.5:
        raise ParameterError(f"`tolerance` is {tolerance}, but it must be a part of the spacing, above 0 and below 0.5")


def stated_grid(spacing_mm: float, steps: Integers) -> SpacingFit:
    """Slices whose distance is stated: UNIFORM, or MISSING if their numbers skip some.

    Parameters
    ----------
    spacing_mm
        Distance of planes.
    steps
        int64 (n,): plane of each slice, ascending from 0.
    """
    spacing_class = SpacingClass.UNIFORM if steps[-1] == len(steps) - 1 else SpacingClass.MISSING
    grid = _Grid(spacing_mm, 0.0, 0.0, math.nan)
    return _explained(spacing_mm * steps.astype(np.float64), spacing_class, grid, steps, 0.0, is_rounded=False)


@dataclass(frozen=True)
class _Slack:
    """How far slices may be off.

    Attributes
    ----------
    rounding
        Greatest error from the decimals, mm.
    allowed
        As much of that as may excuse a slice off the grid, mm.
    tolerance
        Part of the spacing that may excuse it as well.
    """

    rounding: float
    allowed: float
    tolerance: float


@dataclass(frozen=True)
class _Grid:
    """``origin + spacing * step``, its greatest distance from the slices, and what the spacing may be off."""

    spacing: float
    origin: float
    residual: float
    uncertainty: float


def _even(t: Floats, slack: _Slack) -> SpacingFit | None:
    """UNIFORM or MISSING, as written or but for rounding; None if neither."""
    every = np.arange(len(t), dtype=np.int64)
    for error in (0.0, slack.allowed):
        for steps in (every, *_holes(t)):
            grid = _fit(t, steps, slack.rounding, error)
            if grid.residual <= error + slack.tolerance * grid.spacing:
                spacing_class = SpacingClass.UNIFORM if steps is every else SpacingClass.MISSING
                return _explained(t, spacing_class, grid, steps, slack.rounding, is_rounded=error > 0)
        if slack.allowed == 0:
            break
    return None


def _holes(t: Floats) -> list[Integers]:
    """Numbers of the slices in grids with a few holes, for the likely spacings; those with least missing first."""
    gaps = np.diff(t)
    found: list[Integers] = []
    for spacing in (float(np.median(gaps)), _usual_gap(gaps), float(np.percentile(gaps, 20))):
        steps = np.maximum(1, np.rint(gaps / spacing)).astype(np.int64)
        wide = steps > 1
        in_row = wide[2:] & wide[1:-1] & wide[:-2]
        if not wide.any() or steps.max() > MOST_STEPS or wide.sum() > max(1, MOST_HOLES * len(gaps)) or in_row.any():
            continue
        found.append(np.concatenate([[0], np.cumsum(steps)]))
    return sorted(found, key=lambda steps: int(steps[-1]))


def _usual_gap(gaps: Floats) -> float:
    """Mean of the intervals without the wide ones; the median alone is a multiple of the last decimal."""
    # Up to GAP_FACTOR spacings, even where decimals make the median a fifth less than the spacing.
    return float(gaps[gaps <= 1.25 * GAP_FACTOR * np.median(gaps)].mean())


def _fit(t: Floats, steps: Integers, rounding: float, error: float) -> _Grid:
    """The grid of given steps: the middle of all that keep within the rounding error, or else the least squares.

    The truth is among those, so that the middle is off by half their range at most: 2 e / (n - 1), mostly far less.
    """
    k = steps.astype(np.float64)
    bound = 2 * rounding / float(k[-1] - k[0])
    narrowest, half = narrowest_band(k, t)
    if half > rounding and not error:
        spacing, origin, spread = least_squares_line(k, t)
        return _Grid(spacing, origin, float(np.abs(t - origin - spacing * k).max()), max(bound, spread))
    low, high = band_slopes(k, t, rounding) if half < rounding else (narrowest, narrowest)
    spacing = (low + high) / 2
    rest = t - spacing * k
    return _Grid(spacing, float(rest.max() + rest.min()) / 2, float(rest.max() - rest.min()) / 2, bound)


def _explained(
    t: Floats, spacing_class: SpacingClass, grid: _Grid, steps: Integers, rounding: float, *, is_rounded: bool
) -> SpacingFit:
    return SpacingFit(
        spacing_class=spacing_class,
        spacing_mm=grid.spacing,
        uncertainty_mm=grid.uncertainty,
        origin_mm=grid.origin,
        steps=steps,
        residual_mm=grid.residual,
        rounding_mm=rounding,
        is_rounded=is_rounded,
        by_number=False,
        stretches=_between_holes(steps, grid.spacing),
        n_output=int(steps[-1]) + 1,
    )


def _between_holes(steps: Integers, spacing: float) -> tuple[Stretch, ...]:
    """Stretches of slices without a hole."""
    edges = np.flatnonzero(np.diff(steps) > 1) + 1
    bounds = [0, *edges.tolist(), len(steps)]
    return tuple(Stretch(a, b, spacing) for a, b in itertools.pairwise(bounds))


def _is_plain(counted: SpacingFit, as_written: SpacingFit | None) -> bool:
    """Whether positions say by themselves what the numbers say, or there is a gap that numbers only make a hole."""
    steps = np.diff(counted.steps)
    return steps.max() > MOST_STEPS or (as_written is not None and np.array_equal(steps, np.diff(as_written.steps)))


def _by_number(t: Floats, rounding: float, numbers: Integers | None) -> SpacingFit | None:
    """The fit to instance numbers, where positions are coarser than the spacing and numbers agree with them."""
    if numbers is None or len(np.unique(numbers)) < len(t):
        return None
    mean = float(t[-1] - t[0]) / (len(t) - 1)
    if 2 * rounding <= mean / 2:
        return None
    up = np.argsort(numbers, kind="stable")
    for order in (up, up[::-1]):
        steps = np.abs(numbers[order] - numbers[order[0]]).astype(np.int64)
        # Every second number is that of another echo, say.
        steps //= np.gcd.reduce(steps)
        values = t[order]
        _, half = narrowest_band(steps.astype(np.float64), values)
        # Along an oblique normal rounding may turn neighbours around.
        is_ordered = (np.diff(values) >= 0).all() or values[-1] - values[0] > 4 * rounding
        if half <= rounding * (1 + 1e-9) and values[-1] > values[0] and is_ordered:
            grid = _fit(values, steps, rounding, rounding)
            spacing_class = SpacingClass.UNIFORM if steps[-1] == len(t) - 1 else SpacingClass.MISSING
            fit = _explained(values, spacing_class, grid, steps, rounding, is_rounded=True)
            return dataclasses.replace(fit, by_number=True)
    return None


def _stretches(t: Floats, slack: _Slack) -> SpacingFit | None:
    """RUNS_WITH_GAPS or VARIABLE; None if too few slices lie in stretches."""
    return _separate_stretches(t, slack) or _variable(t, slack)


def _separate_stretches(t: Floats, slack: _Slack) -> SpacingFit | None:
    """Cut at the wide gaps; one spacing must then fit all pieces, each with an offset of its own."""
    gaps = np.diff(t)
    usual = _usual_gap(gaps)
    # Both ends may be rounded, but an interval of more than two spacings is a gap whatever the decimals.
    edges = (np.flatnonzero(gaps > GAP_FACTOR * usual + 2 * min(slack.allowed, usual / 4)) + 1).tolist()
    if not edges:
        return None
    bounds = list(itertools.pairwise([0, *edges, len(t)]))
    real = [(a, b) for a, b in bounds if b - a >= SHORTEST_STRETCH]
    loose = len(t) - sum(b - a for a, b in real)
    if not real or loose > MOST_LOOSE * len(t) or 2 + sum(b - a - 2 for a, b in real) < _least_stretch(t, slack):
        return None
    if any(b - a < SHORTEST_STRETCH and d - c < SHORTEST_STRETCH for (a, b), (c, d) in itertools.pairwise(bounds)):
        return None
    spacing = _shared_spacing([t[a:b] for a, b in bounds if b - a > 1], slack)
    if spacing is None or (gaps[np.array(edges) - 1] <= GAP_FACTOR * spacing).any():
        return None
    longest = max(b - a for a, b in real)
    stretches = tuple(Stretch(a, b, spacing) for a, b in bounds)
    return _of_stretches(t, SpacingClass.RUNS_WITH_GAPS, stretches, spacing, 2 * slack.rounding / (longest - 1), slack)


def _shared_spacing(pieces: list[Floats], slack: _Slack) -> float | None:
    """The middle of the spacings that fit every piece within the rounding error, or else within the tolerance."""
    steps = [np.arange(len(piece), dtype=np.float64) for piece in pieces]
    bands = [narrowest_band(k, piece) for k, piece in zip(steps, pieces, strict=True)]
    widest = [slack.allowed + slack.tolerance * slope for slope, _ in bands]
    if any(half > most for (_, half), most in zip(bands, widest, strict=True)):
        return None
    least = [max(slack.rounding, half) for _, half in bands]
    for halves in (least, widest):
        ranges = [band_slopes(k, piece, half) for k, piece, half in zip(steps, pieces, halves, strict=True)]
        low, high = max(r[0] for r in ranges), min(r[1] for r in ranges)
        if low <= high:
            return (low + high) / 2
    return None


def _variable(t: Floats, slack: _Slack) -> SpacingFit | None:
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
    uncertainty = 2 * slack.rounding / (finest.n_slices - 1)
    return _of_stretches(t, SpacingClass.VARIABLE, tuple(stretches), finest.spacing_mm, uncertainty, slack)


def _of_stretches(
    t: Floats,
    spacing_class: SpacingClass,
    stretches: tuple[Stretch, ...],
    spacing: float,
    uncertainty: float,
    slack: _Slack,
) -> SpacingFit:
    long = [t[stretch.first : stretch.stop] for stretch in stretches if stretch.n_slices >= SHORTEST_STRETCH]
    residual = max(narrowest_band(np.arange(len(piece), dtype=np.float64), piece)[1] for piece in long)
    return SpacingFit(
        spacing_class=spacing_class,
        spacing_mm=spacing,
        uncertainty_mm=uncertainty,
        origin_mm=float(t[0]),
        steps=np.arange(len(t), dtype=np.int64),
        residual_mm=residual,
        rounding_mm=slack.rounding,
        is_rounded=residual > slack.tolerance * spacing,
        by_number=False,
        stretches=stretches,
        n_output=planes_over(float(t[-1] - t[0]), spacing),
    )


def _least_stretch(t: Floats, slack: _Slack) -> int:
    """Fewest equally spaced slices that are no chance: rounded positions are equally spaced more easily.

    Two slices always are a stretch. The two slices before another one point to a place for it. By chance it lies in the
    band if it is within two half heights of that place: on 4 half heights of the spacing over which it might lie.
    """
    # 1 would say that no number of slices is evidence.
    chance = min(4 * (slack.allowed / float(np.median(np.diff(t))) + slack.tolerance), 0.95)
    return max(SHORTEST_STRETCH, 2 + math.ceil(math.log(CHANCE) / math.log(chance)))


def _agree(one: Stretch, other: Stretch, slack: _Slack) -> bool:
    """Whether the spacings of two stretches are equal but for rounding."""
    off = sum(2 * slack.rounding / (stretch.n_slices - 1) for stretch in (one, other))
    return abs(one.spacing_mm - other.spacing_mm) <= off + slack.tolerance * other.spacing_mm


def _cut(t: Floats, slack: _Slack) -> list[Stretch]:
    """Stretches one after another, each as long as its slices are equally spaced; a slice that starts none is one."""
    stretches: list[Stretch] = []
    first = 0
    while first < len(t):
        stop = _end_of_stretch(t, first, slack)
        steps = np.arange(stop - first)
        spacing = np.nan
        if len(steps) > 1:
            spacing = _fit(t[first:stop], steps, slack.rounding, slack.allowed).spacing
        stretches.append(Stretch(first, stop, spacing))
        first = stop
    return stretches


def _end_of_stretch(t: Floats, first: int, slack: _Slack) -> int:
    """One past the last slice of the longest stretch from ``first``; ``first + 1`` if not even three slices are one."""

    def fits(stop: int) -> bool:
        steps = np.arange(stop - first, dtype=np.float64)
        spacing, half = narrowest_band(steps, t[first:stop])
        return half <= min(slack.allowed, spacing / 4) + slack.tolerance * spacing

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


def _irregular(t: Floats, rounding: float) -> SpacingFit:
    gaps, steps = np.diff(t), np.arange(len(t), dtype=np.int64)
    spacing = float(np.median(gaps))
    slope, origin, _ = least_squares_line(steps.astype(np.float64), t)
    return SpacingFit(
        spacing_class=SpacingClass.IRREGULAR,
        spacing_mm=spacing,
        uncertainty_mm=float(np.std(gaps)),
        origin_mm=float(t[0]),
        steps=steps,
        residual_mm=float(np.abs(t - origin - slope * steps).max()),
        rounding_mm=rounding,
        is_rounded=False,
        by_number=False,
        stretches=(),
        n_output=planes_over(float(t[-1] - t[0]), spacing),
    )


def _single(position: float, rounding: float) -> SpacingFit:
    return SpacingFit(
        SpacingClass.SINGLE, np.nan, np.nan, position, np.zeros(1, np.int64), 0.0, rounding, False, False, (), 1
    )
