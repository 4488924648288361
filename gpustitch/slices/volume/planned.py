"""One volume to write: where its planes are, what they are made of, and how it is cut into pieces of work."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gpustitch.io.write.formats import volume_suffix
from gpustitch.model import ZYX, Spacing
from gpustitch.model.arrays import Floats
from gpustitch.regrid.plan import ZPlan
from gpustitch.regrid.stage import Blocks
from gpustitch.slices.volume.plane_grid import PlaneGrid


@dataclass(frozen=True)
class VolumePlan:
    """One volume to write.

    Attributes
    ----------
    path
        Of the volume.
    plane_grid
        Slices and planes along the normal.
    sources
        What each plane is made of.
    affine
        float64 (4, 4): from voxel (x, y, z, 1) to mm (LPS); None where the series does not say where it is.
    spacing
        Voxel size.
    blocks
        The volume cut into pieces of work.
    output_bytes
        Size on the disk before compression.
    file_bytes
        Size of a file of chunks; None for the format's default.
    samples
        Values of a voxel along x: 3 for colors.
    """

    path: Path
    plane_grid: PlaneGrid
    sources: ZPlan
    affine: Floats | None
    spacing: Spacing
    blocks: Blocks
    output_bytes: int
    file_bytes: int | None
    samples: int = 1

    @property
    def shape(self) -> ZYX:
        """Shape (z, y, x); the last of colors counts each of the three."""
        return self.blocks.making.shape

    @property
    def table(self) -> Path:
        """Where it is written what each plane is made of."""
        return self.path.with_name(f"{self.path.name}.planes.csv")

    def count(self, *origins: int) -> int:
        """Number of planes of some origins: OUTSIDE, GAP, FILLED, BETWEEN, EXACT of :mod:`gpustitch.regrid.plan`."""
        return int(np.isin(self.sources.plane_origin, origins).sum())


def path_of_stretch(path: Path, number: int) -> Path:
    """The path of the volume of a stretch: with its number before the suffix."""
    stem = path.name[: len(path.name) - len(volume_suffix(path))]
    return path.with_name(f"{stem}_run{number}{path.name[len(stem) :]}")
