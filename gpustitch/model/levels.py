"""Levels of a pyramid: how many voxels of the finest level a voxel of each level spans."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from gpustitch.model.box import ZYX
from gpustitch.model.geometry import Spacing

# Voxels whose longest side is at most so many times the shortest are even enough. Frames at 45 degrees that need no
# interpolation make voxels of 1 to 1.41.
_EVEN = 1.5
# Sizes are rounded in files; ratios of sides are compared to so many decimals.
_DECIMALS = 6


def level_factors(spacing: Spacing, levels: int) -> tuple[ZYX, ...]:
    """Voxels of level 0 along (z, y, x) in a voxel of each level, fine to coarse: powers of two, level 0 has ones.

    A level is halved from the one before along all axes if voxels are even: the longest side is at most 1.5 times the
    shortest. Otherwise it is halved along the axes that leave voxels most even, the finer ones. Of equally good choices
    that of most axes is taken. So uneven voxels become even first, by level, and stay so.
    """
    found = [(1, 1, 1)]
    while len(found) < levels:
        cell = _cell([um * n for um, n in zip(spacing.zyx_um, found[-1], strict=True)])
        z, y, x = (n * of_cell for n, of_cell in zip(found[-1], cell, strict=True))
        found.append((z, y, x))
    return tuple(found)


def factors_between(fine: ZYX, coarse: ZYX) -> ZYX:
    """Voxels of a level along (z, y, x) in a voxel of a coarser one, of both levels' factors."""
    z, y, x = (b // a for a, b in zip(fine, coarse, strict=True))
    return z, y, x


def _cell(voxel: Sequence[float]) -> ZYX:
    """Voxels along (z, y, x) of which one of the next level is made, 1 or 2."""
    if _unevenness(voxel) <= _EVEN:
        return 2, 2, 2
    z, y, x = min(
        (cell for cell in itertools.product((1, 2), repeat=3) if max(cell) == 2),
        key=lambda cell: (_unevenness([um * n for um, n in zip(voxel, cell, strict=True)]), -sum(cell)),
    )
    return z, y, x


def _unevenness(voxel: Sequence[float]) -> float:
    """The longest side by the shortest."""
    return round(max(voxel) / min(voxel), _DECIMALS)
