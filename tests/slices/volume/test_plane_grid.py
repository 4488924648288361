"""Where slices are taken to be, and the even volume over them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpustitch.errors import ParameterError
from gpustitch.regrid.plan import EXACT, GAP, OUTSIDE, plan_z
from gpustitch.slices.fit.classes import fit_slices
from gpustitch.slices.volume.plane_grid import fitted_places, grid_affine, plane_grid, stretch_grid
from tests.slices.slice_stacks import AXIAL, ORIGIN, PIXEL, made, oblique

STRETCHES = np.concatenate([np.arange(100) * 0.6, 120.4 + np.arange(100) * 0.6, 295.8 + np.arange(100) * 0.6])
VARIABLE = np.r_[np.arange(20) * 2.5, 47.5 + np.arange(1, 13) * 7.5]


def kinds(along):
    return plan_z(along.series, along.grid, limits=along.limits).plane_origin


@pytest.mark.parametrize("decimals", [1, 2, 9])
def test_slices_of_a_grid_are_at_its_steps(decimals):
    kept = np.delete(np.arange(306), [40, 41, 200])
    for steps in (np.arange(306), kept):
        written = np.round(steps * 7 / 12, decimals)
        fit = fit_slices(written, 0.5 * 10.0**-decimals)
        along = plane_grid(fit, written)
        np.testing.assert_allclose(along.series.positions, steps * 7 / 12, atol=0.5 * 10.0**-decimals)
        assert along.grid.n_planes == fit.n_output == 306
        found = kinds(along)
        np.testing.assert_array_equal(np.flatnonzero(found == EXACT), steps)
        assert (np.delete(found, steps) == GAP).all()


@pytest.mark.parametrize("spacing", [0.2, 0.6, 1.7])
def test_wide_and_narrow_planes(spacing):
    fit = fit_slices(np.arange(11) * 0.6, 0.0)
    along = plane_grid(fit, np.arange(11) * 0.6, spacing)
    assert along.grid.step == spacing and along.grid.first == 0
    assert (along.grid.n_planes - 2) * spacing < 6 - 1e-9 <= (along.grid.n_planes - 1) * spacing
    for step in (-1.0, 0.0, np.nan):
        with pytest.raises(ParameterError, match="positive"):
            plane_grid(fit, np.arange(11) * 0.6, step)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([0.3, 0.5, 1.0, 2.5, 5.0]),
    st.integers(4, 60),
    st.integers(2, 6),
    st.integers(0, 2**32),
    st.sampled_from(["even", "holes", "two spacings", "gap"]),
)
def test_slices_at_planes_are_taken_for_them_whatever_the_digits(spacing, n, decimals, seed, kind):
    """A stated or fitted step, and places to some digits: the last slice is the last plane, and none is empty."""
    steps = {
        "even": np.arange(n),
        "holes": np.r_[np.arange(n), n + 2, np.arange(n + 3, 2 * n + 3)],
        "two spacings": np.r_[np.arange(n), n - 1 + 2 * np.arange(1, n)],
        "gap": np.r_[np.arange(n), n + 19 + np.arange(n)],
    }[kind]
    normal = np.random.default_rng(seed).standard_normal(3)
    normal /= np.linalg.norm(normal)
    written = np.round(100 * normal + spacing * steps[:, None] * normal, decimals) @ normal
    fit = fit_slices(written, 0.9 * 10.0**-decimals)
    for step in (spacing, None):
        if step is None and (fit.spacing_class == "IRREGULAR" or abs(fit.spacing_mm / spacing - 1) * steps[-1] > 0.005):
            continue
        along = plane_grid(fit, written, step)
        found = kinds(along)
        assert along.grid.n_planes == steps[-1] + 1 and found[-1] == found[0] == EXACT
        assert (found[steps if step else steps[[0, -1]]] == EXACT).all()
        assert kind != "gap" or (found[[n - 1, n + 19]] == EXACT).all()
        assert kind != "gap" or (np.delete(found, steps) == GAP).all()
        assert step is not None or along.grid.n_planes == fit.n_output
        assert np.abs(along.series.positions - written).max() <= 0.02 * spacing + 2 * 10.0**-decimals


@given(st.floats(-0.009, 0.009), st.integers(3, 400))
def test_a_step_of_few_digits_loses_no_last_slice(off, n):
    places = np.arange(n) * 1.0
    along = plane_grid(fit_slices(places, 0.0), places, 1 + off / (n - 1))
    np.testing.assert_array_equal(along.series.positions[:-1], places[:-1])
    assert along.grid.n_planes == n and kinds(along)[-1] == EXACT


@given(st.floats(0.02, 0.98), st.integers(3, 40))
def test_slices_between_planes_stay_where_they_are(part, n):
    places = np.arange(n) * 1.0
    along = plane_grid(fit_slices(places, 0.0), places, 1 + part / (n - 1))
    np.testing.assert_array_equal(along.series.positions, places)
    assert along.grid.n_planes == n and kinds(along)[-1] == OUTSIDE


def test_stretches_are_put_right_each_for_itself():
    rng = np.random.default_rng(0)
    written = np.round(STRETCHES + rng.uniform(-0.04, 0.04, len(STRETCHES)), 1)
    fit = fit_slices(written, 0.05)
    assert fit.spacing_class == "RUNS_WITH_GAPS"
    places = fitted_places(fit, written)
    assert np.abs(places - written).max() < 0.1
    for stretch in fit.stretches:
        np.testing.assert_allclose(np.diff(places[stretch.first : stretch.stop]), fit.spacing_mm, rtol=1e-9)
    along = plane_grid(fit, written)
    assert np.isin(kinds(along), GAP).sum() > 250
    for stretch in fit.stretches:
        part = stretch_grid(fit, written, stretch)
        assert part.grid.n_planes == 100 and (kinds(part) == EXACT).all()
        np.testing.assert_array_equal(part.series.order, np.arange(stretch.first, stretch.stop))


def test_two_spacings_have_no_gap():
    fit = fit_slices(VARIABLE, 0.0)
    along = plane_grid(fit, VARIABLE)
    assert (along.grid.step, along.grid.n_planes) == (2.5, 56)
    assert not np.isin(kinds(along), GAP).any()
    finest, coarse = (stretch_grid(fit, VARIABLE, stretch) for stretch in fit.stretches)
    assert coarse.grid.step == pytest.approx(7.5) and (kinds(coarse) == EXACT).all()
    assert finest.grid.step == pytest.approx(2.5)


def test_stretches_that_would_cross_stay_where_they_are_written():
    fit = fit_slices(STRETCHES, 0.0)
    crossing = STRETCHES.copy()
    crossing[99] = 400.0
    np.testing.assert_array_equal(fitted_places(fit, crossing), crossing)


@pytest.mark.parametrize("directions", [AXIAL, oblique()])
@pytest.mark.parametrize("shear", [(0.0, 0.0), (0.36, -0.1)])
def test_the_matrix_leads_to_the_place_of_each_voxel(directions, shear):
    stack, _ = made(STRETCHES + 5, directions=directions, shear=shear)
    along = stretch_grid(stack.fit, stack.positions_mm, stack.fit.stretches[1])
    for unsheared in (False, True):
        affine = grid_affine(stack, along, unsheared=unsheared)
        sideways = np.array([1, *shear]) @ directions
        np.testing.assert_allclose(affine @ [0, 0, 0, 1], [*(ORIGIN + 125.4 * sideways), 1], atol=1e-9)
        np.testing.assert_allclose(affine[:3, 0], PIXEL[1] * directions[2])
        np.testing.assert_allclose(affine[:3, 1], PIXEL[0] * directions[1])
        np.testing.assert_allclose(affine[:3, 2], 0.6 * (directions[0] if unsheared else sideways))


def test_usual_intervals_of_an_irregular_series_are_no_gaps():
    alternating = np.cumsum([0.0, *np.tile([0.7, 1.3], 12), 9.0, *np.tile([1.3, 0.7], 12)])
    fit = fit_slices(alternating, 0.0)
    found = plane_grid(fit, alternating)
    assert fit.spacing_class == "IRREGULAR"
    assert np.flatnonzero(np.diff(alternating) > found.limits).tolist() == [24]
