"""Banded normal equations: their solution, and what their inverse, the covariance, says of errors."""

from __future__ import annotations

import numpy as np
import scipy

from gpustitch.errors import AlignmentError
from gpustitch.model.arrays import Floats, Integers


def factor(band: Floats) -> Floats:
    """Cholesky's factor; of a stronger diagonal where rounding or a curve that is no covariance lets there be none."""
    band[0] += 1e-9 * np.median(band[0])
    for _ in range(12):
        try:
            factor: Floats = scipy.linalg.cholesky_banded(band, lower=True, check_finite=False)
            return factor
        except scipy.linalg.LinAlgError:
            band[0] = 2 * np.abs(band[0])
    raise AlignmentError("section positions cannot be solved for: the similarities contradict each other")


def solution(factor: Floats, right: Floats) -> Floats:
    """Solution of the equations, or of several."""
    solution: Floats = scipy.linalg.cho_solve_banded((factor, True), right, check_finite=False)
    return solution


def inverse_diagonal(factor: Floats) -> Floats:
    """Diagonal of the inverse of a matrix of which Cholesky's factor is given.

    Parameters
    ----------
    factor
        float64 (w + 1, n): lower band of the factor, ``factor[i - j, j]`` is its row i and column j.

    Returns
    -------
    float64 (n,).

    Notes
    -----
    Takahashi's recursion, with the band as blocks of w: only blocks on and beside the diagonal of the inverse are
    needed, from the last one up. Time is n w^2; all columns of the inverse would take n^2 w.
    """
    width, n = max(len(factor) - 1, 1), factor.shape[1]
    count = -(-n // width)
    band = np.zeros((2 * width, count * width))
    band[: len(factor), :n] = factor
    # Rows beyond the matrix are those of the identity; what the band holds there belongs to none.
    band[0, n:] = 1
    row, column = np.arange(width)[:, None], np.arange(width)
    beyond = np.arange(n)[None] + np.arange(len(factor))[:, None] >= n
    band[: len(factor), :n][beyond] = 0
    starts = np.arange(count)[:, None, None] * width + column
    on = np.where(row >= column, band[np.maximum(row - column, 0), starts], 0)
    beside = np.where(row <= column, band[width + np.minimum(row - column, 0), starts], 0)
    inverted = np.linalg.inv(on)
    own = inverted.transpose(0, 2, 1) @ inverted
    carried = beside @ inverted
    diagonal = np.empty((count, width))
    block = own[-1]
    diagonal[-1] = np.diagonal(block)
    for k in range(count - 2, -1, -1):
        block = own[k] + carried[k].T @ block @ carried[k]
        diagonal[k] = np.diagonal(block)
    return diagonal.ravel()[:n]


class Covariance:
    """Inverse of a band of normal equations, of the positions in it, column by column."""

    def __init__(self, band: Floats) -> None:
        self._factor = factor(band.copy())
        self._size = band.shape[1]

    def columns(self, sections: Integers) -> Floats:
        """Covariance (n, m) of all positions with those of the sections."""
        right = np.zeros((self._size, len(sections)))
        right[2 * sections, np.arange(len(sections))] = 1
        return solution(self._factor, right)[0::2]

    def times(self, values: Floats) -> Floats:
        """Covariance of all positions times columns (n, m)."""
        return self.of_all(values)[0::2]

    def of_prior(self, prior: Floats, values: Floats) -> Floats:
        """Part (m, m) of the covariance of columns (n, m) of all positions that a part of the equations makes.

        ``prior`` is the lower band of that part, of the shape of the whole one. It is what errors would be if nothing
        else were uncertain: ``C P C`` of the covariance C and the part P.
        """
        moved = self.of_all(values)
        pulled = prior[0][:, None] * moved
        for k in 1 + np.flatnonzero(prior[1:].any(axis=1)):
            beside = prior[k, :-k, None]
            pulled[:-k] += beside * moved[k:]
            pulled[k:] += beside * moved[:-k]
        found: Floats = moved.T @ pulled
        return found

    def of_difference(self, i: int, j: int) -> float:
        """Standard error of the distance of two sections."""
        both = np.array([i, j])
        found = self.columns(both)[both]
        return float(np.sqrt(max(found[0, 0] + found[1, 1] - 2 * found[0, 1], 0)))

    def after_affine_map(self, positions: Floats) -> Floats:
        """Standard errors of the positions once the best offset and scale are taken out."""
        n = len(positions)
        frame = np.linalg.qr(np.stack([np.ones(n), positions], axis=1))[0]
        mapped = self.times(frame)
        variance = inverse_diagonal(self._factor)[0::2]
        variance += -2 * (mapped * frame).sum(axis=1) + np.einsum("ki,ij,kj->k", frame, frame.T @ mapped, frame)
        return np.sqrt(np.maximum(variance, 0))

    def of_all(self, values: Floats) -> Floats:
        """Covariance (2 n, m) of positions and qualities, interleaved, with columns (n, m) of the positions."""
        right = np.zeros((self._size, values.shape[1]))
        right[0::2] = values
        return solution(self._factor, right)
