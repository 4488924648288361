"""Planes less what is no tissue: brightness that differs over a section, and stripes through all of it (curtains)."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt
import scipy

from gpustitch.array import Array, namespace, to_host
from gpustitch.model.arrays import Floats
from gpustitch.ops.smooth import gaussian
from gpustitch.sections.similarity.binning import bin_planes

# Least Gaussian, in pixels, that planes are smoothed by after they were made smaller for that.
_LEAST_PX = 4.0
# Least part of a Gaussian's weight that lies on used pixels.
_LEAST_WEIGHT = 1e-3
# Gaussian, in pixels, whose mean is taken from the profile of stripes: what is wider is light or tissue.
_WIDEST_PX = 8.0

# Of a Gaussian so many times wider than a plane nothing is left but the mean of all pixels.
_SIDES = 10

# What stripes run along.
Stripes = Literal["none", "columns", "rows", "both"]


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
    sigma_px = min(sigma_px, _SIDES * max(plane.shape))
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


def striped_part(plane: Array) -> Floats:
    """Part of the variance that is stripes along columns and along rows, and how alike two halves are in them.

    ``plane`` is float32 (rows, columns), NaN where it is not used. Tissue of one half does not go on in the other;
    stripes do.

    Returns
    -------
    float64 (2, 2): [along columns or rows, part or correlation]; 0 where nothing is known.
    """
    host = to_host(plane).astype(np.float64)
    found = np.zeros((2, 2))
    known = np.isfinite(host)
    total = float(host[known].var()) if known.any() else 0.0
    if total == 0:
        return found
    host = np.where(known, host - host[known].mean(), 0)
    for along, (values, used) in enumerate(((host, known), (host.T, known.T))):
        middle = len(values) // 2
        parts = [slice(0, middle), slice(middle, None)]
        counts = [used[part].sum(axis=0) for part in parts]
        profiles = [values[part].sum(axis=0) / np.maximum(n, 1) for part, n in zip(parts, counts, strict=True)]
        fine = [profile - scipy.ndimage.gaussian_filter1d(profile, _WIDEST_PX, mode="nearest") for profile in profiles]
        both = (counts[0] > middle / 2) & (counts[1] > middle / 2)
        one, two = (of[both] for of in fine)
        norm = float(np.sqrt((one * one).sum() * (two * two).sum()))
        if norm > 0:
            shared = float((one * two).sum())
            found[along] = shared / (len(one) * total), shared / norm
    return found


def less_stripes(plane: Array, stripes: Stripes) -> Array:
    """A plane, float32, less the mean of each of its columns or rows over used pixels; the others, NaN, stay so."""
    xp = namespace(plane)
    axes = {"none": (), "columns": (0,), "rows": (1,), "both": (0, 1)}[stripes]
    for axis in axes:
        used = xp.isfinite(plane)
        count = xp.maximum(used.sum(axis=axis, keepdims=True), 1)
        total = xp.where(used, plane, np.float32(0)).sum(axis=axis, keepdims=True, dtype=np.float64)
        plane = plane - (total / count).astype(np.float32)
    return plane


def _between(n: int, n_blocks: int, factor: int) -> npt.NDArray[np.float32]:
    """Weights (n, blocks) of the two blocks whose centres a pixel lies between; the last ones go on to the edge."""
    place = np.clip((np.arange(n) + 0.5) / factor - 0.5, 0, n_blocks - 1)
    low = np.minimum(place.astype(int), max(n_blocks - 2, 0))
    weights = np.zeros((n, n_blocks), np.float32)
    weights[np.arange(n), low] = 1 - (place - low)
    if n_blocks > 1:
        weights[np.arange(n), low + 1] = place - low
    return weights
