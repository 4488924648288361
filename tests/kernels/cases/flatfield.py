"""Arguments of the bodies in flatfield.cu."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from tests.kernels.case import Case


def flat_counts(
    shape: tuple[int, int, int], gain: str, dark: float, truncate: bool, dtype: str
) -> Callable[[], dict[str, Any]]:
    """Counts around both ends of the type, halves, NaN and infinities; ``gain`` is of each pixel or of all."""
    most = np.float32(np.iinfo(dtype).max) if dtype != "float32" else np.float32(1)

    def arguments() -> dict[str, Any]:
        rng = np.random.default_rng(0)
        images = rng.normal(most / 2, most / 2, shape).astype(np.float32)
        special = [-0.5, 0.5, 1.5, 2.5, most - 0.5, most + 0.5, 1e9, np.nan, np.inf, -np.inf, -0.0]
        places = rng.integers(0, images.size, 3 * len(special))
        images.reshape(-1)[places] = np.tile(np.array(special, np.float32), 3) + np.float32(dark)
        factors = rng.uniform(0, 3, shape[1:]) if gain == "pixels" else np.ones((1, 1))
        factors.reshape(-1)[:: max(2, factors.size // 3)] = 1
        return {
            "images": images,
            "gain": factors.astype(np.float32),
            "out": np.full(shape, 7, dtype),
            "dark": dark,
            "truncate": truncate,
        }

    return arguments


def raw_counts(shape: tuple[int, int, int], raw: str, dtype: str) -> Callable[[], dict[str, Any]]:
    """Counts as the camera gives them, of the whole range of their type."""

    def arguments() -> dict[str, Any]:
        more = flat_counts(shape, "pixels", 7.5, False, dtype)()
        counts = np.random.default_rng(1).integers(0, np.iinfo(raw).max, shape, raw, endpoint=True)
        return more | {"images": counts}

    return arguments


def cut_off(shape: tuple[int, int, int], dtype: str, n_shares: int, at_end: float) -> dict[str, Any]:
    """Noise, in both frames so much ``at_end`` of the type; something is counted already."""
    rng = np.random.default_rng(0)
    most = np.iinfo(dtype).max
    raw, corrected = rng.integers(0, most, (2, *shape)).astype(dtype)
    raw[rng.random(shape) < at_end] = most
    corrected[rng.random(shape) < at_end] = most
    return {"raw": raw.copy(), "corrected": corrected.copy(), "out": np.arange(n_shares, dtype=np.uint32)}


CASES = [
    *(
        Case("count_at_end", f"{shape} {dtype} {n} {at_end}", partial(cut_off, shape, dtype, n, at_end))
        for dtype in ("uint8", "uint16")
        for shape, n, at_end in (
            ((2, 31, 47), 7, 0.3),
            ((1, 1, 1), 5, 1.0),
            ((3, 40, 90), 2, 0.01),
            ((1, 9, 9), 100, 0.5),
            ((2, 30, 30), 1, 0.0),
        )
    ),
    *(
        Case("flat_counts", f"{raw} to {dtype} {shape}", raw_counts(shape, raw, dtype))
        for raw in ("uint8", "uint16")
        for dtype in ("uint8", "uint16", "float32")
        for shape in ((3, 5, 37), (1, 2, 2501))
    ),
    *(
        Case(
            "flat_counts",
            f"{'x'.join(map(str, shape))}-{gain}-{dark:g}-{dtype}",
            flat_counts(shape, gain, dark, truncate, dtype),
        )
        for shape, types in (
            ((3, 5, 37), ("uint8", "uint16", "float32")),
            ((1, 1, 1), ("uint16",)),
            ((2, 1, 2501), ("uint16", "float32")),
            ((1, 70, 3), ("uint8", "uint16")),
            ((4, 3, 1024), ("uint16",)),
        )
        for dtype in types
        for gain in ("pixels", "all")
        for dark, truncate in ((0.0, False), (100.3, True))
    ),
]
