"""Parts of an overlap that are compared, and the bins in which they are."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from gpustitch.model import ZYX, Box, Volume
from gpustitch.oblique.align.points import Overlap

# Parts of a large overlap that are compared, and how long they are on an axis, voxels.
_PARTS = 4
LONGEST_PX = 192
# The same for a quick look.
QUICK = (1, 128)


@dataclass(frozen=True)
class Part:
    """Boxes of both tiles that may show the same, and the shifts between binned voxels that are in reach."""

    fixed: Box
    moving: Box


def parts_of(
    overlap: Overlap, reach_px: ZYX, rng: np.random.Generator, most: int = _PARTS, longest_px: int = LONGEST_PX
) -> Iterator[Part]:
    """What may show the same: whole if it is short on every axis, else a few parts of it at random places."""
    fixed, moving = (Box.of_shape(v.coverage.shape) for v in (overlap.fixed, overlap.moving))
    whole = fixed.intersect(moving.shift(overlap.offset).pad(reach_px))
    if whole.is_empty:
        return
    cut = [min(n, longest_px) for n in whole.shape]
    count = min(most, math.prod(-(-n // c) for n, c in zip(whole.shape, cut, strict=True)))
    longest = int(np.argmax(whole.shape))
    # The first ones are far apart.
    for i in (*range(0, count, 2), *range(1, count, 2)):
        # Spread over the longest axis, at random on the others.
        start = [
            a + (int((n - c) * (i + 0.5) / count) if axis == longest else int(rng.integers(0, n - c + 1)))
            for axis, (a, n, c) in enumerate(zip(whole.start, whole.shape, cut, strict=True))
        ]
        here = Box.of_shape(cut, start)
        there = here.shift([-o for o in overlap.offset]).pad(reach_px).intersect(moving)
        yield Part(here, there)


def structure_px(volume: Volume, sigma_um: float, extents: Sequence[ZYX]) -> ZYX:
    """Voxels that are about ``sigma_um`` long together; no more than a tile of these ``extents`` has."""
    z, y, x = (max(1, round(sigma_um / um)) for um in volume.spacing.zyx_um)
    return times((z, y, x), 1, extents)


def times(binning: ZYX, factor: int, extents: Sequence[ZYX]) -> ZYX:
    """Bins so many times as long on each axis; no longer than a tile of these ``extents``."""
    z, y, x = (min(n * factor, *lengths) for n, *lengths in zip(binning, *extents, strict=True))
    return z, y, x
