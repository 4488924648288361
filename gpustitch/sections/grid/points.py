"""Section positions that differ over the sections: local estimates on a grid, and what their neighbours say of them.

Each point of a grid has a window of pixels around it. The similarities there give it positions of its own. Estimates
start from the global positions and are kept as deviations from these. A deviation is only as good as the texture of its
window:

- Outliers are found by the median of the eight points around (Hampel's filter) and left out.
- Estimates are drawn to where they start, so that grids go from coarse to fine: each starts from the last one.
- What all points of a section deviate by together is taken out: whole planes, with more pixels, know that better.
- The rest is smoothed section by section, :mod:`gpustitch.sections.grid.field`. A grid that deviates no more than
  its errors let it comes out near the global positions: within 0.1 to 0.2 sections (RMS) of them where windows of 50
  to 60 pixels are all there is.

Similarities tell neither offset nor scale: those of each point are the ones that bring it nearest to the global
positions.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from gpustitch.errors import AlignmentError, ParameterError
from gpustitch.model.arrays import Bools, Floats
from gpustitch.ops.robust import MAD_TO_SIGMA
from gpustitch.sections.grid.field import LEAST_ERROR, UNKNOWN, correlation, distances, likely_field, smoothed
from gpustitch.sections.model import EstimateOptions
from gpustitch.sections.positions.estimate import estimate_positions
from gpustitch.sections.positions.order import in_given_order

# Standard errors that a deviation may be away from the median of its neighbours.
OUTLIER = 5.0
# Neighbours that an outlier is told from.
_LEAST_NEIGHBOURS = 3
# Sections with votes without which a window says nothing.
_LEAST_VOTES = 3
# Sections looked at at once, and bytes of matrices solved at once.
_BATCH, BATCH_BYTES = 256, 32 << 20


@dataclass(frozen=True)
class GridWindows:
    """Windows of a grid's points.

    Attributes
    ----------
    shape
        (rows, columns) of the planes, in pixels.
    rows, columns
        Of each row and column of the grid, the pixels of its windows.
    row_centers, column_centers
        float64 (gy,) and (gx,): pixel coordinates of the points, the middles of gy by gx equal cells.
    """

    shape: tuple[int, int]
    rows: tuple[slice, ...]
    columns: tuple[slice, ...]
    row_centers: Floats
    column_centers: Floats

    @property
    def grid(self) -> tuple[int, int]:
        """Number of rows and columns of points."""
        return len(self.rows), len(self.columns)

    @property
    def windows(self) -> list[tuple[slice, slice]]:
        """Rows and columns of each window, the last axis of the grid fastest."""
        return [(rows, columns) for rows in self.rows for columns in self.columns]

    def is_whole(self, window: tuple[slice, slice]) -> bool:
        """Whether a window is the whole plane."""
        return all(part == slice(0, n) for part, n in zip(window, self.shape, strict=True))

    @property
    def overlap(self) -> Floats:
        """float64 (gy gx, gy gx): pixels that two windows share, over the root of the product of their sizes."""
        along = [_overlap(parts) for parts in (self.rows, self.columns)]
        return np.asarray(np.kron(along[0], along[1]), np.float64)


def grid_windows(shape: tuple[int, int], grid: tuple[int, int], window: tuple[int, int] | None = None) -> GridWindows:
    """Windows around the points of a grid, clipped at the borders of the plane.

    Parameters
    ----------
    shape
        (rows, columns) of a plane.
    grid
        Number of rows and columns of points.
    window
        (rows, columns) of a window; by default twice the distance of points, so that each reaches to its neighbours.

    Raises
    ------
    ParameterError
        If there are more points than pixels along an axis, windows do not cover the plane, or one has less than 2
        pixels.
    """
    axes: list[tuple[slice, ...]] = []
    centers: list[Floats] = []
    for axis, (n, points) in enumerate(zip(shape, grid, strict=True)):
        if not 1 <= points <= n:
            raise ParameterError(f"a grid of {grid} points does not fit planes of {shape} pixels: 1 to {n} fit")
        cell = n / points
        size = math.ceil(2 * cell) if window is None else window[axis]
        if size < max(2, math.floor(cell)) and size < n:
            raise ParameterError(f"windows of {size} pixels leave gaps between points {cell:.1f} pixels apart")
        middle = (np.arange(points, dtype=np.float64) + 0.5) * cell
        starts = np.maximum(np.rint(middle - size / 2), 0).astype(int)
        stops = np.minimum(np.rint(middle + size / 2), n).astype(int)
        axes.append(tuple(slice(int(a), int(b)) for a, b in zip(starts, stops, strict=True)))
        centers.append(middle - 0.5)
    return GridWindows((shape[0], shape[1]), axes[0], axes[1], centers[0], centers[1])


def _overlap(parts: tuple[slice, ...]) -> Floats:
    """The overlap along one axis."""
    starts, stops = np.array([(p.start, p.stop) for p in parts], np.float64).T
    shared = np.minimum.outer(stops, stops) - np.maximum.outer(starts, starts)
    return np.asarray(np.maximum(shared, 0) / np.sqrt(np.outer(stops - starts, stops - starts)), np.float64)


@dataclass(frozen=True)
class Deviations:
    """What was estimated at the points of a grid, against the global positions.

    Attributes
    ----------
    values
        float64 (n, gy, gx), in sections: local less global positions, 0 where there are none.
    errors
        float64 (n, gy, gx): standard errors, infinite where nothing was estimated.
    """

    values: Floats
    errors: Floats

    @property
    def without_texture(self) -> Bools:
        """(gy, gx): points at which nothing was estimated."""
        return np.asarray(np.isinf(self.errors).all(axis=0))


@dataclass(frozen=True)
class GridPositions:
    """Positions at the points of a grid.

    Attributes
    ----------
    positions
        float64 (n, gy, gx), in sections; at each point in the order of the global positions.
    uncertainty
        float64 (n, gy, gx), in sections: standard errors of the deviations from the positions at the start.
    without_texture
        bool (gy, gx): points that have the global positions because nothing could be estimated.
    outliers
        bool (n, gy, gx): estimates that were left out.
    spread
        Standard deviation of the deviations, in sections, beyond their errors.
    length
        Distance, in points of the grid, that deviations are alike over: the length scale of their correlation.
    """

    positions: Floats
    uncertainty: Floats
    without_texture: Bools
    outliers: Bools
    spread: float
    length: float


def local_estimate(
    half_strip: Floats, positions: Floats, options: EstimateOptions, start: Floats | None = None
) -> tuple[Floats, Floats] | None:
    """Deviations (n,) of a window's own positions from those it started from, and their standard errors (n,).

    Parameters
    ----------
    half_strip
        Similarities (n, range + 1) of the window.
    positions
        Global ones (n,), which tell offset and scale; the order of the start stays.
    options
        Parameters of the estimate.
    start
        Positions (n,) to start from; the global ones by default.

    Returns
    -------
    Errors of sections without votes are infinite, their deviations 0. None if the window is constant or its sections
    cannot be placed.
    """
    if not np.isfinite(half_strip[:, 1:]).any():
        return None
    options = replace(options, allow_reordering=False, regularization="none", compat=False)
    start = positions if start is None else start
    try:
        found = estimate_positions(half_strip, options, starting_coordinates=start)
    except AlignmentError:
        return None
    voted = np.isfinite(found.uncertainty) & np.isfinite(found.positions)
    if np.count_nonzero(voted) < _LEAST_VOTES or np.ptp(found.positions[voted]) == 0:
        return None
    # Sections without votes say nothing of offset and scale.
    scale, offset = np.polyfit(found.positions[voted], positions[voted], 1)
    deviation = np.where(voted, scale * found.positions + offset - start, 0)
    error = np.where(voted, np.maximum(abs(scale) * found.uncertainty, LEAST_ERROR), np.inf)
    return deviation, error


def grid_positions(
    positions: Floats,
    found: Deviations,
    overlap: Floats,
    *,
    start: Floats | None = None,
    thickness: float = 1e-9,
    progress: Callable[[int], None] | None = None,
) -> GridPositions:
    """Global positions and deviations made one: outliers left out, the rest smoothed, order kept.

    Parameters
    ----------
    positions
        Global ones (n,).
    found
        Local estimates.
    overlap
        Of the windows (gy gx, gy gx), :attr:`GridWindows.overlap`: correlation of their errors.
    start
        Positions (n, gy, gx) that estimates started from and deviate from; the global ones by default.
    thickness
        Least distance of neighbouring sections, in sections.
    progress
        Called with the number of sections that were smoothed since the last call.
    """
    n, gy, gx = found.values.shape
    start = np.broadcast_to(positions[:, None, None], found.values.shape) if start is None else start
    outliers = _outliers(found)
    errors = np.where(outliers, np.inf, found.errors)
    used = ~found.without_texture
    own = found.values - _common(found.values, errors)
    spread, length, factor = likely_field(own, errors, overlap)
    covariance = spread**2 * correlation(distances(gy, gx), length)
    # Points that are not used say nothing of their neighbours, and get nothing from them.
    covariance *= np.outer(used, used)
    sigma = np.where(np.isfinite(errors), factor * errors, UNKNOWN).reshape(n, -1)
    values, smooth, error = own.reshape(n, -1), np.zeros((n, gy * gx)), np.zeros((n, gy * gx))
    batch = max(1, BATCH_BYTES // (8 * covariance.size))
    for begin in range(0, n, batch):
        some = slice(begin, min(begin + batch, n))
        if spread > 0:
            smooth[some], error[some] = smoothed(values[some], sigma[some], covariance, overlap)
        if progress is not None:
            progress(some.stop - begin)
    local = np.where(used, start, positions[:, None, None]) + smooth.reshape(n, gy, gx)
    order = np.argsort(positions, kind="stable")
    for y, x in np.ndindex(gy, gx):
        local[:, y, x] = in_given_order(local[:, y, x], order, np.minimum(errors[:, y, x], UNKNOWN), thickness)
    return GridPositions(local, error.reshape(local.shape), ~used, outliers, spread, length)


def _outliers(found: Deviations) -> Bools:
    """Which estimates (n, gy, gx) are further from the median of their neighbours than errors and scatter allow.

    Beyond the border the grid is continued by straight lines, so that a slope makes no outliers of its ends.
    """
    known = np.isfinite(found.errors)
    values = np.where(known, found.values, np.nan)
    n, gy, gx = values.shape
    if min(gy, gx) < 2:
        return np.zeros(values.shape, bool)
    padded = np.pad(values, ((0, 0), (1, 1), (1, 1)), mode="reflect", reflect_type="odd")
    around = [padded[:, y : y + gy, x : x + gx] for y in range(3) for x in range(3) if (y, x) != (1, 1)]
    outliers: Bools = np.zeros(values.shape, bool)
    for begin in range(0, n, _BATCH):
        some = slice(begin, begin + _BATCH)
        stack = np.sort(np.stack([part[some] for part in around]), axis=0)
        count = np.isfinite(stack).sum(axis=0)
        middle = np.maximum(count - 1, 0)
        low, high = (np.take_along_axis(stack, k[None], axis=0)[0] for k in (middle // 2, (middle + 1) // 2))
        away = np.where(known[some] & (count >= _LEAST_NEIGHBOURS), np.abs(values[some] - (low + high) / 2), 0)
        scatter = np.array([MAD_TO_SIGMA * np.median(a[a > 0]) if (a > 0).any() else 0.0 for a in away])
        error = np.where(known[some], found.errors[some], 1.0)
        outliers[some] = away > OUTLIER * np.hypot(error, scatter[:, None, None])
    return outliers


def _common(values: Floats, errors: Floats) -> Floats:
    """What all points of a section (n, 1, 1) deviate by: their mean, each over the variance of errors and field.

    Errors alone would do only where there is no field. A field that lifts sections changes their spacing, and so the
    errors, otherwise than one that sinks them. Weights by errors alone would take one side for the mean.
    """
    good = np.isfinite(errors)
    count = np.maximum(good.sum(axis=(1, 2), keepdims=True), 1)
    variance = np.where(good, errors, 0.0) ** 2
    noise = variance.sum(axis=(1, 2), keepdims=True) / count
    mean = np.where(good, values, 0).sum(axis=(1, 2), keepdims=True) / count
    for _ in range(2):
        around = np.where(good, values - mean, 0) ** 2
        field = np.maximum(around.sum(axis=(1, 2), keepdims=True) / count - noise, 0)
        weight = np.where(good, 1 / (variance + field + LEAST_ERROR**2), 0)
        total = weight.sum(axis=(1, 2), keepdims=True)
        mean = (weight * values).sum(axis=(1, 2), keepdims=True) / np.where(total > 0, total, 1)
    return np.asarray(mean)
