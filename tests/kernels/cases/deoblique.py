"""De-obliquing: every type; offsets of any shear, of none and at random; weights of 0 among others; NaN; edges."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from gpustitch.oblique.deskew.deoblique import plane_offsets
from tests.kernels.case import Case

TYPES = ("uint8", "uint16", "float32")


def stack(shape: tuple[int, int, int], dtype: str) -> np.ndarray:
    """Frames of the whole range of counts, many saturated; of floats with NaN and infinity among them."""
    rng = np.random.default_rng(sum(shape))
    if dtype == "float32":
        frames = rng.normal(0, 1e4, shape).astype(dtype)
        frames[rng.random(shape) < 0.02] = np.nan
        frames[rng.random(shape) < 0.01] = np.inf
        return frames
    frames = rng.integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)
    frames[rng.random(shape) < 0.2] = np.iinfo(dtype).max
    return frames


def arguments(frames: np.ndarray, width: int, offset: Any, weight: Any) -> dict[str, Any]:
    """Arguments of the twin; ``out`` holds other values before."""
    out = np.full((frames.shape[2], frames.shape[1], width), 77, frames.dtype)
    return {
        "frames": frames,
        "out": out,
        "offset": np.asarray(offset, np.int64),
        "weight": np.asarray(weight, np.float32),
    }


def sheared(shape: tuple[int, int, int], dtype: str, width: int, shear: float, first: int = 0) -> dict[str, Any]:
    """Planes displaced by a shear; ``out`` begins at column ``first``."""
    offset, weight = plane_offsets(shear, 0, shape[2])
    return arguments(stack(shape, dtype), width, offset + first, weight)


def scattered(dtype: str, spread: int) -> dict[str, Any]:
    """Offsets in any order, some far outside of the frames; half of the weights 0."""
    rng = np.random.default_rng(spread)
    offset = rng.integers(-spread, spread, 37)
    offset[[3, 30]] = np.iinfo(np.int64).max, np.iinfo(np.int64).min
    weight = rng.random(37) * (rng.random(37) < 0.5)
    weight[5] = 1
    return arguments(stack((90, 2, 37), dtype), 130, offset, weight)


def shifted(dtype: str) -> dict[str, Any]:
    """Rows of whole words in memory that does not begin at one."""
    frames = stack((40, 3, 5), dtype)
    case = arguments(frames, 32, *plane_offsets(1.3, 0, 5))
    case["out"] = np.full(5 * 3 * 32 + 1, 77, dtype)[1:].reshape(5, 3, 32)
    return case


CASES = [
    *(
        Case("shear_lerp", f"{name} {dtype}", partial(sheared, shape, dtype, width, shear, first))
        for dtype in TYPES
        for name, shape, width, shear, first in (
            ("one voxel", (1, 1, 1), 1, 0.5, 0),
            ("one frame", (1, 3, 5), 9, 1.0, 0),
            ("two frames of one row", (2, 1, 70), 75, 0.9, 0),
            ("one column", (150, 5, 1), 140, 1.3, 2),
            ("whole shear", (170, 2, 33), 203, 1.0, 0),
            ("no shear", (9, 2, 40), 12, 0.0, -1),
            ("two tiles in words", (140, 2, 36), 160, 0.7, -20),
            ("odd width", (60, 3, 31), 131, 0.9, -15),
            ("shear beyond the window", (300, 1, 34), 257, 6.3, 100),
            ("negative shear", (64, 2, 20), 64, -0.4, 3),
            ("past all frames", (20, 1, 4), 30, 1.2, 25),
        )
    ),
    *(Case("shear_lerp", f"scattered {spread} {dtype}", partial(scattered, dtype, spread))
      for dtype in TYPES for spread in (20, 100, 10_000)),
    *(Case("shear_lerp", f"shifted {dtype}", partial(shifted, dtype)) for dtype in TYPES),
]  # fmt: skip
