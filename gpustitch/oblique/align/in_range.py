"""Voxels of any size: floats whose squares float32 cannot hold are compared as floats of a usual size."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import numpy.typing as npt

from gpustitch.model import Box, Volume
from gpustitch.oblique.align.points import Overlap
from gpustitch.oblique.align.through import Through

# Greatest voxels within these are taken as they are: squares of them, over a whole overlap, fit into float32.
USUAL = (1e-12, 1e12)
# Planes of what two tiles share that are looked at for their greatest voxel.
_PLANES = 3


def in_range(overlap: Overlap) -> Overlap:
    """The same overlap, each tile times a power of two if its floats are very small or very great.

    Correlations do not heed the factor of a tile, and a power of two does not round. Integers are taken as they are.
    """
    fixed, moving = overlap.shared
    return dataclasses.replace(overlap, fixed=_sized(overlap.fixed, fixed), moving=_sized(overlap.moving, moving))


def _sized(volume: Volume, shared: Box) -> Volume:
    power = _power(volume, shared) if volume.dtype.kind == "f" and not shared.is_empty else 0
    return Scaled(volume, power) if power else volume


def _power(volume: Volume, shared: Box) -> int:
    """The power of two that brings the greatest voxel of some planes near 1; 0 if it is of a usual size, or 0."""
    greatest = 0.0
    for z in np.linspace(shared.start[0], shared.stop[0] - 1, _PLANES).round().astype(int).tolist():
        plane = volume.read(Box((z, *shared.start[1:]), (z + 1, *shared.stop[1:])))
        greatest = max(greatest, float(np.abs(plane).max(where=np.isfinite(plane), initial=0)))
    return 0 if greatest == 0 or USUAL[0] <= greatest <= USUAL[1] else -math.frexp(greatest)[1]


class Scaled(Through):
    """A volume of floats, each times two to a power."""

    def __init__(self, volume: Volume, power: int) -> None:
        super().__init__(volume, volume.dtype)
        self._power = power

    def read(self, box: Box) -> npt.NDArray[Any]:
        """Voxels of ``box``."""
        return self._scaled(self._volume.read(box))

    def _read_along_sheet(self, box: Box) -> npt.NDArray[Any]:
        return self._scaled(self._volume.read_along_sheet(box))  # type: ignore[attr-defined]

    def _scaled(self, voxels: npt.NDArray[Any]) -> npt.NDArray[Any]:
        with np.errstate(over="ignore", under="ignore"):  # what is far greater than the planes looked at tells nothing
            out: npt.NDArray[Any] = np.ldexp(voxels, self._power)
        return out
