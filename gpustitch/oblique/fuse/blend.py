"""Where a placed tile covers the mosaic, and the weight of each tile in a voxel.

With two tiles the weight of the first is ``d1**2 / (d1**2 + d2**2)``. Here d is the distance in voxels to the tile's
nearest edge along the axes in which the tiles differ. With more tiles, a tile's weights against each other tile that
covers the voxel are multiplied. The tile's weight is its product divided by the sum of all tiles' products.

For two tiles ``d**2 / sum(d**2)`` would be the same. With more, that d would depend on which other tiles are there. It
would jump where a tile begins that differs in other axes. In the product a tile begins with weight 0 and changes
nothing.

Stage errors make tiles that lie side by side along y end at slightly different x. Where one of them ends, its weight
from the distance along y would drop to nothing at once. So tiles also fade along the axes in which they do not differ:
the tile with the nearer edge fades out over its last voxels. Where both tiles end together nothing changes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from gpustitch.array import Array
from gpustitch.model import Coverage, PlacedVolume
from gpustitch.model.arrays import Floats, Floats32
from gpustitch.model.geometry import WHOLE_FRAME

# A position this close to a whole voxel is whole: 65535 counts change by less than one over that distance.
_WHOLE = 1e-5
# Offsets of two tiles are taken as fractions of the tile's extent. Two tiles differ in an axis if their offset is at
# least this part of their largest offset. So a stage error of a few voxels is no difference, a step of the grid is.
_DIFFERS = 0.125
# A tile that ends before its neighbour fades out over this many voxels.
FADE = 16.0
# Least distance of a covered voxel, so that two tiles that meet at their edges share the voxel evenly.
_LEAST_DISTANCE = 1 / 32
# Less than any covered voxel's squared distance, however faded.
_NOT_COVERED = 1e-30
# Less than the sum of weights of a covered voxel; where no tile covers a voxel, 0 is divided by this.
_LEAST_SUM = 1e-37

# Distances to a tile's nearer edge along z, y and x, of shapes (z, 1, 1), (1, y, 1) and (z, 1, x).
Near = tuple[Floats32, Floats32, Floats32]


def _snapped(position: npt.ArrayLike) -> Floats:
    """Positions; a position within rounding of a whole number becomes that number."""
    value = np.asarray(position, dtype=np.float64)
    whole = np.rint(value)
    return np.where(np.abs(value - whole) < _WHOLE, whole, value)


@dataclass(frozen=True)
class Footprint:
    """The part of some mosaic planes that one tile covers, and how the tile's grid lies there.

    Mosaic voxel (z, y, x) lies at ``(z + shift_z, y + shift_y, x + shift_x[plane])`` of the tile's grid. The
    tile covers it if it covers all neighbours that the interpolation needs: ``z_edges[0] <= z <= z_edges[1]``, the
    same for y, and ``first_x[plane] <= x <= last_x[plane]`` (real numbers, mosaic voxels). Distances are measured from
    the same edges. Where all shifts are whole, they are the edges of the tile's coverage itself. Where frames are
    absent, each run of frames in between has a footprint of its own: :meth:`by_runs`.
    """

    shift_z: float
    shift_y: float
    shift_x: Floats
    z_edges: tuple[float, float]
    y_edges: tuple[float, float]
    first_x: Floats
    last_x: Floats

    @classmethod
    def of(cls, tile: PlacedVolume, z_start: int, z_stop: int) -> Footprint:
        """The footprint on the mosaic planes ``z_start <= z < z_stop`` (some may lie above or below the tile).

        It is that of all the tile's frames, absent ones too.
        """
        coverage = tile.volume.coverage
        shift_z, shift_y = (float(_snapped(-origin)) for origin in tile.origin_px[:2])
        z = _snapped(np.arange(z_start, z_stop) + shift_z)
        shift_x = _snapped(-tile.origin_px[2] - tile.shear_px * z)
        # Frames x - shear * z of the neighbours of a voxel, without the part x.
        frames = np.stack([-coverage.shear * np.floor(z), -coverage.shear * np.ceil(z)])
        return cls(
            shift_z=shift_z,
            shift_y=shift_y,
            shift_x=shift_x,
            z_edges=(-shift_z, coverage.n_columns - 1 - shift_z),
            y_edges=(-shift_y, coverage.n_rows - 1 - shift_y),
            first_x=-np.floor(shift_x) - frames.min(axis=0),
            last_x=coverage.n_frames - 1 - np.ceil(shift_x) - frames.max(axis=0),
        )

    def by_runs(self, coverage: Coverage) -> Iterator[Footprint]:
        """The footprints of the runs of frames that are there, in order; ``coverage`` is the tile's."""
        for start, stop in coverage.runs:
            yield replace(self, first_x=self.first_x + start, last_x=self.last_x - (coverage.n_frames - stop))

    @property
    def rows(self) -> tuple[int, int]:
        """Half-open range of covered mosaic y."""
        return _whole_range(*self.y_edges)

    @property
    def depths(self) -> tuple[int, int]:
        """Half-open range of covered mosaic z."""
        return _whole_range(*self.z_edges)

    @property
    def columns(self) -> npt.NDArray[np.int64]:
        """Half-open range of covered mosaic x on each plane, shape (planes, 2); empty where stop <= start."""
        first, last = np.ceil(self.first_x - WHOLE_FRAME), np.floor(self.last_x + WHOLE_FRAME)
        return np.stack([first, last + 1], axis=1).astype(np.int64)


def _whole_range(first: float, last: float) -> tuple[int, int]:
    return math.ceil(first - _WHOLE), math.floor(last + _WHOLE) + 1


def differing_axes(a: PlacedVolume, b: PlacedVolume) -> tuple[bool, bool, bool]:
    """In which axes (z, y, x) two tiles lie apart, errors of the stage aside.

    Offsets are compared as fractions of the smaller tile's extent. Along x the offset is that of the covered columns on
    one plane. So tiles stacked along z with one stage x differ in x too. Tiles at one place differ in all axes.
    """
    covers = a.volume.coverage, b.volume.coverage
    extents = [max(1, min(getattr(cover, name) for cover in covers)) for name in ("n_columns", "n_rows", "n_frames")]
    dz, dy, dx = (p - q for p, q in zip(a.origin_px, b.origin_px, strict=True))
    slant = (covers[0].shear + a.shear_px + covers[1].shear + b.shear_px) / 2
    parts = [abs(offset) / extent for offset, extent in zip((dz, dy, dx - slant * dz), extents, strict=True)]
    z, y, x = (part >= _DIFFERS * max(parts) for part in parts)
    return z, y, x


def weights(near: Sequence[Near], covered: Sequence[npt.NDArray[np.bool_]], axes: npt.NDArray[np.uint8]) -> list[Array]:
    """The weight of each tile on a box; weights sum to 1 wherever a tile covers the voxel, and are 0 elsewhere.

    Parameters
    ----------
    near
        For each tile the distances to its nearer edge, voxels. Every tile covers all planes and all rows of the box.
    covered
        For each tile the columns that it covers, shape (z, 1, x).
    axes
        ``axes[i, j]``: in which axes (z, y, x) tiles i and j differ (:func:`differing_axes`).

    Returns
    -------
    list of arrays
        float32, 3-D, of the box's shape. An axis along which the weight does not change may have length 1.
    """
    masks = [None if mask.all() else mask.astype(np.float32) for mask in covered]
    result: list[Array] = [np.ones((1, 1, 1), np.float32) if mask is None else mask for mask in masks]
    for i in range(len(near)):
        for j in range(i + 1, len(near)):
            mine, other = (_closeness(near[k], axes[i, j], masks[k]) for k in (i, j))
            mine, other = _faded(mine, other, near[i], near[j], axes[i, j])
            both = np.maximum(mine + other, np.float32(_NOT_COVERED))
            result[i] = result[i] * (mine / both)
            result[j] = result[j] * (other / both)
    if len(near) > 2:
        total = np.maximum(sum(result[1:], start=result[0]), np.float32(_LEAST_SUM))
        result = [weight / total for weight in result]
    return result


def _closeness(near: Near, axes: npt.NDArray[np.uint8], mask: Array | None) -> Array:
    """Square of the least distance over the axes that differ, 0 outside the mask."""
    least: Array | None = None
    for distance, differs in zip(near, axes, strict=True):
        if differs:
            least = distance if least is None else np.minimum(least, distance)
    assert least is not None
    squared: Array = np.maximum(least, np.float32(_LEAST_DISTANCE)) ** 2
    return squared if mask is None else squared * mask


def _faded(
    mine: Array, other: Array, near_mine: Near, near_other: Near, axes: npt.NDArray[np.uint8]
) -> tuple[Array, Array]:
    """The closeness of two tiles; less for the tile that ends first along an axis in which they do not differ."""
    for a, b, differs in zip(near_mine, near_other, axes, strict=True):
        if differs or min(a.min(), b.min()) >= FADE:
            continue
        a, b = (np.clip(distance, np.float32(_LEAST_DISTANCE), np.float32(FADE)) for distance in (a, b))
        further = np.maximum(a, b)
        mine = mine * (a / further) ** 2
        other = other * (b / further) ** 2
    return mine, other
