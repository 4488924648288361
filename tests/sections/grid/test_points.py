"""Windows, local estimates and their smoothing, each against what it must give back."""

from __future__ import annotations

import numpy as np
import pytest

from gpustitch.errors import ParameterError
from gpustitch.sections.grid.points import Deviations, grid_positions, grid_windows, local_estimate
from gpustitch.sections.model import EstimateOptions
from gpustitch.sections.positions.estimate import estimate_positions
from gpustitch.sections.similarity.banded import banded_correlation
from tests.regrid.deformed_sections import deformed_sections

N, G = 60, 6


def field_of(seed=1, noise=0.2, amplitude=1.0):
    """A smooth deviation (N, G, G), an estimate of it with errors, and the overlap of its windows."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:G, :G] / (G - 1) - 0.5
    truth = amplitude * np.sin(np.arange(N) / 7)[:, None, None] * (x + 0.5 * y)
    overlap = grid_windows((240, 240), (G, G)).overlap
    shared = np.linalg.cholesky(overlap + 1e-9 * np.eye(G * G))
    values = truth + noise * (rng.normal(size=(N, G * G)) @ shared.T).reshape(truth.shape)
    return truth, values, np.full(values.shape, noise), overlap


def rms(values):
    return float(np.sqrt(np.mean(np.square(values))))


def test_windows_reach_to_the_neighbouring_points_and_cover_the_plane():
    found = grid_windows((100, 41), (4, 2))
    np.testing.assert_allclose(found.row_centers, [12, 37, 62, 87])
    np.testing.assert_allclose(found.column_centers, [9.75, 30.25])
    assert found.rows[1] == slice(12, 62) and found.rows[0].start == 0 and found.rows[-1].stop == 100
    assert len(found.windows) == 8 and found.grid == (4, 2)
    assert np.allclose(np.diag(found.overlap), 1) and np.allclose(found.overlap, found.overlap.T)
    assert found.overlap[0, 7] == 0


def test_one_point_has_the_whole_plane():
    found = grid_windows((64, 48), (1, 1))
    assert found.is_whole(found.windows[0]) and found.overlap.tolist() == [[1.0]]


@pytest.mark.parametrize(
    ("grid", "window", "message"),
    [((0, 2), None, "does not fit"), ((9, 2), None, "does not"), ((2, 2), (1, 4), "gaps")],
)
def test_grids_that_do_not_fit_are_refused(grid, window, message):
    with pytest.raises(ParameterError, match=message):
        grid_windows((8, 8), grid, window)


def test_a_smooth_deviation_comes_out_nearer_than_it_was_estimated():
    truth, values, errors, overlap = field_of()
    found = grid_positions(np.arange(N, dtype=float), Deviations(values, errors), overlap)
    left = found.positions - np.arange(N)[:, None, None] - truth
    assert rms(left) < 0.75 * rms(values - truth)
    assert not found.outliers.any() and found.spread > 0.1


def test_errors_alone_are_no_deviation():
    _, values, errors, overlap = field_of(amplitude=0)
    found = grid_positions(np.arange(N, dtype=float), Deviations(values, errors), overlap)
    assert rms(found.positions - np.arange(N)[:, None, None]) < 0.05


def test_a_field_whose_errors_follow_it_is_not_taken_for_what_all_points_share():
    """Sections squeezed on one side have smaller errors there; the mean of the field is still that of all points."""
    truth, _, _, overlap = field_of(amplitude=6)
    errors = 0.05 + 0.3 * (truth > 0)
    values = truth + errors * np.random.default_rng(0).normal(size=truth.shape)
    found = grid_positions(2.0 * np.arange(N), Deviations(values, errors), overlap)
    left = found.positions - 2 * np.arange(N)[:, None, None] - truth
    assert rms(left) < 0.2 and found.spread > 0.5
    assert 0.02 < np.median(found.uncertainty) < 0.4


def test_deviations_may_be_from_another_start():
    truth, values, errors, overlap = field_of(noise=0.05, amplitude=3)
    at = 2.0 * np.arange(N)
    start = at[:, None, None] + truth
    found = grid_positions(at, Deviations(values - truth, errors), overlap, start=start)
    assert rms(found.positions - start) < 0.05
    nothing = Deviations(np.zeros_like(values), np.full_like(values, np.inf))
    np.testing.assert_array_equal(grid_positions(at, nothing, overlap, start=start).positions[:, 0, 0], at)


def test_an_outlier_is_left_out_and_named():
    truth, values, errors, overlap = field_of(noise=0.05)
    values[30, 2, 3] += 8
    values[12, 0, 0] -= 8
    found = grid_positions(2.0 * np.arange(N), Deviations(values, errors), overlap)
    assert sorted(map(tuple, np.argwhere(found.outliers))) == [(12, 0, 0), (30, 2, 3)]
    left = found.positions - 2 * np.arange(N)[:, None, None] - truth
    assert abs(left[30, 2, 3]) < 0.3 and abs(left[12, 0, 0]) < 0.5


def test_points_without_texture_keep_the_global_positions_and_touch_no_other():
    _, values, errors, overlap = field_of(noise=0.05)
    values[:, :, 0], errors[:, :, 0] = 0, np.inf
    positions = np.arange(N, dtype=float)
    found = grid_positions(positions, Deviations(values, errors), overlap)
    np.testing.assert_array_equal(found.positions[:, :, 0], np.repeat(positions[:, None], G, axis=1))
    assert found.without_texture.sum() == G
    assert rms(found.positions[:, :, 1] - positions[:, None] - values[:, :, 1]) < 0.1


def test_sections_keep_their_order_at_every_point():
    rng = np.random.default_rng(3)
    order = np.arange(N)
    order[[10, 11]] = 11, 10
    positions = np.argsort(order).astype(float)
    values = rng.normal(0, 3, (N, G, G))
    found = grid_positions(positions, Deviations(values, np.full(values.shape, 0.1)), np.eye(G * G))
    assert (np.diff(found.positions[order], axis=0) > 0).all()


def test_sections_without_votes_say_nothing():
    options = EstimateOptions(max_lag=6)
    planes = deformed_sections(n=60, size=64, amplitude=0).planes
    strip = banded_correlation(planes, 6)
    positions = estimate_positions(strip, options).positions
    planes[:20] = 7
    deviation, error = local_estimate(banded_correlation(planes, 6), positions, options)
    assert np.isinf(error[:20]).all() and np.isfinite(error[20:]).all()
    assert (deviation[:20] == 0).all() and rms(deviation[20:]) < 0.3
    planes[:] = 7
    assert local_estimate(banded_correlation(planes, 6), positions, options) is None
