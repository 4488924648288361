"""How slices lie along their normal: equally spaced, with holes, in stretches, or irregular.

The classes are tried in order and the first that fits is taken. Positions are written with few decimals in many
series; what rounding explains is not called irregular.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from gpustitch.errors import ParameterError
from gpustitch.model.arrays import Floats, Integers
from gpustitch.regrid.plan import planes_over
from gpustitch.slices.fit.grid import Slack, even_grid, grid_by_number, is_plain
from gpustitch.slices.fit.lines import band_slopes, least_squares_line, narrowest_band
from gpustitch.slices.fit.stretches import stretches_of
from gpustitch.slices.model import SpacingClass, SpacingFit

# Greatest distance of a slice from the grid, as a part of the spacing.
TOLERANCE = 0.01


def fit_slices(
    positions_mm: Floats,
    rounding_mm: float | Floats,
    numbers: Integers | None = None,
    tolerance: float = TOLERANCE,
    digits_mm: Floats | None = None,
) -> SpacingFit:
    """Explain the positions of slices along their normal.

    Parameters
    ----------
    positions_mm
        float64 (n,): ascending; equal ones only where ``numbers`` tell the slices apart.
    rounding_mm
        Greatest error from the decimals that the positions were written with, of all or float64 (n,) of each.
    numbers
        int64 (n,): InstanceNumber of each slice, if all have one.
    tolerance
        Greatest distance of a slice from the grid, as a part of the spacing: above 0, below 0.5.
    digits_mm
        float64 (n,): the errors if positions were written with a count of digits, not of decimals. They are tried
        where ``rounding_mm`` does not explain the positions. Where it does, the interval of the spacing holds what they
        leave open.

    Returns
    -------
    The first class that fits: UNIFORM; MISSING; both with rounded positions; RUNS_WITH_GAPS or VARIABLE; IRREGULAR.
    SINGLE for one slice.

    Raises
    ------
    ParameterError
        If there is no slice, a position is not a number, positions descend, or the tolerance is out of range.
    """
    check_tolerance(tolerance)
    t = np.asarray(positions_mm, np.float64)
    if t.ndim != 1 or not len(t) or not np.isfinite(t).all() or (np.diff(t) < 0).any():
        raise ParameterError("positions of slices are ascending numbers, at least one")
    rounding = np.broadcast_to(np.asarray(rounding_mm, np.float64), t.shape)
    if len(t) == 1:
        return _single(float(t[0]), float(rounding[0]))
    if t[-1] == t[0]:
        raise ParameterError("all slices have one position")
    fit = _first_that_fits(t, rounding, numbers, tolerance)
    if digits_mm is not None and (fit is None or not _is_within(fit)):
        other = _first_that_fits(t, np.asarray(digits_mm, np.float64), numbers, tolerance)
        if fit is None or (other is not None and _rank(other) <= _rank(fit)):
            fit = other
    elif digits_mm is not None and fit is not None:
        fit = _widened(fit, t, np.asarray(digits_mm, np.float64))
    if fit is None:
        raise ParameterError("several slices have one position")
    return fit


def _first_that_fits(t: Floats, rounding: Floats, numbers: Integers | None, tolerance: float) -> SpacingFit | None:
    """The first class that fits; None if slices at one position are not told apart by their numbers."""
    slack = Slack.of(rounding, float(t[-1] - t[0]) / (len(t) - 1), tolerance)
    are_apart = bool((np.diff(t) > 0).all())
    as_written = even_grid(t, slack.without_errors()) if are_apart else None
    if as_written is not None and as_written.spacing_class is SpacingClass.UNIFORM:
        return as_written
    counted = grid_by_number(t, rounding, numbers)
    if counted is not None and numbers is not None and not (are_apart and is_plain(counted, as_written, numbers)):
        return counted
    if not are_apart:
        return None
    return as_written or even_grid(t, slack) or stretches_of(t, slack) or _irregular(t, float(rounding.max()))


def _is_within(fit: SpacingFit) -> bool:
    """Whether the decimals explain all that slices are off an even grid without a hole, and tell them apart."""
    return not fit.by_number and fit.spacing_class is SpacingClass.UNIFORM and fit.residual_mm <= fit.rounding_mm


def _widened(fit: SpacingFit, t: Floats, digits: Floats) -> SpacingFit:
    """An even fit by decimals with the interval that a count of digits leaves: coarse numbers may be even by chance."""
    k = fit.steps.astype(np.float64)
    low, high = band_slopes(k, t, max(0.0, narrowest_band(k, t, digits)[1]), digits)
    most = max(fit.uncertainty_mm, fit.spacing_mm - low, high - fit.spacing_mm)
    return dataclasses.replace(fit, uncertainty_mm=most)


def _rank(fit: SpacingFit) -> int:
    return list(SpacingClass).index(fit.spacing_class)


def check_tolerance(tolerance: float) -> None:
    """Raise ParameterError unless it is above 0 and below 0.5."""
    if not 0 < tolerance < 0.5:
        raise ParameterError(f"`tolerance` is {tolerance}, but it must be a part of the spacing, above 0 and below 0.5")


def _irregular(t: Floats, rounding: float) -> SpacingFit:
    """The fit of intervals (mm) without a pattern: their median, and a line through all positions."""
    gaps, steps = np.diff(t), np.arange(len(t), dtype=np.int64)
    spacing = float(np.median(gaps))
    slope, origin, _ = least_squares_line(steps.astype(np.float64), t)
    return SpacingFit(
        spacing_class=SpacingClass.IRREGULAR,
        spacing_mm=spacing,
        uncertainty_mm=float(np.std(gaps)),
        origin_mm=float(t[0]),
        steps=steps,
        residual_mm=float(np.abs(t - origin - slope * steps).max()),
        rounding_mm=rounding,
        is_rounded=False,
        by_number=False,
        stretches=(),
        n_output=planes_over(float(t[-1] - t[0]), spacing),
    )


def _single(position: float, rounding: float) -> SpacingFit:
    """The fit of one slice: there is no spacing."""
    return SpacingFit(
        spacing_class=SpacingClass.SINGLE,
        spacing_mm=np.nan,
        uncertainty_mm=np.nan,
        origin_mm=position,
        steps=np.zeros(1, np.int64),
        residual_mm=0.0,
        rounding_mm=rounding,
        is_rounded=False,
        by_number=False,
        stretches=(),
        n_output=1,
    )
