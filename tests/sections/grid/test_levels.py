"""Coarser grids: their points, what is pooled to them, and what finer ones start from."""

from __future__ import annotations

import numpy as np
import pytest

from gpustitch.sections.grid.levels import levels_of, pooled, pooled_overlap, pooling, refined
from gpustitch.sections.grid.points import grid_windows


@pytest.mark.parametrize(
    ("grid", "levels"),
    [
        ((1, 1), [(1, 1)]),
        ((3, 3), [(3, 3)]),
        ((8, 8), [(2, 2), (4, 4), (8, 8)]),
        ((16, 3), [(2, 2), (4, 2), (8, 2), (16, 3)]),
        ((1, 7), [(1, 2), (1, 4), (1, 7)]),
    ],
)
def test_levels_double(grid, levels):
    assert levels_of(grid) == levels


def test_each_coarse_point_pools_the_cells_it_covers():
    shares = pooling((4, 3), (2, 2))
    np.testing.assert_allclose(shares.sum(axis=1), 1)
    np.testing.assert_allclose(shares[0].reshape(4, 3)[:2], [[1 / 3, 1 / 6, 0]] * 2)
    assert not shares[0].reshape(4, 3)[2:].any()
    np.testing.assert_allclose(pooling((4, 3), (4, 3)), np.eye(12))


def test_similarities_are_averaged_where_there_are_any():
    strips = [np.full((3, 2), 0.8), np.full((3, 2), 0.4), np.full((3, 2), np.nan)]
    strips[1][1] = np.nan
    shares = np.array([0.25, 0.5, 0.25])
    found = pooled(strips, shares)
    np.testing.assert_allclose(found[0], (0.25 * 0.8 + 0.5 * 0.4) / 0.75)
    np.testing.assert_allclose(found[1], 0.8)
    assert np.isnan(pooled(strips, np.array([0, 0, 1.0]))).all()


def test_pooled_errors_of_disjoint_cells_are_nearly_apart():
    overlap = grid_windows((160, 160), (16, 16)).overlap
    found = pooled_overlap(overlap, pooling((16, 16), (2, 2)))
    np.testing.assert_allclose(np.diag(found), 1)
    assert 0 < found[0, 3] < found[0, 1] < 0.2


def test_a_plane_stays_a_plane_on_a_finer_grid():
    def plane(gy, gx):
        y, x = (np.arange(gy) + 0.5) / gy, (np.arange(gx) + 0.5) / gx
        return np.stack([1 + 2 * y[:, None] - 3 * x, 5 * x + 0 * y[:, None]])

    np.testing.assert_allclose(refined(plane(2, 3), (7, 6)), plane(7, 6), atol=1e-12)
    np.testing.assert_allclose(refined(np.full((2, 1, 1), 4.0), (3, 2)), 4)
