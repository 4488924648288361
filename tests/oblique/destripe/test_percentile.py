"""Percentiles in windows, and the subtraction of stretched grids, against their definitions."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from gpustitch.oblique.destripe.percentile import subtract_stripes, window_percentiles


def picture(rows, columns, seed=0):
    rng = np.random.default_rng(seed)
    return rng.poisson(rng.gamma(3, 80, (rows, columns))).astype(np.uint16)


def bilinear(grid, shape):
    axes = [np.arange(n) * (m - 1) / max(1, n - 1) for n, m in zip(shape, grid.shape, strict=True)]
    near = [np.minimum(axis, m - 1) for axis, m in zip(axes, grid.shape, strict=True)]
    return ndimage.map_coordinates(grid, np.meshgrid(*near, indexing="ij"), order=1, mode="nearest")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32, np.float32])
def test_windows_of_any_place_and_size(dtype):
    images = np.stack([picture(60, 70), picture(60, 70, 1)]).astype(dtype)
    rng = np.random.default_rng(1)
    rows, columns = np.sort(rng.integers(0, 50, 7)), rng.integers(0, 60, 9)
    row_stops, column_stops = rows + rng.integers(1, 10, 7), columns + rng.integers(1, 10, 9)
    for step, fraction in ((1, 0.25), (2, 0.5), (3, 1.0), (1, 0.0)):
        out = np.empty((2, 7, 9), np.float32)
        window_percentiles(images, rows, row_stops, columns, column_stops, out, step, fraction)
        expected = [
            [
                [
                    np.percentile(image[a:b:step, c:d:step].astype(np.float64), 100 * fraction)
                    for c, d in zip(columns, column_stops, strict=True)
                ]
                for a, b in zip(rows, row_stops, strict=True)
            ]
            for image in images
        ]
        np.testing.assert_allclose(out, expected, rtol=1e-6)


SHAPES = [(300, 260), (47, 301), (1, 1), (1, 400), (400, 1), (24, 149), (3, 5), (201, 200)]


@pytest.mark.parametrize("shape", SHAPES)
def test_stretching_puts_corners_on_corners(shape):
    rng = np.random.default_rng(0)
    grid = rng.random((1, min(4, shape[0]), min(7, shape[1])), np.float32)
    ones, out = np.ones((1, *shape), np.float32), np.empty((1, *shape), np.float32)
    for along, behind in ((grid, ones[:, :1, :1]), (ones[:, :1, :1], grid)):
        subtract_stripes(ones, along, behind, out, 1.0)
        full = 1 - out[0]
        np.testing.assert_allclose(full, bilinear(grid[0], shape), atol=1e-6)
        assert full[0, 0] == pytest.approx(grid[0, 0, 0])
        assert full[-1, -1] == pytest.approx(grid[0, -1, -1])
        assert full.max() <= grid.max() + 1e-6


def test_stripes_are_subtracted_from_estimates_of_any_size():
    images = np.stack([picture(50, 40), picture(50, 40, 1)])
    rng = np.random.default_rng(0)
    line, background = rng.random((2, 50, 3), np.float32) * 300, rng.random((2, 4, 5), np.float32) * 300
    out = np.empty(images.shape, np.float32)
    subtract_stripes(images, line, background, out, 0.7)
    for f, image in enumerate(images):
        stripe = np.minimum(bilinear(line[f], image.shape), 0.7 * bilinear(background[f], image.shape))
        np.testing.assert_allclose(out[f], image - np.minimum(image, stripe), atol=1e-3)
