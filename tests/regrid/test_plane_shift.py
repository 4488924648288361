"""Moving planes sideways by parts of a pixel."""

from __future__ import annotations

import numpy as np
import pytest

from gpustitch.model import Box
from gpustitch.regrid.plane_shift import plane_shifts, shifted_planes

SHAPE = (5, 9, 11)


def gradient(shape=SHAPE):
    z, y, x = np.indices(shape, np.float64)
    return (3 * z + 2 * y - 5 * x + 100).astype(np.float32)


def whole(source, shifts, background=0.0, dtype="float32", box=None):
    box = box or Box.of_shape((len(source), *shifts.shape))
    window = shifts.window(box.slices()[1:], source.shape[1:])
    cut = source[box.slices()[0]][:, window[0], window[1]]
    return shifted_planes(cut, window, shifts, box, background, np.dtype(dtype))


@pytest.mark.parametrize("slope", [(0.0, 0.0), (1.0, -2.0), (0.37, 0.0), (-1.61, 0.4), (0.05, -3.3)])
def test_a_gradient_stays_where_it_is(slope):
    along = np.arange(5) * 0.9
    shifts = plane_shifts(along, slope, SHAPE[1:], nearest=False)
    made = whole(gradient(), shifts, background=-1e6)
    z, y, x = np.indices(made.shape, np.float64)
    y, x = y - shifts.rows[:, None, None], x - shifts.columns[:, None, None]
    inside = (y >= -1e-9) & (y <= 8 + 1e-9) & (x >= -1e-9) & (x <= 10 + 1e-9)
    np.testing.assert_allclose(made[inside], (3 * z + 2 * y - 5 * x + 100)[inside], rtol=1e-6)
    assert (made[~inside] == -1e6).all()
    assert inside.sum() >= 5 * 8 * 10
    assert min(shifts.rows.min(), shifts.columns.min()) >= 0
    assert shifts.shape[0] >= 8 + shifts.rows.max() + 1 and shifts.shape[1] >= 10 + shifts.columns.max() + 1


def test_whole_pixels_are_copied():
    source = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    shifts = plane_shifts(np.arange(5.0), (2.0, -1.0), SHAPE[1:], nearest=False)
    made = whole(source, shifts)
    assert made.shape == (5, 17, 15)
    for k in range(5):
        np.testing.assert_array_equal(made[k, 2 * k : 2 * k + 9, 4 - k : 15 - k], source[k])
    assert (made != 0).sum() == (source != 0).sum()
    nearest = plane_shifts(np.arange(5.0), (2.2, -0.9), SHAPE[1:], nearest=True)
    np.testing.assert_array_equal(nearest.rows, [0, 2, 4, 7, 9])
    np.testing.assert_array_equal(np.sort(whole(source, nearest)[whole(source, nearest) != 0]), np.sort(source.ravel()))


@pytest.mark.parametrize("block", [(1, 4, 3), (2, 30, 5), (5, 1, 1)])
def test_any_box_is_what_the_whole_has_there(block):
    source = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    shifts = plane_shifts(np.arange(5.0), (1.7, -2.3), SHAPE[1:], nearest=False)
    made = whole(source, shifts, 7.0)
    for box in Box.of_shape(made.shape).blocks(block):
        np.testing.assert_array_equal(whole(source, shifts, 7.0, box=box), made[box.slices()])


def test_whole_numbers_are_rounded_half_to_even():
    source = np.array([[[1, 2, 3, 4, 65535, 65535]]], np.float32)
    shifts = plane_shifts(np.array([0.0]), (0.0, 0.0), (1, 6), nearest=False)
    half = type(shifts)(shifts.rows, shifts.columns + 0.5, (1, 7))
    np.testing.assert_array_equal(whole(source, half, dtype="uint16"), [[[0, 2, 2, 4, 32770, 65535, 0]]])
    np.testing.assert_array_equal(whole(-source[..., :4], half, dtype="int16"), [[[0, -2, -2, -4, 0, 0, 0]]])
