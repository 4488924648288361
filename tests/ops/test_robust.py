from __future__ import annotations

import json

import numpy as np
import pytest

from gpustitch.ops.robust import median, median_and_scatter, weighted_median
from tests.paths import DATA


def test_scatter_of_normal_values_is_their_standard_deviation() -> None:
    values = np.random.default_rng(0).normal([3, -5], [0.1, 20], (5000, 2))
    values[::10] = 1e6
    middle, scatter = median_and_scatter(values)
    np.testing.assert_allclose(middle, [3, -5], atol=4)
    np.testing.assert_allclose(scatter, [0.1, 20], rtol=0.2)
    np.testing.assert_allclose(median_and_scatter(values[1::10])[1], [0.1, 20], rtol=0.1)
    assert [float(v) for v in median_and_scatter([4.0])] == [4, 0]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_median_is_that_of_numpy() -> None:
    """To the last bit, and without changing what it is given."""
    rng = np.random.default_rng(1)
    for n in (0, *range(1, 40), 1000, 1001):
        for special in ([], [np.nan], [np.inf], [-np.inf, np.inf], [0.0] * 9):
            values = rng.permutation(np.concatenate([rng.normal(size=n), special]))
            before = values.copy()
            np.testing.assert_array_equal(median(values), np.median(values))
            np.testing.assert_array_equal(values, before)
            in_a_column = [one[0] for one in median_and_scatter(values[:, None])]
            np.testing.assert_array_equal(median_and_scatter(values), in_a_column)


@pytest.mark.parametrize("seed", range(20))
def test_weighted_median_halves_the_weight(seed: int) -> None:
    """Whatever the order; the reference program indexes unsorted data."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=rng.integers(1, 12))
    weights = rng.uniform(0.1, 1000, len(values))
    median = weighted_median(values, weights)
    assert weights[values < median].sum() <= weights.sum() / 2 + 1e-9
    assert weights[values > median].sum() <= weights.sum() / 2 + 1e-9
    order = rng.permutation(len(values))
    assert weighted_median(values[order], weights[order]) == median


def is_weighted_median(value: float, values: np.ndarray, weights: np.ndarray) -> bool:
    """Whether no more than half of the weight lies on either side."""
    half = weights.sum() / 2 + 1e-9
    return bool(weights[values < value].sum() <= half and weights[values > value].sum() <= half)


def test_weighted_median_is_one_where_the_reference_is_not() -> None:
    """spimstitch indexes unsorted data and interpolates; on sorted data it stays within one value of the median."""
    cases = json.loads((DATA / "weighted_median.json").read_text())
    theirs_right = {True: 0, False: 0}
    for case in cases:
        values, weights = np.array(case["data"]), np.array(case["weights"])
        ours, theirs, is_sorted = weighted_median(values, weights), case["result"], case["data_was_sorted"]
        assert is_weighted_median(ours, values, weights)
        theirs_right[is_sorted] += is_weighted_median(theirs, values, weights)
        if is_sorted:
            place = np.searchsorted(values, ours)
            assert values[max(0, place - 1)] <= theirs <= values[min(len(values) - 1, place + 1)]
    assert len(cases) == 60 and theirs_right[False] < theirs_right[True] < 30


def test_weighted_median_of_equal_weights_is_the_median() -> None:
    for n in (1, 2, 5, 6):
        values = np.random.default_rng(n).normal(size=n)
        assert weighted_median(values, np.full(n, 0.1)) == pytest.approx(np.median(values))
