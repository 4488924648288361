"""The first and the last section of a series, which others see from one side only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from gpustitch.model.arrays import Floats, Integers
from gpustitch.sections.positions.waves import of_spacings

# Sections between the two ends' steps that tell how spacings scatter.
FEWEST = 5


@dataclass(frozen=True)
class Ends:
    """Positions (n,) with the steps at both ends weighed, float64 in sections, and the standard errors of these steps.

    ``sections`` are the two at the ends, and ``beside`` their neighbours; ``errors`` float64 (2,).
    """

    positions: Floats
    sections: Integers
    beside: Integers
    errors: Floats

    def in_errors(self, sigma: Floats) -> Floats:
        """Standard errors (n,) of positions, with those of the two ends: their neighbours' and the steps'."""
        found = sigma.copy()
        found[self.sections] = np.hypot(sigma[self.beside], self.errors)
        return found


def held_ends(positions: Floats, order: Integers, error: Callable[[int, int], float]) -> Ends | None:
    """Weigh the steps at both ends by their error against what spacings of the series are; None if it is too short.

    Parameters
    ----------
    positions, order
        (n,): positions, and the sections in order of position.
    error
        Standard error of the distance of two sections.

    Notes
    -----
    A section that others see from one side is farther away, or of less quality: nothing but the bend of the curve tells
    which. So its step errs three times as much as others, often more than spacings scatter. With the variance P
    of spacings and the error E of the step the best estimate is ``P / (P + E)`` of its distance from the usual one. A
    step far from all others has a large P, and stays.
    """
    if len(order) < FEWEST + 3:
        return None
    spacing = np.diff(positions[order])
    centre, variance = of_spacings(spacing)
    sections, beside = order[[0, -1]], order[[1, -2]]
    squared = np.array([error(int(i), int(j)) ** 2 for i, j in zip(sections, beside, strict=True)])
    gain = variance[[0, -1]] / (variance[[0, -1]] + squared)
    moved = positions.copy()
    moved[sections] = positions[beside] + np.array([-1.0, 1.0]) * (centre + gain * (spacing[[0, -1]] - centre))
    return Ends(moved, sections, beside, np.sqrt(gain * squared))
