"""Coarser grids over a grid of windows: their similarities are means, and finer ones start from what they found."""

from __future__ import annotations

import numpy as np

from gpustitch.model.arrays import Floats


def levels_of(grid: tuple[int, int], least: int = 2) -> list[tuple[int, int]]:
    """Grids (rows, columns) from coarse to fine, each about twice the last one, ``grid`` itself at the end."""
    levels = [grid]
    while max(levels[0]) >= 2 * least:
        gy, gx = levels[0]
        levels.insert(0, (max(min(gy, least), -(-gy // 2)), max(min(gx, least), -(-gx // 2))))
    return levels


def pooling(grid: tuple[int, int], level: tuple[int, int]) -> Floats:
    """Share (points of the level, points of the grid) of each point in those of a coarser grid; rows add up to 1.

    A point of the coarser grid has the windows of the cells under its own cell, each by the part covered.
    """
    along = [_shares(n, coarse) for n, coarse in zip(grid, level, strict=True)]
    return np.asarray(np.kron(along[0], along[1]), np.float64)


def pooled(strips: list[Floats], shares: Floats) -> Floats:
    """Mean similarities (n, range + 1) of windows, weighted by shares (points,); NaN where no window has any."""
    total, weight = np.zeros_like(strips[0]), np.zeros_like(strips[0])
    for k in np.flatnonzero(shares):
        known = np.isfinite(strips[k])
        total[known] += shares[k] * strips[k][known]
        weight += shares[k] * known
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(weight > 0, total / weight, np.nan))


def pooled_overlap(overlap: Floats, shares: Floats) -> Floats:
    """Correlation of the errors of pooled windows, from the overlap (points, points) of the windows themselves."""
    found = shares @ overlap @ shares.T
    size = np.sqrt(np.diag(found))
    return np.asarray(found / np.outer(size, size))


def refined(positions: Floats, grid: tuple[int, int]) -> Floats:
    """Positions (n, ly, lx) of a coarser grid at the points of a finer one: linear between points and beyond them."""
    rows, columns = (_between(fine, coarse) for fine, coarse in zip(grid, positions.shape[1:], strict=True))
    return np.asarray(np.einsum("yi,nij,xj->nyx", rows, positions, columns, optimize=True))


def _shares(n: int, coarse: int) -> Floats:
    """Part (coarse, n) of each coarser cell that each of n equal cells makes up."""
    edges = np.arange(n + 1) / n
    low, high = np.arange(coarse) / coarse, (np.arange(coarse) + 1) / coarse
    covered = np.minimum.outer(high, edges[1:]) - np.maximum.outer(low, edges[:-1])
    covered = np.where(covered > 1e-9, covered, 0)
    return np.asarray(covered / covered.sum(axis=1, keepdims=True))


def _between(n: int, coarse: int) -> Floats:
    """Weights (n, coarse) of linear interpolation from the middles of coarser cells to those of n cells."""
    if coarse == 1:
        return np.ones((n, 1))
    at = (np.arange(n) + 0.5) * coarse / n - 0.5
    low = np.clip(np.floor(at), 0, coarse - 2).astype(int)
    weights = np.zeros((n, coarse))
    weights[np.arange(n), low] = 1 - (at - low)
    weights[np.arange(n), low + 1] = at - low
    return weights
