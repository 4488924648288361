"""Gaussian smoothing: of small windows as three matrix products, of whole planes as scikit-image and cuCIM do it."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import scipy

from gpustitch.array import Array, kernel, namespace, skimage_of

TRUNCATE = 4.0
# On the host rows of a long filter's matrix are taken so many at a time, without the zeros beside what they hold.
_BLOCK, _LONG = 24, 48


def gaussian_radius(sigma_px: float) -> int:
    """Voxels on either side at which a Gaussian of ``sigma_px`` is cut off."""
    return int(TRUNCATE * sigma_px + 0.5)


def smoothing_error(sigma_px: Sequence[float]) -> float:
    """Most that rounding changes voxels of one level in :func:`smooth`, as a part of that level.

    A sum of n products is rounded n times, each time by at most half an epsilon of the sum so far. By the symmetry of
    the weights that is half of the whole sum on average. One more half epsilon comes from the weights, one from the
    products.
    """
    return float(np.finfo(np.float32).eps) / 2 * sum(gaussian_radius(s) + 3 for s in sigma_px)


@np.errstate(invalid="ignore")  # what is not finite makes NaN of all about it
def smooth(volume: Array, sigma_px: Sequence[float], keep: Sequence[slice] = (slice(None),) * 3) -> Array:
    """Smooth a window with a Gaussian, as ``scipy.ndimage.gaussian_filter`` does with mode ``reflect``.

    The filter along one axis is a banded matrix, which includes the reflection at the edges. For windows of up to
    about 200 voxels a product with it is several times faster than a sliding sum. Voxels that ``keep`` leaves
    out are never computed.

    Parameters
    ----------
    volume
        Window, shape (z, y, x), any real dtype.
    sigma_px
        Standard deviations along z, y and x, in voxels; 0 leaves an axis alone.
    keep
        The part of each axis to compute: slices with any step.

    Returns
    -------
    array
        float32, of the shape that ``keep`` cuts out.
    """
    xp = namespace(volume)
    depth, height, width = (
        xp.asarray(_gaussian_matrix(n, float(s))[k]) for n, s, k in zip(volume.shape, sigma_px, keep, strict=True)
    )
    of_depth, of_height, of_width = (
        _bands(n, float(s)) if xp is np and k == slice(None) else ()
        for n, s, k in zip(volume.shape, sigma_px, keep, strict=True)
    )
    # Plane by plane: products this small stay on the calling thread. One large product would wake all threads.
    planes = xp.asarray(volume, dtype=xp.float32).transpose(1, 0, 2)
    planes = _product(height, _product(depth, planes, of_depth).transpose(1, 0, 2), of_height)
    if not of_width:
        smoothed: Array = xp.matmul(planes, width.T)
        return smoothed
    smoothed = xp.empty((*planes.shape[:2], len(width)), xp.float32)
    for rows, columns in of_width:
        xp.matmul(planes[..., columns], width[rows, columns].T, out=smoothed[..., rows])
    return smoothed


def _product(matrix: Array, planes: Array, bands: Sequence[tuple[slice, slice]]) -> Array:
    """``matrix`` times each plane; of a banded matrix without its zeros."""
    xp = namespace(planes)
    if not bands:
        return xp.matmul(matrix, planes)  # type: ignore[no-any-return]
    out: Array = xp.empty((len(planes), len(matrix), planes.shape[2]), xp.float32)
    for rows, columns in bands:
        xp.matmul(matrix[rows, columns], planes[:, columns], out=out[:, rows])
    return out


@functools.lru_cache(maxsize=64)
def _bands(n: int, sigma_px: float) -> tuple[tuple[slice, slice], ...]:
    """Rows of the matrix of a filter, and the columns of what they hold; nothing of a short one, which is no slower."""
    if n < _LONG:
        return ()
    matrix, bands = _gaussian_matrix(n, sigma_px), []
    for first in range(0, n, _BLOCK):
        held = np.flatnonzero(matrix[first : first + _BLOCK].any(axis=0))
        bands.append((slice(first, min(first + _BLOCK, n)), slice(int(held[0]), int(held[-1]) + 1)))
    return tuple(bands)


@kernel("smooth.cu", T="voxels: uint8 uint16 float32")
def smooth_along(voxels: Array, places: Array, weights: Array, out: Array, axis: int) -> None:
    """Smooth arrays of any shapes along one axis, each reflected at its ends: on a device one call does all.

    Parameters
    ----------
    voxels
        An array (z, y, x) at the beginning of each row, shape (arrays, room), uint8, uint16 or float32.
    places
        Their shapes in the first three columns, shape (arrays, columns), int64.
    weights
        Weights of a voxel and its neighbours, shape (2 radius + 1,), float32.
    out
        The smoothed arrays, shape of ``voxels``, float32; written where there are voxels.
    axis
        0, 1 or 2.
    """
    for row, place, smoothed in zip(voxels, places, out, strict=True):
        shape = place[:3].tolist()
        n = math.prod(shape)
        window = row[:n].reshape(shape).astype(np.float32)
        smoothed[:n] = scipy.ndimage.correlate1d(window, weights.astype(np.float64), axis, mode="reflect").ravel()


def smooth_all_axes(voxels: Array, places: Array, weights: Sequence[Array], out: Array, room: Array) -> None:
    """Smooth arrays along z, y and x: :func:`smooth_along` with the weights of each axis.

    ``room`` is of the shape and type of ``out``, and is written too.
    """
    along_z, along_y, along_x = weights
    smooth_along(voxels, places, along_z, out, 0)
    smooth_along(out, places, along_y, room, 1)
    smooth_along(room, places, along_x, out, 2)


def gaussian_weights(sigma_px: float) -> npt.NDArray[np.float32]:
    """Weights of a voxel and of its neighbours on either side, shape (2 radius + 1,)."""
    near = np.arange(-(radius := gaussian_radius(sigma_px)), radius + 1)
    weights = np.exp(-0.5 * (near / sigma_px) ** 2) if radius else np.ones(1)
    return np.asarray(weights / weights.sum(), np.float32)


def gaussian(image: Array, sigma_px: float) -> Array:
    """Smooth an image of any size with a Gaussian, reflected at its edges: float32 or float64, as the image.

    For windows of some 200 voxels and less :func:`smooth` is faster.

    Parameters
    ----------
    image
        Array of any number of axes, float32 or float64.
    sigma_px
        Standard deviation along every axis, in pixels.
    """
    filters = skimage_of(image).filters
    smoothed: Array = filters.gaussian(
        image, sigma_px, mode="reflect", preserve_range=True, truncate=TRUNCATE, channel_axis=None
    )
    return smoothed


@functools.lru_cache(maxsize=64)
def _gaussian_matrix(n: int, sigma_px: float) -> npt.NDArray[np.float32]:
    """Matrix (n, n): row i holds the weights of the n voxels in the smoothed voxel i."""
    identity = np.eye(n)
    if sigma_px > 0:
        identity = scipy.ndimage.gaussian_filter1d(identity, sigma_px, axis=0, mode="reflect", truncate=TRUNCATE)
    return np.ascontiguousarray(identity, dtype=np.float32)
