"""What instance numbers say about holes in a series: were files lost, or was nothing acquired there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gpustitch.model.arrays import Floats, Integers
from gpustitch.slices.model import SpacingClass, SpacingFit

# Part of the intervals between neighbours over which numbers must grow evenly to say anything.
_EVEN_NUMBERS = 0.9


@dataclass(frozen=True)
class Hole:
    """A hole between two slices.

    Attributes
    ----------
    after
        Number of the slice before it, in order along the normal.
    start_mm, stop_mm
        Positions of the slices on both sides.
    steps
        Its width in spacings; slices that would fill it, plus one.
    cause
        ``lost``: instance numbers skip as many; ``never``: they run on; empty: they say nothing.
    """

    after: int
    start_mm: float
    stop_mm: float
    steps: float
    cause: str


def holes(fit: SpacingFit, positions_mm: Floats, numbers: Integers | None) -> list[Hole]:
    """Holes of a series that is even but for them; nothing for other classes.

    Parameters
    ----------
    fit
        The explanation of the positions.
    positions_mm
        float64 (n,): ascending.
    numbers
        int64 (n,): instance numbers in that order, if all have one.
    """
    if fit.spacing_class not in (SpacingClass.MISSING, SpacingClass.RUNS_WITH_GAPS):
        return []
    after = np.array([stretch.stop - 1 for stretch in fit.stretches[:-1]], np.int64)
    widths = np.diff(positions_mm)[after] / fit.spacing_mm
    if fit.spacing_class is SpacingClass.MISSING:
        widths = np.diff(fit.steps)[after].astype(np.float64)
    skipped = _skipped(after, numbers)
    return [
        Hole(int(i), float(positions_mm[i]), float(positions_mm[i + 1]), float(width), _cause(float(width), skip))
        for i, width, skip in zip(after, widths, skipped, strict=True)
    ]


def _skipped(after: Integers, numbers: Integers | None) -> list[float]:
    """Growth of the numbers over each hole, in units of that between neighbours; NaN where they grow unevenly."""
    nothing = [float("nan")] * len(after)
    if numbers is None:
        return nothing
    growth = np.diff(numbers)
    whole = np.delete(growth, after)
    if not len(whole):
        return nothing
    usual = float(np.median(whole))
    if usual == 0 or (whole == usual).mean() < _EVEN_NUMBERS:
        return nothing
    return [float(growth[i]) / usual for i in after]


def _cause(width: float, skipped: float) -> str:
    if skipped == 1:
        return "never"
    return "lost" if abs(skipped - width) <= max(0.25, 0.02 * width) else ""
