"""Arguments of the body in notch.cu."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tests.kernels.case import Case

# Sums of up to 1025 products of both signs, in another order; taps sum to about 1, samples are up to 5.
TOLERANCE = 1e-6


def rows_of(frames: int, rows: int, width: int, reach: int, n_bands: int = 1) -> Callable[[], dict[str, Any]]:
    """Noise, 0 beyond ``width``; the low pass has values that must stay."""

    def arguments() -> dict[str, Any]:
        rng = np.random.default_rng(0)
        out = np.zeros((frames, rows, 2, -(-width // 32) * 32), np.float32)
        out[:, :, 0] = 7
        out[:, :, 1, :width] = rng.standard_normal((frames, rows, width)).clip(-5, 5)
        sigmas = max(1, reach / 4) / np.arange(1, n_bands + 1)[:, None]
        taps = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigmas) ** 2)
        return {"taps": (-taps / taps.sum(axis=1, keepdims=True)).astype(np.float32), "out": out, "width": width}

    return arguments


def product_of(
    rows: int, n: int, m: int, from_column: int, to_column: int, n_bands: int = 1
) -> Callable[[], dict[str, Any]]:
    """Matrices of both signs; what lies beside them in ``x`` must not be read, in ``out`` it must stay."""

    def arguments() -> dict[str, Any]:
        rng = np.random.default_rng(0)
        x = np.full((n_bands, rows, from_column + n + 3), np.nan, np.float32)
        x[..., from_column : from_column + n] = rng.standard_normal((n_bands, rows, n))
        return {
            "x": x,
            "matrix": (rng.standard_normal((n_bands, n, m)) / np.sqrt(n)).astype(np.float32),
            "out": np.full((n_bands, rows, to_column + m + 5), 7, np.float32),
            "from_column": from_column,
            "to_column": to_column,
        }

    return arguments


CASES = [
    Case("low_pass_rows", f"{n}", rows_of(*n), atol=TOLERANCE)
    for n in [
        (2, 5, 70, 9), (1, 2, 1, 0), (1, 3, 2, 1), (1, 2, 31, 15), (1, 33, 64, 31), (1, 1, 1152, 40), (1, 1, 1155, 300),
        (1, 1, 1300, 512), (1, 1, 2500, 100), (6, 2, 40, 9, 3),
    ]
]  # fmt: skip
CASES += [
    Case("multiply_rows", f"{n}", product_of(*n), atol=TOLERANCE * 3)
    for n in [
        (70, 33, 65, 32, 0),
        (64, 64, 64, 0, 64),
        (1, 1, 1, 0, 0),
        (3, 100, 17, 5, 9),
        (65, 7, 130, 0, 32),
        (66, 9, 65, 1, 3, 3),
    ]
]
