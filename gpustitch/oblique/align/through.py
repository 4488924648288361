"""A volume that is another one, read through something: counted, scaled, or less a pattern."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import numpy.typing as npt

from gpustitch.model import Box, Coverage, Spacing, Volume


class Through(ABC):
    """What covers the same voxels as another volume, and is read along the sheet if that can be."""

    def __init__(self, volume: Volume, dtype: np.dtype[Any]) -> None:
        self._volume = volume
        self.spacing: Spacing = volume.spacing
        self.dtype = dtype
        if hasattr(volume, "depth"):
            self.depth: int = volume.depth
        if hasattr(volume, "read_along_sheet"):
            self.read_along_sheet = self._read_along_sheet

    @property
    def coverage(self) -> Coverage:
        """Which voxels hold data; frames may turn out to be unreadable while others are read."""
        return self._volume.coverage

    @abstractmethod
    def read(self, box: Box) -> npt.NDArray[Any]:
        """Voxels of ``box``."""

    @abstractmethod
    def _read_along_sheet(self, box: Box) -> npt.NDArray[Any]:
        """Pixels of raw frames, where the volume is made of them."""
