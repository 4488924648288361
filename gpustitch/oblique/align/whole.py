"""Correlation of whole overlaps: Pearson's correlation of two arrays over what they share, at every shift in reach."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gpustitch.array import Array, namespace, scipy_of
from gpustitch.model import ZYX

# Of the largest variances of what is shared: where less is left, a quotient is rounding.
_FAINT = 1e-4


@dataclass(frozen=True)
class Shared:
    """For each shift how many voxels two arrays share, their covariance and variances there, all times that number."""

    count: Array
    covariance: Array
    fixed_variance: Array
    moving_variance: Array


def shared_sums(fixed: Array, moving: Array, low: ZYX, high: ZYX, masks: tuple[Array, Array] | None = None) -> Shared:
    """Compare ``fixed[v]`` with ``moving[v + s]`` over all voxels that both have, for each shift s.

    Parameters
    ----------
    fixed, moving
        Arrays of any shapes (z, y, x), float32.
    low, high
        First and last shift s (z, y, x).
    masks
        Which voxels of ``fixed`` and ``moving`` count; None if all do.

    Returns
    -------
    Shared
        Arrays of shape ``high - low + 1``, float64; 0 where the arrays do not meet.

    Notes
    -----
    These are the sums of masked normalised correlation (D. Padfield, "Masked object registration in the Fourier
    domain", 2012). Without masks the shared voxels are a box: then only the products need a transform, and running sums
    give the rest.
    """
    xp = namespace(fixed, moving)
    # Sums of squares less the square of a sum: without a common level little is lost.
    f, g = (a - a.mean(dtype=np.float64).astype(np.float32) for a in (fixed, moving))
    if masks is not None:
        f, g = f * masks[0], g * masks[1]
    n, f_sum, f_squares, g_sum, g_squares = (
        _box_sums(f, g, low, high) if masks is None else _sums(f, g, masks, low, high)
    )
    safe = xp.maximum(n, 1)
    return Shared(
        n,
        _products(f, g, low, high) - f_sum * g_sum / safe,
        xp.maximum(f_squares - f_sum**2 / safe, 0),
        xp.maximum(g_squares - g_sum**2 / safe, 0),
    )


def pearson(parts: Sequence[Shared]) -> tuple[Array, Array]:
    """Pearson's correlation over all parts at each shift, each part about its own means, and the number of voxels.

    Both are float64. The correlation is 0 where the parts do not meet or hardly vary.
    """
    xp = namespace(parts[0].count)
    n, covariance, f, g = (
        sum(getattr(p, name) for p in parts) for name in ("count", "covariance", "fixed_variance", "moving_variance")
    )
    defined = f * g > _FAINT**2 * f.max() * g.max()
    return xp.clip(xp.where(defined, covariance / xp.sqrt(xp.where(defined, f * g, 1)), 0), -1, 1), n


def _products(f: Array, g: Array, low: ZYX, high: ZYX) -> Array:
    """The sum of ``f[v] * g[v + s]`` for each shift s, float64."""
    xp, fft = namespace(f, g), scipy_of(f).fft
    # Long enough that no product wraps round onto a shift in reach.
    needed = [max(b - lo, a + hi, b, a) for a, b, lo, hi in zip(f.shape, g.shape, low, high, strict=True)]
    shape = [fft.next_fast_len(int(n), True) for n in needed]
    product = fft.rfftn(f, shape)
    xp.conj(product, out=product)
    product *= fft.rfftn(g, shape)
    everywhere = fft.irfftn(product, shape)
    shifts = [np.arange(lo, hi + 1) for lo, hi in zip(low, high, strict=True)]
    out: Array = everywhere[xp.ix_(*[xp.asarray(s % n) for s, n in zip(shifts, shape, strict=True)])].astype(xp.float64)
    # Where the arrays do not meet, what is left is an alias.
    for axis, (shift, a, b) in enumerate(zip(shifts, f.shape, g.shape, strict=True)):
        meets = xp.asarray((shift > -a) & (shift < b))
        out *= meets.reshape([-1 if k == axis else 1 for k in range(3)])
    return out


def _sums(f: Array, g: Array, masks: tuple[Array, Array], low: ZYX, high: ZYX) -> list[Array]:
    """What :func:`_box_sums` gives, over the voxels that the masks leave."""
    xp = namespace(f)
    mf, mg = (m.astype(xp.float32) for m in masks)
    count = xp.maximum(xp.rint(_products(mf, mg, low, high)), 0)
    return [count, *(_products(a, b, low, high) for a, b in ((f, mg), (f * f, mg), (mf, g), (mf, g * g)))]


def _box_sums(f: Array, g: Array, low: ZYX, high: ZYX) -> list[Array]:
    """For each shift the number of shared voxels, and sums and sums of squares of both arrays over them, float64."""
    spans = [_shared(a, b, lo, hi) for a, b, lo, hi in zip(f.shape, g.shape, low, high, strict=True)]
    xp = namespace(f)
    z, y, x = (xp.asarray(stop - start, xp.float64) for start, stop, _ in spans)
    out = [z[:, None, None] * y[None, :, None] * x]
    for array, moved in ((f, 0), (g, 1)):
        ranges = [(start + moved * shift, stop + moved * shift) for start, stop, shift in spans]
        out += [_over_boxes(array, ranges), _over_boxes(array * array, ranges)]
    return out


def _shared(
    n_fixed: int, n_moving: int, low: int, high: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """For each shift the half-open range of ``fixed`` that meets ``moving``, and the shift; zeros if none does."""
    shift = np.arange(low, high + 1)
    start, stop = np.maximum(0, -shift), np.minimum(n_fixed, n_moving - shift)
    meets = stop > start
    return np.where(meets, start, 0), np.where(meets, stop, 0), np.where(meets, shift, 0)


def _over_boxes(array: Array, ranges: Sequence[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]) -> Array:
    """Sums over all boxes made of one range on each axis, float64, of the shape of the numbers of ranges."""
    xp = namespace(array)
    total = array.astype(xp.float64)
    for axis, (start, stop) in enumerate(ranges):
        before = [(1, 0) if k == axis else (0, 0) for k in range(3)]
        running = xp.pad(xp.cumsum(total, axis=axis), before)
        total = xp.take(running, xp.asarray(stop), axis=axis) - xp.take(running, xp.asarray(start), axis=axis)
    out: Array = total
    return out
