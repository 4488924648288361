from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from gpustitch.ops.consensus import consensus, weighted_median

DATA = Path(__file__).parents[1] / "data"


def test_median_and_scatter_of_clean_matches() -> None:
    rng = np.random.default_rng(0)
    offsets = np.array([3.2, -70.1, 5.5]) + rng.normal(0, 0.1, (200, 3))
    found = consensus(offsets)
    np.testing.assert_allclose(found.offset_px, [3.2, -70.1, 5.5], atol=0.03)
    np.testing.assert_allclose(found.scatter_px, 0.1, atol=0.03)
    assert found.agrees.mean() > 0.97


def test_a_false_match_of_16_voxels_is_thrown_out() -> None:
    """The reference program took such a one, which correlated by more than 0.95, for good."""
    offsets = np.tile([1.0, 2.0, 3.0], (9, 1)) + np.linspace(-0.05, 0.05, 9)[:, None]
    offsets[4, 1] += 16
    found = consensus(offsets)
    assert np.flatnonzero(~found.agrees).tolist() == [4]
    np.testing.assert_allclose(found.offset_px, [1, 2, 3], atol=0.05)


def test_finds_a_minority_that_agrees_among_scattered_ones() -> None:
    rng = np.random.default_rng(1)
    offsets = np.concatenate([rng.uniform(-20, 20, (14, 3)), [4.0, -5.0, 6.0] + rng.normal(0, 0.05, (6, 3))])
    found = consensus(offsets)
    assert found.agrees[14:].all()
    np.testing.assert_allclose(found.offset_px, [4, -5, 6], atol=0.2)


def test_one_match_is_its_own_consensus() -> None:
    found = consensus([[1.5, 2.5, 3.5]])
    assert found.offset_px == (1.5, 2.5, 3.5)
    assert found.scatter_px == (0, 0, 0)
    assert found.agrees.all()


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
