"""Volumes that do not say which voxels the camera saw, taken for those of an oblique scan."""

from __future__ import annotations

import math

from gpustitch.errors import MosaicError
from gpustitch.model import Coverage, Volume, shear_of


class Oblique:
    """A volume with the coverage of an oblique scan: a parallelogram."""

    def __init__(self, volume: Volume) -> None:
        self._volume = volume
        self.dtype = volume.dtype
        self.spacing = volume.spacing
        z, y, x = volume.coverage.shape
        shear = shear_of(self.spacing.y_um, self.spacing.x_um, self.spacing.sheet_angle_deg)
        n_frames = x - math.ceil((z - 1) * shear - 1e-6)
        if n_frames < 1:
            raise MosaicError(
                f"{x} x {y} x {z} voxels (x, y, z) are too short in x for an oblique scan with "
                f"{self.spacing.y_um} um pixels; leave out `is_oblique`"
            )
        self.coverage = Coverage(n_frames, y, z, (x - n_frames) / (z - 1) if z > 1 else 0.0)
        self.read = volume.read
        self.n_files: int = getattr(volume, "n_files", 0)
        self.n_missing: int = getattr(volume, "n_missing", 0)
