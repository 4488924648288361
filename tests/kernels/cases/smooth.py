"""Smoothing along one axis: arrays of one voxel, shorter than the Gaussian, of several shapes in one call."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from gpustitch.ops.smooth import gaussian_weights
from tests.kernels.case import Case

SHAPES = ((1, 1, 1), (7, 5, 9), (2, 13, 3), (11, 1, 4), (6, 8, 7))


def arguments(dtype: str, axis: int, sigma_px: float) -> dict[str, Any]:
    """Arrays of several shapes; what lies behind each is nothing to be read or written."""
    rng = np.random.default_rng(axis)
    room = max(int(np.prod(shape)) for shape in SHAPES)
    voxels = rng.integers(1, 250, (len(SHAPES), room)).astype(dtype)
    if dtype == "float32":
        for row, shape in zip(voxels, SHAPES, strict=True):
            row[int(np.prod(shape)) :] = np.nan
    # As many columns more as those who walk have.
    places = np.array([[*shape, 9, 9, 9] for shape in SHAPES])
    out = np.full(voxels.shape, 7, np.float32)
    return {"voxels": voxels, "places": places, "weights": gaussian_weights(sigma_px), "out": out, "axis": axis}


# Float32 sums of some 20 products against float64.
CASES = [
    Case("smooth_along", f"{dtype} axis {axis} sigma {sigma:g}", partial(arguments, dtype, axis, sigma), rtol=1e-6)
    for dtype, axis, sigma in (
        ("uint16", 0, 1.9),
        ("uint16", 1, 2.6),
        ("uint8", 2, 0.5),
        ("uint8", 0, 0.0),
        ("float32", 2, 3.0),
        ("float32", 1, 1.3),
    )
]
