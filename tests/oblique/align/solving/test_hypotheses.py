from __future__ import annotations

import numpy as np
import pytest

from gpustitch.model import Candidate, Link, Match
from gpustitch.oblique.align.solving.hypotheses import candidates_of, hypotheses_of

MATCH = Match((0, 0, 0), (0.0, 0.0, 0.0), 0.99)
NOMINAL = np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 100.0]])


def link(n: int = 20, reason: str = "", candidates: tuple[Candidate, ...] = ()) -> Link:
    return Link("a", "b", (0.0, 0.0, 101.0), (0.1,) * 3, (MATCH,) * n, reason, (0.05,) * 3, candidates)


def at(x: float, confidence: float) -> Candidate:
    return Candidate((0.0, 0.0, x), (0.2,) * 3, confidence)


def test_more_matches_are_surer() -> None:
    sure = [candidates_of(link(n))[0].confidence for n in (0, 1, 3, 5, 20, 100)]
    assert sure == sorted(sure)
    assert 0 < sure[0] < sure[-1] < 1


def test_a_rejected_link_has_only_its_candidates() -> None:
    assert candidates_of(link(reason="no room")) == ()
    assert candidates_of(link(reason="two fit", candidates=(at(90, 0.5), at(101, 0.4)))) == (at(90, 0.5), at(101, 0.4))


def test_the_links_own_offset_replaces_the_candidate_it_was_refined_from() -> None:
    own, other = candidates_of(link(candidates=(at(90, 0.2), at(101.6, 0.7))))
    assert (own.offset_px, own.sigma_px, own.confidence) == ((0.0, 0.0, 101.0), (0.05,) * 3, 0.7)
    assert other == at(90, 0.2)


def test_candidates_elsewhere_share_what_the_links_own_offset_leaves() -> None:
    own, other = candidates_of(link(n=5, candidates=(at(90, 0.5),)))
    assert own.confidence + other.confidence < 1


@pytest.mark.parametrize("confidences", [(0.0,), (1.0,), (0.9, 0.9), (0.6, 0.3), (0.2, 0.1, 0.1)])
@pytest.mark.parametrize("axes", [(True, True, True), (False, True, False), (False, False, False)])
def test_priors_of_a_link_sum_to_one(confidences: tuple[float, ...], axes: tuple[bool, ...]) -> None:
    """But for the density of the offset where nothing is said; far apart candidates do not explain each other."""
    candidates = tuple(Candidate((1000.0 * i,) * 3, (0.2,) * 3, c) for i, c in enumerate(confidences))
    found, which, offers = hypotheses_of(
        [link(reason="x", candidates=candidates)], {"a": 0, "b": 1}, NOMINAL, np.array(axes)
    )
    prior = np.exp(found.log_prior)
    prior[-1] *= 120.0 ** sum(axes)
    if any(axes):
        assert prior.sum() == pytest.approx(1, abs=2e-3)
    assert (which, len(offers[0])) == ((0,), len(confidences))
    assert found.last.tolist() == [len(found.link) - 1]
    assert np.isfinite(found.log_prior).all()


def test_a_link_runs_from_the_tile_of_lesser_number() -> None:
    for number, shift in (({"a": 0, "b": 1}, 1.0), ({"b": 0, "a": 1}, 1.0)):
        nominal = NOMINAL if number["a"] == 0 else NOMINAL[::-1]
        found, _, _ = hypotheses_of([link()], number, nominal, np.ones(3, bool))
        assert found.shift[2, 0] == pytest.approx(shift if number["a"] == 0 else -shift)
