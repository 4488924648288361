"""Correlation of whole overlaps: Pearson's correlation of two arrays over what they share, at every shift in reach."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy

from gpustitch.model import ZYX
from gpustitch.model.arrays import HostArray, Integers

# Of the largest variances of what is shared: where less is left, a quotient is rounding.
FAINT = 1e-4
# Of the largest sum of squares: a variance below is the rounding of its sums.
ROUNDING = 1e-5


@dataclass(frozen=True)
class Shared:
    """For each shift how many voxels two arrays share, their covariance and variances there, all times that number."""

    count: HostArray
    covariance: HostArray
    fixed_variance: HostArray
    moving_variance: HostArray


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
        self,
        fixed: HostArray,
        moving: HostArray,
        low: ZYX,
        high: ZYX,
        masks: tuple[HostArray, HostArray] | None = None,
    ) -> None:
        # Sums of squares less the square of a sum: without a common level little is lost.
        f, g = (a - a.mean(dtype=np.float64).astype(np.float32) for a in (fixed, moving))
        if masks is not None:
            f, g = f * masks[0], g * masks[1]
        self._shifts = [np.arange(lo, hi + 1) for lo, hi in zip(low, high, strict=True)]
        # Long enough that no product wraps round onto a shift in reach.
        needed = [max(b - lo, a + hi, b, a) for a, b, lo, hi in zip(f.shape, g.shape, low, high, strict=True)]
        self._n_fixed, self._shape = f.shape, [scipy.fft.next_fast_len(int(n), True) for n in needed]
        self._spans = [shared_ranges(a, b, s) for a, b, s in zip(f.shape, g.shape, self._shifts, strict=True)]
        z, y, x = (stop > start for start, stop in self._spans)
        self._meet = z[:, None, None] & y[None, :, None] & x
        self._f, self._g = self._transform(f), self._transform(g)
        self._is_masked = masks is not None
        if masks is not None:
            here, there = (m.astype(np.float32) for m in masks)
            self._of_fixed = [self._transform(v) for v in (here, f * f)]
            self._of_moving = [self._transform(v) for v in (there, g * g)]
        else:
            depth, height, width = ((stop - start).astype(np.float64) for start, stop in self._spans)
            self._count = depth[:, None, None] * height[None, :, None] * width
            # On each axis the ranges of fixed, and behind them those of its mirror image.
            of_fixed = [
                (np.r_[start, n - stop], np.r_[stop, n - start])
                for n, (start, stop) in zip(f.shape, self._spans, strict=True)
            ]
            of_moving = [
                (start + s * (stop > start), stop + s * (stop > start))
                for (start, stop), s in zip(self._spans, self._shifts, strict=True)
            ]
            self._of_fixed = [_over_boxes(v, of_fixed) for v in (f, f * f)]
            self._of_moving = [_over_boxes(v, of_moving) for v in (g, g * g)]

    def sums(self, mirrored: tuple[int, ...] = ()) -> Shared:
        """The sums for each shift, float64; 0 where the arrays do not meet.

        ``mirrored`` names axes along which ``fixed`` is turned round first.
        """
        cross = self._products(self._f, self._g, mirrored)
        if self._is_masked:
            (here, f_square), (there, g_square) = self._of_fixed, self._of_moving
            n = np.maximum(np.rint(self._products(here, there, mirrored)), 0)
            f_sum, f_squares = (self._products(v, there, mirrored) for v in (self._f, f_square))
            g_sum, g_squares = (self._products(here, v, mirrored) for v in (self._g, g_square))
        else:
            n = self._count
            at = tuple(
                slice(s.size, None) if axis in mirrored else slice(s.size) for axis, s in enumerate(self._shifts)
            )
            (f_sum, f_squares), (g_sum, g_squares) = (v[at] for v in self._of_fixed), self._of_moving
        safe = np.maximum(n, 1)
        variances = []
        for total, squares in ((f_sum, f_squares), (g_sum, g_squares)):
            variance = squares - total**2 / safe
            variances.append(np.where((n > 1) & (variance > ROUNDING * squares.max()), variance, 0))
        return Shared(n, cross - f_sum * g_sum / safe, *variances)

    def _transform(self, array: HostArray) -> HostArray:
        """Its Fourier transform, one axis after the other: what is only padding is transformed as late as can be."""
        out: HostArray = scipy.fft.rfft(array, self._shape[2], axis=2)
        for axis in (1, 0):
            out = scipy.fft.fft(out, self._shape[axis], axis=axis, overwrite_x=True)
        return out

    def _products(self, fixed: HostArray, moving: HostArray, mirrored: tuple[int, ...]) -> HostArray:
        """The sum of ``f[v] * g[v + s]`` for each shift s, float64, of the transforms of f, to be mirrored, and g."""
        # Mirrored about voxel 0, an array has its frequencies turned round. Along x half of them are kept: the others
        # are their conjugates, with all axes turned.
        conjugated, at = 2 in mirrored, []
        for axis, (n, s, n_fixed) in enumerate(zip(self._shape, self._shifts, self._n_fixed, strict=True)):
            at.append((s + n_fixed - 1 if axis in mirrored else s) % n)
            if axis < 2 and (axis in mirrored) != conjugated:
                fixed = np.take(fixed, -np.arange(n) % n, axis=axis)
        product = (fixed if conjugated else np.conj(fixed)) * moving
        # Only shifts in reach go on from each axis to the next.
        for axis in (0, 1):
            product = np.take(scipy.fft.ifft(product, axis=axis, overwrite_x=True), at[axis], axis=axis)
        everywhere = scipy.fft.irfft(product, self._shape[2], axis=2)
        out: HostArray = np.take(everywhere, at[2], axis=2).astype(np.float64)
        # Where the arrays do not meet, what is left is an alias.
        out *= self._meet
        return out


def pearson(parts: Sequence[Shared]) -> tuple[HostArray, HostArray]:
    """Pearson's correlation over all parts at each shift, each part about its own means, and the number of voxels.

    Both are float64. The correlation is 0 where the parts do not meet or hardly vary.
    """
    n, covariance, f, g = (
        sum(getattr(p, name) for p in parts) for name in ("count", "covariance", "fixed_variance", "moving_variance")
    )
    defined = f * g > FAINT**2 * f.max() * g.max()
    return np.clip(np.where(defined, covariance / np.sqrt(np.where(defined, f * g, 1)), 0), -1, 1), n


def shared_ranges(n_fixed: int, n_moving: int, shift: Integers) -> tuple[Integers, Integers]:
    """For each shift the half-open range of ``fixed`` that meets ``moving``; 0 to 0 where none does."""
    start, stop = np.maximum(0, -shift), np.minimum(n_fixed, n_moving - shift)
    meets = stop > start
    return np.where(meets, start, 0), np.where(meets, stop, 0)


def _over_boxes(array: HostArray, ranges: Sequence[tuple[Integers, Integers]]) -> HostArray:
    """Sums over all boxes made of one range on each axis, float64, of the shape of the numbers of ranges."""
    out: HostArray = array
    for axis, (start, stop) in enumerate(ranges):
        # What all ranges hold is summed first.
        low, high = (
            int(f(v[stop > start], initial=e)) for f, v, e in ((np.max, start, 0), (np.min, stop, out.shape[axis]))
        )
        if high - low > 1:
            before, middle, behind = np.split(out, [low, high], axis=axis)
            out = np.concatenate([before, middle.sum(axis=axis, dtype=np.float64, keepdims=True), behind], axis=axis)
            start, stop = (np.where(v >= high, v - (high - low - 1), v) for v in (start, stop))
        running = np.zeros([n + (k == axis) for k, n in enumerate(out.shape)])
        running[tuple(slice(int(k == axis), None) for k in range(3))] = np.cumsum(out, axis=axis, dtype=np.float64)
        out = np.take(running, stop, axis=axis) - np.take(running, start, axis=axis)
    return out
