"""Whether a position of 0, 0, 0 is a place, or what programs write where they know none."""

from __future__ import annotations

import numpy as np

from gpustitch.errors import ParameterError
from gpustitch.model.arrays import Floats
from gpustitch.slices.fit.classes import fit_slices
from gpustitch.slices.fit.grid import GAP_FACTOR, MOST_STEPS
from gpustitch.slices.model import SpacingClass

# Zeros off the line, or off the grid, of the others by more than this part of an interval are no place of the series.
_OFF = 0.05


def are_placeholders(zeros: int, others_mm: Floats, rounding_mm: float) -> bool:
    """Whether slices at exactly 0, 0, 0 have no position.

    They are where they say if the line of the other slices leads there, and an interval of the series ends there.

    Parameters
    ----------
    zeros
        How many slices are at 0, 0, 0; one at least.
    others_mm
        float64 (n, 3): positions of all others.
    rounding_mm
        Greatest error of those along their line.
    """
    if not len(others_mm):
        return zeros > 1
    places, counts = np.unique(others_mm, axis=0, return_counts=True)
    if len(places) == 1:
        return zeros > max(1, int(counts[0]))
    if len(places) == 2 and zeros == 1:
        return False
    center = places.mean(0)
    direction = np.linalg.svd(places - center, full_matrices=False)[2][0]
    along = np.sort((places - center) @ direction)
    beside = np.linalg.norm(places - center - np.outer((places - center) @ direction, direction), axis=1)
    zero = float(-center @ direction)
    off = float(np.linalg.norm(-center - zero * direction))
    usual = float(np.median(np.diff(along)))
    if off > max(2 * float(beside.max()), _OFF * usual, 2 * rounding_mm):
        return True
    return zeros > 1 and not _ends_an_interval(along, zero, usual, rounding_mm)


def _ends_an_interval(along: Floats, zero: float, usual: float, rounding: float) -> bool:
    """Whether a place is on the grid of others, a few missing slices off at most; without a grid: next to one."""
    nearest = float(np.abs(along - zero).min())
    try:
        fit = fit_slices(along, rounding)
    except ParameterError:  # oblique positions that rounding has made one
        return nearest <= GAP_FACTOR * usual + 2 * rounding
    if fit.spacing_class not in (SpacingClass.UNIFORM, SpacingClass.MISSING):
        return nearest <= GAP_FACTOR * usual + 2 * rounding
    step = (zero - fit.origin_mm) / fit.spacing_mm
    miss = abs(step - round(step)) * fit.spacing_mm
    is_near = -MOST_STEPS <= step <= fit.n_output - 1 + MOST_STEPS
    return is_near and miss <= _OFF * fit.spacing_mm + 2 * rounding
