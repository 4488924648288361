"""Resampling along z: plans, and the laws that resampled planes obey."""

from __future__ import annotations

import math

import numpy as np
import pytest

from gpustitch.errors import ParameterError
from gpustitch.regrid.plan import (
    BETWEEN,
    EXACT,
    FILLED,
    GAP,
    OUTSIDE,
    Series,
    ZGrid,
    deformation,
    gap_limits,
    node_centers,
    node_weights,
    plan_z,
    planes_over,
    planes_within,
    sorted_series,
)
from gpustitch.regrid.zresample import deformed_planes, planes_between, resample_z
from tests.cuda_cpu import module, shim

DTYPES = ("uint8", "uint16", "int16", "float32")


def stack(n, shape=(5, 7), dtype="uint16", seed=0):
    rng = np.random.default_rng(seed)
    if dtype == "float32":
        return rng.normal(0, 1000, (n, *shape)).astype(dtype)
    limits = np.iinfo(dtype)
    return rng.integers(limits.min, limits.max, (n, *shape), dtype, endpoint=True)


def resampled(planes, positions, grid, **options):
    plan = plan_z(sorted_series(positions), grid, **options)
    return planes_between(list(planes), plan.lower, plan.upper, plan.weight)


def deformed(planes, grids, grid, limits=math.inf, **options):
    series = sorted_series(grids)
    whole = deformation(series, planes.shape[1:], limits=limits)
    return deformed_planes([planes[i] for i in series.order], whole, grid, **options)


def irregular(n, seed=1):
    """Positions, in no order, of which some gaps are wide and some nothing."""
    rng = np.random.default_rng(seed)
    return rng.permutation(np.cumsum(rng.choice([0.01, 0.7, 1.0, 1.4, 4.0], n)))


# --- laws -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("nearest", [False, True])
@pytest.mark.parametrize(("first", "step"), [(0.0, 1.0), (-3.5, 0.1), (1000.3, 0.583)])
def test_identity_is_bit_for_bit(dtype, nearest, first, step):
    planes = stack(40, dtype=dtype)
    if dtype == "float32":
        planes[3, 2, 2], planes[4, 1] = np.nan, np.inf
    positions = first + step * np.arange(40)
    grid = ZGrid(first, step, 40)
    np.testing.assert_array_equal(resampled(planes, positions, grid, nearest=nearest), planes)
    bent = np.broadcast_to(positions[:, None, None], (40, 2, 3))
    np.testing.assert_array_equal(deformed(planes, bent, grid, nearest=nearest), planes)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("value", [0, 100, -1])
def test_constant_stays_constant(dtype, value):
    value = np.iinfo(dtype).max if value < 0 and dtype != "float32" else value
    planes = np.full((30, 5, 7), value, dtype)
    positions = irregular(30)
    grid = ZGrid(positions.min(), 0.37, planes_within(np.ptp(positions), 0.37))
    np.testing.assert_array_equal(resampled(planes, positions, grid), value)
    bent = positions[:, None, None] + np.zeros((2, 2))
    np.testing.assert_array_equal(deformed(planes, bent, grid), value)


def test_a_ramp_along_z_is_reproduced():
    positions = irregular(50)
    ramp = 3 + 2 * positions
    grid = ZGrid(positions.min(), 0.3, planes_within(np.ptp(positions), 0.3))
    expected = (3 + 2 * grid.positions())[:, None, None]
    found = resampled(np.broadcast_to(ramp[:, None, None], (50, 3, 4)).astype(np.float32), positions, grid)
    np.testing.assert_allclose(found, np.broadcast_to(expected, found.shape), rtol=3e-7)
    whole = resampled(
        np.broadcast_to(np.rint(ramp * 100)[:, None, None], (50, 3, 4)).astype(np.uint16), positions, grid
    )
    assert abs(whole - 100 * expected).max() < 1.001


def test_a_ramp_through_bent_sections_is_reproduced():
    rng = np.random.default_rng(0)
    grids = np.cumsum(rng.uniform(0.5, 2, 30))[:, None, None] + rng.uniform(-0.2, 0.2, (30, 3, 4))
    rows, columns = node_weights(20, node_centers(20, 3)), node_weights(50, node_centers(50, 4))

    def along(array, axis, node, weight):
        shape = [-1 if a == axis else 1 for a in range(3)]
        a, b = (np.take(array, np.minimum(node + k, array.shape[axis] - 1), axis) for k in (0, 1))
        return a + (b - a) * weight.reshape(shape)

    at_pixels = along(along(grids, 1, *rows), 2, *columns)
    grid = ZGrid(2.0, 0.4, 60)
    found = deformed((5 + 3 * at_pixels).astype(np.float32), grids, grid)
    expected = np.broadcast_to((5 + 3 * grid.positions())[:, None, None], found.shape)
    inside = (grid.positions()[:, None, None] >= at_pixels[0]) & (grid.positions()[:, None, None] <= at_pixels[-1])
    assert inside.sum() > 0.9 * inside.size
    np.testing.assert_allclose(found[inside], expected[inside], rtol=1e-6)
    assert not found[~inside].any()


@pytest.mark.parametrize("nearest", [False, True])
def test_the_order_of_sections_does_not_matter(nearest):
    planes, positions = stack(30), irregular(30)
    other = np.random.default_rng(5).permutation(30)
    grid = ZGrid(positions.min() - 2, 0.31, 100)
    expected = resampled(planes, positions, grid, nearest=nearest)
    np.testing.assert_array_equal(resampled(planes[other], positions[other], grid, nearest=nearest), expected)
    bent = positions[:, None, None] + np.zeros((3, 2))
    found = deformed(planes[other], bent[other], grid, nearest=nearest)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("dtype", DTYPES)
def test_blocks_are_the_whole(dtype):
    planes, positions = stack(30, (9, 11), dtype), irregular(30)
    grid = ZGrid(positions.min() - 2, 0.31, 100)
    plan = plan_z(sorted_series(positions), grid)
    whole = planes_between(list(planes), plan.lower, plan.upper, plan.weight)
    for start, stop in ((0, 5), (5, 6), (6, 60), (60, 100)):
        needed, lower, upper = plan.slab(start, stop)
        cut = [planes[i][2:7, 1:] for i in needed] or [planes[0][2:7, 1:]]
        found = planes_between(cut, lower, upper, plan.weight[start:stop])
        np.testing.assert_array_equal(found, whole[start:stop, 2:7, 1:])


@pytest.mark.parametrize("nearest", [False, True])
def test_deformed_blocks_are_the_whole(nearest):
    rng = np.random.default_rng(2)
    planes = stack(30, (40, 300), "uint16")
    grids = np.cumsum(rng.uniform(0.3, 2, 30))[:, None, None] + rng.uniform(-1, 1, (30, 3, 4))
    series, grid = sorted_series(grids), ZGrid(-1.0, 0.37, 110)
    shape = deformation(series, (40, 300), limits=3.0)
    sections = [planes[i] for i in series.order]
    whole = deformed_planes(sections, shape, grid, nearest=nearest)
    rows, columns = slice(5, 37), slice(100, 290)
    for start, stop in ((0, 3), (3, 4), (4, 70), (70, 110)):
        z = grid.positions(start, stop)
        needed = shape.needed(z[0], z[-1])
        found = deformed_planes(
            [section[rows, columns] for section in sections[needed]], shape, grid, first_section=needed.start,
            planes=slice(start, stop), rows=rows, columns=columns, nearest=nearest,
        )  # fmt: skip
        np.testing.assert_array_equal(found, whole[start:stop, rows, columns])
    assert len(range(30)[shape.needed(10.0, 12.0)]) < 12


def test_flat_deformation_is_the_plain_resampling():
    planes, positions = stack(25, (6, 8)), irregular(25)
    grid = ZGrid(positions.min() - 1, 0.23, 130)
    series = sorted_series(positions)
    for limits in (math.inf, 1.2):
        for nearest in (False, True):
            expected = resampled(planes, positions, grid, limits=limits, nearest=nearest)
            bent = series.positions[:, None, None] + np.zeros((2, 3))
            found = deformed(planes[series.order], bent, grid, limits=limits, nearest=nearest)
            np.testing.assert_array_equal(found, expected)


def test_ones_give_where_there_are_data():
    grids = np.arange(5.0)[:, None, None] + np.linspace(0, 1, 6).reshape(2, 3)
    grid = ZGrid(-0.5, 0.25, 30)
    mask = deformed(np.ones((5, 10, 12), np.uint8), grids, grid)
    values = deformed(np.full((5, 10, 12), 500, np.uint16), grids, grid)
    np.testing.assert_array_equal(values, mask * np.uint16(500))
    assert 0 < mask.mean() < 1


# --- values -----------------------------------------------------------------------------------------------------------


def test_a_nan_reaches_only_planes_made_of_it():
    planes = np.ones((4, 1, 3), np.float32)
    planes[1, 0, 1] = np.nan
    found = resampled(planes, [0, 1, 2, 3], ZGrid(0, 0.5, 7))
    np.testing.assert_array_equal(np.isnan(found[:, 0, 1]), [False, True, True, True, False, False, False])
    assert not np.isnan(found[:, 0, [0, 2]]).any()
    nearest = resampled(planes, [0, 1, 2, 3], ZGrid(0, 0.5, 7), nearest=True)
    np.testing.assert_array_equal(np.isnan(nearest[:, 0, 1]), [False, True, True, False, False, False, False])


@pytest.mark.parametrize(
    ("dtype", "low", "high", "middle"),
    [("uint8", 0, 255, 128), ("uint16", 65534, 65535, 65534), ("uint16", 65533, 65534, 65534),
     ("int16", -32768, 32767, 0), ("int16", -3, -2, -2), ("int16", -2, -1, -2), ("float32", 1, 2, 1.5)],
)  # fmt: skip
def test_halves_go_to_even_numbers_and_signs_are_kept(dtype, low, high, middle):
    planes = np.array([low, high], dtype).reshape(2, 1, 1)
    found = resampled(planes, [0, 1], ZGrid(0, 0.5, 3))
    np.testing.assert_array_equal(found[:, 0, 0], [low, middle, high])
    assert found.dtype == dtype
    bent = deformed(planes, np.array([0.0, 1.0]).reshape(2, 1, 1), ZGrid(0, 0.5, 3))
    np.testing.assert_array_equal(bent, found)


@pytest.mark.parametrize("dtype", DTYPES)
def test_against_plain_interpolation(dtype):
    planes, positions = stack(40, (3, 5), dtype), irregular(40)
    series, grid = sorted_series(positions), ZGrid(positions.min(), 0.21, 150)
    z = np.clip(grid.positions(), None, positions.max())
    expected = np.stack(
        [np.interp(z, series.positions, planes[series.order, y, x]) for y in range(3) for x in range(5)], axis=1
    ).reshape(-1, 3, 5)
    found = resampled(planes, positions, grid)
    inside = grid.positions() <= positions.max()
    error = abs(found[inside].astype(float) - expected[inside])
    assert error.max() < (1e-3 if dtype == "float32" else 0.51)


def test_large_planes_are_filled_to_the_end():
    planes = stack(3, (300, 321))
    found = resampled(planes, [0, 1, 2], ZGrid(0, 0.5, 5))
    np.testing.assert_array_equal(found[::2], planes)
    expected = np.rint((planes[:-1].astype(np.float32) + planes[1:]) / 2)
    np.testing.assert_array_equal(found[1::2], expected)


# --- plans ------------------------------------------------------------------------------------------------------------


def test_sections_are_sorted_and_the_first_of_several_at_one_place_is_taken():
    series = sorted_series([3, 1, 2, 1, 3])
    np.testing.assert_array_equal(series.order, [1, 2, 0])
    np.testing.assert_array_equal(series.positions, [1, 2, 3])
    planes = np.array([30, 10, 20, 99, 99], np.uint8).reshape(5, 1, 1)
    np.testing.assert_array_equal(resampled(planes, [3, 1, 2, 1, 3], ZGrid(1, 0.5, 5)).ravel(), [10, 15, 20, 25, 30])


def test_grids_do_not_cross():
    series = sorted_series([[[0.0, 3.0]], [[4.0, 1.0]], [[2.0, 2.5]], [[2.0, 2.5]]])
    assert (np.diff(series.positions, axis=0) >= 0).all()
    np.testing.assert_array_equal(series.order[0], 0)
    assert len(series.order) == 3
    assert sorted_series(np.zeros((4, 2, 2))).order.tolist() == [0]


def test_gaps_are_background_unless_filled():
    positions = [0, 1, 2, 6, 7]
    series, grid = sorted_series(positions), ZGrid(-1, 0.5, 19)
    limits = gap_limits(series.positions)
    plan = plan_z(series, grid, limits=limits)
    expected = [OUTSIDE] * 2 + [EXACT, BETWEEN] * 2 + [EXACT] + [GAP] * 7 + [EXACT, BETWEEN, EXACT] + [OUTSIDE] * 2
    np.testing.assert_array_equal(plan.plane_origin, expected)
    assert ((plan.lower < 0) == np.isin(plan.plane_origin, (OUTSIDE, GAP))).all() and (
        plan.weight[plan.lower < 0] == 0
    ).all()
    assert ((plan.upper < 0) == (plan.lower < 0)).all()
    filled = plan_z(series, grid, limits=limits, fill_gaps=True)
    np.testing.assert_array_equal(filled.plane_origin, np.where(plan.plane_origin == GAP, FILLED, plan.plane_origin))
    np.testing.assert_array_equal(filled.weight[7:14], np.arange(1, 8) / 8)
    values = resampled(np.full((5, 1, 1), 9, np.uint8), positions, grid, limits=2.0)
    np.testing.assert_array_equal(values.ravel() == 0, plan.lower < 0)


def test_nearest_takes_the_upper_half_way():
    plan = plan_z(sorted_series([0, 1, 3]), ZGrid(0, 0.25, 14), nearest=True)
    np.testing.assert_array_equal(plan.lower, [0, 0, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, -1])
    np.testing.assert_array_equal(plan.upper, plan.lower)
    assert not plan.weight.any()


def test_limits_follow_the_spacing():
    slices = np.r_[np.arange(20) * 2.5, 19 * 2.5 + 7.5 * np.arange(1, 13)]
    assert (np.diff(slices) <= gap_limits(slices)).all()  # the spacing changes: no gap
    runs = np.concatenate([np.arange(100) * 0.6 + start for start in (0, 120.4, 295.8)])
    assert np.flatnonzero(np.diff(runs) > gap_limits(runs)).tolist() == [99, 199]
    lost = np.delete(np.arange(30) * 1.5, [7, 20])
    assert np.flatnonzero(np.diff(lost) > gap_limits(lost)).tolist() == [6, 18]
    assert gap_limits(np.array([0.0, 5.0])).tolist() == [math.inf]


def test_one_section_fills_its_own_plane_alone():
    for fill in (False, True):
        plan = plan_z(sorted_series([2.0]), ZGrid(1, 0.5, 5), fill_gaps=fill)
        np.testing.assert_array_equal(plan.lower, [-1, -1, 0, -1, -1])
        np.testing.assert_array_equal(plan.upper, plan.lower)
        np.testing.assert_array_equal(plan.plane_origin, [OUTSIDE, OUTSIDE, EXACT, OUTSIDE, OUTSIDE])


def test_rounding_of_positions_makes_no_plane_miss_its_section():
    for step in (0.1, 1 / 3, 0.58333):
        positions = 7.7 + step * np.arange(500)
        extent = positions[-1] - positions[0]
        assert planes_over(extent, step) == planes_within(extent, step) == 500
        plan = plan_z(sorted_series(np.cumsum(np.full(500, step))), ZGrid(step, step, 500))
        assert (plan.plane_origin == EXACT).all() and (plan.lower == np.arange(500)).all()
    assert (planes_over(9.5, 1), planes_within(9.5, 1)) == (11, 10)


def test_nodes_lie_in_the_middle_of_their_pixels():
    np.testing.assert_allclose(node_centers(8, 2), [1.5, 5.5])
    node, weight = node_weights(8, node_centers(8, 2))
    np.testing.assert_allclose(node + weight, [0, 0, 0.125, 0.375, 0.625, 0.875, 1, 1])
    assert [part.tolist() for part in node_weights(2, [5.0])] == [[0, 0], [0, 0]]


# --- bad input --------------------------------------------------------------------------------------------------------


def test_bad_positions_and_grids():
    with pytest.raises(ParameterError, match="1 sections have a position that is not a number, the first is section 1"):
        sorted_series([0, math.nan, 2])
    for positions in ([], [[1, 2]], np.zeros((0, 2, 2))):
        with pytest.raises(ParameterError, match="positions are those of n sections"):
            sorted_series(positions)
    for grid in ((0, 0, 5), (0, -1, 5), (math.nan, 1, 5), (0, math.inf, 5), (0, 1, 0)):
        with pytest.raises(ParameterError):
            ZGrid(*grid)
    with pytest.raises(ParameterError, match="4 sections have 3 intervals"):
        plan_z(sorted_series([0, 1, 2, 3]), ZGrid(0, 1, 4), limits=[1.0, 2.0])
    with pytest.raises(ParameterError, match="resample_local"):
        plan_z(sorted_series(np.arange(4.0).reshape(4, 1, 1)), ZGrid(0, 1, 4))
    with pytest.raises(ParameterError, match="above 1"):
        gap_limits(np.arange(4.0), 1.0)
    with pytest.raises(ParameterError, match="ascending"):
        node_weights(5, [3.0, 3.0])


def test_sections_that_do_not_fit_are_refused():
    good = list(stack(3))
    for sections, text in (
        ([], "no sections"),
        ([good[0], good[1][1:]], "one shape"),
        ([good[0], good[1].astype(np.uint8)], "one shape and type"),
        ([section.astype(np.float64) for section in good], "not float64"),
    ):
        with pytest.raises(ParameterError, match=text):
            planes_between(sections, [0], [1], [0.5])
    for number in (-2, 3):
        with pytest.raises(ParameterError, match="sections 0 to 2"):
            planes_between(good, [0], [number], [0.5])
    grids = np.arange(3.0)[:, None, None] + np.zeros((2, 2))
    with pytest.raises(ParameterError, match="2 sections or more"):
        deformation(Series(np.zeros(1, np.int64), grids[:1]), (5, 7))
    with pytest.raises(ParameterError, match="was given 3 along axis 1"):
        deformation(sorted_series(grids), (5, 7), column_centers=[0, 1, 2])
    whole = deformation(sorted_series(grids), (5, 7))
    with pytest.raises(ParameterError, match="needs two sections or more of 3, not 1"):
        deformed_planes(good[:1], whole, ZGrid(0, 1, 3))
    with pytest.raises(ParameterError, match=r"not 2 of \(5, 7\) from 2 on"):
        deformed_planes(good[:2], whole, ZGrid(0, 1, 3), first_section=2)


def test_views_are_resampled_as_copies():
    planes = stack(4, (20, 30))
    grid, positions = ZGrid(0, 0.5, 7), [0, 1, 2, 3]
    expected = resampled(planes[:, ::2, 3:].copy(), positions, grid)
    np.testing.assert_array_equal(resampled(planes[:, ::2, 3:], positions, grid), expected)
    assert resample_z.name == "resample_z"


@pytest.mark.skipif(bool(module.why_not()), reason="the emulator does not work here")
@pytest.mark.parametrize("dtype", DTYPES)
def test_arrays_of_a_device_give_what_arrays_of_the_host_give(dtype):
    planes, positions = stack(20, (9, 40), dtype), np.sort(irregular(20))
    series, grid = sorted_series(positions), ZGrid(positions.min() - 1, 0.4, 60)
    plan = plan_z(series, grid, limits=3.0)
    bent = sorted_series(positions[:, None, None] + np.random.default_rng(0).uniform(-0.3, 0.3, (20, 2, 3)))
    shape = deformation(bent, (9, 40), limits=3.0)
    sections = [planes[i] for i in bent.order]
    with shim.installed():
        straight = planes_between(list(map(shim.asarray, planes)), plan.lower, plan.upper, plan.weight)
        local = deformed_planes(list(map(shim.asarray, sections)), shape, grid, planes=slice(5, 55))
        assert isinstance(straight, shim.ndarray) and straight.dtype == local.dtype == dtype
        found = straight.get(), local.get()
    np.testing.assert_array_equal(found[0], planes_between(list(planes), plan.lower, plan.upper, plan.weight))
    np.testing.assert_array_equal(found[1], deformed_planes(sections, shape, grid, planes=slice(5, 55)))
