"""Arguments of the bodies in columns.cu."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from gpustitch.oblique.destripe.dwt import wavelet_taps
from tests.kernels.case import Case


def noise(*shape: int) -> npt.NDArray[np.float32]:
    """Numbers of both signs."""
    return np.random.default_rng(0).normal(0, 3, shape).astype(np.float32)


def medians(frames: int, rows: int, windows: int, reach: int, ties: bool) -> Callable[[], dict[str, Any]]:
    """Noise, or whole numbers of which many are equal, and a step."""

    def arguments() -> dict[str, Any]:
        grid = noise(frames, rows, windows)
        if ties:
            grid = np.rint(grid) + 0.25
            grid[:, rows // 2 :] += 5
        return {"grid": grid, "out": np.full_like(grid, np.nan), "reach": reach}

    return arguments


def analysis(frames: int, rows: int, windows: int, wavelet: str, more: int) -> Callable[[], dict[str, Any]]:
    """A grid of noise with ``more`` rows that nothing must read."""

    def arguments() -> dict[str, Any]:
        taps = wavelet_taps(wavelet)[0].copy()
        grid = noise(frames, rows + more, windows)
        grid[:, rows:] = np.nan
        n = (rows + taps.shape[1] - 1) // 2
        return {"grid": grid, "taps": taps, "out": np.full((2, frames, n, windows), np.nan, np.float32), "rows": rows}

    return arguments


def synthesis(frames: int, rows: int, windows: int, wavelet: str, more: int) -> Callable[[], dict[str, Any]]:
    """Coefficients with ``more`` rows that nothing must read, and as many rows of ``out`` that must stay."""

    def arguments() -> dict[str, Any]:
        taps = wavelet_taps(wavelet)[1].copy()
        n = (rows + taps.shape[1] - 1) // 2
        low, high = noise(2, frames, n + more, windows).copy()
        low[:, n:], high[:, n:] = np.nan, np.nan
        out = np.full((frames, rows + more, windows), 7, np.float32)
        return {"low": low, "high": high, "taps": taps, "out": out, "rows": rows}

    return arguments


def weights(frames: int, rows: int, windows: int, length: int) -> Callable[[], dict[str, Any]]:
    """Weights from 0 to 1, many of them equal."""

    def arguments() -> dict[str, Any]:
        values = np.random.default_rng(0).integers(0, 9, (frames, rows, windows)).astype(np.float32) / 8
        out = np.full((frames, (rows + length - 1) // 2, windows), np.nan, np.float32)
        return {"weights": values, "out": out, "length": length}

    return arguments


def longer(frames: int, rows: int, windows: int, reach: int) -> Callable[[], dict[str, Any]]:
    """Noise on a slope."""

    def arguments() -> dict[str, Any]:
        grid = noise(frames, rows, windows) + np.arange(rows, dtype=np.float32)[:, None]
        return {"grid": grid, "out": np.full((frames, rows + 2 * reach, windows), np.nan, np.float32), "reach": reach}

    return arguments


def columns(frames: int, rows: int, windows: int, ties: bool) -> Callable[[], dict[str, Any]]:
    """Noise, or whole numbers of which many are equal."""

    def arguments() -> dict[str, Any]:
        grid = noise(frames, rows, windows)
        return {"grid": np.rint(grid) + 0.25 if ties else grid, "out": np.full_like(grid, np.nan)}

    return arguments


LEVELS = (
    (2, 37, 33, "db3", 0), (1, 40, 3, "db5", 2), (2, 1, 5, "haar", 1), (1, 2, 1, "db2", 0), (1, 9, 2, "coif17", 0),
    (1, 70, 1, "sym4", 3),
)  # fmt: skip
CASES = [
    *(
        Case("running_medians", f"{n}", medians(*n))
        for n in (
            (2, 70, 35, 2, False), (1, 140, 3, 16, False), (1, 140, 3, 7, True), (1, 1, 1, 4, False),
            (1, 33, 2, 0, False), (1, 2, 1, 256, False), (2, 5, 32, 8, True), (1, 130, 1, 1, True),
        )
    ),
    # Products and sums are rounded one by one, in the order of the definition.
    *(Case("analyse_columns", f"{n}", analysis(*n)) for n in LEVELS),
    *(Case("synthesise_columns", f"{n}", synthesis(*n)) for n in LEVELS),
    *(
        Case("least_weights", f"{n}", weights(*n))
        for n in ((2, 37, 33, 6), (1, 40, 3, 10), (1, 1, 5, 2), (2, 2, 1, 102), (1, 9, 2, 8))
    ),
    *(
        Case("continued", f"{n}", longer(*n))
        for n in ((2, 70, 35, 16), (1, 40, 3, 7), (1, 1, 1, 1), (1, 2, 33, 2), (2, 9, 32, 9), (1, 130, 1, 64))
    ),
    *(
        Case("less_medians", f"{n}", columns(*n))
        for n in ((2, 70, 35, False), (1, 71, 8, True), (1, 1, 1, False), (1, 2, 9, False), (2, 40, 3, True))
    ),
]  # fmt: skip
