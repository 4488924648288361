"""Means over bins and levels: what is left at the ends, bins as large as an array, arrays of several shapes."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from tests.kernels.case import Case

SHAPES = ((9, 7, 40), (8, 6, 11), (3, 3, 5))


def arrays(dtype: str, shapes: Any = SHAPES) -> Any:
    """Arrays at the beginnings of rows; what lies behind each is nothing to be read."""
    rng, room = np.random.default_rng(2), max(int(np.prod(shape)) for shape in shapes)
    made = rng.integers(1, 250, (len(shapes), room)).astype(dtype)
    if dtype == "float32":
        made += rng.random(made.shape, np.float32)
        for row, shape in zip(made, shapes, strict=True):
            row[int(np.prod(shape)) :] = np.nan
    return made


def means(dtype: str, binning: tuple[int, int, int]) -> dict[str, Any]:
    """All shapes in bins of one size."""
    voxels, (depth, height, width) = arrays(dtype), binning
    room = max(int(np.prod(np.array(shape) // binning)) for shape in SHAPES)
    places = np.array([[*shape, 9] for shape in SHAPES])
    out = np.full((len(SHAPES), room + 3), 7, np.float32)
    return {"voxels": voxels, "places": places, "depth": depth, "height": height, "width": width, "out": out}


def levels(has_weights: bool, shapes: Any) -> dict[str, Any]:
    """Each array less its mean, or less a part of it."""
    bins, sizes = arrays("float32", shapes), np.array([int(np.prod(shape)) for shape in shapes])
    weights = np.random.default_rng(3).random((len(bins) * has_weights, bins.shape[1]), np.float32)
    out = np.full(bins.shape, 7, np.float32)
    return {"bins": bins, "sizes": sizes, "weights": weights, "divisors": sizes + 0.5, "out": out}


CASES = [
    *(
        Case("bin_means", f"{dtype} bins of {'x'.join(map(str, binning))}", partial(means, dtype, binning))
        for dtype, binning in (
            ("uint16", (2, 3, 4)),
            ("uint8", (1, 1, 1)),
            ("float32", (3, 3, 5)),
            ("float32", (1, 2, 1)),
        )
    ),
    # A mean of float32 numbers may be rounded to either side.
    *(
        Case("less_levels", f"{len(shapes)} arrays, weights {has}", partial(levels, has, shapes), atol=2e-5)
        for has, shapes in ((True, SHAPES), (False, SHAPES), (False, ((9, 21, 23),)), (True, ((20, 21, 23), (1, 1, 1))))
    ),
]
