from __future__ import annotations

import numpy as np
import pytest

from gpustitch.oblique.align.solving.certainty import half_width


def test_one_normal_distribution() -> None:
    found = half_width(np.zeros((1, 3)), np.array([[0.1, 1.0, 7.0]]), np.ones(1))
    assert found / np.array([0.1, 1.0, 7.0]) == pytest.approx(1.959964, rel=1e-5)


@pytest.mark.parametrize("rare", [0.01, 0.04, 0.06, 0.3])
def test_the_interval_holds_95_percent_of_a_mixture(rare: float) -> None:
    """A choice that is less probable than 1 in 20 widens the interval a little, one more probable takes it along."""
    off = np.array([[0.0], [8.0]])
    deviation = np.array([[0.1], [0.5]])
    found = half_width(off, deviation, np.array([1 - rare, rare]))[0]
    rng = np.random.default_rng(0)
    is_rare = rng.random(200_000) < rare
    drawn = np.where(is_rare, rng.normal(8, 0.5, 200_000), rng.normal(0, 0.1, 200_000))
    assert (np.abs(drawn) <= found).mean() == pytest.approx(0.95, abs=0.003)
    assert (found > 6) == (rare > 0.05)
