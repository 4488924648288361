"""What the estimator of section positions accepts and refuses."""

from __future__ import annotations

import numpy as np
import pytest

from gpustitch.errors import AlignmentError, ParameterError
from gpustitch.sections.model import EstimateOptions
from gpustitch.sections.positions.estimate import estimate_positions
from gpustitch.sections.similarity.bands import full_matrix
from tests.sections.positions.zspacing_golden import golden

COMPAT = EstimateOptions(compat=True, outer_iterations=5)


def strip_of(n=30, max_lag=10):
    return golden("small_plugin_r10").similarity[:n, : max_lag + 1].astype(np.float64)


def test_a_matrix_and_its_half_strip_are_the_same():
    strip = golden("small_plugin_r10").similarity.astype(np.float64)
    ours = estimate_positions(strip, COMPAT)
    np.testing.assert_array_equal(ours.positions, estimate_positions(full_matrix(strip), COMPAT).positions)


def test_a_half_strip_as_wide_as_the_stack_is_long():
    matrix = np.exp(-np.abs(np.subtract.outer(np.arange(6.0), np.arange(6.0))) / 3)
    strip = np.full((6, 6), np.nan)
    for d in range(6):
        strip[: 6 - d, d] = np.diagonal(matrix, d)
    options = EstimateOptions(compat=True, max_lag=4, outer_iterations=3)
    np.testing.assert_array_equal(
        estimate_positions(strip, options).positions, estimate_positions(matrix, options).positions
    )


def test_progress_is_told_every_update():
    told = []
    result = estimate_positions(strip_of(), COMPAT, progress=lambda number, move: told.append((number, move)))
    assert [number for number, _ in told] == [1, 2, 3, 4, 5]
    assert told[-1][1] == result.largest_move > 0


def test_a_section_without_similarities_is_named():
    strip = strip_of(60)
    strip[7] = np.nan
    for d in range(1, 8):
        strip[7 - d, d] = np.nan
    assert list(estimate_positions(strip, COMPAT).without_votes) == [7]


REFUSED = {
    "larger than the stack": (np.ones((5, 5)), {}),
    "at least two": (np.ones((1, 1)), {}),
    "not an array": (np.ones((20, 20), np.int32), {}),
    "narrower": (np.ones((20, 30)), {}),
    "not symmetric": (np.triu(np.ones((20, 20))), {}),
    "at least 11 columns": (np.ones((20, 5)), {}),
    "starting_coordinates": (strip_of(), {"starting_coordinates": np.arange(4.0)}),
    "starting_factors": (strip_of(), {"starting_factors": np.full(30, np.nan)}),
    "section_weights": (strip_of(), {"section_weights": -np.ones(30)}),
    "pair_weights": (strip_of(), {"pair_weights": np.ones((30, 3))}),
}


@pytest.mark.parametrize("message", REFUSED)
def test_refuses(message):
    similarity, given = REFUSED[message]
    with pytest.raises(ParameterError, match=message):
        estimate_positions(similarity, COMPAT, **given)


@pytest.mark.parametrize(("value", "message"), [(np.nan, r"NaN on the diagonal .*\[3\]"), (np.inf, "must be finite")])
def test_refuses_a_diagonal_that_is_not_finite(value, message):
    strip = strip_of()
    strip[3, 0] = value
    with pytest.raises(ParameterError, match=message):
        estimate_positions(strip, COMPAT)


@pytest.mark.parametrize("n", [3, 4, 5, 8, 40])
@pytest.mark.parametrize("max_lag", [1, 2, 7])
@pytest.mark.parametrize("kind", ["noise", "ones", "zeros", "sparse", "negative"])
def test_whatever_comes_there_is_a_position_for_every_section(n, max_lag, kind):
    """Similarities that make no sense end in finite positions or in an error with a text."""
    rng = np.random.default_rng(n + max_lag)
    matrix = {"noise": rng.uniform(0, 1, (n, n)), "ones": np.ones((n, n)), "zeros": np.zeros((n, n))}.get(
        kind, rng.uniform(-1, 0.5, (n, n))
    )
    matrix[rng.uniform(size=(n, n)) < 0.5 * (kind == "sparse")] = np.nan
    matrix = (matrix + matrix.T) / 2
    np.fill_diagonal(matrix, 1)
    try:
        result = estimate_positions(matrix, EstimateOptions(max_lag=min(max_lag, n - 1)))
    except AlignmentError as error:
        assert str(error)
    else:
        assert np.isfinite(result.positions).all()
        assert sorted(result.order) == list(range(n))


def test_refuses_a_stack_without_similarities():
    with pytest.raises(AlignmentError, match="none of the 20 sections"):
        estimate_positions(np.where(np.eye(20) > 0, 1, np.nan), COMPAT)


@pytest.mark.parametrize(
    "given",
    [
        {"max_lag": 0},
        {"outer_iterations": 0},
        {"outer_regularization": 1.0},
        {"inner_iterations": -1},
        {"inner_regularization": 1.1},
        {"minimum_section_thickness": -1.0},
        {"minimum_correlation": 1.0},
        {"coordinate_regularizer": 2.0},
        {"regularization": "borders"},
        {"local_estimates": 0},
        {"tolerance": 0.0},
    ],
)
def test_options_out_of_range(given):
    with pytest.raises(ParameterError, match=f"`{next(iter(given))}` is .*, but it must be"):
        EstimateOptions(**given)
