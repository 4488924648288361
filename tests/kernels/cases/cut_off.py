"""Corrected frames at the end of their type, where raw ones were or were not; shares of no and of many pixels."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from tests.kernels.case import Case


def frames_of(shape: tuple[int, int, int], dtype: str, n_shares: int, at_end: float) -> dict[str, Any]:
    """Noise, in both frames so much ``at_end`` of the type; something is counted already."""
    rng = np.random.default_rng(0)
    most = np.iinfo(dtype).max
    raw, corrected = rng.integers(0, most, (2, *shape)).astype(dtype)
    raw[rng.random(shape) < at_end] = most
    corrected[rng.random(shape) < at_end] = most
    return {"raw": raw.copy(), "corrected": corrected.copy(), "out": np.arange(n_shares, dtype=np.uint32)}


CASES = [
    Case("count_at_end", f"{shape} {dtype} {n} {at_end}", partial(frames_of, shape, dtype, n, at_end))
    for dtype in ("uint8", "uint16")
    for shape, n, at_end in (
        ((2, 31, 47), 7, 0.3), ((1, 1, 1), 5, 1.0), ((3, 40, 90), 2, 0.01), ((1, 9, 9), 100, 0.5),
        ((2, 30, 30), 1, 0.0),
    )
]  # fmt: skip
