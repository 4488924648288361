"""One even grid through the positions of slices, perhaps with holes, perhaps but for the decimals or by the numbers."""

from __future__ import annotations

import dataclasses
import itertools
import math
from dataclasses import dataclass

import numpy as np

from gpustitch.model.arrays import Floats, Integers
from gpustitch.ops.robust import median
from gpustitch.slices.fit.lines import band_slopes, least_squares_line, narrowest_band
from gpustitch.slices.model import SpacingClass, SpacingFit, Stretch

# Widest hole that still counts as missing slices, in spacings (5: four slices), and the part of all intervals that may
# be holes.
MOST_STEPS = 5
MOST_HOLES = 0.2
# An interval wider than this many spacings is a gap between stretches: nothing is interpolated across it unasked.
GAP_FACTOR = 1.5
# A slice beside nothing is at a plane up to this part of the spacing off; what rounding explains counts up to that.
_AT_END, _FAR_FROM_PLANE = 0.01, 0.1
# What positions show counts as chance if it is more probable than this.
CHANCE = 0.05


@dataclass(frozen=True)
class Slack:
    """How far slices may be off.

    Attributes
    ----------
    rounding
        float64 (n,): greatest error of each from its decimals, mm.
    allowed
        float64 (n,): as much of that as may excuse a slice off the grid, mm.
    tolerance
        Part of the spacing that may excuse it as well.
    """

    rounding: Floats
    allowed: Floats
    tolerance: float

    @classmethod
    def of(cls, rounding: Floats, usual_mm: float, tolerance: float) -> Slack:
        """Decimals excuse half an interval at most: more would make anything even."""
        return cls(rounding, np.minimum(rounding, usual_mm / 2), tolerance)

    def part(self, first: int, stop: int) -> Slack:
        """That of the slices ``first <= k < stop``."""
        return Slack(self.rounding[first:stop], self.allowed[first:stop], self.tolerance)

    def without_errors(self) -> Slack:
        """As if positions were exact."""
        return Slack(self.rounding, np.zeros_like(self.allowed), self.tolerance)


@dataclass(frozen=True)
class Grid:
    """``origin + spacing * step``, its greatest distance from the slices, and what the spacing may be off.

    ``excess`` is the greatest distance beyond what the decimals of the slice excuse.
    """

    spacing: float
    origin: float
    residual: float
    excess: float
    uncertainty: float


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
    grid = Grid(spacing_mm, 0.0, 0.0, 0.0, math.nan)
    return explained(spacing_class, grid, steps, 0.0, is_rounded=False)


def even_grid(t: Floats, slack: Slack) -> SpacingFit | None:
    """UNIFORM or MISSING, as written or but for rounding; None if neither."""
    every = np.arange(len(t), dtype=np.int64)
    for some in (slack.without_errors(), slack):
        is_rounded = bool(some.allowed.any())
        for steps in (every, *_holes(t)):
            grid = fitted_grid(t, steps, some)
            if grid.excess <= slack.tolerance * grid.spacing:
                spacing_class = SpacingClass.UNIFORM if steps is every else SpacingClass.MISSING
                return explained(spacing_class, grid, steps, float(slack.rounding.max()), is_rounded=is_rounded)
        if not slack.allowed.any():
            break
    return None


def _holes(t: Floats) -> list[Integers]:
    """Numbers of the slices in grids with a few holes, for the likely spacings; those with least missing first."""
    gaps = np.diff(t)
    found: list[Integers] = []
    for spacing in (median(gaps), usual_gap(gaps), float(np.percentile(gaps, 20))):
        steps = np.maximum(1, np.rint(gaps / spacing)).astype(np.int64)
        wide = steps > 1
        in_row = wide[2:] & wide[1:-1] & wide[:-2]
        if not wide.any() or steps.max() > MOST_STEPS or wide.sum() > max(1, MOST_HOLES * len(gaps)) or in_row.any():
            continue
        found.append(np.concatenate([[0], np.cumsum(steps)]))
    return sorted(found, key=lambda steps: int(steps[-1]))


def usual_gap(gaps: Floats) -> float:
    """Mean of the intervals without the wide ones; the median alone is a multiple of the last decimal."""
    # Up to GAP_FACTOR spacings, even where decimals make the median a fifth less than the spacing.
    return float(gaps[gaps <= 1.25 * GAP_FACTOR * median(gaps)].mean())


def fitted_grid(t: Floats, steps: Integers, slack: Slack) -> Grid:
    """The grid of given steps: the middle of all that keep within the rounding errors, or else the least squares.

    The truth is among those, so that the middle is off by half their range at most. Errors e of the first and the last
    slice leave a range of 2 (e + e) / (n - 1), the others mostly far less.
    """
    k, e = steps.astype(np.float64), slack.rounding
    bound = float(e[0] + e[-1]) / float(k[-1] - k[0])
    is_exact = not slack.allowed.any()
    narrowest, beyond = (0.0, math.inf) if is_exact and _is_far_off(k, t, e) else narrowest_band(k, t, e)
    if beyond > 0 and is_exact:
        spacing, origin, spread = least_squares_line(k, t)
        off = np.abs(t - origin - spacing * k)
        return Grid(spacing, origin, float(off.max()), float((off - slack.allowed).max()), max(bound, spread))
    low, high = band_slopes(k, t, 0.0, e) if beyond < 0 else (narrowest, narrowest)
    spacing = (low + high) / 2
    rest = t - spacing * k
    origin = float((rest - e).max() + (rest + e).min()) / 2
    off = np.abs(rest - origin)
    return Grid(spacing, origin, float(off.max()), float((off - slack.allowed).max()), bound)


def _is_far_off(k: Floats, t: Floats, e: Floats) -> bool:
    """Whether a slice is so far from the line through the first and the last that errors e do not explain it.

    A line that keeps within the errors is off that one by e at its ends, and so by no more between them.
    """
    off = t - t[0] - (k - k[0]) * ((t[-1] - t[0]) / (k[-1] - k[0]))
    return bool(np.abs(off).max() > 2 * float(e.max()) * (1 + 1e-9) + 1e-9 * float(np.abs(t).max()))


def explained(
    spacing_class: SpacingClass, grid: Grid, steps: Integers, rounding: float, *, is_rounded: bool
) -> SpacingFit:
    """A grid as an explanation; ``rounding`` is the greatest error from decimals."""
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


def is_plain(counted: SpacingFit, as_written: SpacingFit | None, numbers: Integers) -> bool:
    """Whether positions say by themselves what the numbers say, or a grid with holes is as likely as rounding.

    Numbers that run on by 1 do not tell: many programs number what is left anew.
    """
    if as_written is not None and (np.diff(np.sort(numbers)) == 1).all() and _may_be_holes(as_written):
        return True
    steps = np.diff(counted.steps)
    return steps.max() > MOST_STEPS or (as_written is not None and np.array_equal(steps, np.diff(as_written.steps)))


def _may_be_holes(as_written: SpacingFit) -> bool:
    """Whether holes of an even grid fall as evenly as those that decimals make by chance.

    Decimals of even slices make wide intervals that are evenly spaced (a balanced word). Of all words of m letters,
    about m^3 / pi^2 are balanced, so about m^2 / pi^2 of those with k holes; one hole always is.
    """
    wide = np.diff(as_written.steps) > 1
    m, k = len(wide), int(wide.sum())
    return k > 0 and max(m, m * m / math.pi**2) > CHANCE * math.comb(m, k)


def grid_by_number(t: Floats, rounding: Floats, numbers: Integers | None) -> SpacingFit | None:
    """The fit to instance numbers, where positions are coarser than the spacing and numbers agree with them."""
    if numbers is None or len(np.unique(numbers)) < len(t):
        return None
    mean = float(t[-1] - t[0]) / (len(t) - 1)
    most = float(rounding.max())
    if 2 * most <= mean / 2:
        return None
    up = np.argsort(numbers, kind="stable")
    for order in (up, up[::-1]):
        steps = np.abs(numbers[order] - numbers[order[0]]).astype(np.int64)
        # Every second number is that of another echo, say.
        steps //= np.gcd.reduce(steps)
        values, errors = t[order], rounding[order]
        _, beyond = narrowest_band(steps.astype(np.float64), values, errors)
        # Along an oblique normal rounding may turn neighbours around.
        is_ordered = (np.diff(values) >= 0).all() or values[-1] - values[0] > 4 * most
        if beyond <= 1e-9 * most and values[-1] > values[0] and is_ordered:
            grid = fitted_grid(values, steps, Slack(errors, errors, 0.0))
            spacing_class = SpacingClass.UNIFORM if steps[-1] == len(t) - 1 else SpacingClass.MISSING
            fit = explained(spacing_class, grid, steps, most, is_rounded=True)
            return dataclasses.replace(fit, by_number=True)
    return None


def plane_tolerance(spacing_mm: float, rounding_mm: float, *, is_end: bool = False) -> float:
    """How far from a plane a slice may lie and still be that plane, mm: what its decimals and the first one's explain.

    A slice with nothing before or after it may be further off: else a step of a few digits leaves its plane empty.
    """
    rounding = 2 * rounding_mm if rounding_mm > 0 else 0.0
    return min(rounding + is_end * _AT_END * spacing_mm, _FAR_FROM_PLANE * spacing_mm)
