"""Arguments of the bodies in percentile.cu."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from tests.kernels.case import Case

Array = npt.NDArray[Any]
MOST = {"uint8": 255, "uint16": 65535, "uint32": 2**32 - 1}
# On a device smaller float32 numbers are 0.
LEAST_NORMAL = 2.0**-126


def images_of(shape: tuple[int, int, int], dtype: str, bright: float) -> Array:
    """Noise with values at both ends of the type; float32 also below zero."""
    rng = np.random.default_rng(0)
    images = rng.gamma(3, bright / 3, shape)
    if dtype == "float32":
        images -= bright / 2
        images[rng.random(shape) < 0.02] = -0.0
        return images.astype(dtype)
    images = np.minimum(images, MOST[dtype])
    images[rng.random(shape) < 0.02] = MOST[dtype]
    images[rng.random(shape) < 0.02] = 0
    return images.astype(dtype)


def windows(
    shape: tuple[int, int, int], dtype: str, size: tuple[int, int], step: int, fraction: float, bright: float = 700.0,
    value: float | None = None,
) -> Callable[[], dict[str, Any]]:  # fmt: skip
    """A few windows of an image, cut off at its edges; ``value`` fills the image, NaN a part of it."""

    def arguments() -> dict[str, Any]:
        images = images_of(shape, dtype, bright)
        if value is not None:
            images[..., : shape[2] // 2 if np.isnan(value) else None] = value
        limits = []
        for length, n in zip(size, shape[1:], strict=True):
            centres = np.unique(np.array([0, n // 3, n // 2, n - 1], np.int64))
            limits += [np.maximum(centres - length // 2, 0), np.minimum(centres - length // 2 + length, n)]
            limits[-1] = np.maximum(limits[-1], limits[-2] + 1)
        return {
            "images": images,
            "row_starts": limits[0],
            "row_stops": limits[1],
            "column_starts": limits[2],
            "column_stops": limits[3],
            "out": np.full((shape[0], len(limits[0]), len(limits[2])), -1, np.float32),
            "step": step,
            "fraction": fraction,
        }

    return arguments


def stripes(
    shape: tuple[int, int, int], dtype: str, line: tuple[int, int], background: tuple[int, int], weight: float
) -> Callable[[], dict[str, Any]]:
    """Grids of random numbers below 1000, images around them."""

    def arguments() -> dict[str, Any]:
        rng = np.random.default_rng(3)
        bright = 100.0 if dtype == "uint8" else 1000.0
        return {
            "images": images_of(shape, dtype, bright),
            "line": (rng.random((shape[0], *line)) * bright).astype(np.float32),
            "background": (rng.random((shape[0], *background)) * bright).astype(np.float32),
            "out": np.full(shape, -1, np.float32),
            "weight": weight,
        }

    return arguments


DTYPES = ("uint8", "uint16", "uint32", "float32")
# An estimate is blended twice: weights, products and sums make five roundings on either side, to 2**-24 of 1000 each.
STRIPES_ATOL = 10 * 2.0**-24 * 1000
# The result is rounded once more, and it may be much larger than the stripe.
STRIPES_RTOL = 2.0**-23

CASES = [
    *(
        Case(
            "window_percentiles", f"{dtype}-{size[0]}x{size[1]}-{step}-{fraction}",
            windows(shape, dtype, size, step, fraction),
        )
        for dtype in DTYPES
        for shape, size, step, fraction in (
            ((2, 9, 61), (1, 40), 1, 0.25), ((1, 90, 70), (70, 60), 2, 0.25), ((1, 40, 53), (40, 50), 1, 0.9),
            ((2, 1, 1), (3, 3), 2, 0.5), ((1, 13, 300), (1, 300), 1, 0.0), ((1, 300, 2), (300, 1), 3, 1.0),
            ((1, 6, 11), (4, 7), 9, 0.5),
        )
    ),
    Case("window_percentiles", "wide-uint32", windows((1, 20, 30), "uint32", (9, 9), 1, 0.4, bright=1e9)),
    Case("window_percentiles", "wide-uint16", windows((1, 20, 30), "uint16", (9, 9), 1, 0.4, bright=3e4)),
    Case("window_percentiles", "full-uint32", windows((1, 5, 6), "uint32", (5, 5), 1, 0.3, value=2**32 - 1)),
    Case("window_percentiles", "full-uint16", windows((1, 50, 40), "uint16", (50, 40), 1, 0.3, value=65535)),
    Case("window_percentiles", "nan", windows((1, 20, 30), "float32", (9, 9), 1, 0.4, value=np.nan)),
    Case("window_percentiles", "infinity", windows((1, 5, 6), "float32", (5, 5), 1, 0.25, value=-np.inf)),
    Case(
        "window_percentiles", "tiny-numbers", windows((1, 20, 30), "float32", (9, 9), 1, 0.4, bright=1e-36),
        atol=LEAST_NORMAL,
    ),
    *(
        Case(
            "subtract_stripes", f"{dtype}-{'x'.join(map(str, shape))}-{line[0]}x{line[1]}",
            stripes(shape, dtype, line, background, weight), rtol=STRIPES_RTOL, atol=STRIPES_ATOL,
        )
        for dtype in DTYPES
        for shape, line, background, weight in (
            ((2, 37, 61), (37, 4), (2, 3), 2.0), ((1, 1, 1), (1, 1), (1, 1), 1.0), ((1, 1, 270), (1, 2), (1, 11), 0.7),
            ((1, 40, 2), (3, 2), (40, 1), 0.0), ((1, 16, 5), (23, 9), (5, 2), 1.3),
        )
    ),
]  # fmt: skip
