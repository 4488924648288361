"""Smooth functions on the pixels of a frame: products of Legendre polynomials, and least squares with them."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import numpy as np
import numpy.typing as npt
from numpy.polynomial import Legendre, Polynomial

from gpustitch.model.arrays import Floats

# (degree along y, degree along x) of each term.
Degrees = tuple[tuple[int, int], ...]
# Quadratic along x, linear along y. Terms such as x*y would follow dim tissue in part of a frame more readily than
# dim light.
QUADRATIC: Degrees = ((0, 0), (0, 1), (0, 2), (1, 0))


class Basis:
    """Products of Legendre polynomials on the pixels of a frame, or on some of its rows and columns."""

    def __init__(self, shape: tuple[int, int], degrees: Degrees) -> None:
        self.shape = shape
        self.degrees = degrees
        self.i = np.array([y for y, _ in degrees])
        self.j = np.array([x for _, x in degrees])
        self.y, self.x = (
            np.stack([Legendre.basis(d, domain=_domain(n))(np.arange(n)) for d in range(degree + 1)], axis=1)
            for n, degree in zip(shape, (self.i.max(), self.j.max()), strict=True)
        )

    def part(self, rows: slice | npt.NDArray[np.intp], columns: slice | npt.NDArray[np.intp]) -> Basis:
        """The same polynomials on these rows and columns of the frame."""
        part = object.__new__(Basis)
        part.shape, part.degrees, part.i, part.j = self.shape, self.degrees, self.i, self.j
        part.y, part.x = self.y[rows], self.x[columns]
        return part

    def at(self, y: npt.NDArray[np.intp], x: npt.NDArray[np.intp]) -> Floats:
        """Design matrix (pixels, terms) of single pixels."""
        return self.y[y][:, self.i] * self.x[x][:, self.j]

    def surface(self, terms: Floats) -> Floats:
        """The polynomial with these coefficients on all pixels."""
        matrix = np.zeros((self.y.shape[1], self.x.shape[1]))
        matrix[self.i, self.j] = terms
        return self.y @ matrix @ self.x.T

    def least_squares(self, values: Floats, weights: Floats) -> Floats:
        """Coefficients of the weighted least-squares fit; of equally good fits the smallest coefficients.

        The polynomials are products, so the sums over all pixels are two small matrix products.
        """
        q, p = self.y.shape[1], self.x.shape[1]
        xx = (self.x[:, :, None] * self.x[:, None, :]).reshape(-1, p * p)
        yy = (self.y[:, :, None] * self.y[:, None, :]).reshape(-1, q * q)
        moments = (yy.T @ (weights @ xx)).reshape(q, q, p, p)
        normal = moments[self.i[:, None], self.i, self.j[:, None], self.j]
        right = (self.y.T @ ((weights * values) @ self.x))[self.i, self.j]
        return np.asarray(np.linalg.lstsq(normal, right, rcond=1e-12)[0])

    def coefficients(self, terms: Floats) -> dict[str, float]:
        """Coefficients by name, as `gpustitch.oblique.flat.fit.FlatFit` states them."""
        if self.degrees != QUADRATIC:
            return {f"P{i}(y) P{j}(x)": float(c) for i, j, c in zip(self.i, self.j, terms, strict=True)}
        constant, x1, x2, y1 = terms
        along_x = _powers(Legendre([constant, x1, x2], domain=_domain(self.shape[1])), 3)
        along_y = _powers(Legendre([0, y1], domain=_domain(self.shape[0])), 2)
        return {"x^2": along_x[2], "x": along_x[1], "y": along_y[1], "1": along_x[0] + along_y[0]}


def _domain(length: int) -> list[float]:
    return [0.0, max(1.0, length - 1.0)]


def _powers(series: Legendre, count: int) -> list[float]:
    found = cast(Callable[..., Polynomial], series.convert)(kind=Polynomial, domain=[-1, 1]).coef
    return [float(c) for c in found] + [0.0] * (count - len(found))
