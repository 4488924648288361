"""Coarse search: Pearson correlation at every shift at which a window fits into a region."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from gpustitch.array import Array, namespace, scipy_of
from gpustitch.errors import ParameterError
from gpustitch.ops.rounding import FLAT

# Of the mean square of a region: windows of less variance hold the rounding of the region's transform.
_FAINT = 1e-6


def correlate_all_shifts(fixed: Array, moving: Array) -> Array:
    """Pearson's correlation of ``fixed`` with every window of its shape inside ``moving``.

    Parameters
    ----------
    fixed
        Window, shape (z, y, x), float32.
    moving
        Region at least as large on each axis, float32.

    Returns
    -------
    array
        float32, of shape ``moving.shape - fixed.shape + 1``. Entry (i, j, k) belongs to the window of ``moving`` that
        begins at voxel (i, j, k). An entry is 0 where one of the windows is constant.

    Raises
    ------
    ParameterError
        If ``moving`` is smaller than ``fixed``.

    Notes
    -----
    The cross sums come from one product of Fourier transforms. The sums over windows come from banded matrices
    (Lewis, "Fast normalized cross-correlation", 1995).
    """
    if any(m < f for m, f in zip(moving.shape, fixed.shape, strict=True)):
        raise ParameterError(f"a region of shape {moving.shape} has no room for a window of shape {fixed.shape}")
    xp, fft = namespace(fixed, moving), scipy_of(fixed).fft
    f = fixed - fixed.mean(dtype=np.float64).astype(np.float32)
    m = moving - moving.mean(dtype=np.float64).astype(np.float32)
    shape = [fft.next_fast_len(n, True) for n in moving.shape]
    cut = tuple(slice(0, a - b + 1) for a, b in zip(moving.shape, fixed.shape, strict=True))
    cross = fft.irfftn(fft.rfftn(m, shape) * xp.conj(fft.rfftn(f, shape)), shape)[cut]
    sums = _sums(m, fixed.shape)
    squares = _sums(m * m, fixed.shape)
    variance = squares - sums * sums / fixed.size
    fixed_variance = float((f * f).sum(dtype=np.float64))
    least = max(_FAINT * float((m * m).mean(dtype=np.float64)), (FLAT * float(abs(moving).max())) ** 2)
    defined = variance > least * fixed.size
    if fixed_variance <= fixed.size * (FLAT * float(abs(fixed).max())) ** 2:
        defined = xp.zeros_like(defined)
    scale = xp.sqrt(xp.where(defined, variance * fixed_variance, 1))
    out: Array = xp.where(defined, cross / scale, 0).astype(xp.float32)
    return out


def _sums(volume: Array, window: tuple[int, ...]) -> Array:
    """Sum over the window at every place where the window fits."""
    xp = namespace(volume)
    z, y, x = (xp.asarray(_bands(n, w)) for n, w in zip(volume.shape, window, strict=True))
    planes = xp.matmul(y, xp.matmul(z, volume.transpose(1, 0, 2)).transpose(1, 0, 2))
    out: Array = xp.matmul(planes, x.T)
    return out


def _bands(n: int, window: int) -> npt.NDArray[np.float32]:
    position = np.arange(n)[None, :] - np.arange(n - window + 1)[:, None]
    return ((position >= 0) & (position < window)).astype(np.float32)
