"""Deviations on a grid as a Gaussian field: the most likely one, and what it makes of estimates (simple kriging).

The true deviations of a section are a field of mean 0 over the grid, alike in all sections. Its variance and its
correlation with distance (Matern, 3/2) are the most likely ones. Errors of estimates are as stated, or larger by the
most likely factor. Windows share them as far as they overlap. The smoothing is Tikhonov's regularisation with the
field's covariance. Distances are in points of the grid, deviations and errors in sections.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import scipy

from gpustitch.model.arrays import Floats

# In sections: no error is smaller; and the error of what is left out.
LEAST_ERROR, UNKNOWN = 1e-3, 1e4
# In points: a field that is alike over less cannot be told from errors. A spread of less than this part of what was
# estimated is none.
_LEAST_LENGTH, _LEAST_SPREAD = 1.0, 0.02
# Length that is usual, in points, and factor of the errors to start from.
_USUAL_LENGTH, _FIRST_FACTOR = 3.0, 1.2
# Stated errors are right to this factor, as a logarithm: a field must not pass for errors that are all too small.
_FACTOR = 0.2
# Sections that the field of deviations is estimated from.
_LOOKED_AT = 24


def likely_field(values: Floats, errors: Floats, overlap: Floats) -> tuple[float, float, float]:
    """Spread and length of the field that most likely gives the deviations, and the factor of their errors.

    Parameters
    ----------
    values, errors
        float64 (n, gy, gx): deviations and stated errors, infinite where there is none. Of up to 24 sections at equal
        distances the likelihood is taken.
    overlap
        (gy gx, gy gx): correlation of the errors.

    Returns
    -------
    Standard deviation in sections, 0 where there is no field; length scale of the correlation in points, at least 1;
    factor, at least 1.
    """
    n, gy, gx = values.shape
    distance = distances(gy, gx)
    some = np.linspace(0, n - 1, min(n, _LOOKED_AT)).astype(int)
    value, error = (array[some].reshape(len(some), -1) for array in (values, errors))
    good = np.isfinite(error)
    if gy * gx == 1 or not value[good].any():
        return 0.0, 1.0, 1.0
    sigma = np.where(good, error, UNKNOWN)

    def unpacked(logs: Floats) -> tuple[float, float, float]:
        spread, length, factor = np.exp(np.clip(logs, -9, 7))
        return float(spread), max(float(length), _LEAST_LENGTH), max(float(factor), 1.0)

    def cost(logs: Floats) -> float:
        spread, length, factor = unpacked(logs)
        lower = np.linalg.cholesky(_total(factor * sigma, spread**2 * correlation(distance, length), overlap))
        white = np.linalg.solve(lower, value[..., None])
        # The length hardly matters where there is no field: it stays near the distance of a few points then.
        prior = math.log(length / _USUAL_LENGTH) ** 2 + (math.log(factor) / _FACTOR) ** 2
        return float(prior + (white**2).sum() + 2 * np.log(np.diagonal(lower, axis1=1, axis2=2)).sum())

    size = max(float(np.sqrt(np.mean(value[good] ** 2))), LEAST_ERROR)
    start: Floats = np.log([size / 2, _USUAL_LENGTH, _FIRST_FACTOR])
    simplex = np.vstack([start, start + np.diag([0.7, 0.5, 0.3])])
    options: Any = {"initial_simplex": simplex, "maxfev": 120, "xatol": 0.03, "fatol": 0.1}
    spread, length, factor = unpacked(scipy.optimize.minimize(cost, start, method="Nelder-Mead", options=options).x)
    return (spread if spread > _LEAST_SPREAD * size else 0.0), length, factor


def distances(gy: int, gx: int) -> Floats:
    """Distances of the points of a grid (gy gx, gy gx), in points."""
    y, x = (axis.ravel() for axis in np.mgrid[:gy, :gx].astype(np.float64))
    found: Floats = np.hypot(np.subtract.outer(y, y), np.subtract.outer(x, x))
    return found


def correlation(distance: Floats, length: Floats | float) -> Floats:
    """Matern's correlation of smoothness 3/2."""
    a = math.sqrt(3) * distance / length
    found: Floats = (1 + a) * np.exp(-a)
    return found


def _total(sigma: Floats, covariance: Floats, overlap: Floats) -> Floats:
    """Covariance (m, gy gx, gy gx) of estimates: that of the field and that of errors (m, gy gx)."""
    total: Floats = sigma[:, :, None] * sigma[:, None, :] * overlap
    total += covariance
    # Windows that share all their pixels have the same errors: the least ones of their own keep this solvable.
    diagonal = np.arange(total.shape[1])
    total[:, diagonal, diagonal] += LEAST_ERROR**2 + 1e-6 * sigma**2
    return total


def smoothed(values: Floats, sigma: Floats, covariance: Floats, overlap: Floats) -> tuple[Floats, Floats]:
    """Most likely deviations (m, gy gx) of sections, and their standard errors of the same shape.

    Parameters
    ----------
    values, sigma
        (m, gy gx): estimates and their errors, ``UNKNOWN`` where one does not count.
    covariance, overlap
        (gy gx, gy gx): of the field, and correlation of the errors.
    """
    found, left = np.empty_like(values), np.empty_like(values)
    for k, total in enumerate(_total(sigma, covariance, overlap)):
        lower = np.linalg.cholesky(total)
        both = scipy.linalg.solve_triangular(
            lower, np.column_stack([covariance, values[k]]), lower=True, check_finite=False
        )
        seen, white = both[:, :-1], both[:, -1]
        found[k] = white @ seen
        left[k] = np.diagonal(covariance) - np.einsum("ij,ij->j", seen, seen)
    return found, np.sqrt(np.maximum(left, 0))
