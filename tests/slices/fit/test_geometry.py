"""Geometry of slices: frames, decimals, places, shift sideways."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from gpustitch.errors import ParameterError
from gpustitch.slices.fit.geometry import (
    decimals_quantum,
    drift,
    first_voxel,
    least_shear,
    mean_directions,
    quantum_of_series,
    rounding_error,
    same_places,
    volume_affine,
)


def random_frame(seed):
    row, column, _ = Rotation.random(None, np.random.default_rng(seed)).as_matrix()
    return np.stack([np.cross(row, column), column, row])


@given(st.integers(0, 9999))
def test_the_frame_is_orthonormal_and_near_all_cosines(seed):
    rng = np.random.default_rng(seed)
    frame = random_frame(seed)
    rows, columns = (np.round(frame[i] + rng.normal(0, 3e-4, (9, 3)), 4) for i in (2, 1))
    found = mean_directions(rows, columns)
    np.testing.assert_allclose(found @ found.T, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(found, frame, atol=2e-3)
    assert np.linalg.det(found[::-1]) == pytest.approx(1)


@pytest.mark.parametrize(
    ("row", "column"),
    [
        ((1, 0, 0), (1, 0, 0)),
        ((1, 0, 0), (0, 0.9, 0)),
        ((0, 0, 0), (0, 1, 0)),
        ((1, 0, np.nan), (0, 1, 0)),
        ((1, 0, 0), (0.05, 0.99875, 0)),
    ],
)
def test_contradictory_cosines_are_refused(row, column):
    with pytest.raises(ParameterError, match="unit vectors"):
        mean_directions(np.array([row], float), np.array([column], float))


def test_slices_that_are_not_parallel_are_refused():
    rows = np.array([[1.0, 0, 0], [np.cos(0.2), np.sin(0.2), 0]])
    columns = np.array([[0.0, 0, 1], [0, 0, 1]])
    with pytest.raises(ParameterError, match="parallel"):
        mean_directions(rows, columns)


@pytest.mark.parametrize(
    ("values", "quantum"), [([1, 2, 30], 1), ([0.5, 2], 0.1), ([1.25, 8.7625], 1e-4), ([1 / 3], 1e-12)]
)
def test_the_last_decimal_of_numbers(values, quantum):
    assert decimals_quantum(values) == pytest.approx(quantum)


def test_zeros_left_out_do_not_hide_decimals():
    positions = np.array([[-120, -80, 0.5], [-120, -80, 1.0], [-120, -80, 1.5]])
    quanta = np.array([[1, 1, 0.1], [1, 1, 1], [1, 1, 0.1]])
    assert quantum_of_series(quanta, positions).tolist() == [0.1, 0.1, 0.1]


def test_a_coordinate_that_moves_has_its_own_decimals():
    positions = np.array([[-120.123, 0, 1], [-121.456, 0, 2]])
    quanta = np.array([[1e-3, 1e-3, 1.0], [1e-3, 1e-3, 1.0]])
    assert quantum_of_series(quanta, positions).tolist() == [1e-3, 1e-3, 1.0]


@given(st.integers(0, 9999), st.integers(0, 4))
def test_no_rounded_position_is_further_off_than_the_rounding_error(seed, decimals):
    rng = np.random.default_rng(seed)
    normal = random_frame(seed)[0]
    true = rng.uniform(-300, 300, (50, 3))
    written = np.round(true, decimals)
    error = rounding_error(np.full(3, 10.0**-decimals), normal, written)
    assert np.abs(written @ normal - true @ normal).max() <= error
    assert error <= 0.88 * 10.0**-decimals + 1e-9


@pytest.mark.parametrize(
    ("positions", "places"),
    [
        ([0, 1, 2], [0, 1, 2]),
        ([0, 0, 1, 1], [0, 0, 1, 1]),
        ([0, 1e-7, 1, 1 + 1e-7, 2], [0, 0, 1, 1, 2]),
        ([0, 0.1, 1], [0, 1, 2]),
        ([5, 5, 5], [0, 0, 0]),
        ([0, 0.6, 1.2, 1000], [0, 1, 2, 3]),
        ([7], [0]),
        ([*range(10), 99999], [*range(11)]),
        ([-50000, *range(10), 99999], [*range(12)]),
        ([0, 0, *range(1, 10), 99999], [0, 0, *range(1, 11)]),
        ([*np.cumsum([0.0, 1e-7, 3e-6, 2e-7, 1e-8, 5e-7, 1e-6, 9e-8, 4e-7, 2e-8]), 5], [0] * 10 + [1]),
    ],
)
def test_slices_within_a_thousandth_of_the_interval_are_at_one_place(positions, places):
    for unit in (1, 1e-4, 1e4):  # intervals may be microns, or metres
        assert same_places(unit * np.array(positions, float)).tolist() == places


def test_a_straight_sheared_stack():
    t = np.arange(10.0) * 3
    side = np.stack([5 + 0.3 * t, -7 - 0.0004 * t], 1)
    line = drift(t, side, 1e-3)
    assert line.shear == (pytest.approx(0.3), 0.0)
    assert line.slope == pytest.approx((0.3, -0.0004))
    assert line.crooked_mm < 1e-12
    frame = random_frame(3)
    place = first_voxel(t[4], line, frame)
    np.testing.assert_allclose(frame @ np.array(place), [t[4], *side[4]], atol=1e-9)


def test_a_crooked_stack_says_how_far():
    t = np.arange(9.0)
    side = np.zeros((9, 2))
    side[4, 0] = 9.0
    assert drift(t, side, 1e-3).crooked_mm == pytest.approx(8.0)


def test_few_decimals_are_no_shear():
    quantum = np.full(3, 0.1)
    frame, exact, coarse = np.eye(3), np.eye(3), np.array([0.98, 0.17, 0.0])
    assert least_shear(quantum, frame, exact, 1000.0).tolist() == [1e-3, 1e-3]
    assert least_shear(quantum, frame, exact, 10.0) == pytest.approx(0.01)
    assert least_shear(quantum, frame, coarse, 1000.0) == pytest.approx(0.01)


@given(st.integers(0, 9999), st.integers(2, 4), st.sampled_from([0.1, 1.0]), st.sampled_from([1e-6, 1e-3]))
def test_coarse_decimals_along_the_normal_do_not_hide_a_tilt(seed, n, coarse, fine):
    axis = seed % 3
    frame = np.roll(np.eye(3), axis, 0)
    quantum = frame[0] * coarse + (1 - frame[0]) * fine
    least = least_shear(quantum, frame, np.eye(3), float(n - 1))
    assert least.tolist() == pytest.approx([1e-3, 1e-3])
    tilt = np.random.default_rng(seed).uniform(0.01, 0.5, 2)
    t = np.arange(float(n))
    assert drift(t, np.outer(t, tilt), least).shear == pytest.approx(tilt)


@given(st.integers(0, 9999), st.integers(2, 9), st.sampled_from([1.0, 0.1, 0.01]))
def test_rounded_positions_of_an_upright_stack_are_not_sheared(seed, n, quantum):
    frame = random_frame(seed)
    rng = np.random.default_rng(seed)
    exact = rng.uniform(-99, 99, 3) + np.outer(np.arange(n) * rng.uniform(1, 5), frame[0])
    along, *sideways = frame @ (np.round(exact / quantum) * quantum).T
    least = least_shear(np.full(3, quantum), frame, np.eye(3), along[-1] - along[0])
    # Among more than two slices errors might all tilt the line the same way, by half as much again.
    assert drift(along, np.stack(sideways, 1), least * (1 if n == 2 else 1.5)).shear == (0.0, 0.0)


def test_the_affine_of_a_sheared_volume_leads_to_its_slices():
    frame, spacing, shear = random_frame(5), (4.5, 0.7, 0.5), (-0.36, 0.1)
    origin = (3.0, -20.0, 11.0)
    matrix = volume_affine(origin, frame, spacing, shear)
    slice_7 = np.array(origin) + 7 * 4.5 * (frame[0] + shear[0] * frame[1] + shear[1] * frame[2])
    pixel = slice_7 + 3 * 0.7 * frame[1] + 2 * 0.5 * frame[2]
    np.testing.assert_allclose(matrix @ [2, 3, 7, 1], [*pixel, 1])
    upright = volume_affine(origin, frame, spacing)
    np.testing.assert_allclose((upright @ [0, 0, 7, 1])[:3], np.array(origin) + 31.5 * frame[0])
