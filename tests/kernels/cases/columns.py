"""Arguments of the bodies in columns.cu."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from gpustitch.oblique.destripe.dwt import wavelet_taps
from gpustitch.oblique.destripe.guarded_notch.columns import level_rows
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


def analysis(frames: int, rows: int, windows: int, wavelet: str, levels: int) -> Callable[[], dict[str, Any]]:
    """A grid of noise, and weights from 0 to 1, many of them equal."""

    def arguments() -> dict[str, Any]:
        taps = wavelet_taps(wavelet)[0].copy()
        values = np.random.default_rng(0).integers(0, 9, (frames, rows, windows)).astype(np.float32) / 8
        shape = frames, sum(level_rows(rows, taps.shape[1], levels)), windows
        lows, least, out = (np.full(shape, np.nan, np.float32) for _ in range(3))
        grid = noise(frames, rows, windows)
        return {"grid": grid, "weights": values, "taps": taps, "lows": lows, "least": least, "out": out}

    return arguments


def synthesis(frames: int, rows: int, windows: int, wavelet: str, levels: int) -> Callable[[], dict[str, Any]]:
    """Details of noise, and room of which the coarsest low pass must stay."""

    def arguments() -> dict[str, Any]:
        taps = wavelet_taps(wavelet)[1].copy()
        details = noise(frames, sum(level_rows(rows, taps.shape[1], levels)), windows)
        out = np.full((frames, rows, windows), np.nan, np.float32)
        return {"details": details, "taps": taps, "lows": np.full_like(details, 7), "out": out}

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


# One column more and fewer than a block has, rows in odd numbers, fewer rows than taps, one level and several.
LEVELS = (
    (2, 37, 33, "db3", 3), (1, 40, 3, "db5", 2), (2, 1, 5, "haar", 1), (1, 2, 1, "db2", 2), (1, 9, 2, "coif17", 2),
    (1, 71, 8, "sym4", 5), (3, 66, 9, "db3", 4),
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
    *(Case("analyse_columns", f"{n}", analysis(*n), written=("lows", "least", "out")) for n in LEVELS),
    *(Case("synthesise_columns", f"{n}", synthesis(*n), written=("lows", "out")) for n in LEVELS),
    *(
        Case("continued", f"{n}", longer(*n))
        for n in ((2, 70, 35, 16), (1, 40, 3, 7), (1, 1, 1, 1), (1, 2, 33, 2), (2, 9, 32, 9), (1, 130, 1, 64))
    ),
    *(
        Case("less_medians", f"{n}", columns(*n))
        for n in ((2, 70, 35, False), (1, 71, 8, True), (1, 1, 1, False), (1, 2, 9, False), (2, 40, 3, True))
    ),
]  # fmt: skip
