"""A series that is being solved for: its similarities, where the solution is, one update of it, and what holds it."""

from __future__ import annotations

import copy
import functools
import math
from dataclasses import dataclass, field

import numpy as np

from gpustitch.errors import ParameterError
from gpustitch.model.arrays import Floats, Integers
from gpustitch.ops.robust import MAD_TO_SIGMA, median
from gpustitch.sections.model import EstimateOptions
from gpustitch.sections.positions.band import sorted_band
from gpustitch.sections.positions.covariance import factor, solution
from gpustitch.sections.positions.normal import Expected, Normal, expect, in_blocks
from gpustitch.sections.positions.quality import first_quality, number_of_partners, trust_in_sections
from gpustitch.sections.texture.curve import Curve

# Sections that each one is taken to depend on; more is a little more accurate, and less safe.
BLOCK = 8
# The same, and the variance beyond the process, where similarities do not follow the process closely.
CAREFUL_BLOCK, CAREFUL_NUGGET = 4, 0.1
# Updates before that Anderson's acceleration looks at, and how many times as far as the last one it may go. Directions
# in which they differ less than this part do not count: it would make the rounding of similarities visible.
DEPTH, FARTHEST, RCOND = 3, 20.0, 0.03
# Updates whose moves are held against those of as many before, and the part that they must be below.
WATCHED, SETTLING = 15, 0.7
# A value that turns back again and again moves less far, but at least this part of its way.
LEAST_STEP = 1 / 2**14
LARGEST_STEP = 1.0
# A spacing is a hole from this part of the range on, and not below so many sections.
HOLE, LEAST_HOLE = 0.5, 4.0
# Log of the quality of a section that resembles none.
EMPTY = -3.0
# Variance of each section beyond that of the process, at the start.
NUGGET = 2e-3
# Prior of a spacing: 1 with this standard deviation and the tails of Cauchy's distribution.
SPACING = 0.5
# Log of a quality: Laplace's distribution of this share of the noise, with tails that let bad sections go; at most.
QUALITY = 0.5
WORST = 4.0
# Standard deviations of log quality by which a section may be better than usual, if similarity at distance 0 does not
# allow more. Without a bound a section at an end may go far away, with a quality to match.
BEST = 6.0
# Log of what it may be better by in any case: where qualities hardly scatter, a tight bound leads solutions astray.
BETTER = 0.3


class Damping:
    """Part of the way that each of n values goes: less the more often it turns back."""

    def __init__(self, n: int) -> None:
        self._last, self._part = np.zeros(n), np.ones(n)

    def damped(self, change: Floats) -> Floats:
        """The changes that are made of those proposed."""
        part = np.where(change * self._last < 0, self._part / 2, self._part * 1.05)
        self._part, self._last = np.clip(part, LEAST_STEP, 1), change
        return self._part * change


@dataclass
class State:
    """Where the solution is: positions and logs of qualities of the sections in starting order."""

    positions: Floats
    log_quality: Floats
    expected: Expected
    block: int
    careful: bool = False
    nugget: float = NUGGET
    trust: Floats | None = None
    pixels: float = 1.0
    history: list[tuple[Floats, Floats]] = field(default_factory=list)
    damping: tuple[Damping, Damping] | None = None
    move: float = np.inf
    usual_move: float = np.inf
    moves: list[float] = field(default_factory=list)

    @property
    def is_settling(self) -> bool:
        """Whether the largest moves of the last updates are well below those before them."""
        recent, before = self.moves[-WATCHED:], self.moves[-2 * WATCHED : -WATCHED]
        return not before or float(np.median(recent)) < SETTLING * float(np.median(before))

    def moved_to(self, positions: Floats, expected: Expected) -> State:
        """A new beginning with other positions."""
        nugget = CAREFUL_NUGGET if self.careful else NUGGET
        return State(positions, self.log_quality, expected, self.block, self.careful, nugget)

    @property
    def misfit(self) -> float:
        """Root mean square of the residuals of all pairs, each in units of ``1 - similarity^2``."""
        return self.expected.misfit


class Problem:
    """The similarities in starting order, and what they are compared with."""

    def __init__(
        self,
        band: Floats,
        options: EstimateOptions,
        start: Floats,
        factors: Floats,
        weights: Floats,
        pair_weights: Floats | None,
    ) -> None:
        self.options = options
        self.order: Integers = np.argsort(start, kind="stable")
        self.given = start[self.order].astype(np.float64)
        if self.given[-1] == self.given[0]:
            raise ParameterError("`starting_coordinates` must not be the same for all sections")
        self.start = between_borders(self.given)
        self.factors = factors[self.order]
        here = sorted_band(band, self.order)[1:-1]
        low = options.minimum_correlation
        usable = np.isfinite(here) if low <= 0 else here > low
        self.measured = np.where(usable, here, 0)
        self.counts = usable * _pair_counts(weights[self.order], pair_weights, self.order, len(here))
        self.alone = number_of_partners(self.counts) == 0
        if self.alone.all():
            raise ParameterError(
                "no pair of sections counts: all weights are 0, or no similarity within the range is above "
                f"`minimum_correlation` ({low:g})"
            )
        self.longest_block = min(len(here), len(start) - 1)

    @property
    def undetermined(self) -> bool:
        """Whether pairs are no more than positions and qualities, so that no residuals tell their error."""
        return bool((self.counts > 0).sum() <= 2 * (~self.alone).sum() - 2)

    def expect(
        self, positions: Floats, log_quality: Floats, last: Expected | None, curve: Curve | None = None
    ) -> Expected:
        """Curve and residuals at positions and qualities."""
        return expect(self.measured, self.counts, positions, np.exp(log_quality), last, curve)

    def begin(self, careful: bool = False) -> State:
        """The start; ``careful`` asks less of the model, where similarities do not follow it closely."""
        quality = self.first_quality
        expected = self.expect(self.start, quality, None)
        block = min(CAREFUL_BLOCK if careful else BLOCK, self.longest_block)
        return State(self.start, quality, expected, block, careful, CAREFUL_NUGGET if careful else NUGGET)

    @functools.cached_property
    def first_quality(self) -> Floats:
        """Logs of the qualities to start from: those of the caller, or of sections that stand out as worse."""
        quality: Floats = -np.log(self.factors)
        if not quality.any():
            quality = first_quality(self.measured, self.counts, min(BLOCK, self.longest_block))
        quality -= np.median(quality)
        return quality

    def rounded(self, part: float) -> Problem:
        """The same of similarities that are off by up to this part, as another host or device may round them."""
        other = copy.copy(self)
        other.__dict__.pop("first_quality", None)
        pattern = np.sin(np.arange(1, self.measured.size + 1) ** 2).reshape(self.measured.shape)
        other.measured = self.measured * (1 + part * pattern)
        return other

    def scoring(self, state: State, settled: bool) -> Normal:
        """Normal equations in blocks; how far a section or a similarity is trusted changes only until it is settled."""
        if not settled or state.trust is None:
            state.trust = trust_in_sections(state.expected, state.block, self.alone)
            state.pixels = 1 / state.expected.noise**2
        normal = in_blocks(state.expected, 1 / state.trust - 1 + state.nugget, state.block)
        return Normal(normal.band * state.pixels, normal.right * state.pixels)


def between_borders(positions: Floats) -> Floats:
    """Positions with the first section at 0 and the last one at n - 1."""
    moved: Floats = (positions - positions[0]) * ((len(positions) - 1) / (positions[-1] - positions[0]))
    return moved


def _pair_counts(weights: Floats, pair_weights: Floats | None, order: Integers, max_lag: int) -> Floats:
    """Weight of each pair (range, n): the product of its sections' weights and the pair's own."""
    n = len(order)
    later = np.minimum(np.arange(n) + np.arange(1, max_lag + 1)[:, None], n - 1)
    counts: Floats = weights[later] * weights
    if pair_weights is not None:
        i, j = order[None, :], order[later]
        counts = counts * (pair_weights[i] * pair_weights[j] if pair_weights.ndim == 1 else pair_weights[i, j])
    return counts


def advance(state: State, normal: Normal, noise: float, problem: Problem, accelerated: bool) -> None:
    """Solve, move, and bring the series back to its place."""
    add_priors(normal, state, noise, problem)
    change = solution(factor(normal.band), normal.right)
    # Beside a section that resembles none nothing but the prior holds: the way back to it need not be slow.
    limit = np.where(state.log_quality < EMPTY, np.inf, LARGEST_STEP)
    limit[1:] = np.maximum(limit[1:], limit[:-1])
    step = np.clip(np.diff(change[0::2], prepend=0), -limit, limit)
    moved = between_borders(state.positions + np.cumsum(step))
    quality = state.log_quality + np.clip(change[1::2], -0.3, 0.3)
    quality = np.clip(quality - median(quality), -WORST, WORST)
    quality = np.minimum(quality, _best(quality, state.expected.curve))
    if state.damping is not None:
        moved = state.positions + state.damping[0].damped(moved - state.positions)
        quality = state.log_quality + state.damping[1].damped(quality - state.log_quality)
    state.move = float(np.abs(moved - state.positions).max())
    state.usual_move = _usual_move(state.positions, moved, len(problem.measured))
    state.moves.append(state.move)
    here = np.concatenate([state.positions, state.log_quality])
    there = np.concatenate([moved, quality])
    if accelerated and state.damping is None:
        there = _accelerated(state.history, here, there)
    state.positions, state.log_quality = there[: len(moved)], there[len(moved) :]


def _best(log_quality: Floats, curve: Curve) -> float:
    """Log of the best quality that a section may have: no similarity at distance 0 is above 1.

    A curve without near pairs does not know that similarity. So some times what qualities scatter by is allowed in any
    case, and a third where they hardly do.
    """
    at_zero = float(curve.at(np.zeros(1))[0][0])
    usual = MAD_TO_SIGMA * median(np.abs(log_quality))
    return max(-math.log(min(max(at_zero, math.exp(-WORST)), 1.0)), BEST * usual, BETTER)


def _usual_move(before: Floats, after: Floats, max_lag: int) -> float:
    """Median move of sections, less what holes and sections near them moved them by: all others move with these."""
    spacing = np.diff(before)
    near = np.convolve(spacing > max(HOLE * max_lag, LEAST_HOLE), np.ones(2 * (max_lag // 2) + 1))
    near = near[max_lag // 2 :][: len(spacing)] > 0.5
    change = np.where(near, 0, np.diff(after) - spacing)
    moves = np.concatenate([[0.0], np.cumsum(change)])
    return median(np.abs(moves - np.linspace(0, moves[-1], len(moves))))


def _accelerated(history: list[tuple[Floats, Floats]], here: Floats, there: Floats) -> Floats:
    """Where a series of updates leads to (Anderson's acceleration), from those before and the one just made."""
    history.append((here, there - here))
    del history[: -DEPTH - 1]
    if len(history) < 2:
        return there
    places, changes = (np.diff(np.stack(values), axis=0) for values in zip(*history, strict=True))
    change = there - here
    factors = np.linalg.lstsq(changes.T, change, rcond=RCOND)[0]
    step = change - factors @ (places + changes)
    return here + step if np.abs(step).max() < FARTHEST * np.abs(change).max() else there


def add_priors(normal: Normal, state: State, noise: float, problem: Problem, ends_differ: bool = False) -> None:
    """What is known without similarities: spacings near 1, equal qualities, and the place of the first section.

    With ``ends_differ`` the first and the last section may be of another quality as much as the others are.
    """
    band, right, options = normal.band, normal.right, problem.options
    spacing = np.diff(state.positions)
    # A section that resembles none says nothing of a gap: it stays between its neighbours.
    sound = np.exp(2 * np.minimum(state.log_quality, 0))
    pull = 1 / (SPACING**2 + sound[:-1] * sound[1:] * (spacing - 1) ** 2)
    band[0, 0:-2:2] += pull
    band[0, 2::2] += pull
    band[2, 0:-2:2] -= pull
    right[0:-2:2] += pull * (spacing - 1)
    right[2::2] -= pull * (spacing - 1)
    scale = np.full(len(spacing) + 1, QUALITY * noise)
    if ends_differ:
        ends = [int(state.positions.argmin()), int(state.positions.argmax())]
        scale[ends] = np.maximum(scale[ends], MAD_TO_SIGMA * median(np.abs(np.delete(state.log_quality, ends))))
    size = np.maximum(np.abs(state.log_quality), scale)
    pull = 1 / (size * (scale + size * size))
    band[0, 1::2] += pull
    right[1::2] -= pull * state.log_quality
    band[0, 0] += np.median(band[0, 0::2])
    if options.coordinate_regularizer > 0:
        share = min(options.coordinate_regularizer, 0.999)
        band[0, 0::2] += share / (1 - share)
        right[0::2] += share / (1 - share) * (problem.start - state.positions)
