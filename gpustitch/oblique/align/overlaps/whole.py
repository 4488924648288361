"""Correlation of whole overlaps: Pearson's correlation of two arrays over what they share, at every shift in reach."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gpustitch.array import Array, namespace, scipy_of
from gpustitch.model import ZYX
from gpustitch.model.arrays import Integers

# Of the largest variances of what is shared: where less is left, a quotient is rounding.
_FAINT = 1e-4
# Of the largest sum of squares: a variance below is the rounding of its sums.
_ROUNDING = 1e-5


@dataclass(frozen=True)
class Shared:
    """For each shift how many voxels two arrays share, their covariance and variances there, all times that number."""

    count: Array
    covariance: Array
    fixed_variance: Array
    moving_variance: Array


class Comparison:
    """Two arrays, compared at every shift s in reach: ``fixed[v]`` with ``moving[v + s]`` over all voxels both have.

    Parameters
    ----------
    fixed, moving
        Arrays of any shapes (z, y, x), float32.
    low, high
        First and last shift s (z, y, x).
    masks
        Which voxels of ``fixed`` and ``moving`` count; None if all do.

    Notes
    -----
    The sums are those of masked normalised correlation (D. Padfield, "Masked object registration in the Fourier
    domain", 2012). Without masks the shared voxels are a box: then only the products need transforms, and running sums
    give the rest. What depends on ``moving`` alone is computed once, for ``fixed`` and for all its mirror images.
    """

    def __init__(
        self, fixed: Array, moving: Array, low: ZYX, high: ZYX, masks: tuple[Array, Array] | None = None
    ) -> None:
        xp, fft = namespace(fixed, moving), scipy_of(fixed).fft
        # Sums of squares less the square of a sum: without a common level little is lost.
        f, g = (a - a.mean(dtype=np.float64).astype(np.float32) for a in (fixed, moving))
        if masks is not None:
            f, g = f * masks[0], g * masks[1]
        self._f, self._g, self._masks = f, g, masks
        self._shifts = [np.arange(lo, hi + 1) for lo, hi in zip(low, high, strict=True)]
        # Long enough that no product wraps round onto a shift in reach.
        needed = [max(b - lo, a + hi, b, a) for a, b, lo, hi in zip(f.shape, g.shape, low, high, strict=True)]
        self._shape = [fft.next_fast_len(int(n), True) for n in needed]
        self._transform = fft.rfftn(g, self._shape)
        self._spans = [_shared(a, b, s) for a, b, s in zip(f.shape, g.shape, self._shifts, strict=True)]
        if masks is None:
            z, y, x = (xp.asarray(stop - start, xp.float64) for start, stop in self._spans)
            self._count = z[:, None, None] * y[None, :, None] * x
            self._running = [_running(f), _running(f * f)]
            of_moving = [
                (start + s * (stop > start), stop + s * (stop > start))
                for (start, stop), s in zip(self._spans, self._shifts, strict=True)
            ]
            self._moving = [_over_boxes(_running(v), of_moving) for v in (g, g * g)]

    def sums(self, mirrored: tuple[int, ...] = ()) -> Shared:
        """The sums for each shift, float64; 0 where the arrays do not meet.

        ``mirrored`` names axes along which ``fixed`` is turned round first.
        """
        xp = namespace(self._f)
        f = xp.ascontiguousarray(xp.flip(self._f, mirrored)) if mirrored else self._f
        if self._masks is None:
            n = self._count
            ranges = [
                (len_ - stop, len_ - start) if axis in mirrored else (start, stop)
                for axis, (len_, (start, stop)) in enumerate(zip(f.shape, self._spans, strict=True))
            ]
            f_sum, f_squares = (_over_boxes(v, ranges) for v in self._running)
            g_sum, g_squares = self._moving
            cross = self._products(f, self._transform)
        else:
            fft = scipy_of(f).fft
            mask = xp.flip(self._masks[0], mirrored).astype(xp.float32)
            of_mask, of_squares = (
                fft.rfftn(v, self._shape) for v in (self._masks[1].astype(xp.float32), self._g * self._g)
            )
            n = xp.maximum(xp.rint(self._products(mask, of_mask)), 0)
            f_sum, f_squares = (self._products(v, of_mask) for v in (f, f * f))
            g_sum, g_squares = (self._products(mask, v) for v in (self._transform, of_squares))
            cross = self._products(f, self._transform)
        safe = xp.maximum(n, 1)
        variances = []
        for total, squares in ((f_sum, f_squares), (g_sum, g_squares)):
            variance = squares - total**2 / safe
            variances.append(xp.where((n > 1) & (variance > _ROUNDING * squares.max()), variance, 0))
        return Shared(n, cross - f_sum * g_sum / safe, *variances)

    def _products(self, f: Array, transform: Array) -> Array:
        """The sum of ``f[v] * g[v + s]`` for each shift s, float64; ``transform`` is that of g."""
        xp, fft = namespace(f), scipy_of(f).fft
        product = xp.conj(fft.rfftn(f, self._shape))
        product *= transform
        everywhere = fft.irfftn(product, self._shape)
        at = [xp.asarray(s % n) for s, n in zip(self._shifts, self._shape, strict=True)]
        out: Array = everywhere[xp.ix_(*at)].astype(xp.float64)
        # Where the arrays do not meet, what is left is an alias.
        z, y, x = (xp.asarray(stop > start) for start, stop in self._spans)
        out *= z[:, None, None] & y[None, :, None] & x
        return out


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


def _shared(n_fixed: int, n_moving: int, shift: Integers) -> tuple[Integers, Integers]:
    """For each shift the half-open range of ``fixed`` that meets ``moving``; 0 to 0 where none does."""
    start, stop = np.maximum(0, -shift), np.minimum(n_fixed, n_moving - shift)
    meets = stop > start
    return np.where(meets, start, 0), np.where(meets, stop, 0)


def _running(array: Array) -> Array:
    """Sums over all voxels before each, on every axis, float64, one longer than the array."""
    xp = namespace(array)
    out: Array = xp.zeros([n + 1 for n in array.shape])
    inside = out[1:, 1:, 1:]
    inside[...] = array
    for axis in range(3):
        inside[...] = xp.cumsum(inside, axis=axis)
    return out


def _over_boxes(running: Array, ranges: Sequence[tuple[Integers, Integers]]) -> Array:
    """Sums over all boxes made of one range on each axis, float64, of the shape of the numbers of ranges."""
    xp = namespace(running)
    out: Array = running
    for axis, (start, stop) in enumerate(ranges):
        out = xp.take(out, xp.asarray(stop), axis=axis) - xp.take(out, xp.asarray(start), axis=axis)
    return out
