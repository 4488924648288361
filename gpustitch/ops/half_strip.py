"""Half strips: similarities of n planes near the diagonal of their matrix, float64 (n, reach + 1).

``[i, d]`` is the similarity of planes i and i + d; NaN where there is none, and beyond the last plane.
"""

from __future__ import annotations

import numpy as np

from gpustitch.errors import ParameterError
from gpustitch.model.zspacing import Floats


def undefined_planes(half_strip: Floats) -> list[int]:
    """Planes that have no coefficient with themselves: constant ones, or such with fewer than two used pixels."""
    return [int(i) for i in np.flatnonzero(np.isnan(half_strip[:, 0]))]


def full_matrix(half_strip: Floats) -> Floats:
    """The symmetric matrix (n, n) of a half strip (n, reach + 1), NaN outside the band."""
    n, width = half_strip.shape
    matrix = np.full((n, n), np.nan)
    for d in range(min(n, width)):
        i = np.arange(n - d)
        matrix[i, i + d] = matrix[i + d, i] = half_strip[: n - d, d]
    return matrix


def half_strip_of(matrix: Floats, reach: int) -> Floats:
    """The half strip (n, reach + 1) of a symmetric matrix (n, n), whose upper triangle is read; NaN beyond its end.

    Raises
    ------
    ParameterError
        If the matrix is not square or the reach is not 1 to n - 1.
    """
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ParameterError(f"a similarity matrix is square, not of shape {matrix.shape}")
    n = matrix.shape[0]
    if not 1 <= reach < n:
        raise ParameterError(f"reach must be 1 to {n - 1} for {n} planes (at least two are needed), not {reach}")
    strip = np.full((n, reach + 1), np.nan)
    for d in range(reach + 1):
        strip[: n - d, d] = np.diagonal(matrix, d)
    return strip
