"""Arguments of the bodies in similarity_rows.cu."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tests.kernels.case import Case

DTYPES = ("uint8", "uint16", "float32")
SHAPES = ((1, 1, 1), (3, 5, 7), (2, 1, 1023), (2, 36, 41), (1, 130, 128))


def planes_and_mask(shape: tuple[int, int, int], dtype: str, masked: str) -> dict[str, Any]:
    """Planes over the whole range of a type, or of floats with NaN and infinities; masks of each form."""
    rng = np.random.default_rng(0)
    if dtype == "float32":
        planes = rng.normal(3000, 500, shape).astype(dtype)
        planes.reshape(-1)[5::97] = np.nan
        planes.reshape(-1)[8::301] = np.inf
    else:
        planes = rng.integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)
        planes.reshape(-1)[::50] = np.iinfo(dtype).max
    mask_shape = {"all": (1, 1, 1), "none": (1, 1, 1), "common": (1, *shape[1:]), "each": shape}[masked]
    mask = (rng.random(mask_shape) > 0.3).astype(np.uint8) * 255
    if masked in ("all", "none"):
        mask[...] = masked == "all"
    return {"planes": planes, "mask": mask}


def moments(shape: tuple[int, int, int], dtype: str, masked: str) -> Callable[[], dict[str, Any]]:
    """Moments of segments, the last of which is short."""

    def arguments() -> dict[str, Any]:
        segments = -(-shape[1] * shape[2] // 16384)
        return {**planes_and_mask(shape, dtype, masked), "out": np.full((shape[0], segments, 3), 7.0)}

    return arguments


def constant(dtype: str) -> Callable[[], dict[str, Any]]:
    """Equal pixels, whose squared deviations are exactly 0."""

    def arguments() -> dict[str, Any]:
        planes = np.full((2, 50, 333), 0.1 if dtype == "float32" else 201, dtype)
        return {"planes": planes, "mask": np.ones((1, 1, 1), np.uint8), "out": np.full((2, 2, 3), 7.0)}

    return arguments


def rows(
    shape: tuple[int, int, int], dtype: str, masked: str, width: int, is_whole: bool, written: str
) -> Callable[[], dict[str, Any]]:
    """Rows 1 to n of n + 2, in tiles of a width that does or does not divide the plane."""

    def arguments() -> dict[str, Any]:
        given = planes_and_mask(shape, dtype, masked)
        if is_whole:
            given["planes"][~np.isfinite(given["planes"])] = 1
        out_shape = (-(-shape[1] * shape[2] // width), shape[0] + 2, width)
        if written == "used_rows":
            return {**given, "out": np.full(out_shape, 7, np.uint8), "first": 1}
        scaling = np.tile(np.array([2000.25, 0.0001, 1e-3, is_whole], np.float32), (shape[0], 1))
        scaling[:, 0] += np.arange(shape[0])
        return {**given, "scaling": scaling, "out": np.full(out_shape, 7, np.float32), "first": 1}

    return arguments


# Sums of up to 32 float32 pixels are rounded; those of whole numbers below 2^12 are not.
CASES = [
    Case("plane_moments", f"{'x'.join(map(str, shape))}-{dtype}-{masked}", moments(shape, dtype, masked), rtol=2e-6)
    for shape in SHAPES
    for dtype in DTYPES
    for masked in ("all", "common", "each", "none")
    if masked in ("all", "each") or shape == (3, 5, 7)
]
CASES += [
    Case("plane_moments", "long", moments((1, 16400, 1), "uint16", "all"), rtol=2e-6),
    *(Case("plane_moments", f"constant-{dtype}", constant(dtype)) for dtype in DTYPES),
]
CASES += [
    Case(
        twin,
        f"{'x'.join(map(str, shape))}-{dtype}-{masked}-{width}{'-whole' * is_whole}",
        rows(shape, dtype, masked, width, is_whole, twin),
    )
    for twin in ("centred_rows", "used_rows")
    for shape, width in zip(SHAPES, (4, 8, 512, 1476, 4096), strict=True)
    for dtype in DTYPES
    for masked, is_whole in (("all", True), ("each", False), ("common", False))
    if not (is_whole and twin == "used_rows")
] + [
    Case("centred_rows", "odd-width", rows((2, 10, 31), "uint16", "each", 37, False, "centred_rows")),
    Case("centred_rows", "wide-row", rows((1, 10, 500), "float32", "all", 5000, False, "centred_rows")),
]  # fmt: skip
