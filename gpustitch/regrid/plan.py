"""The sections of a series between which each plane of an evenly spaced volume lies.

Positions are along z, in any unit (sections, um, mm) and in any order. Of sections at the same position, the first in
the input is taken. The others are left out: a mean would blur them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gpustitch.errors import ParameterError
from gpustitch.model.arrays import Floats, Integers

# Origin of a plane. OUTSIDE: no section, before the first or after the last. GAP: no section, in an unfilled gap.
# FILLED: two sections on either side of a gap. BETWEEN: two neighbours. EXACT: one section, unchanged.
OUTSIDE, GAP, FILLED, BETWEEN, EXACT = range(5)

# A plane nearer to a section than this fraction of its interval lies at the section.
AT_SECTION = 1e-6
# Least divisor for the length of an interval: between two sections at one place then lies no plane.
LEAST_INTERVAL = 1e-30
_NEIGHBOURS = 3


@dataclass(frozen=True)
class ZGrid:
    """Evenly spaced planes: plane k lies at ``first + k * step``."""

    first: float
    step: float
    n_planes: int

    def __post_init__(self) -> None:
        if not (math.isfinite(self.first) and math.isfinite(self.step) and self.step > 0):
            raise ParameterError(
                f"planes begin at a finite number and are a positive step apart, not {self.first}, {self.step}"
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
        int64 (n,): the k-th section's number in the input.
    positions
        float64, ascending: the k-th section's position (n,), or a grid of positions over each section (n, gy, gx).
    """

    order: Integers
    positions: Floats


@dataclass(frozen=True)
class ZPlan:
    """The sections of each plane: a plane is ``(1 - weight) * lower + weight * upper``.

    Attributes
    ----------
    lower, upper
        int64 (planes,): numbers of sections in the input; -1 for a plane without sections.
    weight
        float32 (planes,), 0 <= weight < 1. Where ``weight`` is 0, ``upper`` equals ``lower``.
    plane_origin
        uint8 (planes,): OUTSIDE, GAP, FILLED, BETWEEN or EXACT.
    """

    lower: Integers
    upper: Integers
    weight: npt.NDArray[np.float32]
    plane_origin: npt.NDArray[np.uint8]

    def slab(self, start: int, stop: int) -> tuple[Integers, Integers, Integers]:
        """The sections of the planes ``start <= k < stop``, ascending; ``lower`` and ``upper`` as indices of them."""
        lower, upper = self.lower[start:stop], self.upper[start:stop]
        needed = np.unique(np.concatenate([lower, upper]))
        needed = needed[needed >= 0]
        found = [np.where(numbers < 0, -1, np.searchsorted(needed, numbers)) for numbers in (lower, upper)]
        return needed, found[0], found[1]


def sorted_series(positions: npt.ArrayLike) -> Series:
    """Sections in the order of their positions; of sections at one place only the first remains.

    Parameters
    ----------
    positions
        A position for each section (n,), or a grid of positions over each section (n, gy, gx). The mean of a grid
        orders it. A node that then lies below the same node of the section before is moved up to that node: sections
        do not cross.

    Raises
    ------
    ParameterError
        If there is no position, a position is not a number, or the array has another number of axes.
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
    """The greatest width of each interval that is no gap: ``factor`` times the spacing around the interval.

    The spacing around an interval is the wider of two medians: of the three intervals before, and of the three after.
    A mere change of spacing is then no gap.

    Parameters
    ----------
    positions
        Ascending positions (n,).
    factor
        Above 1.

    Returns
    -------
    float64 (n - 1,); infinite if there is only one interval.
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


def planes_over(extent: float, step: float, tolerance: float = 0.0) -> int:
    """Number of planes, ``step`` apart, from the start of an extent to its end or just beyond its end.

    A plane that is ``tolerance`` before the end is at the end.
    """
    return math.ceil((extent - tolerance) / step - AT_SECTION) + 1


def planes_within(extent: float, step: float) -> int:
    """Number of planes, ``step`` apart from the start of an extent on, that lie within the extent."""
    return math.floor(extent / step + AT_SECTION) + 1


def plan_z(
    series: Series,
    grid: ZGrid,
    *,
    limits: npt.ArrayLike = math.inf,
    fill_gaps: bool = False,
    nearest: bool = False,
) -> ZPlan:
    """Find the sections that each plane of a grid is made of.

    Parameters
    ----------
    series
        A series with one position per section: :func:`sorted_series`.
    grid
        The planes.
    limits
        Intervals wider than this are gaps: one number, or one for each interval (n - 1,).
    fill_gaps
        Interpolate in gaps too. By default planes in a gap are background, unless they lie at a section.
    nearest
        Take the nearer of the two sections (the upper one half way) in place of their interpolation.

    Returns
    -------
    The plan. Each entry depends on the number of its plane alone. A part of a plan therefore equals that part of the
    whole plan.

    Raises
    ------
    ParameterError
        If positions differ over the sections, or the number of limits is not that of intervals.
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
    """First and last plane of each run of true values in ``mask``."""
    edges = np.flatnonzero(np.diff(np.r_[0, mask.astype(np.int8), 0]))
    return [[int(start), int(stop) - 1] for start, stop in edges.reshape(-1, 2)]


def interval_limits(limits: npt.ArrayLike, n_sections: int) -> Floats:
    """One limit for each interval between sections; ParameterError unless there is one limit for all or for each."""
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
    """The place of each pixel along an axis between the nodes of a grid.

    Parameters
    ----------
    n_pixels
        Length of the axis.
    centers
        Ascending pixel coordinates of the nodes; pixels beyond an outer node take its value.

    Returns
    -------
    node : int64, (n_pixels,)
        The node before the pixel; ``node + 1`` (at most the last node) is the node after it.
    weight : float64, (n_pixels,)
        Weight of the node after the pixel, from 0 to 1.
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
        float64 (n - 1,): intervals wider than this are gaps; planes in gaps stay background.
    rows, columns
        Node and weight of each row and each column of a whole plane.
    """

    series: Series
    limits: Floats
    rows: tuple[Integers, Floats]
    columns: tuple[Integers, Floats]

    def needed(self, z_low: float, z_high: float) -> slice:
        """The sections that planes from ``z_low`` to ``z_high`` may lie between: a slice of at least two, in order."""
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
        A series with positions (n, gy, gx).
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
