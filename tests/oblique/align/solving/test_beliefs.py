from __future__ import annotations

import numpy as np

from gpustitch.model import Candidate, Link
from gpustitch.oblique.align.solving.hypotheses import hypotheses_of
from gpustitch.oblique.align.solving.mixture import Mixture
from gpustitch.oblique.align.solving.stage_model import StageModel

NOTHING = np.zeros(0, np.int64)
AXES = np.ones(3, bool)


def mixture(shape: tuple[int, int], seed: int = 0) -> Mixture:
    """Tiles of a grid, links of neighbours by two candidates each."""
    rng = np.random.default_rng(seed)
    nominal = np.array([[0.0, 800.0 * y, 700.0 * x] for y in range(shape[0]) for x in range(shape[1])])
    true = nominal + rng.normal(0, 3, nominal.shape)
    links = []
    for i, j in zip(*np.triu_indices(len(nominal), 1), strict=True):
        if np.abs(nominal[i] - nominal[j]).sum() <= 800:
            at = [tuple(true[j] - true[i] + rng.normal(0, scale, 3)) for scale in (0.05, 9.0)]
            candidates = (Candidate(at[0], (0.05,) * 3, 0.7), Candidate(at[1], (0.2,) * 3, 0.2))
            links.append(Link(str(i), str(j), at[0], (0.1,) * 3, (), "doubtful", candidates=candidates))
    found, _, _ = hypotheses_of(links, {str(i): i for i in range(len(nominal))}, nominal, AXES)
    return Mixture(found, StageModel(nominal, (1.5, 1.5, 1.5)), (0, 1, 2))


def test_log_odds_are_those_of_the_model_without_the_link() -> None:
    """The odds of two hypotheses are the evidence of one over that of the other, for the same scales of the stage."""
    model = mixture((2, 3))
    h = model.hypotheses
    chosen = h.likeliest(h.log_prior)
    choice = model.choice(chosen, NOTHING)
    odds = model.beliefs(choice).log_odds()

    def total(chosen: np.ndarray) -> float:
        other = model.choice(chosen, NOTHING)
        told = sum(axis.log_evidence[scale] for axis, scale in zip(other.axes, choice.best, strict=True))
        return other.log_prior + told

    for hypothesis in range(len(h.link)):
        changed = chosen.copy()
        changed[h.link[hypothesis]] = hypothesis
        expected = total(changed) - total(chosen)
        np.testing.assert_allclose(odds[hypothesis] - odds[chosen[h.link[hypothesis]]], expected, rtol=1e-4, atol=1e-4)


def test_beliefs_kept_up_to_date_are_those_made_anew() -> None:
    model = mixture((2, 3))
    h = model.hypotheses
    choice = model.choice(h.last, NOTHING)
    kept = model.beliefs(choice)
    chosen = h.likeliest(np.where(h.is_right, h.log_prior, -np.inf))
    for link in range(len(chosen)):
        kept.change(np.array([link]), chosen[[link]])
    kept.change(np.array([0]), h.last[[0]])
    chosen[0] = h.last[0]
    anew = model.choice(chosen, NOTHING)
    for axis, scale in enumerate(choice.best):
        ends = h.fixed, h.moving
        position = anew.axes[axis].mean(scale)
        np.testing.assert_allclose(kept.mean[axis], position[h.moving] - position[h.fixed], atol=1e-6)
        np.testing.assert_allclose(kept.spread[axis], anew.axes[axis].covariance(scale, *ends), rtol=1e-4, atol=1e-7)


def test_climbing_gains_what_it_says_and_leaves_the_clamped_link() -> None:
    model = mixture((2, 2))
    h = model.hypotheses
    start = model.choice(h.last, NOTHING)
    beliefs = model.beliefs(start)
    assert beliefs.climb(clamped=1) > 0
    assert beliefs.chosen[1] == h.last[1]
    assert h.is_right[np.delete(beliefs.chosen, 1)].all()
    assert beliefs.copy().climb(clamped=1) == 0
