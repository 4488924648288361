"""Where the stage puts tiles: an affine map of the commanded positions, and errors of rows and of tiles.

On each axis the true position of a tile is its commanded one, plus an affine map of it (the camera turned, scaled or
slanted against the stage), plus an error that the tiles of a row share, plus the tile's own error. Or the stage drifts
from tile to tile. The scales of errors are not known; everything is computed for a grid of scales at once, each with
its prior. A scale is one axis's own; what kind of error it is, shared by rows or a drift, is the same on all axes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from gpustitch.model.arrays import Floats, Integers

# Prior of the scale of the stage's error: log-normal with this median, um, and this spread of its natural logarithm.
MEDIAN_UM = 5.0
_SPREAD = 1.0
_OCTAVES = np.arange(-5.0, 5.0)
# Kinds of error: the part of its variance that all tiles of a row share, and the standard deviation of a drift from the
# first tile to the last, um, for n tiles over sqrt(n).
_KINDS = ((0.0, 0.0), (0.5, 0.0), (0.95, 0.0), (0.0, 10.0))
# Prior standard deviation of each entry of the affine map.
AFFINE = 0.01
# A tile that was bumped is off by this, voxels, on top of the stage's error.
_BUMP_PX = 50.0
# Commanded positions further apart than this part of the widest gap are two rows.
_ROW_GAP = 0.25


class StageModel:
    """The prior of the positions of n tiles, less the commanded positions, for a grid of s scales of its errors.

    ``columns[axis]``, shape (n, c), holds what tiles share, ``column_variance[axis]``, shape (s, c), the prior variance
    of each coefficient, ``tile_variance[axis]``, shape (s,), that of a tile's own error, voxels squared. Points of
    the grid come in groups of ``n_kinds``: one scale, and all kinds of error.
    """

    def __init__(self, nominal_px: Floats, voxel_um: Sequence[float], repeatability_um: float | None = None) -> None:
        um, self.n_tiles = np.asarray(voxel_um, np.float64), len(nominal_px)
        row = _rows(nominal_px[:, 1])
        has_rows = 0 < row.max() < self.n_tiles - 1
        self.n_kinds = len(_KINDS) if has_rows else 1
        scale_um, shared, drift_um, self.log_prior = _scales(repeatability_um, self.n_kinds)
        centred_um = (nominal_px - nominal_px.mean(axis=0)) * um
        centred_um = centred_um[:, np.ptp(centred_um, axis=0) > 0]
        in_row = np.eye(row.max() + 1)[row][:, : (row.max() + 1) * has_rows]
        drift = _drifts(*(_rows(p) for p in nominal_px.T))[:, : 4 * has_rows] * np.sqrt(self.n_tiles)
        self.columns, self.column_variance, self.tile_variance = [], [], []
        for axis in range(3):
            variance = (scale_um / um[axis]) ** 2
            self.columns.append(np.hstack([centred_um / um[axis], in_row, drift / um[axis]]))
            of_each = ((AFFINE**2, centred_um), (shared * variance, in_row), (drift_um**2, drift))
            ones = np.ones_like(variance)
            self.column_variance.append(
                np.hstack([np.repeat((v * ones)[:, None], c.shape[1], axis=1) for v, c in of_each])
            )
            self.tile_variance.append((1 - shared) * variance)

    def posterior(self, axis: int, links: AxisLinks, bumped: Integers) -> AxisPosterior:
        """Positions on one axis, given links; ``bumped`` are the numbers of the tiles that were bumped."""
        bumps = np.zeros((self.n_tiles, len(bumped)))
        bumps[bumped, np.arange(len(bumped))] = 1
        prior = self.column_variance[axis]
        variance = np.hstack([prior, np.full((len(prior), len(bumped)), _BUMP_PX**2)])
        columns = np.hstack([self.columns[axis], bumps])
        return AxisPosterior(links, columns, variance, self.tile_variance[axis], self.log_prior)


def _scales(repeatability_um: float | None, n_kinds: int) -> tuple[Floats, Floats, Floats, Floats]:
    """Scale, um, shared part, drift, um, and log prior of each point of the grid."""
    scales = MEDIAN_UM * 2**_OCTAVES if repeatability_um is None else np.array([max(repeatability_um, 1e-3)])
    shared, drift = np.array(_KINDS[:n_kinds]).T
    log_prior = -0.5 * (np.log(scales / MEDIAN_UM) / _SPREAD) ** 2 if len(scales) > 1 else np.zeros(1)
    log_prior, n = np.repeat(log_prior, n_kinds), len(scales)
    return np.repeat(scales, n_kinds), np.tile(shared, n), np.tile(drift, n), log_prior - log_sum(log_prior)


def _rows(coordinate: Floats) -> Integers:
    """Number of the row that each tile is in, from its coordinate across the rows."""
    order = np.argsort(coordinate, kind="stable")
    gaps = np.diff(coordinate[order])
    row = np.zeros(len(coordinate), np.int64)
    row[order[1:]] = np.cumsum(gaps > max(_ROW_GAP * gaps.max(initial=0.0), 1e-9))
    return row


def _drifts(z: Integers, y: Integers, x: Integers) -> Floats:
    """How far each tile is in the order of acquisition, from 0 to 1: along x or y, one way or to and fro."""
    columns = []
    for slow, fast in ((y, x), (x, y)):
        n = fast.max() + 1
        start = (z * (slow.max() + 1) + slow) * n
        columns += [start + fast, start + np.where(slow % 2, n - 1 - fast, fast)]
    order = np.array(columns, np.float64).T
    return np.asarray((order - order.mean(axis=0)) / np.maximum(np.ptp(order, axis=0), 1))


class AxisLinks:
    """Links along one axis: tile ``moving`` less tile ``fixed`` is ``shift``, voxels, with ``weight`` 1 / sigma^2.

    ``shift`` is counted from the commanded positions. The normal matrix is kept as its eigenvalues and eigenvectors, so
    that positions for any scale of the stage's error cost one product each.
    """

    def __init__(self, n_tiles: int, fixed: Integers, moving: Integers, shift: Floats, weight: Floats) -> None:
        normal = np.zeros((n_tiles, n_tiles))
        for i, j, sign in ((fixed, fixed, 1), (moving, moving, 1), (fixed, moving, -1), (moving, fixed, -1)):
            np.add.at(normal, (i, j), sign * weight)
        right = np.zeros(n_tiles)
        np.add.at(right, moving, weight * shift)
        np.add.at(right, fixed, -weight * shift)
        values, self.vectors = np.linalg.eigh(normal)
        self.values: Floats = np.maximum(values, 0)
        self.right: Floats = self.vectors.T @ right
        self.log_likelihood = float(0.5 * (np.log(weight / (2 * np.pi)) - weight * shift**2).sum())


@dataclass(frozen=True)
class AxisPosterior:
    """Positions on one axis, less the commanded ones, for each of s scales of the stage's error."""

    links: AxisLinks
    columns: Floats
    column_variance: Floats
    tile_variance: Floats
    log_prior: Floats

    @cached_property
    def _turned(self) -> Floats:
        return np.asarray(self.links.vectors.T @ self.columns)

    @cached_property
    def _damping(self) -> Floats:
        """1 / (1 + eigenvalue * tile variance), shape (s, n)."""
        return np.asarray(1 / (1 + self.links.values * self.tile_variance[:, None]))

    @cached_property
    def _coefficients(self) -> tuple[Floats, Floats, Floats, Floats]:
        """Mean (s, c) and covariance (s, c, c) of the columns' coefficients, log evidence (s,), information (s, c)."""
        turned, damping = self._turned, self._damping
        seen = (turned.T[None] * (self.links.values * damping)[:, None, :]) @ turned
        toward = (damping * self.links.right) @ turned
        root = np.sqrt(self.column_variance)
        scaled = np.eye(turned.shape[1]) + root[:, :, None] * seen * root[:, None, :]
        covariance = root[:, :, None] * np.linalg.inv(scaled) * root[:, None, :]
        mean = (covariance @ toward[:, :, None])[:, :, 0]
        gain = (self.tile_variance[:, None] * damping * self.links.right**2 + np.log(damping)).sum(axis=1)
        gain += (toward * mean).sum(axis=1) - np.linalg.slogdet(scaled)[1]
        return mean, covariance, self.links.log_likelihood + 0.5 * gain, toward

    @cached_property
    def log_evidence(self) -> Floats:
        """Logarithm of prior times likelihood of each scale, shape (s,)."""
        return np.asarray(self._coefficients[2] + self.log_prior)

    def means(self, scales: Integers) -> Floats:
        """Mean positions for some scales, shape (s, n)."""
        shared = self._coefficients[0][scales]
        variance, damping = self.tile_variance[scales, None], self._damping[scales]
        left = self.links.right - self.links.values * (shared @ self._turned.T)
        return np.asarray(shared @ self.columns.T + (variance * damping * left) @ self.links.vectors.T)

    def mean(self, scale: int) -> Floats:
        """Mean positions for one scale, shape (n,)."""
        return np.asarray(self.means(np.array([scale]))[0])

    def covariance(self, scale: int, fixed: Integers, moving: Integers) -> Floats:
        """Covariance of the offsets of some pairs of tiles, for one scale, shape (pairs, pairs)."""
        vectors, damping = self.links.vectors[moving] - self.links.vectors[fixed], self._damping[scale]
        through = vectors @ (damping[:, None] * self._turned)
        # A matrix times its own transpose is half the work of another product.
        root = vectors * np.sqrt(self.tile_variance[scale] * damping)
        return np.asarray(root @ root.T + through @ self._coefficients[1][scale] @ through.T)

    def variances(self, scales: Integers) -> Floats:
        """Variance of each position relative to the mean of all tiles, shape (s, n)."""
        vectors = self.links.vectors - self.links.vectors.mean(axis=0)
        own = (self.tile_variance[scales, None] * self._damping[scales]) @ (vectors**2).T
        through = vectors[None] @ (self._damping[scales][:, :, None] * self._turned[None])
        return np.asarray(own + ((through @ self._coefficients[1][scales]) * through).sum(axis=2))


def log_sum(log_values: Floats) -> Floats:
    """Logarithm of the sum, along the first axis, of values of which the logarithms are given."""
    most = log_values.max(axis=0)
    return np.asarray(most + np.log(np.exp(log_values - most).sum(axis=0)))
