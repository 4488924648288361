"""Which tiles are compared, where the second is expected, and how far from there it is looked for."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from gpustitch.model import ZYX, Box, Placement, Volume
from gpustitch.oblique.align.matching import MatchOptions
from gpustitch.oblique.align.points import nearest_voxel
from gpustitch.oblique.mosaic.slant import slanted

Pair = tuple[str, str]

# Along an axis, stage positions that differ by less than this part of a tile's extent count as one.
_BESIDE = 0.05
# A tile is looked for again within so many standard errors of where the others put it, and so many voxels more,
_SIGMAS, _MORE_PX = 4.0, 2
# if that is at most this part of how far it was looked for at first.
_CLOSER = 0.5


@dataclass(frozen=True)
class Expected:
    """Where the second tile of a pair is expected in the first one's grid (z, y, x), and how far it may be off."""

    offset_px: ZYX
    reach_px: ZYX


def neighbours(origins: Mapping[str, ZYX], volumes: Mapping[str, Volume], matching: MatchOptions) -> Iterator[Pair]:
    """Pairs of neighbours along one axis, and the diagonal pairs that no other pairs connect.

    Tiles are neighbours if they overlap within the reach of the search.
    """
    names = sorted(origins, key=lambda name: tuple(reversed(origins[name])))
    diagonal = []
    label = {name: i for i, name in enumerate(names)}
    for a, b in itertools.combinations(names, 2):
        apart_px = [q - p for p, q in zip(origins[a], origins[b], strict=True)]
        reach = matching.reach_px(apart_px, volumes[a].coverage.shear)
        if not do_overlap(origins, volumes, (a, b), reach):
            continue
        shape = volumes[a].coverage.shape
        if sum(abs(d) > _BESIDE * n for d, n in zip(apart_px, shape, strict=True)) > 1:
            diagonal.append((a, b))
            continue
        yield a, b
        label = _merged(label, a, b)
    for a, b in diagonal:
        if label[a] != label[b]:
            yield a, b
            label = _merged(label, a, b)


def do_overlap(
    origins: Mapping[str, ZYX], volumes: Mapping[str, Volume], pair: Pair, reach_px: ZYX = (0, 0, 0)
) -> bool:
    """Whether what two tiles hold at these positions overlaps, or would if one of them moved by ``reach_px``.

    Of slanted tiles the boxes may meet where neither holds anything: along the sheet what they hold is a box.
    """
    fixed, moving = (volumes[name].coverage for name in pair)
    shear = fixed.shear if fixed.shear == moving.shear else 0.0
    z_px, y_px, x_px = reach_px
    boxes = []
    for name, tile in zip(pair, (fixed, moving), strict=True):
        z, y, x = origins[name]
        depth, height, width = tile.shape
        boxes.append(Box.of_shape((depth, height, tile.n_frames if shear else width), (z, y, round(x - shear * z))))
    a, b = boxes
    return not a.pad((z_px, y_px, x_px + math.ceil(shear * z_px))).intersect(b).is_empty


def expected_again(placement: Placement, more: float, matching: MatchOptions, shear: float) -> dict[Pair, Expected]:
    """The pairs without a link that are worth another look: links of other tiles tell where they must be.

    ``more`` is the slant of the mosaic less that of the tiles, columns per plane.
    """
    found = {}
    group = {name: i for i, members in enumerate(placement.islands) for name in members}
    for link in placement.links:
        if not link.reason or group[link.fixed] != group[link.moving]:
            continue
        here, there = (placement.origin_px[name] for name in (link.fixed, link.moving))
        apart = np.subtract(there, here).tolist()
        errors = [placement.sigma_px.get(name, (math.inf,) * 3) for name in (link.fixed, link.moving)]
        sigma = np.hypot(errors[0], errors[1])
        before = matching.reach_px(apart, shear)
        if not np.all(_SIGMAS * sigma + _MORE_PX <= _CLOSER * np.array(before)):
            continue
        z, y, x = np.ceil(_SIGMAS * sigma + _MORE_PX).astype(int).tolist()
        found[link.fixed, link.moving] = Expected(
            nearest_voxel(slanted((apart[0], apart[1], apart[2]), -more)), (z, y, x)
        )
    return found


def _merged(label: Mapping[str, int], a: str, b: str) -> dict[str, int]:
    return {name: label[a] if group == label[b] else group for name, group in label.items()}
