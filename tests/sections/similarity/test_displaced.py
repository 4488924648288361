"""Planes at displaced places."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from gpustitch.sections.similarity.displaced import Displacement, moved, shifted
from tests.sections.similarity.drawn_series import texture


@pytest.mark.parametrize("shift", [(0, 0), (3, -2), (-1, 0), (70, 5), (0, -90)])
def test_whole_shifts_take_pixels_as_they_are(shift):
    plane = texture(0, (40, 50))
    rows, columns = (np.clip(np.arange(n) + s, 0, n - 1) for n, s in zip(plane.shape, shift, strict=True))
    np.testing.assert_array_equal(shifted(plane, shift), plane[rows[:, None], columns])
    where = Displacement(plane.shape, 0)
    _values, used = moved(plane, None, where, np.array(shift, float)[:, None])
    inside = [(np.arange(n) + s >= 0) & (np.arange(n) + s < n) for n, s in zip(plane.shape, shift, strict=True)]
    expected = inside[0][:, None] & inside[1]
    np.testing.assert_array_equal(np.ones(plane.shape, bool) if used is None else used, expected)


@pytest.mark.parametrize("shift", [(0.5, 0), (-3.25, 1.75), (0.01, -0.99)])
def test_shifts_between_pixels_keep_texture(shift):
    plane = texture(1, (64, 80), 1.5)
    exact = np.real(np.fft.ifft2(ndimage.fourier_shift(np.fft.fft2(plane), [-s for s in shift])))
    inside = (slice(8, -8), slice(8, -8))
    assert np.abs(shifted(plane, shift) - exact)[inside].max() < 0.03


@pytest.mark.parametrize("degree", [1, 3])
def test_a_warp_reads_where_it_says(degree, monkeypatch):
    plane, where = texture(2, (50, 60), 3), Displacement((50, 60), degree)
    coefficients = np.random.default_rng(degree).normal(0, 1, where.zeros().shape)
    places = np.mgrid[:50, :60] + where.at(coefficients, np.arange(50.0), np.arange(60.0))
    exact = ndimage.map_coordinates(plane, places, order=3, mode="nearest")
    inside = (places >= 0).all(0) & (places[0] <= 49) & (places[1] <= 59)
    found = []
    for pixels in (1 << 18, 60 * 7):  # rows at a time do not matter
        monkeypatch.setattr("gpustitch.sections.similarity.displaced._PIXELS_AT_A_TIME", pixels)
        values, used = moved(plane, None, where, coefficients)
        np.testing.assert_allclose(values[inside], exact[inside], atol=1e-3)
        assert (used == inside).mean() > 0.999
        found.append(values)
    np.testing.assert_allclose(found[0], found[1], atol=1e-4)


def test_terms_and_displacements_agree():
    where = Displacement((30, 40), 4)
    coefficients = np.random.default_rng(0).normal(size=where.zeros().shape)
    rows, columns = np.linspace(0, 29, 7), np.linspace(0, 39, 5)
    expected = (where.terms_at(rows, columns) @ coefficients.T).T.reshape(2, 7, 5)
    np.testing.assert_allclose(where.at(coefficients, rows, columns), expected, atol=1e-12)
    assert (where.degrees == 0).sum() == 1 and where.degrees.max() == 4


@pytest.mark.parametrize("coefficient", [(0.0, 0.0), (0.5, -1.5), (2.0, 3.0)])
@pytest.mark.parametrize("degree", [0, 1])
def test_pixels_beside_unused_ones_are_not_used(coefficient, degree):
    plane, unused = texture(3, (40, 40)), np.zeros((40, 40), np.float32)
    unused[10:20, 5:30] = 1
    plane[unused > 0] = 1e6
    where = Displacement(plane.shape, degree)
    coefficients = where.zeros()
    coefficients[:, 0] = coefficient
    if degree:
        coefficients[0, 1] = 0.3
    values, used = moved(plane, unused, where, coefficients)
    clean, _ = moved(np.where(unused > 0, 0, plane).astype(np.float32), None, where, coefficients)
    assert used is not None and not used.all() and used.mean() > 0.5
    if coefficient == (2.0, 3.0) and not degree:  # whole shifts lose nothing beside the hole
        np.testing.assert_array_equal(values[used], clean[used])
    # Nothing that lies on an unused pixel is used.
    places = np.mgrid[:40, :40] + where.at(coefficients, np.arange(40.0), np.arange(40.0))
    nearest = np.clip(np.rint(places).astype(int), 0, 39)
    assert not used[unused[nearest[0], nearest[1]] > 0].any()
