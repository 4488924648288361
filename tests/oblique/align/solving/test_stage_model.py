from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from gpustitch.oblique.align.solving.stage_model import AxisLinks, StageModel

NOTHING = np.zeros(0, np.int64)


def grid(ny: int, nx: int) -> np.ndarray:
    return np.array([[0.0, 800.0 * y, 700.0 * x] for y in range(ny) for x in range(nx)])


def links(n: int, seed: int = 0) -> tuple[AxisLinks, np.ndarray, np.ndarray, np.ndarray]:
    """Links of a chain and one more: what the model takes, and the same as a matrix, offsets and variances."""
    rng = np.random.default_rng(seed)
    fixed, moving = np.append(np.arange(n - 2), 0), np.append(np.arange(1, n - 1), n - 2)
    shift, variance = rng.normal(0, 3, n - 1), rng.uniform(0.01, 2, n - 1)
    matrix = np.zeros((n - 1, n))
    matrix[np.arange(n - 1), moving] = 1
    matrix[np.arange(n - 1), fixed] -= 1
    return AxisLinks(n, fixed, moving, shift, 1 / variance), matrix, shift, variance


@pytest.mark.parametrize("bumped", [[], [2]])
def test_the_posterior_is_that_of_the_stated_covariance(bumped: list[int]) -> None:
    """Means, variances and evidence of every scale are those of the textbook, by dense matrices."""
    model = StageModel(grid(2, 3), (1.0, 2.0, 1.5))
    found, matrix, shift, variance = links(6)
    posterior = model.posterior(1, found, np.array(bumped, np.int64))
    centred = np.eye(6) - 1 / 6
    scales = np.arange(len(model.log_prior))
    means, variances = posterior.means(scales), posterior.variances(scales)
    for s in scales:
        prior = (model.columns[1] * model.column_variance[1][s]) @ model.columns[1].T
        prior = prior + np.diag(model.tile_variance[1][s] + 2500.0 * np.isin(np.arange(6), bumped))
        seen = matrix @ prior @ matrix.T + np.diag(variance)
        gain = prior @ matrix.T @ np.linalg.inv(seen)
        left = prior - gain @ matrix @ prior
        np.testing.assert_allclose(centred @ means[s], centred @ gain @ shift, atol=1e-6)
        np.testing.assert_allclose(variances[s], np.diag(centred @ left @ centred), rtol=1e-5, atol=1e-8)
        pairs = np.array([0, 4]), np.array([5, 1])
        ends = np.eye(6)[pairs[1]] - np.eye(6)[pairs[0]]
        np.testing.assert_allclose(posterior.covariance(s, *pairs), ends @ left @ ends.T, rtol=1e-5, atol=1e-6)
        evidence = multivariate_normal(np.zeros(5), seen).logpdf(shift) + model.log_prior[s]
        assert posterior.log_evidence[s] == pytest.approx(evidence, abs=1e-6)


def test_the_prior_is_one_and_has_the_stated_median() -> None:
    model = StageModel(grid(1, 3), (1.0, 1.0, 1.0))
    assert np.exp(model.log_prior).sum() == pytest.approx(1)
    below = np.exp(model.log_prior)[model.tile_variance[0] < 5.0**2 * 0.99].sum()
    assert below < 0.5 < below + np.exp(model.log_prior)[np.isclose(model.tile_variance[0], 25)].sum()


@pytest.mark.parametrize(("shape", "n_columns"), [((1, 1), 0), ((1, 5), 1), ((5, 1), 1), ((2, 2), 2 + 2 + 4)])
def test_what_positions_cannot_tell_is_left_out(shape: tuple[int, int], n_columns: int) -> None:
    """No scale of an axis without extent, no rows of one tile each, no drift of one row."""
    assert StageModel(grid(*shape), (1.0, 1.0, 1.0)).columns[0].shape == (shape[0] * shape[1], n_columns)


def test_a_stated_repeatability_is_the_only_scale() -> None:
    model = StageModel(grid(1, 3), (1.0, 2.0, 1.0), 4.0)
    assert [v.tolist() for v in model.tile_variance] == [[16.0], [4.0], [16.0]]


def test_rows_are_found_though_the_stage_states_them_with_jitter() -> None:
    nominal = grid(3, 4)
    nominal[:, 1] += np.random.default_rng(0).uniform(-30, 30, 12)
    assert StageModel(nominal, (1.0, 1.0, 1.0)).columns[0].shape[1] == 2 + 3 + 4
