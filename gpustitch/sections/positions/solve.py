"""Section positions solved for all at once, with the quality of each section and its uncertainty.

How the solver works. Two sections i and j are expected to be similar by ``q_i * q_j * g(|z_i - z_j|)``. Unknown are the
position z of each section, its quality q, and the curve g, which falls with distance.

What is alternated. An update first fits the curve to all pairs at the present positions and qualities
(:mod:`~gpustitch.sections.positions.curve`). Then it keeps the curve and solves for changes of all positions and
qualities at once. These are banded normal equations (:mod:`~gpustitch.sections.positions.normal`): pair by pair while
positions are rough, then in blocks, which counts that pairs share errors. Priors join them: spacings are near 1,
qualities are alike. Now and then a section that fits better elsewhere is moved there.

Why it converges. Nothing proves that it must; these rules keep it from running away:

- Weak priors make the equations positive definite, and a change of spacing is at most one section.
- What sections are trusted by stays fixed after 10 updates in blocks, and the curve after 20. From there on the same
  function is iterated, and Anderson's acceleration shortens the way.
- If residuals grow threefold, the best state so far comes back, and sections are trusted less.
- After 30 updates, a value that turns back goes half as far.
- If most sections still move after 24 updates, the series begins again with smaller blocks and less trust.

It ends when no section moves further than the tolerance, or with the last update allowed.

Where long waves are held. Similarity tells distances within the range only, so errors add up along the series. Fixing
both ends settles offset and scale, but not the waves between. After the last update, waves longer than 10 sections are
weighed by their error against those that independent spacings make (:mod:`~gpustitch.sections.positions.waves`).

How uncertainty comes out. The covariance of the positions is the inverse of the last normal equations, once the
error of a similarity is known. Residuals show only part of that error (:mod:`~gpustitch.sections.positions.error`).
Offset and scale are taken out of the covariance, and so is the variance that holding the waves removed. Slow waves too
high for chance stay in the positions and count as error. The error is NaN for a section without votes, and for a series
whose pairs do not outnumber its unknowns.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from gpustitch.errors import AlignmentError, ParameterError
from gpustitch.model.arrays import Floats, Integers
from gpustitch.sections.model import Estimate, EstimateOptions
from gpustitch.sections.positions.band import sorted_band
from gpustitch.sections.positions.covariance import Covariance, factor, solution
from gpustitch.sections.positions.curve import Curve, linear
from gpustitch.sections.positions.error import error_of_similarities
from gpustitch.sections.positions.normal import Expected, Normal, expect, in_blocks, pairwise
from gpustitch.sections.positions.order import accepted_order, all_agree, in_given_order, relocated
from gpustitch.sections.positions.quality import first_quality, number_of_partners, trust_in_sections
from gpustitch.sections.positions.waves import held_waves, without_trend

# Sections that each one is taken to depend on; more is a little more accurate, and less safe.
BLOCK = 8
# Updates pair by pair, at most, and the move in sections below which they end early.
PAIRWISE = 8
ROUGH = 0.05
# Updates in blocks after which weights stay as they are; after twice as many the curve does, too.
SETTLED = 10
# Updates before that Anderson's acceleration looks at, and how many times as far as the last one it may go.
DEPTH, FARTHEST = 3, 20.0
# After these updates the recent moves are looked at. If most sections still move by UNSETTLED in most of the last
# RECENT, similarities do not follow the process closely. The series begins again, with smaller blocks and a larger
# variance beyond the process.
ATTEMPTS, RECENT, UNSETTLED = (24, 32, 40), 8, 0.1
CAREFUL_BLOCK, CAREFUL_NUGGET = 4, 0.1
# After PATIENCE updates a value that turns back moves less far, but at least LEAST_STEP of its way. Two
# sections of one place are at the peak of the curve, and would change sides at every update.
PATIENCE, LEAST_STEP = 30, 1 / 2**14
# Updates between looks for sections that belong elsewhere, and the last of them.
LOOK, LAST_LOOK = 4, 40
LARGEST_STEP = 1.0
# Log of the quality of a section that resembles none.
EMPTY = -3.0
# Variance of each section beyond that of the process: at the start, and at most.
NUGGET, LARGEST_NUGGET = 2e-3, 1.0
# Residuals may grow by this factor before an update is taken back.
WORSE = 3.0
# Prior of a spacing: 1 with this standard deviation and the tails of Cauchy's distribution.
SPACING = 0.5
# Log of a quality: Laplace's distribution of this share of the noise, with tails that let bad sections go; at most.
QUALITY = 0.5
WORST = 4.0


class _Damping:
    """Part of the way that each of n values goes: less the more often it turns back."""

    def __init__(self, n: int) -> None:
        self._last, self._part = np.zeros(n), np.ones(n)

    def damped(self, change: Floats) -> Floats:
        """The changes that are made of those proposed."""
        part = np.where(change * self._last < 0, self._part / 2, self._part * 1.05)
        self._part, self._last = np.clip(part, LEAST_STEP, 1), change
        return self._part * change


@dataclass
class _State:
    """Where the solution is: positions and logs of qualities of the sections in starting order."""

    positions: Floats
    log_quality: Floats
    expected: Expected
    nugget: float = NUGGET
    trust: Floats | None = None
    pixels: float = 1.0
    history: list[tuple[Floats, Floats]] = field(default_factory=list)
    damping: tuple[_Damping, _Damping] | None = None
    move: float = np.inf
    usual_move: float = np.inf


class _Problem:
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
        self.start = _between_borders(self.given)
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
        self.block = min(BLOCK, len(here), len(start) - 1)
        self.careful, self.nugget = False, NUGGET

    @property
    def undetermined(self) -> bool:
        """Whether pairs are no more than positions and qualities, so that no residuals tell their error."""
        return bool((self.counts > 0).sum() <= 2 * (~self.alone).sum() - 2)

    def expect(
        self, positions: Floats, log_quality: Floats, last: Expected | None, curve: Curve | None = None
    ) -> Expected:
        """Curve and residuals at positions and qualities."""
        return expect(self.measured, self.counts, positions, np.exp(log_quality), last, curve)

    def begin_again(self) -> _State:
        """The start, from where the model is asked for less: similarities do not follow it closely."""
        self.careful, self.nugget = True, CAREFUL_NUGGET
        self.block = min(CAREFUL_BLOCK, self.block)
        quality = self.first_quality()
        return _State(self.start, quality, self.expect(self.start, quality, None), self.nugget)

    def first_quality(self) -> Floats:
        """Logs of the qualities to start from: those of the caller, or of sections that stand out as worse."""
        quality: Floats = -np.log(self.factors)
        if not quality.any():
            quality = first_quality(self.measured, self.counts, self.block)
        quality -= np.median(quality)
        return quality

    def scoring(self, state: _State, settled: bool) -> Normal:
        """Normal equations in blocks; how far a section or a similarity is trusted changes only until it is settled."""
        if not settled or state.trust is None:
            state.trust = trust_in_sections(state.expected, self.block, self.alone)
            state.pixels = 1 / state.expected.noise**2
        normal = in_blocks(state.expected, 1 / state.trust - 1 + state.nugget, self.block)
        return Normal(normal.band * state.pixels, normal.right * state.pixels)


def solve(
    band: Floats,
    options: EstimateOptions,
    start: Floats,
    factors: Floats,
    weights: Floats,
    pair_weights: Floats | None,
    progress: Callable[[int, float], None] | None,
) -> Estimate:
    """Positions from the band of similarities; parameters are those of ``estimate_positions``."""
    problem = _Problem(band, options, start, factors, weights, pair_weights)
    quality = problem.first_quality()
    judged = problem.expect(problem.start, quality, None)
    state = _State(problem.start, quality, judged)
    best: _State | None = None
    curve: Curve | None = None
    rough, first, age = True, 1, 0
    moves: list[float] = []
    for number in range(1, options.outer_iterations + 1):
        if number in ATTEMPTS and not problem.careful and np.median(moves[-RECENT:]) > UNSETTLED:
            state, best, curve = problem.begin_again(), None, None
            rough, first, age = True, number, 0
        if not rough:
            age += 1
            state, best = _better(state, best)
        if options.allow_reordering and number % LOOK == 0 and number <= LAST_LOOK:
            found = relocated(state.expected, problem.measured, state.positions)
            if found is not None:
                best, age, curve = None, 0, None
                state = _State(
                    found, state.log_quality, problem.expect(found, state.log_quality, state.expected), problem.nugget
                )
        if age <= SETTLED:
            judged = state.expected
        normal = pairwise(state.expected, problem.measured) if rough else problem.scoring(state, age > SETTLED)
        _advance(state, normal, judged.noise, problem, not rough)
        if age == 2 * SETTLED:
            curve, state.history = state.expected.curve, []
        if number - first + 1 >= PATIENCE and state.damping is None:
            state.damping = (_Damping(len(start)), _Damping(len(start)))
        state.expected = problem.expect(state.positions, state.log_quality, judged, curve)
        if progress is not None:
            progress(number, state.move)
        if state.move < options.tolerance and not rough:
            break
        moves.append(state.usual_move)
        rough = rough and number - first + 1 < PAIRWISE and state.move > ROUGH
    return _finished(problem, state, number)


def _better(state: _State, best: _State | None) -> tuple[_State, _State]:
    """The state to go on from, and the best one so far: that one again, more carefully, if residuals have grown."""
    if best is None:
        return state, replace(state, history=[])
    if state.expected.noise > WORSE * best.expected.noise and state.nugget < LARGEST_NUGGET:
        return replace(best, nugget=4 * state.nugget, history=[]), best
    return state, replace(state, history=[]) if state.expected.noise < best.expected.noise else best


def _pair_counts(weights: Floats, pair_weights: Floats | None, order: Integers, max_lag: int) -> Floats:
    """Weight of each pair (range, n): the product of its sections' weights and the pair's own."""
    n = len(order)
    later = np.minimum(np.arange(n) + np.arange(1, max_lag + 1)[:, None], n - 1)
    counts: Floats = weights[later] * weights
    if pair_weights is not None:
        i, j = order[None, :], order[later]
        counts = counts * (pair_weights[i] * pair_weights[j] if pair_weights.ndim == 1 else pair_weights[i, j])
    return counts


def _advance(state: _State, normal: Normal, noise: float, problem: _Problem, accelerated: bool) -> None:
    """Solve, move, and bring the series back to its place."""
    _add_priors(normal, state, noise, problem)
    change = solution(factor(normal.band), normal.right)
    # Beside a section that resembles none nothing but the prior holds: the way back to it need not be slow.
    limit = np.where(state.log_quality < EMPTY, np.inf, LARGEST_STEP)
    limit[1:] = np.maximum(limit[1:], limit[:-1])
    step = np.clip(np.diff(change[0::2], prepend=0), -limit, limit)
    moved = _between_borders(state.positions + np.cumsum(step))
    quality = state.log_quality + np.clip(change[1::2], -0.3, 0.3)
    quality = np.clip(quality - np.median(quality), -WORST, WORST)
    if state.damping is not None:
        moved = state.positions + state.damping[0].damped(moved - state.positions)
        quality = state.log_quality + state.damping[1].damped(quality - state.log_quality)
    state.move = float(np.abs(moved - state.positions).max())
    state.usual_move = float(np.median(np.abs(moved - state.positions)))
    here = np.concatenate([state.positions, state.log_quality])
    there = np.concatenate([moved, quality])
    if accelerated and state.damping is None:
        there = _accelerated(state.history, here, there)
    state.positions, state.log_quality = there[: len(moved)], there[len(moved) :]


def _accelerated(history: list[tuple[Floats, Floats]], here: Floats, there: Floats) -> Floats:
    """Where a series of updates leads to (Anderson's acceleration), from those before and the one just made."""
    history.append((here, there - here))
    del history[: -DEPTH - 1]
    if len(history) < 2:
        return there
    places, changes = (np.diff(np.stack(values), axis=0) for values in zip(*history, strict=True))
    change = there - here
    factors = np.linalg.lstsq(changes.T, change, rcond=1e-6)[0]
    step = change - factors @ (places + changes)
    return here + step if np.abs(step).max() < FARTHEST * np.abs(change).max() else there


def _regularised(positions: Floats, options: EstimateOptions, start: Floats) -> Floats:
    """The whole series brought to its place: similarities tell neither its offset nor its scale."""
    n = len(positions)
    if options.regularization == "border":
        return _between_borders(positions)
    return linear(positions, np.arange(n, dtype=np.float64) if options.regularization == "identity" else start)


def _between_borders(positions: Floats) -> Floats:
    """Positions with the first section at 0 and the last one at n - 1."""
    moved: Floats = (positions - positions[0]) * ((len(positions) - 1) / (positions[-1] - positions[0]))
    return moved


def _add_priors(normal: Normal, state: _State, noise: float, problem: _Problem) -> None:
    """What is known without similarities: spacings near 1, equal qualities, and the place of the first section."""
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
    scale = QUALITY * noise
    size = np.maximum(np.abs(state.log_quality), scale)
    pull = 1 / (size * (scale + size * size))
    band[0, 1::2] += pull
    right[1::2] -= pull * state.log_quality
    band[0, 0] += np.median(band[0, 0::2])
    if options.coordinate_regularizer > 0:
        share = min(options.coordinate_regularizer, 0.999)
        band[0, 0::2] += share / (1 - share)
        right[0::2] += share / (1 - share) * (problem.start - state.positions)


def _finished(problem: _Problem, state: _State, number: int) -> Estimate:
    """The result, with uncertainties, in an order that the similarities are evidence for."""
    options, expected = problem.options, state.expected
    trust = trust_in_sections(expected, problem.block, problem.alone)
    state = replace(state, trust=trust, pixels=1 / error_of_similarities(expected) ** 2)
    normal = problem.scoring(state, True)
    _add_priors(normal, state, expected.noise, problem)
    covariance = Covariance(normal.band)
    sigma = covariance.after_affine_map(state.positions)
    order = accepted_order(
        state.positions,
        covariance.of_difference,
        options.allow_reordering,
        lambda i, j: all_agree(problem.measured, i, j),
    )
    held = held_waves(state.positions, order, covariance.times)
    sigma = np.sqrt(np.maximum(sigma**2 - held.less, 0.01 * sigma**2))
    positions = in_given_order(held.positions, order, sigma, options.minimum_section_thickness)
    curves = expected.curve.at(np.arange(len(problem.measured) + 1.0))[0][None]
    spacing_scale = without_trend(positions, order, options.local_estimates, options.spacing_ratio)
    if spacing_scale is not None:
        positions, scale = spacing_scale
        sigma = np.hypot(sigma, held.usual) / scale
        curves = expected.curve.at(np.arange(len(problem.measured) + 1.0) * scale[:, None])[0]
    else:
        sigma = np.hypot(sigma, held.doubtful)
    placed = _regularised(positions, options, problem.given)
    if not np.isfinite(placed).all():
        raise AlignmentError("section positions are not finite: the sections collapsed")
    sigma = sigma * np.ptp(placed) / np.ptp(positions)
    weights = trust * np.minimum(1, np.exp(state.log_quality))
    back = np.argsort(problem.order, kind="stable")
    return Estimate(
        positions=placed[back],
        order=problem.order[order],
        weights=np.where(problem.alone, 0, weights)[back],
        uncertainty=np.where(problem.alone | problem.undetermined, np.nan, sigma)[back],
        curves=curves if len(curves) == 1 else curves[back],
        without_votes=np.sort(problem.order[problem.alone]),
        iterations=number,
        largest_move=state.move,
    )
