"""The same place of an overlap in both tiles: for pictures, and to tell their brightness apart."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from gpustitch.model import ZYX, Box, PlacedVolume
from gpustitch.model.arrays import Floats32, HostArray
from gpustitch.oblique.align.points import Centres, Overlap, nearest_voxel
from gpustitch.oblique.report.placement import Remeasured

# Half of a crop (z, y, x) at most, voxels; what an overlap has no room for is left out.
_HALF = (5, 44, 64)
_LEAST_HALF = (1, 3, 6)
# Places of an overlap that are looked at; the one that shows most is taken.
_PLACES = 6
# Blocks (z, y) whose mean has less noise, and how far apart (x) voxels share none.
_BLOCK_PX = (3, 4)
_LAG_PX = 2
# Such a part of the changes along x is no noise, or else nothing is seen.
_LEAST_ALIKE = 0.25


@dataclass(frozen=True)
class Crop:
    """Boxes of one place: in the fixed tile, in the moving one as placed, and in the moving one by the stage.

    All have shape (z, y, x) and hold counts. ``where_px`` is the middle (z, y, x) in the volume. ``by_stage`` is None
    where the stage puts the moving tile elsewhere.
    """

    fixed: HostArray
    moving: HostArray
    by_stage: HostArray | None
    where_px: tuple[int, int, int]

    def ratio(self, floor: float) -> float | None:
        """Brightness of the moving tile there, of the fixed one, above ``floor``; None where both are dark."""
        a, b = (max(0.0, float(np.mean(v, dtype=np.float64)) - floor) for v in (self.fixed, self.moving))
        return None if max(a, b) <= 0 else b / a if a > 0 else float("inf")

    def detail(self) -> tuple[float, float]:
        """What the fixed and the moving tile show there that changes along x, counts; see :func:`detail`."""
        return detail(self.fixed), detail(self.moving)


def detail(box: HostArray) -> float:
    """How far voxels of a box (z, y, x) change along x, beyond noise: a standard deviation in counts.

    Along x one pixel of the camera sees one frame after another. So its offset, the flat, stripes and hot pixels
    change nothing; a tile without light shows none, whatever its level. It is 0 where noise is most of it.
    """
    z, y = (np.arange(0, n, step) for n, step in zip(box.shape, _BLOCK_PX, strict=False))
    sums = np.add.reduceat(np.add.reduceat(box.astype(np.float64), z, axis=0), y, axis=1)
    areas = np.outer(np.diff([*z, box.shape[0]]), np.diff([*y, box.shape[1]]))
    lines = sums / areas[:, :, None]
    if lines.shape[2] <= 2 * _LAG_PX:
        return 0.0
    lines -= lines.mean(axis=2, keepdims=True)
    # Interpolation makes neighbours alike in noise, and voxels that lie farther apart alike in tissue alone.
    alike = float(np.mean(lines[:, :, _LAG_PX:] * lines[:, :, :-_LAG_PX]))
    return math.sqrt(alike) if alike > _LEAST_ALIKE * float(np.mean(lines * lines)) else 0.0


def crop_of(link: Remeasured, placed: Mapping[str, PlacedVolume]) -> Crop | None:
    """The place of an overlap that shows most; None if the tiles share too little."""
    fixed, moving = placed[link.fixed], placed[link.moving]
    at = nearest_voxel(link.placed_px)
    overlap = Overlap(fixed.volume, moving.volume, at)
    half, centres = _fitting(overlap)
    if centres.is_empty:
        return None
    places = np.unique(centres.sample(np.random.default_rng(0), _PLACES), axis=0).tolist()
    shape = [2 * h + 1 for h in half]
    boxes = [Box.of_shape(shape, [p - h for p, h in zip(place, half, strict=True)]) for place in places]
    middles = [_plane(box, half[0]) for box in boxes]
    shows = [float(np.std(fixed.volume.read(box), dtype=np.float64)) for box in middles]
    n = int(np.argmax(shows))
    box, (z, y, x) = boxes[n], places[n]
    there = box.shift([-o for o in at])
    by_stage = moving.volume.read(box.shift([-o for o in nearest_voxel(link.stage_px)]))
    oz, oy, ox = fixed.origin_px
    where = nearest_voxel((oz + z, oy + y, ox + x + fixed.shear_px * z))
    same = by_stage if by_stage.any() else None
    return Crop(fixed.volume.read(box), moving.volume.read(there), same, where)


def _fitting(overlap: Overlap) -> tuple[ZYX, Centres]:
    """The largest crop that an overlap has room for, as half of its size, and where its middle may be."""
    z, y, x = (
        max(low, min(n, (room - 2) // 2)) for n, low, room in zip(_HALF, _LEAST_HALF, overlap.shape, strict=True)
    )
    half = (z, y, x)
    while True:
        centres = Centres(overlap, half)
        if not centres.is_empty or half == _LEAST_HALF:
            return half, centres
        z, y, x = (max(low, n - max(1, n // 6)) for n, low in zip(half, _LEAST_HALF, strict=True))
        half = (z, y, x)


def _plane(box: Box, depth: int) -> Box:
    """The middle plane of a box."""
    (z, y, x), (_, y1, x1) = box.start, box.stop
    return Box((z + depth, y, x), (z + depth + 1, y1, x1))


def flattened(boxes: Sequence[HostArray]) -> list[Floats32]:
    """The brightest of each column of voxels along z, float32 (y, x)."""
    return [np.asarray(box.max(axis=0), np.float32) for box in boxes]
