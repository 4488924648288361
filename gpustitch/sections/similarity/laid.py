"""How one plane lies on another: a shift from the peak of their cross-correlation, then steps of Gauss and Newton."""

from __future__ import annotations

import math

import numpy as np

from gpustitch.array import Array, namespace, scipy_of, to_host
from gpustitch.model.arrays import Floats
from gpustitch.ops.smooth import gaussian
from gpustitch.sections.similarity.displaced import Displacement, moved

# Texture: less than this fine and finer than this coarse, Gaussians in pixels.
FINE_PX, COARSE_PX = 1.0, 8.0
# Cells along the longer side, whose sums the fit needs, and their least side in pixels.
_CELLS, _LEAST_CELL = 16, 8
# Least height of a peak that is believed, in standard deviations of the cross-correlation.
_LEAST_PEAK = 4.0
# Steps of the fit: of the shift alone, then of everything.
_SHIFT_STEPS, _STEPS = 2, 3
# Greatest step in pixels of the texture; the linear fit knows nothing beyond. How strongly high degrees are held.
_LONGEST_STEP, _HELD = 1.5, 1e-3


def texture_of(plane: Array) -> tuple[Array, Array]:
    """What planes are laid on each other by: float32 (rows, columns) of contrast 1, and 1 where a pixel is used.

    ``plane`` is float32, NaN where a pixel is not used; there the texture is 0.
    """
    xp = namespace(plane)
    used = xp.isfinite(plane)
    weight = used.astype(np.float32)
    n = max(float(weight.sum(dtype=np.float64)), 1.0)
    filled = xp.where(used, plane, np.float32(0))
    mean = float(filled.sum(dtype=np.float64)) / n
    filled = xp.where(used, plane - np.float32(mean), np.float32(0))
    if n == used.size:
        found = gaussian(filled, FINE_PX) - gaussian(filled, COARSE_PX)
    else:
        fine, coarse = (gaussian(filled, s) / xp.maximum(gaussian(weight, s), 1e-3) for s in (FINE_PX, COARSE_PX))
        found = (fine - coarse) * weight
    contrast = math.sqrt(float((found * found).sum(dtype=np.float64)) / n)
    return (found / np.float32(contrast) if contrast > 0 else found).astype(np.float32), weight


class DisplacementFit:
    """Displacement of a texture against a reference."""

    def __init__(self, where: Displacement) -> None:
        rows, columns = where.shape
        cell = max(_LEAST_CELL, -(-max(where.shape) // _CELLS))
        self.where, self.cell = where, (min(cell, rows), min(cell, columns))
        self.grid = (rows // self.cell[0], columns // self.cell[1])
        centers = [
            np.arange(n, dtype=np.float64) * side + (side - 1) / 2 for n, side in zip(self.grid, self.cell, strict=True)
        ]
        self.terms = where.terms_at(centers[0], centers[1])

    def found(
        self, reference: Array, reference_used: Array, texture: Array, used: Array, start: Floats, reach: int
    ) -> Floats:
        """Coefficients (2, terms) from the expected ones."""
        unused = 1 - used
        values, is_used = moved(texture, unused, self.where, start)
        found = start.copy()
        found[:, 0] += peak(reference * reference_used, values if is_used is None else values * is_used, reach)
        for step in range(_SHIFT_STEPS + (_STEPS if self.where.degree else 0)):
            degree = 0 if step < _SHIFT_STEPS else self.where.degree
            values, is_used = moved(texture, unused, self.where, found)
            both = reference_used if is_used is None else reference_used * is_used
            found += self.step(self.sums(reference, values, both), degree)
        return found

    def sums(self, reference: Array, values: Array, both: Array) -> Floats:
        """Sums over each cell, float64 (7, cells), that :meth:`step` fits a displacement to.

        They are of products of gradients (yy, yx, xx), of gradients and differences (y, x), of squared differences,
        and of products of the two planes' gradients. ``both`` is 1 where both planes are used, else 0.
        """
        slopes = [[_slope(of, axis) for axis in (0, 1)] for of in (reference, values)]
        shared = slopes[0][0] * slopes[1][0] + slopes[0][1] * slopes[1][1]
        y, x = ((slopes[0][axis] + slopes[1][axis]) * both / 2 for axis in (0, 1))
        difference = (reference - values) * both
        products = ((y, y), (y, x), (x, x), (y, difference), (x, difference), (difference, difference), (shared, both))
        return np.stack([self._summed(a * b) for a, b in products])

    def _summed(self, product: Array) -> Floats:
        """Sums over cells; rows and columns beyond the last whole cell are left out."""
        (ny, nx), side = self.grid, self.cell
        whole = product[: ny * side[0], : nx * side[1]].reshape(ny, side[0], nx, side[1])
        summed: Floats = to_host(whole.sum(axis=(1, 3), dtype=np.float64)).ravel()
        return summed

    def step(self, sums: Floats, degree: int) -> Floats:
        """The change (2, terms) of the coefficients up to a degree that makes differences smallest."""
        yy, yx, xx, y, x, _, shared = sums
        change = self.where.zeros()
        taken = self.where.degrees <= degree
        terms = self.terms[:, taken]
        n = terms.shape[1]
        normal = np.empty((2, n, 2, n))
        normal[0, :, 0], normal[0, :, 1], normal[1, :, 1] = (terms.T @ (of[:, None] * terms) for of in (yy, yx, xx))
        normal[1, :, 0] = normal[0, :, 1]
        total = float((yy + xx).sum())
        if not total > 0:
            return change
        held = np.where(np.tile(self.where.degrees[taken], 2) > 0, _HELD, 1e-9) * total / 2
        right = np.concatenate([terms.T @ y, terms.T @ x])
        found = np.linalg.solve(normal.reshape(2 * n, 2 * n) + np.diag(held), right).reshape(2, n)
        # Slopes that the two do not share make steps too short.
        found *= min(2.0, total / max(float(shared.sum()), total / 3))
        change[:, taken] = found
        longest = float(np.abs(self.terms @ change.T).max())
        return change * min(1.0, _LONGEST_STEP / longest) if longest > 0 else change


def _slope(plane: Array, axis: int) -> Array:
    """Central differences along an axis, 0 at its ends."""
    xp = namespace(plane)
    out = xp.zeros(plane.shape, np.float32)
    before = (slice(None),) * axis
    if plane.shape[axis] > 2:
        out[(*before, slice(1, -1))] = (plane[(*before, slice(2, None))] - plane[(*before, slice(None, -2))]) / 2
    return out  # type: ignore[no-any-return]


def peak(reference: Array, values: Array, reach: int) -> Floats:
    """Shift (2,) in whole pixels at which the cross-correlation peaks; 0 if that peak may be chance."""
    fft = scipy_of(values).fft
    size = [fft.next_fast_len(n + reach, True) for n in values.shape]
    spectrum = fft.rfft2(reference, size).conj() * fft.rfft2(values, size)
    product = fft.irfft2(spectrum, size)
    xp = namespace(product)
    away = [xp.asarray(np.arange(-min(reach, n - 1), min(reach, n - 1) + 1)) for n in values.shape]
    near = to_host(xp.take(xp.take(product, away[0] % size[0], axis=0), away[1] % size[1], axis=1))
    row, column = np.unravel_index(int(near.argmax()), near.shape)
    deviation = float(product.std())
    if not near[row, column] > _LEAST_PEAK * deviation:
        return np.zeros(2)
    return np.array([row - near.shape[0] // 2, column - near.shape[1] // 2], np.float64)
