"""Arguments of the body in notch.cu."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tests.kernels.case import Case

# Sums of up to 1025 products of both signs, in another order; taps sum to about 1, samples are up to 5.
TOLERANCE = 1e-6


def rows_of(frames: int, rows: int, width: int, reach: int) -> Callable[[], dict[str, Any]]:
    """Noise, 0 beyond ``width``; the low pass has values that must stay."""

    def arguments() -> dict[str, Any]:
        rng = np.random.default_rng(0)
        out = np.zeros((frames, rows, 2, -(-width // 32) * 32), np.float32)
        out[:, :, 0] = 7
        out[:, :, 1, :width] = rng.standard_normal((frames, rows, width)).clip(-5, 5)
        taps = np.exp(-0.5 * (np.arange(-reach, reach + 1) / max(1, reach / 4)) ** 2)
        return {"taps": (-taps / taps.sum()).astype(np.float32), "out": out, "width": width}

    return arguments


CASES = [
    Case("low_pass_rows", f"{n}", rows_of(*n), atol=TOLERANCE)
    for n in [
        (2, 5, 70, 9), (1, 2, 1, 0), (1, 3, 2, 1), (1, 2, 31, 15), (1, 33, 64, 31), (1, 1, 1152, 40), (1, 1, 1155, 300),
        (1, 1, 1300, 512), (1, 1, 2500, 100),
    ]
]  # fmt: skip
