"""Parts of a mosaic that are swept without each other: whole files of the finest level, by bands or along the sheet."""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gpustitch.model import ZYX, Box

# Frames that neighbours along the sheet both need are read and corrected twice; they may be this much of all, at most.
_MOST_TWICE = 0.15


@dataclass(frozen=True)
class Unit:
    """Bands of the mosaic, and of these the files that begin at ``first <= f < stop`` of the sheet."""

    bands: tuple[Box, ...]
    first: float = -math.inf
    stop: float = math.inf


@dataclass(frozen=True)
class Cutting:
    """What files and blocks ask of a cut: ``file_shape`` has whole blocks and whole files, ``drift`` is the sheet's.

    ``coarser`` are the shapes of files of each coarser level, in voxels of the finest.
    """

    file_shape: ZYX
    drift: npt.NDArray[np.int64]
    n_columns: int
    coarser: tuple[ZYX, ...] = ()

    def begin(self, box: Box) -> int:
        """Where along f the file begins that holds a box of blocks."""
        depth, _, width = self.file_shape
        z, x = box.start[0] // depth * depth, box.start[2] // width * width
        return x - int(self.drift[z])

    def units(self, bands: Sequence[Box], n: int, *, by_bands: bool, least: int = 1) -> tuple[Unit, ...]:
        """At most ``n`` units of about the same size; ``least`` if that lets more levels be made by units alone.

        Bands that are read alone make units ``by_bands``. Otherwise all bands are cut along the sheet, into so few
        parts that little is read twice.
        """
        if by_bands:
            where = self._places(bands, least - 1)
            n = min(n, len(where) + 1)
            ends = [0]
            for k in range(1, n):
                after, before = bisect.bisect_right(where, ends[-1]), len(where) + 1 + k - n  # others need places too
                ends.append(min(where[after:before], key=lambda at: abs(at - k * len(bands) / n)))
            ends.append(len(bands))
            return tuple(Unit(tuple(bands[a:b])) for a, b in itertools.pairwise(ends))
        first, stop = -int(self.drift.max()), self.n_columns
        depth, _, width = self.file_shape
        twice = width + int(np.ptp(self.drift[:depth]))
        n = max(1, min(n, 1 + int(_MOST_TWICE * (stop - first) / twice)))
        places = [-math.inf, *(first + k * (stop - first) / n for k in range(1, n)), math.inf]
        return tuple(Unit(tuple(bands), a, b) for a, b in itertools.pairwise(places))

    def _places(self, bands: Sequence[Box], least: int) -> list[int]:
        """Numbers of bands that begin files of as many levels as possible, but at ``least`` so many if there are."""
        places = [k for k in range(1, len(bands)) if _begins(bands[k], self.file_shape)]
        for shape in self.coarser:
            common = [k for k in places if _begins(bands[k], shape)]
            if len(common) < max(1, least):
                break
            places = common
        return places


def _begins(band: Box, shape: ZYX) -> bool:
    return all(start % n == 0 for start, n in zip(band.start, shape, strict=True))


class PartTarget:
    """A target that takes the blocks of one unit alone; the others count as given."""

    def __init__(self, target: Any, unit: Unit, cutting: Cutting) -> None:
        self._unit, self._cutting = unit, cutting
        self._missing = target.missing
        self.write, self.skip = target.write, target.skip
        self.reduced, self.write_levels = target.reduced, target.write_levels

    def missing(self, box: Box) -> Iterator[Box]:
        """The parts of a box of blocks that are to be given."""
        if self._unit.first <= self._cutting.begin(box) < self._unit.stop:
            yield from self._missing(box)
