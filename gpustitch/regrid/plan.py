"""Between which sections of a series every plane of an evenly spaced volume lies.

Positions are along z, of any unit: sections, um, mm. Nothing is asked of their order. Of sections with the same
position the first one in the input is taken, and the others are left out: a mean would blur them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gpustitch.errors import ParameterError
from gpustitch.model.arrays import Floats, Integers

# What a plane of the volume is made of: nothing, as it is before or after all sections or in a gap that is not
# filled; two sections, far apart, or neighbours; one section, unchanged.
OUTSIDE, GAP, FILLED, BETWEEN, EXACT = range(5)

# A plane so near to a section, as a fraction of the interval it is in, is at it.
AT_SECTION = 1e-6
# Least length of an interval: divided by, it makes two sections at one place neither near nor between.
LEAST_INTERVAL = 1e-30
_NEIGHBOURS = 3


@dataclass(frozen=True)
class ZGrid:
    """Evenly spaced planes: plane k is at ``first + k * step``."""

    first: float
    step: float
    n_planes: int

    def __post_init__(self) -> None:
        if not (math.isfinite(self.first) and math.isfinite(self.step) and self.step > 0):
            raise ParameterError(
                f"planes begin at a number and are a positive step apart, not {self.first}, {self.step}"
            )
        if self.n_planes < 1:
            raise ParameterError(f"a volume has at least one plane, not {self.n_planes}")

    def positions(self, start: int = 0, stop: int | None = None) -> Floats:
        """Positions of the planes ``start <= k < stop``."""
        return self.first + self.step * np.arange(start, self.n_planes if stop is None else stop, dtype=np.float64)


@dataclass(frozen=True)
class Series:
    """Sections along z.

    Attributes
    ----------
    order
        int64 (n,): number in the input of the k-th section.
    positions
        float64: position of the k-th section, ascending, (n,); or (n, gy, gx), where it differs over a section.
    """

    order: Integers
    positions: Floats


@dataclass(frozen=True)
class ZPlan:
    """What each plane is made of: ``(1 - weight) * lower + weight * upper``.

    Attributes
    ----------
    lower, upper
        int64 (planes,): numbers of sections in the input; -1 where there is nothing.
    weight
        float32 (planes,), 0 <= weight < 1; where it is 0 upper is lower.
    plane_origin
        uint8 (planes,): OUTSIDE, GAP, FILLED, BETWEEN or EXACT.
    """

    lower: Integers
    upper: Integers
    weight: npt.NDArray[np.float32]
    plane_origin: npt.NDArray[np.uint8]

    def slab(self, start: int, stop: int) -> tuple[Integers, Integers, Integers]:
        """The sections that the planes ``start <= k < stop`` need, ascending, and ``lower`` and ``upper`` in terms of
        them."""
        lower, upper = self.lower[start:stop], self.upper[start:stop]
        needed = np.unique(np.concatenate([lower, upper]))
        needed = needed[needed >= 0]
        found = [np.where(numbers < 0, -1, np.searchsorted(needed, numbers)) for numbers in (lower, upper)]
        return needed, found[0], found[1]


def sorted_series(positions: npt.ArrayLike) -> Series:
    """Sections in the order of their positions, without those at the place of another.

    Parameters
    ----------
    positions
        One of each section (n,), or a grid of them over each section (n, gy, gx). Grids are ordered by their mean.
        Where a node then lies below the one of the section before it is moved up to it: sections do not cross.

    Raises
    ------
    ParameterError
        If there is none, a position is not a number, or the array has another number of axes.
    """
    given = np.asarray(positions, np.float64)
    if given.ndim not in (1, 3) or given.size == 0:
        raise ParameterError(f"positions are those of n sections (n,) or grids of them (n, gy, gx), not {given.shape}")
    if not np.isfinite(given).all():
        bad = np.flatnonzero(~np.isfinite(given).reshape(len(given), -1).all(1))
        raise ParameterError(f"{len(bad)} sections have a position that is not a number, the first is section {bad[0]}")
    order = np.argsort(given.reshape(len(given), -1).mean(1), kind="stable").astype(np.int64)
    along = np.maximum.accumulate(given[order], axis=0)
    kept = np.r_[True, (along[1:] > along[:-1]).any(tuple(range(1, along.ndim)))]
    return Series(order[kept], np.ascontiguousarray(along[kept]))


def gap_limits(positions: Floats, factor: float = 1.5) -> Floats:
    """The widest that each interval may be before it counts as a gap: ``factor`` times the spacing around it.

    That is the median of the three intervals before it or of the three after it, whichever is wider: where the
    spacing changes there is no gap.

    Parameters
    ----------
    positions
        Ascending, (n,).
    factor
        Above 1.

    Returns
    -------
    float64 (n - 1,); infinite for an only interval.
    """
    if not factor > 1:
        raise ParameterError(f"a gap is wider than the spacing by a factor above 1, not {factor}")
    intervals = np.diff(positions)
    limits = np.full(len(intervals), np.inf)
    for i in range(len(intervals)):
        sides = (intervals[max(0, i - _NEIGHBOURS) : i], intervals[i + 1 : i + 1 + _NEIGHBOURS])
        around = [float(np.median(side)) for side in sides if len(side)]
        if around:
            limits[i] = factor * max(around) * (1 + AT_SECTION)
    return limits


def planes_over(extent: float, step: float) -> int:
    """Number of planes, ``step`` apart, from the start of an extent to its end or just beyond it."""
    return math.ceil(extent / step - AT_SECTION) + 1


def planes_within(extent: float, step: float) -> int:
    """Number of planes, ``step`` apart, from the start of an extent that lie within it."""
    return math.floor(extent / step + AT_SECTION) + 1


def plan_z(
    series: Series,
    grid: ZGrid,
    *,
    limits: npt.ArrayLike = math.inf,
    fill_gaps: bool = False,
    nearest: bool = False,
) -> ZPlan:
    """What each plane of a grid is made of.

    Parameters
    ----------
    series
        Of one position per section: :func:`sorted_series`.
    grid
        The planes.
    limits
        Intervals wider than this are gaps: one number, or one for each interval (n - 1,).
    fill_gaps
        Interpolate in gaps too; planes in them are background otherwise, unless they are at a section.
    nearest
        Take the nearer of the two sections (half way the upper) in place of their interpolation.

    Returns
    -------
    The plan. It is computed from each plane's number alone, so that any part of it is what the whole has there.

    Raises
    ------
    ParameterError
        If positions differ over the sections, or there are more or fewer limits than intervals.
    """
    at = series.positions
    if at.ndim != 1:
        raise ParameterError("the positions differ over each section; they are resampled by resample_local")
    widest, order, z = interval_limits(limits, len(at)), series.order, grid.positions()
    if len(at) == 1:
        here = np.abs(z - at[0]) <= AT_SECTION * grid.step
        only = np.where(here, order[0], -1)
        return ZPlan(only, only, np.zeros(len(z), np.float32), np.where(here, EXACT, OUTSIDE).astype(np.uint8))
    i = np.clip(np.searchsorted(at, z, side="right") - 1, 0, len(at) - 2)
    fraction = (z - at[i]) / np.maximum(at[i + 1] - at[i], LEAST_INTERVAL)
    at_lower, at_upper = np.abs(fraction) <= AT_SECTION, np.abs(fraction - 1) <= AT_SECTION
    wide = at[i + 1] - at[i] > widest[i]
    origin = np.where(wide, FILLED if fill_gaps else GAP, BETWEEN)
    origin[(fraction < 0) | (fraction > 1)] = OUTSIDE
    origin[at_lower | at_upper] = EXACT
    weight = np.where(at_lower, 0, np.where(at_upper, 1, fraction))
    if nearest:
        weight = np.floor(weight + 0.5)
    lower = order[np.where(weight >= 1, i + 1, i)]
    upper = np.where((weight > 0) & (weight < 1), order[i + 1], lower)
    nothing = (origin == OUTSIDE) | (origin == GAP)
    weight[nothing | (weight >= 1)] = 0
    return ZPlan(
        np.where(nothing, -1, lower).astype(np.int64),
        np.where(nothing, -1, upper).astype(np.int64),
        weight.astype(np.float32),
        origin.astype(np.uint8),
    )


def runs(mask: npt.NDArray[np.bool_]) -> list[list[int]]:
    """First and last plane of each run of those in ``mask``."""
    edges = np.flatnonzero(np.diff(np.r_[0, mask.astype(np.int8), 0]))
    return [[int(start), int(stop) - 1] for start, stop in edges.reshape(-1, 2)]


def interval_limits(limits: npt.ArrayLike, n_sections: int) -> Floats:
    """One limit for each interval between sections; ParameterError if so many are neither given nor implied."""
    given = np.asarray(limits, np.float64)
    if given.shape not in ((), (n_sections - 1,)) or np.isnan(given).any():
        raise ParameterError(
            f"{n_sections} sections have {n_sections - 1} intervals; limits of {given.shape} were given"
        )
    return np.ascontiguousarray(np.broadcast_to(given, (n_sections - 1,)))


def node_centers(n_pixels: int, n_nodes: int) -> Floats:
    """Pixel coordinates of the middles of ``n_nodes`` equal windows along an axis."""
    return (np.arange(n_nodes, dtype=np.float64) + 0.5) * (n_pixels / n_nodes) - 0.5


def node_weights(n_pixels: int, centers: npt.ArrayLike) -> tuple[Integers, Floats]:
    """How each pixel along an axis lies between the nodes of a grid.

    Parameters
    ----------
    n_pixels
        Length of the axis.
    centers
        Ascending pixel coordinates of the nodes; pixels beyond the outer ones take their value.

    Returns
    -------
    node : int64, (n_pixels,)
        The node before the pixel; ``node + 1`` (at most the last) is the one after it.
    weight : float64, (n_pixels,)
        Weight of the second, from 0 to 1.
    """
    at = np.atleast_1d(np.asarray(centers, np.float64))
    if at.ndim != 1 or not np.isfinite(at).all() or (np.diff(at) <= 0).any():
        raise ParameterError("nodes of a grid have ascending coordinates")
    if len(at) == 1:
        return np.zeros(n_pixels, np.int64), np.zeros(n_pixels)
    pixels = np.clip(np.arange(n_pixels, dtype=np.float64), at[0], at[-1])
    node = np.clip(np.searchsorted(at, pixels, side="right") - 1, 0, len(at) - 2)
    return node.astype(np.int64), (pixels - at[node]) / (at[node + 1] - at[node])


@dataclass(frozen=True)
class Deformation:
    """A series whose positions differ over its sections, for planes of ``shape`` (rows, columns).

    Attributes
    ----------
    series
        Positions (n, gy, gx), n >= 2: :func:`sorted_series`.
    limits
        float64 (n - 1,): intervals wider than this are gaps, which stay background.
    rows, columns
        Node and weight of each row and each column of a whole plane.
    """

    series: Series
    limits: Floats
    rows: tuple[Integers, Floats]
    columns: tuple[Integers, Floats]

    def needed(self, z_low: float, z_high: float) -> slice:
        """The sections, in their order, that planes from ``z_low`` to ``z_high`` may lie between; two at least."""
        at, last = self.series.positions, len(self.series.positions) - 1
        before = np.flatnonzero(at.max((1, 2)) <= z_low)
        after = np.flatnonzero(at.min((1, 2)) >= z_high)
        first = min(int(before[-1]) if len(before) else 0, last - 1)
        return slice(first, max(int(after[0]) if len(after) else last, first + 1) + 1)


def deformation(
    series: Series,
    shape: tuple[int, int],
    *,
    limits: npt.ArrayLike = math.inf,
    row_centers: npt.ArrayLike | None = None,
    column_centers: npt.ArrayLike | None = None,
) -> Deformation:
    """Check a series whose positions differ over its sections.

    Parameters
    ----------
    series
        With positions (n, gy, gx).
    shape
        Rows and columns of a plane.
    limits
        Intervals wider than this are gaps: one number, or one for each interval.
    row_centers, column_centers
        Pixel coordinates of the grid's nodes; by default the middles of gy by gx equal windows.

    Raises
    ------
    ParameterError
        If there are fewer than two sections, or nodes and positions do not fit.
    """
    at = series.positions
    if at.ndim != 3 or len(at) < 2:
        raise ParameterError(f"a deformation has grids of positions (n, gy, gx) of 2 sections or more, not {at.shape}")
    centers = [node_centers(n, g) for n, g in zip(shape, at.shape[1:], strict=True)]
    for axis, given in enumerate((row_centers, column_centers)):
        if given is not None:
            centers[axis] = np.asarray(given, np.float64)
            if centers[axis].shape != (at.shape[1 + axis],):
                raise ParameterError(f"a grid of {at.shape[1:]} nodes was given {centers[axis].size} along axis {axis}")
    rows, columns = (node_weights(n, center) for n, center in zip(shape, centers, strict=True))
    return Deformation(series, interval_limits(limits, len(at)), rows, columns)
