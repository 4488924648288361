"""Which areas hold no picture."""

from __future__ import annotations

import numpy as np
import pytest

from gpustitch.sections.similarity.no_data import constant_at_edge, pixels_of_value
from tests.sections.similarity.drawn_series import texture


def flooded(plane):
    """The definition: areas of one value that a walk over equal neighbours reaches from the edge."""
    rows, columns = plane.shape
    reached = np.zeros(plane.shape, bool)
    for start in np.ndindex(plane.shape):
        on_edge = start[0] in (0, rows - 1) or start[1] in (0, columns - 1)
        if not on_edge or reached[start]:
            continue
        area, waiting = {start}, [start]
        while waiting:
            row, column = waiting.pop()
            for at in ((row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)):
                inside = 0 <= at[0] < rows and 0 <= at[1] < columns
                if inside and at not in area and plane[at] == plane[start]:
                    area.add(at)
                    waiting.append(at)
        if len(area) >= 16:
            reached[tuple(np.array(list(area)).T)] = True
    return reached


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("seed", range(4))
def test_borders_corners_and_windows_are_found(seed, dtype):
    rng = np.random.default_rng(seed)
    plane = np.rint(texture(seed, (40, 50)) * 4000 + 30000)
    plane = (plane / 256 if dtype == "uint8" else plane).astype(dtype)
    if dtype == "uint8":
        plane = plane + rng.integers(0, 3, plane.shape, np.uint8)
    top, left = rng.integers(1, 9, 2)
    plane[:top] = 0
    plane[:, :left] = 0
    rows, columns = np.mgrid[:40, :50]
    plane[rows + columns > 88 - rng.integers(14, 25)] = 255  # a corner, as turned sections have
    found = constant_at_edge(plane)
    assert found is not None
    np.testing.assert_array_equal(found, flooded(plane))


def test_what_holds_a_picture_is_none():
    plane = texture(0)
    assert constant_at_edge(plane) is None
    assert constant_at_edge(np.full((64, 64), 7, np.uint8)) is None  # a constant plane is one
    inside = plane.copy()
    inside[20:30, 20:30] = 5
    assert constant_at_edge(inside) is None
    little = plane.copy()
    little[0, :7] = 5
    assert constant_at_edge(little) is None
    assert constant_at_edge(np.full((8, 8), np.nan, np.float32)) is None


@pytest.mark.parametrize("sigma", [1, 2, 6])
@pytest.mark.parametrize("seed", range(5))
def test_saturated_tissue_is_a_picture(seed, sigma):
    plane = texture(seed, (64, 64), sigma) + 0.2 * np.random.default_rng(seed).standard_normal((64, 64))
    for least, most in ((-0.6, 0.6), (-1, 1), (-0.5, 9), (-9, 0.2)):
        cut = np.clip(plane, least, most).astype(np.float32)
        for given in (cut, np.clip(cut * 40 + 128, 0, 255).astype(np.uint8)):
            assert constant_at_edge(given) is None
            given[:9] = given.min() - (0 if given.dtype == np.uint8 else 5)  # and a border is one all the same
            if given[9:].min() > given.min():
                assert constant_at_edge(given)[:9].all()


def test_two_values_are_two_areas():
    plane = texture(1)
    plane[:5], plane[-7:] = -9, 9
    found = constant_at_edge(plane)
    expected = np.zeros(plane.shape, bool)
    expected[:5] = expected[-7:] = True
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(("dtype", "value", "is_there"), [("uint8", 3, True), ("uint8", 3.5, False),
                                                           ("uint8", 300, False), ("float32", 3.5, True)])  # fmt: skip
def test_pixels_of_a_value(dtype, value, is_there):
    plane = np.arange(20).reshape(4, 5).astype(dtype)
    if dtype == "float32":
        plane[1, 1] = 3.5
    found = pixels_of_value(plane, value)
    assert found.dtype == bool and found.any() == is_there
    np.testing.assert_array_equal(found, plane.astype(float) == value)
