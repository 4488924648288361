"""Arguments of the bodies in wavelet.cu."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from gpustitch.oblique.destripe.dwt import levels_of, wavelet_taps
from gpustitch.oblique.destripe.wavelet import _SMOOTHING
from tests.kernels.case import Case
from tests.kernels.cases.dwt import Array, coefficients_of, counts, spoiled

# What is taken away from a logarithm, here up to about 3, is a sum in another order: absolute errors of some 1e-6, by
# which exp multiplies. Exponentials and hyperbolic tangents of two libraries differ by a rounding. 1 is subtracted and
# bands are blended afterwards, which costs results near 0 an absolute rounding of the greater.
RTOL, ATOL = 2e-6, 1e-5


def removed(shape: tuple[int, int, int], wavelet: str, seed: int) -> Array:
    """Coefficients of the finest level, small as those of stripes are; without a wavelet there are none."""
    if not wavelet:
        return np.empty((shape[0], 0, 2, 0), np.float32)
    length = wavelet_taps(wavelet)[1].shape[1]
    level = levels_of(shape[1:], length, 1)[0]
    coefficients = coefficients_of(level, shape[0], length, seed)
    coefficients /= 20
    return coefficients


def one(shape: tuple[int, int, int], dtype: str, wavelet: str) -> Callable[[], dict[str, Any]]:
    """One band, limits differ between frames."""

    def arguments() -> dict[str, Any]:
        return {
            "images": counts(shape, dtype),
            "limits": np.array([[0, np.inf], [90, np.inf], [0, 110.5]], np.float32)[: shape[0]],
            "coefficients": removed(shape, wavelet, 0),
            "taps": wavelet_taps(wavelet or "db2")[1].copy(),
            "out": spoiled(np.empty(shape, np.float32)),
        }

    return arguments


def both(
    shape: tuple[int, int, int], dtype: str, wavelets: tuple[str, str], splits: tuple[bool, bool], crossover: float
) -> Callable[[], dict[str, Any]]:
    """Both bands, thresholds differ between frames."""

    def arguments() -> dict[str, Any]:
        return {
            "images": counts(shape, dtype),
            "thresholds": np.array([100, 70.25, 0], np.float32)[: shape[0]],
            "foreground": removed(shape, wavelets[0], 0),
            "background": removed(shape, wavelets[1], 1),
            "taps": wavelet_taps(wavelets[0] or wavelets[1] or "db2")[1].copy(),
            "smoothing": _SMOOTHING.copy(),
            "out": spoiled(np.empty(shape, np.float32)),
            "split_foreground": splits[0],
            "split_background": splits[1],
            "crossover": crossover,
        }

    return arguments


ONE: list[tuple[tuple[int, int, int], str, str]] = [
    ((2, 66, 130), "uint16", "db5"), ((3, 33, 47), "uint8", "db2"), ((1, 5, 64), "uint32", "haar"),
    ((1, 40, 65), "float32", "coif17"), ((1, 1, 1), "uint16", "db3"), ((2, 9, 11), "uint16", ""),
]  # fmt: skip
BOTH: list[tuple[tuple[int, int, int], str, tuple[str, str], tuple[bool, bool], float]] = [
    ((3, 66, 130), "uint16", ("db5", "db5"), (True, True), 10.0),
    ((1, 33, 47), "uint8", ("db2", ""), (True, False), 40.0),
    ((1, 31, 65), "uint32", ("", "sym4"), (False, True), 0.5),
    ((2, 20, 30), "float32", ("coif17", "coif17"), (True, True), 300.0),
    ((1, 1, 1), "uint16", ("", ""), (True, True), 10.0),
    ((1, 2, 3), "uint8", ("haar", "haar"), (True, True), 10.0),
]

CASES = [
    *(Case("restore_band", f"{n}-{d}-{w}", one(n, d, w), rtol=RTOL, atol=ATOL) for n, d, w in ONE),
    *(
        Case("blend_bands", f"{n}-{d}-{w}", both(n, d, w, s, c), rtol=RTOL, atol=ATOL)
        for n, d, w, s, c in BOTH
    ),
]  # fmt: skip
