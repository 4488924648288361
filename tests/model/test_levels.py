"""Along which axes levels are halved: uneven voxels become even ones, and even ones stay so."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gpustitch.model import ObliqueScan, Spacing, factors_between, level_factors

sizes = st.floats(0.01, 100)
spacings = st.builds(Spacing, sizes, sizes, sizes)


def unevenness(spacing, factors):
    voxel = np.multiply(spacing.zyx_um, factors)
    return voxel.max() / voxel.min()


@given(spacings, st.integers(1, 16))
def test_each_level_is_halved_from_the_one_before(spacing, levels):
    found = level_factors(spacing, levels)
    assert len(found) == levels and found[0] == (1, 1, 1)
    for fine, coarse in itertools.pairwise(found):
        cell = factors_between(fine, coarse)
        assert set(cell) <= {1, 2} and max(cell) == 2
        assert tuple(np.multiply(fine, cell)) == coarse
    assert level_factors(spacing, 16)[:levels] == found


@given(spacings)
def test_uneven_voxels_become_even_before_all_axes_are_halved(spacing):
    found = level_factors(spacing, 20)
    ratios = [unevenness(spacing, factors) for factors in found]
    for before, after in itertools.pairwise(ratios):
        assert after <= before * (1 + 1e-5)
    # 14 halvings bring 1:10000 together. Three sides always have a power of two each with which they are so even.
    assert ratios[-1] <= 2 ** (2 / 3) + 1e-4


@given(spacings)
def test_an_axis_is_never_halved_alone_if_it_is_the_coarsest(spacing):
    for fine, coarse in itertools.pairwise(level_factors(spacing, 20)):
        voxel, cell = np.multiply(spacing.zyx_um, fine), np.array(factors_between(fine, coarse))
        if cell.min() == 1:
            assert voxel[cell == 2].max() <= voxel[cell == 1].min() * (1 + 1e-5)


@given(st.floats(0.1, 10), st.floats(1, 1.4999), st.floats(1, 1.4999), st.permutations(range(3)))
def test_nearly_even_voxels_are_halved_along_all_axes(um, more, most, order):
    voxel = np.array([um, um * more, um * most])[list(order)]
    assert level_factors(Spacing(*voxel.tolist()), 7) == tuple((1 << n,) * 3 for n in range(7))


@given(st.floats(0.2, 5), st.floats(42, 48), st.integers(2, 6))
def test_scans_without_interpolation_are_halved_along_all_axes(pixel_um, angle_deg, digits):
    """Frames as far apart as columns lie along x: the ratio of sides is about the square root of two."""
    step = round(pixel_um * np.cos(np.deg2rad(angle_deg)), digits)
    spacing = ObliqueScan(9, 8, 7, pixel_um, step, angle_deg).spacing
    if unevenness(spacing, (1, 1, 1)) < 1.4999:
        assert level_factors(spacing, 3)[-1] == (4, 4, 4)
