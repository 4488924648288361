"""Arguments of the bodies in wavelet.cu."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from gpustitch.oblique.destripe.dwt import levels_of, wavelet_taps
from gpustitch.oblique.destripe.wavelet import _SMOOTHING
from tests.kernels.case import Case
from tests.kernels.cases.dwt import Array, coefficients_of, counts
from tests.kernels.cases.window_grid import flat_gain, spoiled

Shape = tuple[int, int, int]

# What is taken away from a logarithm, here up to about 3, is a sum in another order: absolute errors of some 1e-6, by
# which exp multiplies. Exponentials and hyperbolic tangents of two libraries differ by a rounding. 1 is subtracted and
# bands are blended afterwards, which costs results near 0 an absolute rounding of the greater. A gain multiplies that.
RTOL, ATOL = 2e-6, 1e-5
# Light that lies about half way between two counts, as close as that, becomes either of them.
COUNTS_ATOL = 1


def removed(shape: Shape, wavelet: str, seed: int) -> Array:
    """Coefficients of the finest level, small as those of stripes are; without a wavelet there are none."""
    if not wavelet:
        return np.empty((shape[0], 0, 2, 0), np.float32)
    length = wavelet_taps(wavelet)[1].shape[1]
    level = levels_of(shape[1:], length, 1)[0]
    coefficients = coefficients_of(level, shape[0], length, seed)
    coefficients /= 20
    return coefficients


@dataclass(frozen=True)
class Made:
    """What is made of restored light: ``scales`` are the full scales of frames, if their ends are put back."""

    counts: str = "float32"
    scales: tuple[float, ...] = ()
    is_flat: bool = False
    dark: float = 0.0
    truncate: bool = False

    def arguments(self, shape: Shape) -> dict[str, Any]:
        """The arguments that say so, for images of a shape."""
        return {
            "full_scale": np.array(self.scales[: shape[0]], np.float64),
            "flat_gain": flat_gain(shape, True) if self.is_flat else np.ones((1, 1), np.float32),
            "out": spoiled(shape, self.counts),
            "dark": self.dark,
            "truncate": self.truncate,
        }


def one(shape: Shape, dtype: str, wavelet: str, made: Made) -> Callable[[], dict[str, Any]]:
    """One band, limits differ between frames."""

    def arguments() -> dict[str, Any]:
        return {
            "images": counts(shape, dtype),
            "limits": np.array([[0, np.inf], [90, np.inf], [0, 110.5]], np.float32)[: shape[0]],
            "coefficients": removed(shape, wavelet, 0),
            "taps": wavelet_taps(wavelet or "db2")[1].copy(),
            **made.arguments(shape),
        }

    return arguments


def both(
    shape: Shape,
    dtype: str,
    wavelets: tuple[str, str],
    splits: tuple[bool, bool],
    crossover: float,
    made: Made,
) -> Callable[[], dict[str, Any]]:
    """Both bands, thresholds differ between frames."""

    def arguments() -> dict[str, Any]:
        more = made.arguments(shape)
        return {
            "images": counts(shape, dtype),
            "thresholds": np.array([100, 70.25, 0], np.float32)[: shape[0]],
            "foreground": removed(shape, wavelets[0], 0),
            "background": removed(shape, wavelets[1], 1),
            "taps": wavelet_taps(wavelets[0] or wavelets[1] or "db2")[1].copy(),
            "smoothing": _SMOOTHING.copy(),
            **{name: more[name] for name in ("full_scale", "flat_gain", "out")},
            "split_foreground": splits[0],
            "split_background": splits[1],
            "crossover": crossover,
            **{name: more[name] for name in ("dark", "truncate")},
        }

    return arguments


ONE: list[tuple[Shape, str, str]] = [
    ((2, 66, 130), "uint16", "db5"), ((3, 33, 47), "uint8", "db2"), ((1, 5, 64), "uint32", "haar"),
    ((1, 40, 65), "float32", "coif17"), ((1, 1, 1), "uint16", "db3"), ((2, 9, 11), "uint16", ""),
]  # fmt: skip
BOTH: list[tuple[Shape, str, tuple[str, str], tuple[bool, bool], float]] = [
    ((3, 66, 130), "uint16", ("db5", "db5"), (True, True), 10.0),
    ((1, 33, 47), "uint8", ("db2", ""), (True, False), 40.0),
    ((1, 31, 65), "uint32", ("", "sym4"), (False, True), 0.5),
    ((2, 20, 30), "float32", ("coif17", "coif17"), (True, True), 300.0),
    ((1, 1, 1), "uint16", ("", ""), (True, True), 10.0),
    ((1, 2, 3), "uint8", ("haar", "haar"), (True, True), 10.0),
]

LIGHT = Made()
MADE: tuple[Made, ...] = (
    Made("uint8", (110, math.inf, 120), True, 7.5), Made("uint16", (), True, 90.0, True), Made("uint16", (111,) * 3),
    Made("float32", (math.inf, 110, 100), True, 3.25),
)  # fmt: skip

CASES = [
    *(Case("restore_band", f"{n}-{d}-{w}", one(n, d, w, LIGHT), rtol=RTOL, atol=ATOL) for n, d, w in ONE),
    *(
        Case("blend_bands", f"{n}-{d}-{w}", both(n, d, w, s, c, LIGHT), rtol=RTOL, atol=ATOL)
        for n, d, w, s, c in BOTH
    ),
    *(
        Case(
            "restore_band", f"{n}-{d}-{w} made {m}", one(n, d, w, made),
            rtol=RTOL, atol=3 * ATOL if made.counts == "float32" else COUNTS_ATOL,
        )
        for n, d, w in ONE[:4]
        for m, made in enumerate(MADE)
    ),
    *(
        Case(
            "blend_bands", f"{n}-{d}-{w} made {m}", both(n, d, w, s, c, made),
            rtol=RTOL, atol=3 * ATOL if made.counts == "float32" else COUNTS_ATOL,
        )
        for n, d, w, s, c in BOTH[:5]
        for m, made in enumerate(MADE)
    ),
]  # fmt: skip
