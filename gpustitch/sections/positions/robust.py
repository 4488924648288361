"""Positions from each pair of sections alone: for series whose similarities follow no one process.

In blocks (:mod:`~gpustitch.sections.positions.normal`) the pairs of a neighbourhood are taken to share their errors,
as the samples of one texture do. That is two to four times as accurate where it holds. Where it does not, as in many
real series, small contradictions between near pairs count for more than all far pairs. Then a plain least-squares fit
to all pairs, each with Huber's weight, is nearer to the truth.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from gpustitch.ops.robust import MAD_TO_SIGMA
from gpustitch.sections.positions.normal import FLOOR, Expected, pairwise
from gpustitch.sections.positions.state import Damping, Problem, State, advance

# Power of ``1 - similarity^2`` that the error of a pair goes with.
_EMPHASIS = 1
# Typical residuals beyond which a pair's weight falls; least typical residual.
_HUBER, _LEAST_NOISE = 2.0, 1e-6
# Updates after which a value that turns back moves less far.
_PATIENCE = 20


def fit_pairs(problem: Problem, updates: int) -> State:
    """The solution of robust least squares over all pairs, with at most so many updates of it."""
    n = len(problem.start)
    state = problem.begin()
    for number in range(updates):
        if number == _PATIENCE:
            state.damping = (Damping(n), Damping(n))
        pairs = _weighed(state.expected)
        advance(state, pairwise(pairs, problem.measured, _EMPHASIS), pairs.noise, problem, False)
        state.expected = problem.expect(state.positions, state.log_quality, state.expected)
        if state.move < problem.options.tolerance:
            break
    return state


def _weighed(expected: Expected) -> Expected:
    """The pairs with Huber's weights, and their typical residual in units of ``1 - similarity^2``."""
    error = np.maximum(1 - expected.similarity**2, FLOOR) ** _EMPHASIS
    relative = np.abs(expected.residual) / error
    noise = MAD_TO_SIGMA * float(np.median(relative[expected.counts > 0])) + _LEAST_NOISE
    weight = np.minimum(1, _HUBER * noise / np.maximum(relative, _LEAST_NOISE))
    return replace(expected, counts=expected.counts * weight, noise=noise)
