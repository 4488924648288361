"""Planes less what is coarse in them: brightness that differs over a section is no tissue."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from gpustitch.array import Array, namespace
from gpustitch.ops.smooth import gaussian
from gpustitch.sections.similarity.binning import bin_planes

# Least Gaussian, in pixels, that planes are smoothed by after they were made smaller for that.
_LEAST_PX = 4.0
# Least part of a Gaussian's weight that lies on used pixels.
_LEAST_WEIGHT = 1e-3


def less_gaussian(plane: Array, sigma_px: float) -> Array:
    """A plane less its Gaussian mean over used pixels: float32 (rows, columns).

    Parameters
    ----------
    plane
        (rows, columns) of uint8, uint16 or float32; pixels that are NaN or infinite are not used, and stay so.
    sigma_px
        Standard deviation of the Gaussian, in pixels, above 0.

    Notes
    -----
    From 8 pixels on, the mean is that of blocks of pixels, with straight lines between their centres.
    """
    xp = namespace(plane)
    plane = plane.astype(np.float32)
    factor = max(1, min(int(sigma_px / _LEAST_PX), *plane.shape))
    small = bin_planes(plane[None], (factor, factor))[0] if factor > 1 else plane
    used = xp.isfinite(small)
    weight = used.astype(np.float32)
    n = max(float(weight.sum(dtype=np.float64)), 1.0)
    # About its own mean, so that float32 keeps what differs; a block that is used in part counts as one.
    mean = np.float32(float(xp.where(used, small, np.float32(0)).sum(dtype=np.float64)) / n)
    low = gaussian(xp.where(used, small - mean, np.float32(0)), sigma_px / factor)
    if n < used.size:
        low /= xp.maximum(gaussian(weight, sigma_px / factor), _LEAST_WEIGHT)
    if factor > 1:
        rows, columns = (xp.asarray(_between(n, m, factor)) for n, m in zip(plane.shape, small.shape, strict=True))
        low = xp.matmul(xp.matmul(rows, low), columns.T)
    return plane - mean - low


def _between(n: int, n_blocks: int, factor: int) -> npt.NDArray[np.float32]:
    """Weights (n, blocks) of the two blocks whose centres a pixel lies between; the last ones go on to the edge."""
    place = np.clip((np.arange(n) + 0.5) / factor - 0.5, 0, n_blocks - 1)
    low = np.minimum(place.astype(int), max(n_blocks - 2, 0))
    weights = np.zeros((n, n_blocks), np.float32)
    weights[np.arange(n), low] = 1 - (place - low)
    if n_blocks > 1:
        weights[np.arange(n), low + 1] = place - low
    return weights
