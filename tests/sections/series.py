"""Half strips of series that are made without images: correlations of random vectors with given correlations."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def sampled_matrix(
    positions: NDArray[np.float64], seed: int, quality: NDArray[np.float64] | None = None, patches: int = 1500
) -> NDArray[np.float64]:
    """Similarities (n, n) of sections at positions in sections, with the error of so many independent patches.

    The true similarity is a mixture of two Gaussians of distance, times the qualities of both sections.
    """
    n = len(positions)
    distance = np.abs(positions[:, None] - positions)
    q = np.ones(n) if quality is None else quality
    expected = (0.3 * np.exp(-((distance / 3) ** 2)) + 0.65 * np.exp(-((distance / 12) ** 2))) * q[:, None] * q
    np.fill_diagonal(expected, 1)
    values, vectors = np.linalg.eigh(expected)
    root = vectors * np.sqrt(np.maximum(values, 0))
    matrix: NDArray[np.float64] = np.corrcoef(root @ np.random.default_rng(seed).standard_normal((n, patches)))
    return matrix


def sampled_strip(
    positions: NDArray[np.float64],
    max_lag: int,
    seed: int,
    quality: NDArray[np.float64] | None = None,
    patches: int = 1500,
) -> NDArray[np.float64]:
    """Half strip (n, max_lag + 1) of :func:`sampled_matrix`, NaN beyond the last section."""
    matrix = sampled_matrix(positions, seed, quality, patches)
    n = len(matrix)
    strip = np.full((n, max_lag + 1), np.nan)
    for d in range(max_lag + 1):
        strip[: n - d, d] = np.diagonal(matrix, d)
    return strip
