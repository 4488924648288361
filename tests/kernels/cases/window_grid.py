"""Arguments of the bodies in window_grid.cu."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from gpustitch.oblique.destripe.guarded_notch.window_grid import window_places, window_starts
from tests.kernels.case import Case

Array = npt.NDArray[Any]
Shape = tuple[int, int, int]
MOST = {"uint8": 255, "uint16": 65535, "uint32": 2**32 - 1, "float32": 65535}
# Sums of up to 13 numbers of one sign in another order, and a division.
MEAN_RTOL = 1e-6


def images_of(shape: Shape, dtype: str, padded: float = 0.1) -> Array:
    """Noise with values at both ends of the type, ties, and ``padded`` of it 0: in places, and in whole windows."""
    rng = np.random.default_rng(0)
    images = np.minimum(1 + rng.gamma(3, 10 if dtype == "uint8" else 300, shape), MOST[dtype])
    images = np.rint(images) if dtype != "float32" else images
    images[rng.random(shape) < 0.05] = MOST[dtype]
    images[rng.random(shape) < padded] = 0
    if padded and shape[1] > 2:
        images[:, 1, : shape[2] // 2] = 0
        images[:, 2] = 0
    return images.astype(dtype)


def windows(shape: Shape, dtype: str, padded: float, less: float = 0.0) -> Callable[[], dict[str, Any]]:
    """The windows of whole rows; pixels are ``less`` than otherwise, and so may be negative."""

    def arguments() -> dict[str, Any]:
        images = images_of(shape, dtype, padded)
        images -= np.where(images == 0, 0, less).astype(dtype)
        starts = window_starts(shape[2]).copy()
        of_windows = (*shape[:2], len(starts))
        return {
            "images": images,
            "starts": starts,
            "counts": np.full(of_windows, -7, np.int32),
            "out": np.full(of_windows, np.nan, np.float32),
        }

    return arguments


def gains(
    shape: Shape,
    dtype: str,
    full_scale: tuple[float, ...],
    dark: float,
    counts: str = "float32",
    is_flat: bool = False,
    truncate: bool = False,
) -> Callable[[], dict[str, Any]]:
    """Gains about 1; frames are saturated at ``full_scale``; with a flat field if it ``is_flat``."""

    def arguments() -> dict[str, Any]:
        count = len(window_starts(shape[2]))
        return {
            "images": images_of(shape, dtype),
            "gains": np.random.default_rng(1).uniform(0.5, 2, (*shape[:2], count)).astype(np.float32),
            "places": window_places(shape[2]).copy(),
            "full_scale": np.array(full_scale, np.float32),
            "flat_gain": flat_gain(shape, is_flat),
            "out": spoiled(shape, counts),
            "dark": dark,
            "truncate": truncate,
        }

    return arguments


def flat_gain(shape: Shape, is_flat: bool) -> Array:
    """The gain of a flat field from 0 to 3, or that of none."""
    return np.random.default_rng(4).uniform(0, 3, shape[1:] if is_flat else (1, 1)).astype(np.float32)


def spoiled(shape: Shape, counts: str) -> Array:
    """Counts that are no result."""
    return np.full(shape, np.nan if counts == "float32" else 7, counts)


def lights(shape: Shape, dark: float, dim: float = 1.0, empty: float = 0.1) -> Callable[[], dict[str, Any]]:
    """Means of tissue and of background, times ``dim``; ``empty`` of the windows are padding, and whole columns."""

    def arguments() -> dict[str, Any]:
        rng = np.random.default_rng(2)
        means = (rng.gamma(3, 300, shape) * np.where(rng.random(shape) < 0.3, 0.01, 1) * dim).astype(np.float32)
        counts = np.where(rng.random(shape) < empty, rng.integers(0, 8, shape), 32).astype(np.int32)
        if empty and shape[2] > 4:
            counts[:, :, 1:4] = 3
            counts[-1, :, -2:] = 0
        weights, out = np.full((2, *shape), np.nan, np.float32)
        return {
            "means": means, "counts": counts, "weights": weights.copy(), "out": out.copy(), "dark": dark, "least": 8.0,
        }  # fmt: skip

    return arguments


DTYPES = ("uint8", "uint16", "uint32", "float32")
SHAPES: tuple[Shape, ...] = ((2, 5, 301), (1, 1, 1), (1, 3, 31), (2, 3, 33), (1, 1, 64), (1, 35, 70))
CASES = [
    *(
        Case(
            "window_means", f"{dtype}-{'x'.join(map(str, shape))}-{padded}", windows(shape, dtype, padded),
            written=("counts", "out"), rtol=MEAN_RTOL,
        )
        for dtype in DTYPES
        for shape, padded in ((SHAPES[0], 0.1), (SHAPES[0], 0.9), (SHAPES[1], 0.0), *((s, 0.3) for s in SHAPES[2:5]))
    ),
    Case("window_means", "plain", windows((1, 2, 96), "uint16", 0.0), written=("counts", "out"), rtol=MEAN_RTOL),
    Case("window_means", "empty", windows((1, 2, 40), "uint16", 1.0), written=("counts", "out")),
    Case(
        "window_means", "negative", windows((1, 2, 70), "float32", 0.1, less=500.5), written=("counts", "out"),
        rtol=MEAN_RTOL, atol=1e-3,
    ),
    # Sums in another order, and a logarithm.
    *(
        Case(
            "grid_logarithm", f"{shape} {more}", lights(shape, **more), written=("weights", "out"), rtol=2e-6, atol=1e-6
        )
        for shape in ((2, 50, 23), (1, 1, 1), (3, 7, 200))
        for more in (
            {"dark": 0.0}, {"dark": 100.3}, {"dark": 5.0, "dim": 1e-3}, {"dark": 1e5}, {"dark": 0.0, "empty": 1},
            {"dark": 0.0, "empty": 0.97}, {"dark": 2.5, "empty": 0},
        )
    ),
    *(
        Case("apply_gains", f"{dtype}-{'x'.join(map(str, shape))}-{dark}", gains(shape, dtype, full_scale, dark))
        for dtype in DTYPES
        for shape, full_scale, dark in (
            (SHAPES[0], (MOST[dtype], np.inf), 0.0), (SHAPES[0], (200, 100), 7.3), (SHAPES[1], (np.inf,), 1.0),
            (SHAPES[2], (MOST[dtype],), 100.0), (SHAPES[3], (np.inf, 255), 0.0), (SHAPES[5], (250,), 30.0),
        )
    ),
    *(
        Case(
            "apply_gains", f"{dtype} to {counts} {'x'.join(map(str, shape))}-{dark}",
            gains(shape, dtype, full_scale, dark, counts, is_flat, truncate),
        )
        for dtype, counts in (
            *((d, c) for d in DTYPES for c in ("uint8", "uint16")), ("uint16", "float32"), ("float32", "float32"),
        )
        for shape, full_scale, dark, is_flat, truncate in (
            ((3, 35, 261), (MOST[dtype], np.inf, 200), 7.3, True, False), (SHAPES[3], (np.inf, 255), 0.0, True, True),
            (SHAPES[4], (90,), 2.0, False, False), ((1, 3, 1), (np.inf,), 0.0, True, False),
        )
    ),
]  # fmt: skip
