"""An array as a volume."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from gpustitch.array import refuse_unlike, to_host
from gpustitch.errors import ParameterError
from gpustitch.model import ZYX, Box, Coverage, Spacing
from gpustitch.ops.padded import padded


class ArrayVolume:
    """An array (z, y, x) as a :class:`gpustitch.model.Volume`; ``coverage`` is by default the whole box.

    The array may be of any library, but not masked.
    """

    def __init__(self, array: npt.NDArray[Any], spacing: Spacing, coverage: Coverage | None = None) -> None:
        refuse_unlike(array)
        z, y, x = array.shape
        self.array = array
        self.spacing = spacing
        self.coverage = Coverage(x, y, z) if coverage is None else coverage
        self.dtype = array.dtype
        if self.coverage.shape != array.shape:
            raise ParameterError(f"the coverage is of shape {self.coverage.shape} but the array of {array.shape}")

    @property
    def shape(self) -> ZYX:
        """Shape (z, y, x)."""
        return self.coverage.shape

    def read(self, box: Box) -> npt.NDArray[Any]:
        """A copy of the voxels of ``box``; zero outside the array."""
        return padded(box, self.shape, self.dtype, lambda inside: np.array(to_host(self.array[inside.slices()])))
