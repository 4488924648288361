"""Slices along their normal, and what they make when they are parted."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from gpustitch.errors import ParameterError
from gpustitch.model.arrays import Floats, Integers
from gpustitch.slices.fit.classes import fit_slices
from gpustitch.slices.fit.geometry import same_places
from gpustitch.slices.model import Part, SpacingFit


@dataclass(frozen=True)
class Lying:
    """Slices of one series, as all ways to part them see them.

    Attributes
    ----------
    along_mm
        float64 (n,): where they are along the normal, in any order.
    rounding_mm
        Greatest error of those from their decimals.
    numbers
        int64 (n,): InstanceNumber of each; None unless all have one.
    tolerance
        Greatest distance of a slice from an even grid, as a part of the spacing.
    stated_mm
        |SpacingBetweenSlices|; None where it is not stated.
    tags
        By name of the split: what each slice states.
    digits_mm
        float64 (n,): greatest error of each if positions have one count of digits; None if that is ``rounding_mm``.
    """

    along_mm: Floats
    rounding_mm: float
    numbers: Integers | None
    tolerance: float
    stated_mm: float | None = None
    tags: Mapping[str, Sequence[str]] = field(default_factory=dict)
    digits_mm: Floats | None = None
    _fits: dict[bytes, SpacingFit | None] = field(default_factory=dict, compare=False, repr=False)

    @functools.cached_property
    def order(self) -> Integers:
        """int64 (n,): numbers of the slices along the normal."""
        return np.argsort(self.along_mm, kind="stable").astype(np.int64)

    @functools.cached_property
    def place(self) -> Integers:
        """int64 (n,): number of the place of each slice of ``order``."""
        return same_places(self.along_mm[self.order])

    @property
    def is_doubled(self) -> bool:
        """Whether slices are at one place."""
        return int(self.place[-1]) + 1 < len(self.place)

    def states(self, spacing_mm: float) -> bool:
        """Whether SpacingBetweenSlices is a spacing."""
        return self.stated_mm is not None and abs(self.stated_mm - spacing_mm) <= self.tolerance * spacing_mm

    def part(self, members: Integers) -> Part | None:
        """Slices by themselves; None for fewer than two, or where two are at one place.

        Parameters
        ----------
        members
            int64 (m,): numbers of slices, along the normal.
        """
        if len(members) < 2:
            return None
        t = self.along_mm[members]
        numbers = None if self.numbers is None else self.numbers[members]
        key = t.tobytes() + (b"" if numbers is None else (numbers - numbers[0]).tobytes())
        # Volumes in time lie alike: hundreds of them are fitted once.
        if key not in self._fits:
            self._fits[key] = self._fit(t, members)
        fit = self._fits[key]
        return None if fit is None else Part(members, float(t[0]), float(t[-1]), fit)

    def _fit(self, t: Floats, members: Integers) -> SpacingFit | None:
        numbers = None if self.numbers is None else self.numbers[members]
        digits = None if self.digits_mm is None else self.digits_mm[members]
        if int(same_places(t)[-1]) + 1 < len(t):
            return None
        try:
            return fit_slices(t, self.rounding_mm, numbers, self.tolerance, digits)
        except ParameterError:
            return None


def members_of(lying: Lying, labels: Sequence[str] | Integers) -> list[Integers]:
    """Numbers of the slices of each label, along the normal; labels in the order of their first slices.

    Parameters
    ----------
    lying
        The slices.
    labels
        One for each slice.
    """
    _, first, inverse = np.unique(np.asarray(labels), return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first, kind="stable")] = np.arange(len(first))
    code = rank[inverse][lying.order]
    by_code = np.argsort(code, kind="stable")
    edges = np.flatnonzero(np.diff(code[by_code])) + 1
    return np.split(lying.order[by_code], edges)
