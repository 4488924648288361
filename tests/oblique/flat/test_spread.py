"""How much a flat depends on the frames, against quarters of known noise and change."""

from __future__ import annotations

import numpy as np
import pytest

from gpustitch.oblique.flat.basis import QUADRATIC
from gpustitch.oblique.flat.spread import Spread

ROWS, COLUMNS = 12, 16
Y, X = np.mgrid[:ROWS, :COLUMNS] / np.array([ROWS, COLUMNS])[:, None, None] - 0.5
ALL = np.ones((ROWS, COLUMNS), bool)
SMOOTH = tuple((i, j) for i in range(5) for j in range(5 - i))


def of_quarters(noise, seed, known=ALL, early=0.0, turning=0.0):
    """Spread of quarters of white noise; first and last frames differ by a slope, and so may pairs that take turns."""
    rng = np.random.default_rng(seed)
    slopes = turning * np.array([1, -1, 1, -1]) + early * np.array([-1, 1, 1, -1])
    quarters = [noise * rng.normal(size=X.shape) + slope * X for slope in slopes]
    return Spread.of(known, [(one - one[known].mean())[known] for one in quarters])


@pytest.mark.parametrize("known", [ALL, X < 0.2])
@pytest.mark.parametrize(("degrees", "n_terms"), [(QUADRATIC, 3), (SMOOTH, 14)])
def test_chance_is_the_error_that_noise_makes(degrees, n_terms, known):
    found = [of_quarters(0.2, seed, known).of_model(degrees) for seed in range(20)]
    # A quarter of the variance of a quarter of the frames, spread over the blocks.
    true = 0.1 * (n_terms / known.sum()) ** 0.5
    chances, changes = np.array(found).T
    assert 0.9 * true < chances.mean() < 1.3 * true
    assert chances.min() > 0.6 * true
    assert (changes**2).mean() ** 0.5 == pytest.approx(true, rel=0.4)


def test_what_first_and_last_frames_differ_by_is_no_chance():
    chance, change = of_quarters(0.02, 1, early=0.3).of_model(QUADRATIC)
    assert change == pytest.approx(0.3 * X.std(), rel=0.05)
    assert chance < 0.1 * change


def test_what_turns_differ_by_is_chance():
    chance, change = of_quarters(0.0, 1, turning=0.3).of_model(QUADRATIC)
    # In one pairing of two.
    assert chance == pytest.approx(0.3 * X.std() * 0.5**0.5)
    assert change == pytest.approx(0, abs=1e-12)


def test_of_few_blocks_nothing_is_known():
    few = (abs(X) < 0.1) & (abs(Y) < 0.2)
    assert np.isnan(of_quarters(0.1, 1, few).of_model(QUADRATIC)).all()
    assert np.isnan(Spread().of_model(QUADRATIC)).all()
