"""Steps of brightness in the written volume where a tile begins or ends, against what changes beside them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from gpustitch.model import Box, PlacedVolume, Volume
from gpustitch.model.arrays import Floats, Floats32, Integers
from gpustitch.oblique.report.placement import Remeasured

# Voxels to each side of a border along the axis, across it, and deep.
_ALONG, _ACROSS, _DEEP = 40, 96, 8
# Voxels that tell the slope at each side of a border, and around it that are no neighbourhood.
_SLOPE, _NEAR = 4, 8
# Less of a strip says nothing; darker parts of its mean are dark.
_LEAST_LIT, _DARK = 0.5, 0.05
_MAD_TO_SIGMA = 1.4826


@dataclass(frozen=True)
class Seam:
    """A border of a tile in the volume.

    ``step_percent`` is the step of brightness there. ``usual_percent`` is the standard deviation of such steps beside
    it, ``most_percent`` the greatest of them.
    ``strip`` shows it (rows, columns), the border in the middle, across the columns.
    """

    fixed: str
    moving: str
    axis: int
    where_px: tuple[int, int, int]
    step_percent: float
    usual_percent: float
    most_percent: float
    strip: Floats32


def seams_of(link: Remeasured, fixed: PlacedVolume, moving: PlacedVolume, volume: Volume) -> Iterator[Seam]:
    """The two borders that a pair of neighbours has inside their overlap, along the axis on which they lie apart."""
    cover = fixed.volume.coverage
    sizes = (cover.n_columns, cover.n_rows, cover.n_frames)
    apart = np.subtract(moving.origin_px, fixed.origin_px)
    shear = cover.shear + fixed.shear_px
    apart[2] -= shear * apart[0]  # along the sheet
    axis = int(np.argmax(np.abs(apart) / sizes))
    if abs(apart[axis]) < 1:
        return
    low, high = (fixed, moving) if apart[axis] > 0 else (moving, fixed)
    low_at, high_at = (np.array(tile.origin_px) - (0, 0, shear * tile.origin_px[0]) for tile in (low, high))
    first = np.maximum(low_at, high_at)
    last = np.minimum(low_at, high_at) + sizes
    for border in (high_at[axis], low_at[axis] + sizes[axis]):
        centre = (first + last) / 2
        centre[axis] = border
        half = np.minimum((_DEEP / 2, _ACROSS / 2, _ACROSS / 2), (last - first) / 2)
        half[axis] = min(_ALONG, sizes[axis] // 4, (last - first)[axis] - 1)
        seam = _seam(link, axis, centre, half, (shear, volume))
        if seam is not None:
            yield seam


def _seam(link: Remeasured, axis: int, centre: Floats, half: Floats, slanted: tuple[float, Volume]) -> Seam | None:
    """The step at one border; ``half`` is half of the strip (z, y, x), ``slanted`` the slant and the volume."""
    shear, volume = slanted
    middle, reach = np.floor(centre + 0.5).astype(int), np.maximum(1, half.astype(int))
    if reach[axis] < _NEAR + 2 * _SLOPE:
        return None
    voxels = _along_sheet(volume, middle - reach, middle + reach, shear)
    if voxels is None:
        return None
    others = tuple(a for a in range(3) if a != axis)
    lit = (voxels > 0).mean(axis=others)
    if lit.min() < _LEAST_LIT:
        return None
    lines = np.moveaxis(voxels, axis, 0).reshape(voxels.shape[axis], -1)
    places = np.arange(_SLOPE + 2, len(lines) - _SLOPE - 1)
    steps = _steps(np.log(np.maximum(lines, _DARK * lines.mean())), places)
    at = places - len(lines) // 2
    here = float(steps[at == 0][0])
    beside = steps[np.abs(at) >= _NEAR]
    usual = _MAD_TO_SIGMA * float(np.median(np.abs(beside - np.median(beside))))
    z, y, f = centre
    image = voxels.mean(axis=0) if axis else voxels.mean(axis=2)
    image = image.T if axis == 2 else image
    where = (round(z), round(y), round(f + shear * z))
    percent = 100 * abs(float(np.expm1(here - np.median(beside))))
    most = float(np.abs(beside - np.median(beside)).max(initial=0))
    return Seam(*link.pair, axis, where, percent, 100 * usual, 100 * most, np.asarray(image, np.float32))


def _steps(lines: Floats32, places: Integers) -> Floats:
    """How much lines (n, lines) step up within a voxel of each place, beyond what slopes on both sides explain.

    The median of all lines: a cell at a border is in few of them.
    """
    rise = lines[places + 1] - lines[places - 2]
    before = (lines[places - 2] - lines[places - 2 - _SLOPE]) / _SLOPE
    after = (lines[places + 1 + _SLOPE] - lines[places + 1]) / _SLOPE
    return np.asarray(np.median(rise - 3 * (before + after) / 2, axis=1), np.float64)


def _along_sheet(volume: Volume, start: Floats, stop: Floats, shear: float) -> Floats32 | None:
    """Voxels of a box in the slanted space (z, y, x - shear * z); None if a part lies outside the volume."""
    shape, z = volume.coverage.shape, np.arange(start[0], stop[0])
    shifts = np.rint(shear * z).astype(int)
    box = Box(
        (int(start[0]), int(start[1]), int(start[2] + shifts.min())),
        (int(stop[0]), int(stop[1]), int(stop[2] + shifts.max())),
    )
    if box.is_empty or not Box.of_shape(shape).contains(box):
        return None
    block, n = np.asarray(volume.read(box), np.float32), int(stop[2] - start[2])
    at = (shifts - shifts.min()).tolist()
    return np.stack([plane[:, a : a + n] for plane, a in zip(block, at, strict=True)])
