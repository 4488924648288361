"""Where the stage puts tiles: an affine map of the commanded positions, and errors of rows and of tiles.

On each axis the true position of a tile is its commanded one, plus an affine map of it (the camera turned, scaled or
slanted against the stage), plus an error that the tiles of a row share, plus the tile's own error. The scales of these
errors are not known; everything is computed for a grid of scales at once, each with its prior. A scale is one axis's
own; the part of the error that rows share is the same on all axes.
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
# Parts of the error's variance that all tiles of a row may share.
_SHARED = (0.0, 0.5, 0.95)
# Prior standard deviation of each entry of the affine map.
_AFFINE = 0.01
# A tile that was bumped is off by this, voxels, on top of the stage's error.
_BUMP_PX = 50.0
# Commanded y further apart than this part of the widest gap are two rows.
_ROW_GAP = 0.25


class StageModel:
    """The prior of the positions of n tiles, less the commanded positions, for a grid of s scales of its errors.

    ``columns[axis]``, shape (n, c), holds what tiles share, ``column_variance[axis]``, shape (s, c), the prior variance
    of each coefficient, ``tile_variance[axis]``, shape (s,), that of a tile's own error, voxels squared. Points of
    the grid come in groups of ``n_shares``: one scale, and the parts of it that rows may share.
    """

    def __init__(self, nominal_px: Floats, voxel_um: Sequence[float], repeatability_um: float | None = None) -> None:
        um = np.asarray(voxel_um, np.float64)
        rows = _rows(nominal_px[:, 1])
        self.n_shares = len(_SHARED) if rows.shape[1] else 1
        scale_um, shared, self.log_prior = _scales(repeatability_um, self.n_shares)
        centred_um = (nominal_px - nominal_px.mean(axis=0)) * um
        centred_um = centred_um[:, np.ptp(centred_um, axis=0) > 0]
        self.n_tiles = len(nominal_px)
        self.columns, self.column_variance, self.tile_variance = [], [], []
        for axis in range(3):
            variance = (scale_um / um[axis]) ** 2
            self.columns.append(np.hstack([centred_um / um[axis], rows]))
            affine = np.full((len(variance), centred_um.shape[1]), _AFFINE**2)
            of_rows = np.repeat((shared * variance)[:, None], rows.shape[1], axis=1)
            self.column_variance.append(np.hstack([affine, of_rows]))
            self.tile_variance.append((1 - shared) * variance)

    def posterior(self, axis: int, links: AxisLinks, bumped: Integers) -> AxisPosterior:
        """Positions on one axis, given links; ``bumped`` are the numbers of the tiles that were bumped."""
        bumps = np.zeros((self.n_tiles, len(bumped)))
        bumps[bumped, np.arange(len(bumped))] = 1
        prior = self.column_variance[axis]
        variance = np.hstack([prior, np.full((len(prior), len(bumped)), _BUMP_PX**2)])
        columns = np.hstack([self.columns[axis], bumps])
        return AxisPosterior(links, columns, variance, self.tile_variance[axis], self.log_prior)


def _scales(repeatability_um: float | None, n_shares: int) -> tuple[Floats, Floats, Floats]:
    """Scale, um, shared part and log prior of each point of the grid."""
    scales = MEDIAN_UM * 2**_OCTAVES if repeatability_um is None else np.array([max(repeatability_um, 1e-3)])
    shared = np.array(_SHARED[:n_shares])
    log_prior = -0.5 * (np.log(scales / MEDIAN_UM) / _SPREAD) ** 2 if len(scales) > 1 else np.zeros(1)
    log_prior = np.repeat(log_prior, len(shared))
    return np.repeat(scales, len(shared)), np.tile(shared, len(scales)), log_prior - log_sum(log_prior)


def _rows(y: Floats) -> Floats:
    """A column for each row of tiles, 1 for its tiles; no columns if rows hold one tile each or there is one row."""
    order = np.argsort(y, kind="stable")
    gaps = np.diff(y[order])
    label = np.zeros(len(y), np.int64)
    label[order[1:]] = np.cumsum(gaps > max(_ROW_GAP * gaps.max(initial=0.0), 1e-9))
    n = int(label.max()) + 1
    return np.eye(n)[label] if 1 < n < len(y) else np.zeros((len(y), 0))


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
        own = (vectors * (self.tile_variance[scale] * damping)) @ vectors.T
        return np.asarray(own + through @ self._coefficients[1][scale] @ through.T)

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
