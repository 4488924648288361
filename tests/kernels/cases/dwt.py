"""Arguments of the bodies in dwt.cu."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from gpustitch.oblique.destripe.dwt import Level, levels_of, wavelet_taps
from tests.kernels.case import Case

Array = npt.NDArray[Any]
# Sums of up to 2 * 102 products in another order, each rounded to 24 bits: errors of a few roundings of a sum whose
# terms are up to 11 (a logarithm), or up to 30 (noise below), times taps of at most 1.1. Logarithms of two libraries
# differ by a rounding.
TOLERANCE = 2e-5


def counts(shape: tuple[int, int, int], dtype: str, seed: int = 0) -> Array:
    """Noise with values at both ends of the type; float32 also below zero."""
    rng = np.random.default_rng(seed)
    images = rng.gamma(3, 40, shape)
    if dtype == "float32":
        images -= 60
    else:
        most = np.iinfo(dtype).max
        images = np.minimum(images, most)
        images[rng.random(shape) < 0.02] = most
    images[rng.random(shape) < 0.02] = 0
    return images.astype(dtype)


def coefficients_of(level: Level, frames: int, length: int, seed: int = 0) -> Array:
    """Noise where coefficients are, 0 beyond."""
    out = level.buffer(frames, length, np)
    out[...] = 0
    rows, columns = level.coefficients
    out[:, :rows, :, :columns] = np.random.default_rng(seed).normal(0, 8, (frames, rows, 2, columns))
    return out


def spoiled(array: Array) -> Array:
    """The array full of a value that nothing must read or leave."""
    array.fill(np.nan)
    return array


def image(
    shape: tuple[int, int, int], dtype: str, wavelet: str, n_bands: int, has_low: bool
) -> Callable[[], dict[str, Any]]:
    """Frames, each with limits of its own in each band, the first with none."""

    def arguments() -> dict[str, Any]:
        taps = wavelet_taps(wavelet)[0].copy()
        level = levels_of(shape[1:], taps.shape[1], 1)[0]
        some = np.array([[0, np.inf], [90, np.inf], [0, 110.5], [40, 150]], np.float32)
        limits = some[np.arange(n_bands * shape[0]) % 4].reshape(n_bands, shape[0], 2)
        return {
            "images": counts(shape, dtype),
            "limits": limits,
            "taps": taps,
            "out": spoiled(level.buffer(n_bands * shape[0], taps.shape[1], np)),
            "has_low": has_low,
        }

    return arguments


def deeper(frames: int, shape: tuple[int, int], wavelet: str, has_low: bool) -> Callable[[], dict[str, Any]]:
    """The low pass of the first level of images of ``shape``."""

    def arguments() -> dict[str, Any]:
        taps = wavelet_taps(wavelet)[0].copy()
        finer, level = levels_of(shape, taps.shape[1], 2)
        rows, columns = level.shape
        return {
            "coefficients": coefficients_of(finer, frames, taps.shape[1]),
            "taps": taps,
            "out": spoiled(level.buffer(frames, taps.shape[1], np)),
            "rows": rows,
            "columns": columns,
            "has_low": has_low,
        }

    return arguments


def synthesis(frames: int, shape: tuple[int, int], wavelet: str) -> Callable[[], dict[str, Any]]:
    """From the second level of images of ``shape`` into the first, of which the detail stays."""

    def arguments() -> dict[str, Any]:
        taps = wavelet_taps(wavelet)[1].copy()
        finer, level = levels_of(shape, taps.shape[1], 2)
        rows, columns = level.shape
        return {
            "coefficients": coefficients_of(level, frames, taps.shape[1]),
            "taps": taps,
            "out": coefficients_of(finer, frames, taps.shape[1], seed=1),
            "rows": rows,
            "columns": columns,
        }

    return arguments


IMAGES: list[tuple[tuple[int, int, int], str, str]] = [
    ((3, 66, 70), "uint16", "db5"), ((2, 33, 47), "uint8", "db2"), ((4, 30, 41), "uint32", "db3"),
    ((2, 65, 31), "float32", "sym4"), ((1, 1, 1), "uint16", "db2"), ((1, 1, 90), "uint16", "haar"),
    ((1, 90, 1), "float32", "db1"), ((1, 2, 3), "uint8", "coif17"), ((1, 40, 60), "uint16", "coif17"),
    ((1, 70, 35), "uint16", "db38"), ((1, 20, 20), "uint16", "db11"), ((1, 20, 20), "uint16", "db12"),
]  # fmt: skip
SHAPES: list[tuple[int, tuple[int, int], str]] = [
    (2, (134, 150), "db5"), (1, (61, 140), "db2"), (1, (1, 1), "haar"), (2, (2, 63), "haar"), (1, (40, 40), "coif17"),
    (1, (90, 7), "bior2.4"), (1, (128, 256), "db3"),
]  # fmt: skip

CASES = [
    *(
        Case("analyse_image", f"{n}-{d}-{w}", image(n, d, w, 1 + k % 2, k % 3 > 0), atol=TOLERANCE)
        for k, (n, d, w) in enumerate(IMAGES)
    ),
    *(
        Case("analyse_low_pass", f"{f}-{n}-{w}", deeper(f, n, w, k % 3 > 0), atol=TOLERANCE)
        for k, (f, n, w) in enumerate(SHAPES)
    ),
    *(Case("synthesise", f"{f}-{n}-{w}", synthesis(f, n, w), atol=TOLERANCE) for f, n, w in SHAPES),
]
