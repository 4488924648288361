"""Similarities of patches without images: of random pixels whose tissue changes along a series, patch by patch."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gpustitch.ops.patches import LAGS, SIDE, PatchSimilarities

# Independent pixels of a patch.
_PIXELS = 40


def patches_of(
    positions: NDArray[np.float64], seed: int, begins: NDArray[np.float64] | None = None, finer: float = 1.0
) -> PatchSimilarities:
    """Patches (SIDE, SIDE) of sections at positions; a tissue finer along z is in each from a part of the series on.

    ``begins`` (SIDE, SIDE) is where that is, from 0 to 1; None for nowhere.
    """
    n, rng = len(positions), np.random.default_rng(seed)
    tissues = [_pixels(positions * factor, rng) for factor in (1.0, finer)]
    pixels = tissues[0]
    if begins is not None:
        is_second = np.arange(n)[:, None] >= n * begins.reshape(-1)
        pixels = np.where(is_second[..., None], tissues[1], pixels)
    pixels = pixels + 0.25 * rng.standard_normal(pixels.shape)
    pixels /= np.sqrt((pixels * pixels).sum(axis=2, keepdims=True))
    values = np.full((n, SIDE * SIDE, LAGS), np.nan)
    for d in range(1, LAGS + 1):
        values[: n - d, :, d - 1] = (pixels[: n - d] * pixels[d:]).sum(axis=2)
    return PatchSimilarities(np.arange(n), values.reshape(n, SIDE, SIDE, LAGS))


def moving_border() -> NDArray[np.float64]:
    """Where along the series a border that moves over the planes reaches each patch."""
    return np.broadcast_to(np.linspace(0.1, 0.9, SIDE), (SIDE, SIDE))


def _pixels(positions: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    distance = np.abs(positions[:, None] - positions)
    values, vectors = np.linalg.eigh(0.4 * np.exp(-((distance / 3) ** 2)) + 0.6 * np.exp(-((distance / 9) ** 2)))
    root = vectors * np.sqrt(np.maximum(values, 0))
    drawn: NDArray[np.float64] = root @ rng.standard_normal((len(positions), SIDE * SIDE * _PIXELS))
    return drawn.reshape(len(positions), SIDE * SIDE, _PIXELS)
