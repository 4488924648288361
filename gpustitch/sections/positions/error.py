"""The error of similarities that positions are uncertain by, from what residuals are left of it after the fit."""

from __future__ import annotations

import numpy as np
import scipy

from gpustitch.model.arrays import Floats
from gpustitch.ops.robust import MAD_TO_SIGMA
from gpustitch.sections.positions.normal import FLOOR, Expected

# Calibrated on simulated series: the error of a similarity is SHARED times the residuals of the first LAGS lags. Where
# the error of the texture is larger, it is at most MOST times these.
SHARED, LAGS, MOST = 3.5, 10, 25.0
# Part of a residual that the texture must make up somewhere, and the factor that counts if it does not.
LEAST_SHARE, UNSEEN = 0.3, 16.0
# Lags and blocks that the texture's error needs, and blocks that are looked at.
FEWEST_LAGS, FEWEST_BLOCKS, MOST_BLOCKS = 5, 20, 500
# Patterns across a block that positions and qualities follow: its level and its slope.
FOLLOWED = 2
# 1 / N and 1 / M to start from, for weights only; and the rounds in which weights settle.
_FIRST_PARTS, _ROUNDS = (1 / 300, 1 / 5000), 20


def error_of_similarities(expected: Expected) -> tuple[float, float]:
    """Error of a similarity, in units of ``1 - similarity^2``, that positions are uncertain by; and that of noise.

    The latter is what the noise of pixels alone makes: as large if the two cannot be told apart.

    Notes
    -----
    Pairs of the same neighbourhood share most of their error, which the positions follow: residuals show the rest.
    How much that is depends on the curve, so the larger one of two measures counts. One is the median residual times
    a constant. The other is :func:`texture_error`. If the similarity hardly falls, the texture cannot be told from
    the noise of pixels. Then the first one counts, with another constant.
    """
    lags = min(LAGS, len(expected.residual))
    some = expected.counts[:lags] > 0
    relative = np.abs(expected.residual[:lags]) / np.maximum(1 - expected.similarity[:lags] ** 2, FLOOR)
    seen = MAD_TO_SIGMA * float(np.median(relative[some]))
    seen = max(float((LAGS / lags) ** 1.5 * seen), 1e-7)
    found = texture_error(expected)
    if found is None:
        return SHARED * seen, SHARED * seen
    texture, pixels, share = found
    return UNSEEN * seen if share < LEAST_SHARE else min(max(SHARED * seen, texture), MOST * seen), pixels


def texture_error(expected: Expected) -> tuple[float, float, float] | None:
    """Errors ``1 / sqrt(independent samples)`` of texture and of noise, and the most of a residual the former makes up.

    None with fewer than five lags or twenty blocks of sections whose pairs were all measured.

    Notes
    -----
    The similarities of a block of sections have eigenvectors. Their eigenvalues are t of the texture plus v of the
    noise of pixels. In these vectors sample covariances scatter about the expected ones. The variance is
    ``t_a t_b / N + (t_a v + v t_b + v^2) / M`` for N patches and M pixels; it is twice that for a = b. Positions and
    qualities follow the first two, level and slope; the others are left, and 1 / N and 1 / M are fitted to them.
    """
    values, spread = _in_eigenvectors(expected)
    if not len(values):
        return None
    size = values.shape[1]
    measured = np.median(values, axis=0)
    noise = max(float(np.median(np.sort(values, axis=1)[:, : max(2, size // 3)])), 1e-6)
    texture = np.maximum(measured - noise, 0)
    variance = (MAD_TO_SIGMA * np.median(np.abs(spread), axis=0)) ** 2
    variance[np.diag_indices(size)] /= 2
    a, b = (index + FOLLOWED for index in np.triu_indices(size - FOLLOWED))
    design = np.stack([texture[a] * texture[b], (texture[a] + texture[b]) * noise + noise**2], axis=1)
    parts: Floats = np.array(_FIRST_PARTS)
    # The error of a variance is a multiple of it: weights come from the last fit.
    for _ in range(_ROUNDS):
        weight = 1 / (design @ parts + 1e-14)
        parts = scipy.optimize.nnls(design * weight[:, None], variance[a, b] * weight)[0] + 1e-9
    share = design[:, 0] * parts[0] / (design @ parts)
    return float(np.sqrt(parts[0])), float(np.sqrt(parts[1])), float(share.max())


def _in_eigenvectors(expected: Expected) -> tuple[Floats, Floats]:
    """Measured variances (m, size) and residuals (m, size, size) of blocks, in eigenvectors of what is expected."""
    n = expected.residual.shape[1]
    length = min(LAGS, len(expected.residual), n - 1)
    size = length + 1
    if length < FEWEST_LAGS:
        return np.empty((0, size)), np.empty((0, size, size))
    place = np.arange(size)
    distance = np.abs(place[:, None] - place)
    index = np.arange(n - length)[:, None, None] + distance * n + np.minimum(place[:, None], place)
    one, zero = np.ones((1, n)), np.zeros((1, n))
    some = np.concatenate([one, expected.counts[:length]]).ravel().take(index) > 0
    index = index[some.all(axis=(1, 2))]
    if len(index) < FEWEST_BLOCKS:
        return np.empty((0, size)), np.empty((0, size, size))
    index = index[:: -(-len(index) // MOST_BLOCKS)]
    residual = np.concatenate([zero, expected.residual[:length]]).ravel().take(index)
    values, vectors = np.linalg.eigh(np.concatenate([one, expected.similarity[:length]]).ravel().take(index))
    vectors = vectors[:, :, ::-1]
    residual = vectors.swapaxes(1, 2) @ residual @ vectors
    return values[:, ::-1] + np.diagonal(residual, axis1=1, axis2=2), residual
