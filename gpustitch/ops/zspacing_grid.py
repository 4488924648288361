"""Section positions that differ over the sections: local estimates on a grid, and what their neighbours say of them.

Each point of a grid has a window of pixels around it, and positions of its own are estimated from the similarities
there. Estimates start from the global positions and are kept as deviations from these. A deviation is only as good as
the texture of its window:

- Outliers are found by the median of the eight points around (Hampel's filter) and left out.
- The rest is smoothed section by section: deviations are least squares of what was estimated, the differences of
  neighbouring points, and the deviations themselves (Tikhonov's regularisation), each over its variance. That of an
  estimate is stated by the estimator, the other two are what the whole grid has beyond that. A grid that deviates no
  more than its errors let it comes out as the global positions.

Similarities tell neither offset nor scale: those of each point are the ones that bring it nearest to the global
positions.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.linalg import solveh_banded

from gpustitch.errors import AlignmentError, ParameterError
from gpustitch.model.zspacing import Floats, ZSpacingOptions
from gpustitch.ops.robust import MAD_TO_SIGMA
from gpustitch.ops.zspacing import estimate_positions
from gpustitch.ops.zspacing_order import in_given_order

Bools = npt.NDArray[np.bool_]

# Standard errors that a deviation may be away from the median of its neighbours.
OUTLIER = 5.0
# Neighbours that an outlier is told from.
_LEAST_NEIGHBOURS = 3
# Sections with votes without which a window says nothing.
_LEAST_VOTES = 3
# In sections: no error is smaller, and no spread of deviations that is not 0 is taken as smaller.
_LEAST_ERROR = 1e-3
# Sections smoothed at once.
_BATCH = 256


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
    def overlap(self) -> float:
        """In how many windows a pixel is, on average; at least 1."""
        pixels = sum(part.stop - part.start for part in self.rows) * sum(p.stop - p.start for p in self.columns)
        return max(1.0, pixels / math.prod(self.shape))


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
        If there are more points than pixels along an axis, or windows do not cover the plane or are not of at least
        2 pixels.
    """
    axes, centers = [], []
    for axis, (n, points) in enumerate(zip(shape, grid, strict=True)):
        if not 1 <= points <= n:
            raise ParameterError(f"a grid of {grid} points does not fit planes of {shape} pixels: 1 to {n} fit")
        cell = n / points
        size = math.ceil(2 * cell) if window is None else window[axis]
        if size < max(2, math.floor(cell)) and size < n:
            raise ParameterError(f"windows of {size} pixels leave gaps between points {cell:.1f} pixels apart")
        middle = (np.arange(points) + 0.5) * cell
        starts = np.maximum(np.rint(middle - size / 2), 0).astype(int)
        stops = np.minimum(np.rint(middle + size / 2), n).astype(int)
        axes.append(tuple(slice(int(a), int(b)) for a, b in zip(starts, stops, strict=True)))
        centers.append(middle - 0.5)
    return GridWindows((shape[0], shape[1]), axes[0], axes[1], centers[0], centers[1])


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
        found: Bools = ~np.isfinite(self.errors).any(axis=0)
        return found


@dataclass(frozen=True)
class GridPositions:
    """Positions at the points of a grid.

    Attributes
    ----------
    positions
        float64 (n, gy, gx), in sections; at each point in the order of the global positions.
    without_texture
        bool (gy, gx): points that have the global positions because nothing could be estimated.
    outliers
        bool (n, gy, gx): estimates that were left out.
    spread, step
        Standard deviations, in sections, of the deviations and of the differences of neighbouring points, beyond
        their errors.
    """

    positions: Floats
    without_texture: Bools
    outliers: Bools
    spread: float
    step: float


def local_estimate(half_strip: Floats, positions: Floats, options: ZSpacingOptions) -> tuple[Floats, Floats] | None:
    """Deviations (n,) of a window's own positions from the global ones, and their standard errors (n,).

    Parameters
    ----------
    half_strip
        Similarities (n, range + 1) of the window.
    positions
        Global ones (n,), to start from; the order stays.
    options
        Parameters of the estimate.

    Returns
    -------
    Errors of sections without votes are infinite, their deviations 0. None if the window is constant or its sections
    cannot be placed.
    """
    if not np.isfinite(half_strip[:, 1:]).any():
        return None
    options = replace(options, allow_reordering=False, regularization="none", compat=False)
    try:
        found = estimate_positions(half_strip, options, starting_coordinates=positions)
    except AlignmentError:
        return None
    voted = np.isfinite(found.uncertainty) & np.isfinite(found.positions)
    if np.count_nonzero(voted) < _LEAST_VOTES or np.ptp(found.positions[voted]) == 0:
        return None
    # Sections without votes say nothing of offset and scale.
    scale, offset = np.polyfit(found.positions[voted], positions[voted], 1)
    deviation = np.where(voted, scale * found.positions + offset - positions, 0)
    error = np.where(voted, np.maximum(abs(scale) * found.uncertainty, _LEAST_ERROR), np.inf)
    return deviation, error


def grid_positions(
    positions: Floats,
    found: Deviations,
    *,
    overlap: float = 1.0,
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
        In how many windows each pixel is: their errors are not independent, and so many of them say no more than one.
    thickness
        Least distance of neighbouring sections.
    progress
        Called with the number of sections that were smoothed.
    """
    outliers = _outliers(found)
    errors = np.where(outliers, np.inf, found.errors)
    spread, step = _spreads(found.values, errors, overlap)
    used = ~found.without_texture
    smooth = np.zeros_like(found.values)
    for begin in range(0, len(positions), _BATCH):
        some = slice(begin, begin + _BATCH)
        for i in range(begin, min(begin + _BATCH, len(positions))):
            smooth[i] = _smoothed(found.values[i], errors[i] ** 2 * overlap, used, spread, step)
        if progress is not None:
            progress(len(positions[some]))
    local = positions[:, None, None] + smooth
    order = np.argsort(positions, kind="stable")
    for y, x in np.ndindex(*used.shape):
        sigma = np.where(np.isfinite(errors[:, y, x]), errors[:, y, x], 1e3)
        local[:, y, x] = in_given_order(local[:, y, x], order, sigma, thickness)
    return GridPositions(local, ~used, outliers, spread, step)


def _outliers(found: Deviations) -> Bools:
    """Which estimates (n, gy, gx) are further from the median of their neighbours than errors and scatter allow.

    Beyond the border the grid is continued by straight lines, so that a slope makes no outliers of its ends.
    """
    known = np.isfinite(found.errors)
    values = np.where(known, found.values, np.nan)
    n, gy, gx = values.shape
    if min(gy, gx) < 2:
        return np.zeros_like(known)
    padded = np.pad(values, ((0, 0), (1, 1), (1, 1)), mode="reflect", reflect_type="odd")
    around = [padded[:, y : y + gy, x : x + gx] for y in range(3) for x in range(3) if (y, x) != (1, 1)]
    outliers = np.zeros_like(known)
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


def _spreads(values: Floats, errors: Floats, overlap: float) -> tuple[float, float]:
    """Standard deviations of deviations and of differences of neighbours, beyond what their errors explain."""
    spread = _beyond(values, errors**2)
    # Errors of neighbours have in common what their windows have.
    shared = 1 - 1 / math.sqrt(overlap)
    parts = []
    for axis in (1, 2):
        first = (
            (slice(None), slice(None, -1), slice(None)) if axis == 1 else (slice(None), slice(None), slice(None, -1))
        )
        variance = errors**2
        after = np.delete(variance, 0, axis=axis)
        parts.append((np.diff(values, axis=axis).ravel(), ((after + variance[first]) * (1 - shared)).ravel()))
    difference, variance = (np.concatenate(part) for part in zip(*parts, strict=True))
    return spread, _beyond(difference, variance)


def _beyond(values: Floats, variance: Floats) -> float:
    """Root of the mean square less the variances, precise values counting more; 0 if errors explain it all."""
    some = np.isfinite(variance)
    if not some.any():
        return 0.0
    weight = 1 / (variance[some] + np.median(variance[some])) ** 2
    beyond = float((weight * (values[some] ** 2 - variance[some])).sum() / weight.sum())
    return math.sqrt(max(beyond, 0))


def _smoothed(values: Floats, variance: Floats, used: Bools, spread: float, step: float) -> Floats:
    """Deviations (gy, gx) of one section; 0 at points that are not used, which say nothing of their neighbours."""
    if spread == 0:
        return np.zeros_like(values)
    gy, gx = values.shape
    weight = np.where(used, 1 / variance, 1.0)
    link = 1 / max(step, _LEAST_ERROR) ** 2
    down = np.where(used[:-1] & used[1:], link, 0)
    right = np.where(used[:, :-1] & used[:, 1:], link, 0)
    diagonal = weight + 1 / max(spread, _LEAST_ERROR) ** 2
    for part, before, after in (
        (down, np.s_[:-1], np.s_[1:]),
        (right, np.s_[:, :-1], np.s_[:, 1:]),
    ):
        diagonal[before] += part
        diagonal[after] += part
    band = np.zeros((gx + 1, gy * gx))
    band[0] = diagonal.ravel()
    band[gx, : (gy - 1) * gx] = -down.ravel()
    if gx > 1:
        band[1].reshape(gy, gx)[:, :-1] -= right
    solved: Floats = solveh_banded(band, np.where(used, weight * values, 0).ravel(), lower=True, check_finite=False)
    return np.where(used, solved.reshape(gy, gx), 0)
