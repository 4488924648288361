"""Halving: every type, odd and single sizes, some axes alone, tiles of the body and beyond, saturated values, NaN."""

from __future__ import annotations

import itertools
import math
from functools import partial
from typing import Any

import numpy as np

from tests.kernels.case import Case

SHAPES = ((1, 1, 1), (2, 2, 2), (3, 5, 7), (1, 35, 136), (2, 3, 131), (5, 34, 24), (4, 1, 260))
SOME_AXES = tuple(factors for factors in itertools.product((1, 2), repeat=3) if 1 < math.prod(factors) < 8)
TYPES = ("uint8", "uint16", "uint32", "float32", "float64")
LABEL_TYPES = ("uint8", "uint16", "uint32")


def with_out(volume: np.ndarray, factors: tuple[int, ...] = (2, 2, 2)) -> dict[str, Any]:
    """The volume, and room for what is left of it that holds other values."""
    shape = [-(-n // f) for n, f in zip(volume.shape, factors, strict=True)]
    return {"volume": volume, "out": np.full(shape, 77, volume.dtype)}


def random_volume(shape: tuple[int, ...], dtype: str, factors: tuple[int, ...] = (2, 2, 2)) -> dict[str, Any]:
    """Values of the whole range, the extremes often."""
    rng = np.random.default_rng(1)
    if dtype.startswith("float"):
        volume = rng.normal(0, 1e4, shape).astype(dtype)
        volume[rng.random(shape) < 0.02] = np.nan
        volume[rng.random(shape) < 0.02] = np.inf
    else:
        volume = rng.integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)
        volume[rng.random(shape) < 0.2] = np.iinfo(dtype).max
    return with_out(volume, factors)


def small_numbers(dtype: str) -> dict[str, Any]:
    """Sums that lie in the middle between two results as often as not."""
    return with_out(np.random.default_rng(2).integers(0, 4, (6, 40, 50)).astype(dtype))


def labels(shape: tuple[int, ...], dtype: str, n_labels: int, factors: tuple[int, ...] = (2, 2, 2)) -> dict[str, Any]:
    """Few labels, so that cells have several of one, and the greatest of the type among them."""
    volume = np.random.default_rng(3).integers(0, n_labels, shape).astype(dtype)
    volume[volume == n_labels - 1] = np.iinfo(dtype).max
    return with_out(volume, factors)


def all_pairs_of_labels(dtype: str) -> dict[str, Any]:
    """Each of the 256 cells of two labels."""
    cells = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).reshape(256, 2, 2, 2)
    return with_out(np.ascontiguousarray(cells.transpose(1, 2, 0, 3).reshape(2, 2, 512).astype(dtype)))


def shifted(dtype: str) -> dict[str, Any]:
    """Rows of whole words in memory that does not begin at one."""
    volume = np.random.default_rng(4).integers(0, 250, 4 * 6 * 48 + 1).astype(dtype)[1:].reshape(4, 6, 48)
    return with_out(volume)


CASES = [
    *(
        Case(twin, f"{'x'.join(map(str, shape))} {dtype}", partial(random_volume, shape, dtype))
        for twin in ("halve", "halve_max")
        for dtype in TYPES
        for shape in SHAPES
    ),
    *(
        Case(
            twin,
            f"{'x'.join(map(str, factors))} of 5x19x70 {dtype}",
            partial(random_volume, (5, 19, 70), dtype, factors),
        )
        for twin in ("halve", "halve_max")
        for dtype in TYPES
        for factors in SOME_AXES
    ),
    *(Case(twin, f"ties {dtype}", partial(small_numbers, dtype)) for twin in ("halve", "halve_max") for dtype in TYPES),
    *(Case(twin, f"shifted {dtype}", partial(shifted, dtype)) for twin in ("halve", "halve_max") for dtype in TYPES),
    *(
        Case("halve_mode", f"{'x'.join(map(str, shape))} {n} labels {dtype}", partial(labels, shape, dtype, n))
        for dtype in LABEL_TYPES
        for n in (2, 5)
        for shape in SHAPES
    ),
    *(
        Case(
            "halve_mode",
            f"{'x'.join(map(str, factors))} of labels {dtype}",
            partial(labels, (5, 19, 70), dtype, 3, factors),
        )
        for dtype in LABEL_TYPES
        for factors in SOME_AXES
    ),
    *(Case("halve_mode", f"every cell of two {dtype}", partial(all_pairs_of_labels, dtype)) for dtype in LABEL_TYPES),
    *(Case("halve_mode", f"shifted {dtype}", partial(shifted, dtype)) for dtype in LABEL_TYPES),
]
