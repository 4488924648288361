"""Section positions solved for all at once, with the quality of each section and its uncertainty.

How the solver works. Two sections i and j are expected to be similar by ``q_i * q_j * g(|z_i - z_j|)``. Unknown are the
position z of each section, its quality q, and the curve g, which falls with distance.

What is alternated. An update first fits the curve to all pairs at the present positions and qualities
(:mod:`~gpustitch.sections.texture.curve`). Then it keeps the curve and solves for changes of all positions and
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

Where similarities follow no such process. Blocks count small contradictions between near pairs for more than all far
pairs. A series that does not settle is solved for with care, without, and pair by pair, each pair with Huber's weight;
misfits tell which one holds. If none of them explains the similarities better than the positions at the start do,
sections stay there.

Where long waves are held. Similarity tells distances within the range only, so errors add up along the series. Fixing
both ends settles offset and scale, but not the waves between. After the last update, waves longer than 10 sections are
weighed by their error against those that independent spacings make (:mod:`~gpustitch.sections.positions.waves`). A
trend may be one of the texture instead (:mod:`~gpustitch.sections.texture.trend`).

How uncertainty comes out. The covariance of the positions is the inverse of the last normal equations, once the
error of a similarity is known. Residuals show only part of that error (:mod:`~gpustitch.sections.positions.error`).
Waves err as samples of planes say: structures go on beyond blocks (:mod:`~gpustitch.sections.positions.sampling`).
Offset and scale are taken out of the covariance, and so is the variance that holding the waves removed. Where a trend
is undecided, the other hypothesis counts as one standard error; what goes with structures within the planes, or surely
with parts of them, is within 2.5 of them. Where similarities scatter much, another solution counts as one standard
error, too. The error is NaN for a section without votes, and for a series whose pairs do not outnumber its unknowns.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from gpustitch.errors import AlignmentError
from gpustitch.model.arrays import Floats
from gpustitch.ops.patches import PatchSimilarities
from gpustitch.ops.robust import MAD_TO_SIGMA
from gpustitch.sections.model import Estimate, EstimateOptions
from gpustitch.sections.positions.covariance import Covariance
from gpustitch.sections.positions.error import error_of_similarities
from gpustitch.sections.positions.normal import FLOOR, Expected, pairwise
from gpustitch.sections.positions.order import accepted_order, all_agree, in_given_order, relocated
from gpustitch.sections.positions.quality import trust_in_sections
from gpustitch.sections.positions.sampling import Sampling
from gpustitch.sections.positions.state import Damping, Problem, State, add_priors, advance, between_borders
from gpustitch.sections.positions.waves import held_waves
from gpustitch.sections.texture.curve import Curve, linear
from gpustitch.sections.texture.disagreement import Disagreement, disagreement
from gpustitch.sections.texture.trend import (
    less_texture,
    less_unshared,
    spacing_ratio,
    steady_apart,
    taken_trend,
    verdict_on_trend,
)

# Updates pair by pair, at most, and the move in sections below which they end early.
PAIRWISE = 8
ROUGH = 0.05
# Updates in blocks after which weights stay as they are; after twice as many the curve does, too.
SETTLED = 10
# After these updates the recent moves are looked at. If most sections still move by UNSETTLED in most of the last
# RECENT, similarities do not follow the process closely. The series begins again, with smaller blocks and a larger
# variance beyond the process.
ATTEMPTS, RECENT, UNSETTLED = (24, 32, 40), 8, 0.1
# Such a series is also solved for without care, and pair by pair. The former is taken if its misfit is less than
# BETTER of the careful one's. The latter is if its misfit is less than BETTER of any, and FAR_BETTER of the careful
# one's: with as many unknowns it follows more of the noise.
BETTER, FAR_BETTER = 0.5, 0.2
# Sections stay where they start unless their positions bring the mean residual below this part of what it is there.
# Measured: .05 to .75 in series whose positions are right, .8 to 1.2 where they are no better than the start.
EXPLAINED = 0.8
# Relative misfit from which on similarities scatter much about one curve. Measured: .005 to .03 in electron microscopy
# and simulated textures of some hundred structures, .04 to .6 in stacks of anatomy.
MUCH = 0.04
# Such similarities may have several solutions. Another one is sought from similarities that are off by as much as those
# of another device, and is one if it lies this part of the usual standard error away.
ROUNDING, APART = 1e-5, 0.25
# Similarities without any noise leave nothing to divide by.
LEAST_RESIDUAL = 1e-12
# Updates pair by pair of such a series, at most.
MOST_PAIRWISE = 100
# Of the fit pair by pair: power of ``1 - similarity^2`` that errors go with, typical residuals beyond which a pair's
# weight falls, least typical residual, and updates after which a value that turns back moves less far.
EMPHASIS_OF_PAIRS, HUBER, LEAST_NOISE, PATIENCE_OF_PAIRS = 1, 2.0, 1e-6, 20
# Updates after which a value that turns back moves less far. Two sections of one place are at the peak of the curve,
# and would change sides at every update.
PATIENCE = 30
# Updates between looks for sections that belong elsewhere, and the last of them.
LOOK, LAST_LOOK = 4, 40
# Largest variance of each section beyond that of the process.
LARGEST_NUGGET = 1.0
# Residuals may grow by this factor before an update is taken back.
WORSE = 3.0


def solve(
    band: Floats,
    options: EstimateOptions,
    start: Floats,
    factors: Floats,
    weights: Floats,
    pair_weights: Floats | None,
    progress: Callable[[int, float], None] | None,
    in_plane_px: Floats | None = None,
    patches: PatchSimilarities | None = None,
) -> Estimate:
    """Positions from the band of similarities; parameters are those of ``estimate_positions``."""
    problem = Problem(band, options, start, factors, weights, pair_weights)
    state, number = fitted(problem, progress)
    other = _another(problem, state)
    if options.assume != "auto":
        return _finished(problem, state, number, other, None, None)
    lengths = None if in_plane_px is None else in_plane_px[problem.order]
    recorded = np.empty_like(state.positions)
    recorded[problem.order] = state.positions
    parts = None if patches is None else disagreement(patches, recorded)
    return _finished(problem, state, number, other, lengths, parts)


def fitted(problem: Problem, progress: Callable[[int, float], None] | None) -> tuple[State, int]:
    """The solution, and the number of its last update: in blocks, or pair by pair where that holds far better."""
    state, number = _in_blocks(problem, True, progress)
    if state.careful:
        careful = state.misfit
        bold, bold_number = _in_blocks(problem, False, None)
        if bold.misfit < BETTER * careful:
            state, number = bold, bold_number
        pairs = fit_pairs(problem, min(MOST_PAIRWISE, problem.options.outer_iterations))
        if pairs.misfit < min(BETTER * state.misfit, FAR_BETTER * careful):
            state, number = pairs, len(pairs.moves)
    return state, number


def _another(problem: Problem, state: State) -> Floats | None:
    """How far each section is from another solution (n,), in sections; None where similarities have one, surely."""
    if state.misfit <= MUCH:
        return None
    other = fitted(problem.rounded(ROUNDING), None)[0].positions
    apart: Floats = np.abs(linear(other, state.positions) - state.positions)
    return apart


def _in_blocks(
    problem: Problem, may_be_careful: bool, progress: Callable[[int, float], None] | None
) -> tuple[State, int]:
    """The solution in blocks, and the number of the last update."""
    options = problem.options
    state = problem.begin()
    judged = state.expected
    best: State | None = None
    curve: Curve | None = None
    rough, first, age = True, 1, 0
    moves: list[float] = []
    for number in range(1, options.outer_iterations + 1):
        unsettled = number in ATTEMPTS and not state.careful and np.median(moves[-RECENT:]) > UNSETTLED
        if may_be_careful and unsettled:
            state, best, curve = problem.begin(careful=True), None, None
            rough, first, age = True, number, 0
        if not rough:
            age += 1
            state, best = _better(state, best)
        if options.allow_reordering and number % LOOK == 0 and number <= LAST_LOOK:
            found = relocated(state.expected, problem.measured, state.positions)
            if found is not None:
                best, age, curve = None, 0, None
                state = state.moved_to(found, problem.expect(found, state.log_quality, state.expected))
        if age <= SETTLED:
            judged = state.expected
        normal = pairwise(state.expected, problem.measured) if rough else problem.scoring(state, age > SETTLED)
        advance(state, normal, judged.noise, problem, not rough)
        if age == 2 * SETTLED:
            curve, state.history = state.expected.curve, []
        if number - first + 1 >= PATIENCE and state.damping is None:
            state.damping = (Damping(len(problem.start)), Damping(len(problem.start)))
        state.expected = problem.expect(state.positions, state.log_quality, judged, curve)
        if progress is not None:
            progress(number, state.move)
        if state.move < options.tolerance and not rough:
            break
        moves.append(state.usual_move)
        rough = rough and number - first + 1 < PAIRWISE and state.move > ROUGH
    return state, number


def fit_pairs(problem: Problem, updates: int) -> State:
    """The solution of robust least squares over all pairs, with at most so many updates of it."""
    n = len(problem.start)
    state = problem.begin()
    for number in range(updates):
        if number == PATIENCE_OF_PAIRS:
            state.damping = (Damping(n), Damping(n))
        pairs = _weighed(state.expected)
        advance(state, pairwise(pairs, problem.measured, EMPHASIS_OF_PAIRS), pairs.noise, problem, False)
        state.expected = problem.expect(state.positions, state.log_quality, state.expected)
        if state.move < problem.options.tolerance:
            break
    return state


def _weighed(expected: Expected) -> Expected:
    """The pairs with Huber's weights, and their typical residual in units of ``1 - similarity^2``."""
    error = np.maximum(1 - expected.similarity**2, FLOOR) ** EMPHASIS_OF_PAIRS
    relative = np.abs(expected.residual) / error
    noise = MAD_TO_SIGMA * float(np.median(relative[expected.counts > 0])) + LEAST_NOISE
    weight = np.minimum(1, HUBER * noise / np.maximum(relative, LEAST_NOISE))
    return replace(expected, counts=expected.counts * weight, noise=noise)


def _better(state: State, best: State | None) -> tuple[State, State]:
    """The state to go on from, and the best one so far: that one again, more carefully, if residuals have grown."""
    if best is None:
        return state, replace(state, history=[])
    if state.expected.noise > WORSE * best.expected.noise and state.nugget < LARGEST_NUGGET:
        return replace(best, nugget=4 * state.nugget, history=[]), best
    return state, replace(state, history=[]) if state.expected.noise < best.expected.noise else best


def _regularised(positions: Floats, options: EstimateOptions, start: Floats) -> Floats:
    """The whole series brought to its place: similarities tell neither its offset nor its scale."""
    n = len(positions)
    if options.regularization == "border":
        return between_borders(positions)
    return linear(positions, np.arange(n, dtype=np.float64) if options.regularization == "identity" else start)


def _finished(
    problem: Problem,
    state: State,
    number: int,
    other: Floats | None,
    in_plane_px: Floats | None,
    parts: Disagreement | None,
) -> Estimate:
    """The result, with uncertainties, in an order that the similarities are evidence for."""
    options, expected = problem.options, state.expected
    trust = trust_in_sections(expected, state.block, problem.alone)
    error, noise = error_of_similarities(expected)
    state = replace(state, trust=trust, pixels=1 / error**2)
    normal = problem.scoring(state, True)
    measured = normal.band.copy()
    add_priors(normal, state, expected.noise, problem)
    covariance, prior = Covariance(normal.band), normal.band - measured
    sigma = covariance.after_affine_map(state.positions)
    order = accepted_order(
        state.positions,
        covariance.of_difference,
        options.allow_reordering,
        lambda i, j: all_agree(problem.measured, i, j),
    )
    seen = less_unshared(less_texture(state.positions, order, in_plane_px), order, parts)
    sampling = Sampling(
        expected, 1 / trust - 1 + state.nugget, state.block, state.positions, np.exp(state.log_quality), error, noise
    )
    held = held_waves(
        seen.positions,
        order,
        covariance.times,
        lambda waves: covariance.of_prior(prior, waves),
        lambda waves: sampling.variance(covariance.of_all(waves) * state.pixels),
    )
    verdict = verdict_on_trend(seen.positions, order, bool(held.doubtful.any()), options)
    if verdict.are_waves:
        held = replace(held, positions=seen.positions, less=np.zeros_like(held.less))
    more = held.more + (held.shorter - 1) * np.maximum(sigma**2 - held.stated, 0)
    sigma = np.sqrt(np.maximum(sigma**2 + more - held.less, 0.01 * sigma**2))
    positions = in_given_order(held.positions, order, sigma, options.minimum_section_thickness)
    trend = taken_trend(positions, order, verdict)
    lags, scale = np.arange(len(problem.measured) + 1.0), seen.scale * trend.scale
    if verdict.assumed == "texture":
        sigma = np.hypot(sigma, held.usual) / trend.scale
    is_texture = verdict.assumed == "texture" or seen.is_texture
    curves = expected.curve.at(lags * scale[:, None] if is_texture else lags[None])[0]
    is_one_of_several = other is not None and _rms(other) > APART * np.median(sigma)
    sigma = np.hypot(np.hypot(sigma, trend.doubt), seen.doubt)
    if other is not None:
        sigma = np.hypot(sigma, np.maximum(other, _rms(other)))
    positions, share = trend.positions, share_left(problem, state)
    if share > EXPLAINED:
        order = np.arange(len(positions))
        sigma = np.hypot(sigma, linear(positions, problem.start) - problem.start)
        positions = problem.start
    is_told = verdict.undecided or seen.undecided or is_texture or share > EXPLAINED
    may_be_texture = not is_told and options.assume == "auto"
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
        is_settling=state.is_settling,
        misfit=expected.mean_residual,
        relative_misfit=expected.misfit,
        is_explained=share <= EXPLAINED,
        assumed="texture" if is_texture else "thickness",
        undecided=verdict.undecided or seen.undecided,
        solutions_apart=_rms(other) if other is not None and is_one_of_several else 0.0,
        spacing_ratio=spacing_ratio(state.positions, order),
        if_texture=steady_apart(placed, order) if may_be_texture else 0.0,
        texture_ratio=seen.ratio,
        parts_ratio=seen.parts_ratio,
    )


def _rms(values: Floats) -> float:
    return float(np.sqrt(np.mean(values * values)))


def share_left(problem: Problem, state: State) -> float:
    """Mean residual at the positions found, as part of that where sections start, of the same qualities."""
    there = problem.expect(problem.start, state.log_quality, None)
    there = problem.expect(problem.start, state.log_quality, there)
    return state.expected.mean_residual / max(there.mean_residual, LEAST_RESIDUAL)
