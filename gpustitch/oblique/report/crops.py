"""The same place of an overlap in both tiles: for pictures, and to tell their brightness apart."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import scipy

from gpustitch.model import ZYX, Box, PlacedVolume
from gpustitch.model.arrays import Floats32, HostArray
from gpustitch.oblique.align.points import Centres, Overlap, nearest_voxel
from gpustitch.oblique.report.focus.measure import Blur, blur_between
from gpustitch.oblique.report.placement import Remeasured

# Half of a crop (z, y, x) at most, voxels; what an overlap has no room for is left out.
_HALF = (5, 44, 64)
_LEAST_HALF = (1, 3, 6)
# Places of an overlap that are looked at; the one that shows most is taken.
_PLACES = 6
# Blocks (z, y) whose mean has less noise, and how far apart (x) voxels share none.
_BLOCK_PX = (3, 4)
_LAG_PX = 2
# Length of a piece (x) in which a part of a tile may show nothing.
_PIECE_PX = 24
# Light that changes over more voxels (x) than half of this does not flicker; the percentile of jumps that counts.
_SMOOTH_PX, _USUAL = 9, 95
# Such a part of the changes along x is no noise, or else nothing is seen.
_LEAST_ALIKE = 0.25
# Detail that counts as much, and as too much for tissue, times the usual one of a tile at its best place.
_MUCH, _TOO_MUCH = 0.3, 10.0


@dataclass(frozen=True)
class Detail:
    """How far voxels change along x, beyond noise: a standard deviation in counts.

    Attributes
    ----------
    seen
        The best guess.
    sure
        The same, but 0 where most changes are noise.
    """

    seen: float
    sure: float


@dataclass(frozen=True)
class Crop:
    """Boxes of one place: in the fixed tile, in the moving one as placed, and in the moving one by the stage.

    All have shape (z, y, x) and hold counts. ``where_px`` is the middle (z, y, x) in the volume. ``by_stage`` is None
    where the stage puts the moving tile elsewhere. ``details`` has :func:`detail` of the fixed and the moving tile;
    ``pieces`` that of small pieces, at this place and others of the overlap. ``flicker`` is :func:`flicker` there.
    ``blur`` is how much less sharp the moving tile is; None if too little is seen.
    """

    fixed: HostArray
    moving: HostArray
    by_stage: HostArray | None
    where_px: tuple[int, int, int]
    details: tuple[Detail, Detail] = (Detail(0.0, 0.0), Detail(0.0, 0.0))
    pieces: tuple[tuple[Detail, Detail], ...] = ()
    flicker: float = 0.0
    blur: Blur | None = None

    def ratio(self, floor: float) -> float | None:
        """Brightness of the moving tile there, of the fixed one, above ``floor``; None where both are dark."""
        a, b = (max(0.0, float(np.mean(v, dtype=np.float64)) - floor) for v in (self.fixed, self.moving))
        return None if max(a, b) <= 0 else b / a if a > 0 else float("inf")


def detail(box: HostArray) -> Detail:
    """What a box (z, y, x) shows that changes along x.

    Along x one pixel of the camera sees one frame after another. So its offset, the flat, stripes and hot pixels
    change nothing; a tile without light shows none, whatever its level.
    """
    z, y = (np.arange(0, n, step) for n, step in zip(box.shape, _BLOCK_PX, strict=False))
    sums = np.add.reduceat(np.add.reduceat(box.astype(np.float64), z, axis=0), y, axis=1)
    areas = np.outer(np.diff([*z, box.shape[0]]), np.diff([*y, box.shape[1]]))
    lines = sums / areas[:, :, None]
    if lines.shape[2] <= 2 * _LAG_PX:
        return Detail(0.0, 0.0)
    lines -= lines.mean(axis=2, keepdims=True)
    # Interpolation makes neighbours alike in noise, and voxels that lie farther apart alike in tissue alone.
    alike = float(np.mean(lines[:, :, _LAG_PX:] * lines[:, :, :-_LAG_PX]))
    seen = math.sqrt(max(alike, 0.0))
    return Detail(seen, seen if alike > _LEAST_ALIKE * float(np.mean(lines * lines)) else 0.0)


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
    seen = [fixed.volume.read(box) for box in middles]
    back = [-o for o in at]
    moved_planes = [moving.volume.read(box.shift(back)) for box in middles]
    pieces = [pair for a, b in zip(seen, moved_planes, strict=True) for pair in _by_piece(a, b)]
    n = int(np.argmax([float(np.std(plane, dtype=np.float64)) for plane in seen]))
    box, (z, y, x) = boxes[n], places[n]
    there = box.shift(back)
    by_stage = moving.volume.read(box.shift([-o for o in nearest_voxel(link.stage_px)]))
    oz, oy, ox = fixed.origin_px
    where = nearest_voxel((oz + z, oy + y, ox + x + fixed.shear_px * z))
    same = by_stage if by_stage.any() else None
    here, moved = fixed.volume.read(box), moving.volume.read(there)
    details, blur = (detail(here), detail(moved)), blur_between(here, moved)
    return Crop(here, moved, same, where, details, tuple(pieces), flicker(seen, moved_planes), blur)


def flicker(fixed: Sequence[HostArray], moving: Sequence[HostArray]) -> float:
    """How far the light of two tiles jumps from frame to frame, as a part of it, at the same places (1, y, x) of both.

    Tissue is the same in both, and frames follow one another along x. It is what one voxel in twenty exceeds.
    """
    jumps = []
    for a, b in zip(fixed, moving, strict=True):
        light = [box.sum(axis=(0, 1), dtype=np.float64) for box in (a, b)]
        if min(map(np.min, light)) > 0:
            ratio = np.log(light[0] / light[1])
            jumps.append(np.abs(ratio - scipy.ndimage.median_filter(ratio, _SMOOTH_PX, mode="nearest")))
    return float(np.expm1(np.percentile(np.concatenate(jumps), _USUAL))) if jumps else 0.0


def _by_piece(fixed: HostArray, moving: HostArray) -> list[tuple[Detail, Detail]]:
    """What two boxes of one place show in pieces along x."""
    n = max(1, fixed.shape[2] // _PIECE_PX)
    cuts = [np.array_split(box, n, axis=2) for box in (fixed, moving)]
    return [(detail(a), detail(b)) for a, b in zip(*cuts, strict=True)]


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


def shares_of(
    details: Mapping[tuple[str, str], Sequence[tuple[Detail, Detail]]], left_out: Collection[str] = ()
) -> dict[str, list[float]]:
    """For each tile its part of the detail that a neighbour shows, at places where that neighbour shows much.

    Pairs with tiles that are ``left_out`` count for none. What shows far more than tiles do is no tissue.
    """
    pairs = {pair: places for pair, places in details.items() if not set(pair) & set(left_out)}
    most: dict[str, float] = {}
    for pair, places in pairs.items():
        for n, name in enumerate(pair):
            most[name] = max([most.get(name, 0.0), *(place[n].sure for place in places)])
    usual = float(np.median(list(most.values()))) if most else 0.0
    shares: dict[str, list[float]] = {}
    for (a, b), places in pairs.items():
        for of_a, of_b in places:
            for name, own, other in ((a, of_a, of_b), (b, of_b, of_a)):
                if _MUCH * usual < other.sure and not 0 < usual < other.sure / _TOO_MUCH:
                    shares.setdefault(name, []).append(own.seen / other.sure)
    return shares
