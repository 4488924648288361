"""Displacements that differ smoothly over a plane, and planes that are read at displaced places.

A displacement is a polynomial of low degree in row and column: degree 0 is a shift, degree 1 has turns and stretches,
higher ones warps. ``moved(plane)[y, x] = plane[(y, x) + displacement at (y, x)]``.
"""

from __future__ import annotations

import functools

import numpy as np
import numpy.typing as npt

from gpustitch.array import Array, namespace, scipy_of
from gpustitch.model.arrays import Floats

# Pixels on either side that a shift between pixels is interpolated from: Lanczos' kernel of radius 3.
REACH = 3
# Rows whose coordinates are held at a time, in pixels.
_PIXELS_AT_A_TIME = 1 << 18
# Part of an unused pixel in what is interpolated, from which the result is not used.
_MOST_UNUSED = 1e-3


class Displacement:
    """Polynomials of total degree up to ``degree`` over planes of one shape.

    Attributes
    ----------
    degrees
        int64 (terms,): total degree of each term. Term 0 is constant.
    """

    def __init__(self, shape: tuple[int, int], degree: int) -> None:
        self.shape, self.degree = shape, degree
        terms = sorted((a + b, a, b) for a in range(degree + 1) for b in range(degree + 1 - a))
        self.degrees: npt.NDArray[np.int64] = np.array([total for total, _, _ in terms])
        self._rows, self._columns = (np.array([term[i] for term in terms]) for i in (1, 2))

    def zeros(self) -> Floats:
        """Coefficients (2, terms), of rows and of columns, of no displacement."""
        return np.zeros((2, len(self.degrees)))

    def at(self, coefficients: Floats, rows: Floats, columns: Floats) -> Floats:
        """Displacements (2, rows, columns) in pixels at some rows and columns, which may lie between pixels."""
        square = np.zeros((2, self.degree + 1, self.degree + 1))
        square[:, self._rows, self._columns] = coefficients
        of_rows, of_columns = self._values(rows, 0), self._values(columns, 1)
        found: Floats = of_rows @ square @ of_columns.T
        return found

    def terms_at(self, rows: Floats, columns: Floats) -> Floats:
        """The terms (rows * columns, terms) at some rows and columns."""
        of_rows, of_columns = self._values(rows, 0)[:, self._rows], self._values(columns, 1)[:, self._columns]
        return (of_rows[:, None] * of_columns[None]).reshape(-1, len(self.degrees))

    def _values(self, places: Floats, axis: int) -> Floats:
        """Legendre's polynomials (places, degree + 1); a plane reaches from -1 to 1."""
        half = max(self.shape[axis] - 1, 1) / 2
        values = np.polynomial.legendre.legvander(np.asarray(places, np.float64) / half - 1, self.degree)
        return np.asarray(values, np.float64)


def moved(plane: Array, unused: Array | None, where: Displacement, coefficients: Floats) -> tuple[Array, Array | None]:
    """A plane at displaced places.

    Parameters
    ----------
    plane
        float32 (rows, columns), finite.
    unused
        float32 (rows, columns), 1 where a pixel is not used, else 0; None if all are used.
    where, coefficients
        The displacement.

    Returns
    -------
    float32 and bool (rows, columns): the values, and where they are used: within the plane and not beside an unused
    pixel. The latter is None if all are. Whole shifts return pixels as they are.
    """
    shift = coefficients[:, 0]
    if not coefficients[:, where.degrees > 0].any():
        return shifted(plane, (shift[0], shift[1])), _used_shifted(plane, unused, (shift[0], shift[1]))
    return _warped(plane, unused, where, coefficients)


def shifted(plane: Array, shift: tuple[float, float]) -> Array:
    """A plane ``shift`` pixels on along rows and columns: Lanczos' kernel of radius 3, edge pixels go on outside."""
    for axis, distance in enumerate(shift):
        whole = int(np.floor(distance))
        weights = _lanczos(float(distance) - whole)
        before = max(0, REACH - 1 - whole)
        after = max(0, whole + REACH)
        width = [(0, 0), (0, 0)]
        width[axis] = (before, after)
        padded = namespace(plane).pad(plane, width, mode="edge") if before or after else plane
        n, first = plane.shape[axis], before + whole - (REACH - 1)
        total: Array | None = None
        for k, weight in enumerate(weights):
            if weight:
                part = padded[(slice(None),) * axis + (slice(first + k, first + k + n),)]
                part = part if weight == 1 else part * np.float32(weight)
                total = part if total is None else total + part
        assert total is not None
        plane = total
    return plane


@functools.lru_cache(maxsize=64)
def _lanczos(fraction: float) -> tuple[float, ...]:
    """Weights of the pixels -2 ... 3 for a place ``fraction`` of a pixel after pixel 0; their sum is 1."""
    if fraction == 0:
        return (0.0, 0.0, 1.0, 0.0, 0.0, 0.0)
    away = np.arange(1 - REACH, REACH + 1) - fraction
    weights = np.sinc(away) * np.sinc(away / REACH)
    return tuple(float(weight) for weight in weights / weights.sum())


def _inside(places: Floats, n: int) -> npt.NDArray[np.bool_]:
    return (places > -0.5 * _MOST_UNUSED) & (places < n - 1 + 0.5 * _MOST_UNUSED)


def _used_shifted(plane: Array, unused: Array | None, shift: tuple[float, float]) -> Array | None:
    """Where a shifted plane is used; None if everywhere."""
    rows, columns = plane.shape
    inside = [_inside(np.arange(n) + distance, n) for n, distance in zip(plane.shape, shift, strict=True)]
    if unused is None and inside[0].all() and inside[1].all():
        return None
    xp = namespace(plane)
    used = xp.asarray(inside[0])[:, None] & xp.asarray(inside[1])[None]
    if unused is not None:
        near = scipy_of(plane).ndimage.maximum_filter(unused, 3) if any(s % 1 for s in shift) else unused
        for axis, (distance, n) in enumerate(zip(shift, (rows, columns), strict=True)):
            low = np.floor(distance + _MOST_UNUSED / 2)
            places = [np.clip(np.arange(n) + int(low) + k, 0, n - 1) for k in range(1 + bool(distance - low > 0))]
            near = functools.reduce(xp.maximum, [xp.take(near, xp.asarray(at), axis=axis) for at in places])
        used &= near == 0
    return used  # type: ignore[no-any-return]


def _warped(plane: Array, unused: Array | None, where: Displacement, coefficients: Floats) -> tuple[Array, Array]:
    """A plane at places displaced unevenly, by cubic splines, some rows at a time."""
    xp, ndimage = namespace(plane), scipy_of(plane).ndimage
    rows, columns = plane.shape
    near = None if unused is None else ndimage.maximum_filter(unused, 3)
    values, used = xp.empty(plane.shape, np.float32), xp.empty(plane.shape, bool)
    step = max(1, _PIXELS_AT_A_TIME // columns)
    margin = 16  # rows that a spline's values depend on beyond those it lies between, to float32's precision
    every = np.arange(columns, dtype=np.float64)
    for start in range(0, rows, step):
        stop = min(start + step, rows)
        here = np.arange(start, stop, dtype=np.float64)
        places = where.at(coefficients, here, every)
        places[0] += here[:, None]
        places[1] += every
        inside = _inside(places[0], rows) & _inside(places[1], columns)
        low = int(np.clip(np.floor(places[0].min()) - margin, 0, rows - 1))
        high = int(np.clip(np.ceil(places[0].max()) + margin + 1, low + 1, rows))
        places[0] -= low
        at = xp.asarray(places.astype(np.float32))
        values[start:stop] = ndimage.map_coordinates(plane[low:high], at, order=3, mode="nearest")
        used[start:stop] = xp.asarray(inside)
        if near is not None:
            used[start:stop] &= ndimage.map_coordinates(near[low:high], at, order=1, mode="nearest") <= _MOST_UNUSED
    return values, used
