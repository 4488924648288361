"""The grid of the sheet: the mosaic's voxels, sheared so that each frame of each tile lies in one plane.

Voxel (z, y, x) of the mosaic is (f, y, z) there, with ``f = x - drift[z]``. All tiles lean alike, so in this grid every
tile is a box, but for a column here and there. Fusing there needs few frames at a time; the last step moves the planes
z back to their places.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gpustitch.array import Array
from gpustitch.model import Box, PlacedVolume
from gpustitch.model.geometry import plane_frames
from gpustitch.oblique.fuse.blend import Footprint
from gpustitch.oblique.fuse.tables import Tables

# Frames that one voxel may need of each of two columns: two of the oblique grid, each between two frames.
N_TAPS = 3


def drift_of(slope: float, n_planes: int) -> npt.NDArray[np.int64]:
    """By how many whole columns each plane z of a mosaic is displaced along x, int64 (planes,)."""
    return -plane_frames(slope, np.arange(n_planes))[0]


@dataclass(frozen=True)
class Taps:
    """Which frames of a tile make a voxel of each plane z, and their shares.

    Voxel (f, y, z) is the sum over ``d`` and ``j`` of ``share[d, j, z]`` times frame ``f + start[d, z] + j`` at column
    ``z + first_column + d``. This is what interpolating the de-obliqued tile along z and x comes to.

    Parameters
    ----------
    start
        int64, shape (2, planes).
    share
        float32, shape (2, 3, planes); not negative, and 1 together. Frames of share 0 need not be there.
    """

    start: npt.NDArray[np.int64]
    share: npt.NDArray[np.float32]

    @classmethod
    def of(cls, tile: PlacedVolume, footprint: Footprint, first_plane: int, drift: npt.NDArray[np.int64]) -> Taps:
        """The taps of a tile on the planes of its footprint, the first of which is ``first_plane``."""
        z = first_plane + np.arange(len(drift))
        column = int(np.floor(footprint.shift_z))
        along_z = footprint.shift_z - column
        whole = np.floor(footprint.shift_x)
        along_x = footprint.shift_x - whole
        start = np.empty((2, len(z)), np.int64)
        share = np.zeros((2, N_TAPS, len(z)))
        for d, of_column in enumerate((1 - along_z, along_z)):
            offset, weight = plane_frames(tile.volume.coverage.shear, z + column + d)
            start[d] = drift + whole.astype(np.int64) + offset
            for j, of_x in enumerate((1 - along_x, along_x)):
                share[d, j] += of_column * of_x * (1 - weight)
                share[d, j + 1] += of_column * of_x * weight
        return cls(start, share.astype(np.float32))

    @property
    def reach(self) -> tuple[int, int]:
        """Half-open range of the frames that voxels of f = 0 need."""
        used = [self.start[d] + j for d in range(2) for j in range(N_TAPS) if self.share[d, j].any()]
        return min(int(s.min()) for s in used), max(int(s.max()) for s in used) + 1


def along_sheet(tables: Tables, box: Box, first: int, n_frames: int, drift: npt.NDArray[np.int64]) -> Tables:
    """Tables of a box of the mosaic with columns counted along f from ``first`` on, cut to ``n_frames``.

    ``box`` must hold all columns of these f; ``drift`` is that of its planes.
    """
    shift = (first + drift - box.start[2])[None, :, None]
    columns = tables.columns.copy()
    columns[:, :, :2] = np.clip(columns[:, :, :2] - shift, 0, n_frames)
    return dataclasses.replace(tables, columns=columns, edges=tables.edges - shift)


def box_of(
    planes: tuple[int, int], rows: tuple[int, int], frames: tuple[int, int], drift: npt.NDArray[np.int64]
) -> Box:
    """The box of the mosaic around a half-open range of planes z, rows y and f; ``drift`` is that of the planes."""
    return Box((planes[0], rows[0], frames[0] + int(drift.min())), (planes[1], rows[1], frames[1] + int(drift.max())))


def stacked(taps: Sequence[Taps]) -> tuple[Array, Array]:
    """Starts and shares of several tiles, as :func:`gpustitch.oblique.stream.fuse_frames.fuse_frames` takes them."""
    return np.stack([t.start for t in taps]), np.stack([t.share for t in taps])
