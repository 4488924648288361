"""Where the slices of a judged series lie, which intervals are gaps, and evenly spaced planes over them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gpustitch.errors import ParameterError
from gpustitch.model.arrays import Floats, Integers
from gpustitch.regrid.plan import AT_SECTION, Series, ZGrid, gap_limits, planes_over
from gpustitch.slices.fit.geometry import volume_affine
from gpustitch.slices.fit.grid import GAP_FACTOR, plane_tolerance
from gpustitch.slices.model import SliceStack, SpacingClass, SpacingFit, Stretch

# An interval just as wide as a gap may be is none, whatever the last bits of positions are.
_ARITHMETIC = 1e-6
# Where intervals follow no pattern, those up to this percentile are usual, even beside three that are narrower.
_USUAL = 80
_ON_A_GRID = (SpacingClass.UNIFORM, SpacingClass.MISSING)
_IN_STRETCHES = (SpacingClass.RUNS_WITH_GAPS, SpacingClass.VARIABLE)
# More planes than any scanner makes: memory for the table of planes would not be bounded.
_MOST_PLANES = 1_000_000


@dataclass(frozen=True)
class PlaneGrid:
    """Slices along their normal and evenly spaced planes over them.

    Attributes
    ----------
    series
        Slices, numbered along the normal, and their places in mm.
    limits
        float64 (n - 1,): intervals wider than this are gaps, mm.
    grid
        The planes, mm.
    """

    series: Series
    limits: Floats
    grid: ZGrid


def fitted_places(fit: SpacingFit, positions_mm: Floats) -> Floats:
    """Where the slices are once the error of written positions is taken out.

    Slices of a grid (UNIFORM, MISSING) are at its steps, those of a stretch at the steps of the stretch. All others
    stay at ``positions_mm``, and so do those of stretches that would cross otherwise.

    Parameters
    ----------
    fit
        The explanation of the positions.
    positions_mm
        float64 (n,): as written, in order along the normal.

    Returns
    -------
    float64 (n,), ascending.
    """
    if fit.spacing_class in _ON_A_GRID:
        return np.asarray(fit.origin_mm + fit.spacing_mm * fit.steps)
    places = np.array(positions_mm, np.float64)
    if fit.spacing_class not in _IN_STRETCHES:
        return places
    for stretch in fit.stretches:
        if stretch.n_slices > 1:
            places[stretch.first : stretch.stop] = _of_stretch(places[stretch.first : stretch.stop], stretch.spacing_mm)
    return places if (np.diff(places) > 0).all() else np.array(positions_mm, np.float64)


def plane_grid(fit: SpacingFit, positions_mm: Floats, step_mm: float | None = None) -> PlaneGrid:
    """Evenly spaced planes from the first slice to the last or just beyond it.

    Parameters
    ----------
    fit, positions_mm
        As :func:`fitted_places` takes them.
    step_mm
        Distance of the planes; None for the fitted one, for VARIABLE that of the finest stretch.

    Raises
    ------
    ParameterError
        If the step is not positive.
    """
    places = fitted_places(fit, positions_mm)
    if fit.spacing_class in (*_ON_A_GRID, SpacingClass.RUNS_WITH_GAPS):
        limits = np.full(len(places) - 1, GAP_FACTOR * fit.spacing_mm * (1 + _ARITHMETIC))
    else:
        limits = gap_limits(places, GAP_FACTOR)
    if fit.spacing_class is SpacingClass.IRREGULAR:
        limits = np.maximum(limits, GAP_FACTOR * np.percentile(np.diff(places), _USUAL))
    numbers, step = np.arange(len(places), dtype=np.int64), fit.spacing_mm if step_mm is None else step_mm
    return _plane_grid(numbers, places, limits, step, fit)


def stretch_grid(fit: SpacingFit, positions_mm: Floats, stretch: Stretch, step_mm: float | None = None) -> PlaneGrid:
    """As :func:`plane_grid`, for a stretch of two slices or more; at its own spacing they are copied exactly."""
    numbers = np.arange(stretch.first, stretch.stop, dtype=np.int64)
    places = fitted_places(fit, positions_mm)[numbers]
    spacing = float(places[-1] - places[0]) / (len(places) - 1)
    step = spacing if step_mm is None else step_mm
    limits = np.full(len(places) - 1, np.inf)
    return _plane_grid(numbers, places, limits, step, fit)


def grid_affine(stack: SliceStack, along: PlaneGrid, *, unsheared: bool) -> Floats | None:
    """Matrix from voxel (x, y, z, 1) of the volume to mm (LPS); None where the series does not say where it is.

    Parameters
    ----------
    stack
        With pixel spacing.
    along
        Planes along the normal.
    unsheared
        The planes were moved sideways over plane 0; else they lie where the slices were.
    """
    if stack.origin_mm is None or stack.directions is None:
        return None
    _, y_mm, x_mm = stack.spacing_mm
    if y_mm is None or x_mm is None:
        return None
    axes = np.asarray(stack.directions, np.float64)
    normal_with_shear = axes[0] + stack.shear[0] * axes[1] + stack.shear[1] * axes[2]
    x, y, z = np.asarray(stack.origin_mm) + (along.grid.first - stack.fit.origin_mm) * normal_with_shear
    shear = (0.0, 0.0) if unsheared else stack.shear
    return volume_affine((x, y, z), axes, (along.grid.step, y_mm, x_mm), shear)


def _plane_grid(numbers: Integers, places: Floats, limits: Floats, step: float, fit: SpacingFit) -> PlaneGrid:
    if not 0 < step < np.inf:
        raise ParameterError(f"planes are a positive distance apart, not {step} mm")
    is_gap = np.diff(places) > limits
    places = _at_planes(places, is_gap, step, fit)
    apart = np.diff(places)
    limits = np.where(is_gap, np.minimum(limits, apart * (1 - _ARITHMETIC)), np.maximum(limits, apart))
    return PlaneGrid(
        Series(numbers, places), limits, ZGrid(float(places[0]), step, planes_over(float(np.ptp(places)), step))
    )


def _at_planes(places: Floats, is_gap: npt.NDArray[np.bool_], step: float, fit: SpacingFit) -> Floats:
    """Places, but those of slices that are at a plane, as far as digits tell, are that plane's.

    Digits of positions, or of the step, would else put a slice beside nothing just off a plane, which is then empty.
    """
    planes = places[0] + step * np.rint((places - places[0]) / step)
    off, least = np.abs(places - planes), min(step, fit.spacing_mm)
    within, beside = (plane_tolerance(least, fit.rounding_mm, is_end=is_end) for is_end in (False, True))
    is_end = np.append(is_gap, True) | np.insert(is_gap, 0, False)
    moved = np.where((off <= np.where(is_end, beside, within)) & (off > AT_SECTION * step / 2), planes, places)
    return moved if (np.diff(moved) > 0).all() else places


def _of_stretch(positions: Floats, spacing: float) -> Floats:
    """Steps of a spacing through positions, as near as possible to the one furthest off."""
    rest = positions - spacing * np.arange(len(positions))
    return np.asarray((rest.max() + rest.min()) / 2 + spacing * np.arange(len(positions)))


def check_number(along: PlaneGrid, name: str) -> None:
    """Refuse billions of planes, as a wrong unit makes them, before anything is made for each."""
    if along.grid.n_planes > _MOST_PLANES:
        extent = float(np.ptp(along.series.positions))
        raise ParameterError(
            f"{name}: planes {along.grid.step:g} mm apart over {extent:g} mm are {along.grid.n_planes}, "
            f"more than {_MOST_PLANES}; check units, positions (gpustitch spacing) and `spacing_mm`"
        )
