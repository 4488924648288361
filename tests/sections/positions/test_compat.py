"""The compatible estimator against results of Fiji's z-spacing, and against its definition in plain loops."""

from __future__ import annotations

import numpy as np
import pytest

from gpustitch.sections.model import EstimateOptions
from gpustitch.sections.positions.band import band_of
from gpustitch.sections.positions.compat import compat_steps
from gpustitch.sections.positions.estimate import estimate_positions
from tests.sections.positions.zspacing_definition import definition
from tests.sections.positions.zspacing_golden import NAMES, golden

pytestmark = pytest.mark.long

NUMBER_OF_CASES = 57
# One case of each kind goes to the end, update 100, and those of the front door; the others to update 30.
WHOLE = (
    "big_prod_r10", "coarse_default_r10", "gaps_plugin_r10", "heavy_noreorder", "nonstat_local2", "quality_sfreg09",
    "random_plugin_r50", "small_blank", "swap_default_r10", "tiny3",
)  # fmt: skip


def test_no_golden_case_is_lost():
    """Cases are the files of a folder: of an empty one nothing would be tested."""
    assert len(NAMES) == NUMBER_OF_CASES


@pytest.mark.parametrize("name", NAMES)
def test_golden(name):
    """1e-9 after 10 iterations, 1e-6 after more: positions, factors, order and curves of every step that was kept."""
    case, number = golden(name), 0
    kept = [iteration for iteration in case.iterations if name in WHOLE or iteration <= 30]
    assert kept[-1] == (100 if name in WHOLE else 30)
    for step, iteration in zip(case.steps(), range(1, kept[-1] + 1), strict=False):
        if iteration not in case.iterations:
            continue
        at, number = case.iterations.index(iteration), number + 1
        atol = 1e-9 if iteration <= 10 else 1e-6
        np.testing.assert_allclose(step.positions, case.positions[at], rtol=0, atol=atol)
        np.testing.assert_allclose(step.factors, case.factors[at], rtol=0, atol=atol)
        np.testing.assert_allclose(step.curves, case.curves[at - 1], rtol=0, atol=atol)
        np.testing.assert_array_equal(step.order, case.orders[at])
    assert number == len(kept) - 1


@pytest.mark.parametrize("name", ["random_start", "random_scaling", "quality_estw", "small_exactdup", "tiny2"])
def test_golden_through_the_front_door(name):
    case = golden(name)
    result = estimate_positions(
        case.similarity,
        case.options,
        starting_coordinates=case.starting_coordinates,
        starting_factors=case.starting_factors,
        pair_weights=case.pair_weights,
    )
    np.testing.assert_allclose(result.positions, case.positions[-1], rtol=0, atol=1e-9)
    np.testing.assert_allclose(result.weights, case.factors[-1], rtol=0, atol=1e-9)
    np.testing.assert_array_equal(result.order, case.orders[-1])
    assert result.iterations == 100
    assert not len(result.without_votes)


def series(seed, n, max_lag, noise):
    """Half strip of a series with swapped, damaged and missing similarities."""
    rng = np.random.default_rng(seed)
    truth = np.cumsum(rng.uniform(0.2, 1.8, n))
    truth[[n // 2, n // 2 + 1]] = truth[[n // 2 + 1, n // 2]]
    matrix = np.exp(-np.abs(truth[:, None] - truth) / 5) * (1 + noise * rng.normal(size=(n, n)))
    matrix *= rng.uniform(0.7, 1, n)[:, None]
    matrix = np.minimum(matrix, matrix.T)
    matrix[3, :] = matrix[:, 3] = np.nan
    matrix[7, 9] = matrix[9, 7] = np.nan
    np.fill_diagonal(matrix, 1)
    strip = np.full((n, max_lag + 1), np.nan)
    for d in range(max_lag + 1):
        strip[: n - d, d] = np.diagonal(matrix, d)
    return strip


VARIANTS = {
    "plugin": {},
    "not monotonic, local": {"force_monotonicity": False, "local_estimates": 3},
    "no reordering, no border": {"allow_reordering": False, "regularization": "none", "minimum_section_thickness": 0.1},
    "identity, drawn to the start": {"regularization": "identity", "coordinate_regularizer": 0.1},
    "range 1": {"max_lag": 1},
    "nearly the whole stack": {"max_lag": 22, "inner_iterations": 3},
}


@pytest.mark.parametrize("weights", ["equal", "sections", "matrix"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_follows_its_definition(variant, weights):
    """Pair by pair in plain loops; weights of votes and of pairs, too, for which there is no golden case."""
    n = 24
    options = EstimateOptions(**({"max_lag": 6, "compat": True} | VARIANTS[variant]))
    rng = np.random.default_rng(5)
    votes = np.ones(n) if weights == "equal" else rng.uniform(0, 1, n)
    of_pairs = None if weights == "equal" else rng.uniform(0, 1, n)
    if weights == "matrix":
        of_pairs = np.add.outer(of_pairs, of_pairs)
    strip = series(len(variant), n, options.max_lag, 0.02)
    band = band_of(strip, options.max_lag)
    start, factors = np.arange(n) * 1.0, np.ones(n)
    steps = compat_steps(band, options, start, factors, votes, of_pairs)
    expected = definition(strip, options, start, factors, votes, of_pairs)
    for _, ours, theirs in zip(range(6), steps, expected, strict=False):
        np.testing.assert_allclose(ours.curves, theirs.curves, rtol=0, atol=1e-10)
        np.testing.assert_allclose(ours.factors, theirs.factors, rtol=0, atol=1e-10)
        np.testing.assert_allclose(ours.positions, theirs.positions, rtol=0, atol=1e-9)
        np.testing.assert_array_equal(ours.order, theirs.order)
        np.testing.assert_array_equal(ours.voted, theirs.voted)
        assert not ours.voted[3]
