"""Walks: windows from one voxel to runs longer than the body's, high levels, constants, NaN, ways across arrays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from scipy import ndimage

from tests.kernels.case import Case

# What float32 products leave: the definition is off by up to 3e-7 in these cases, the body by up to 1e-7.
ATOL = 5e-7
Windows = tuple[np.ndarray, np.ndarray]
Place = tuple[int, ...]


def pairs(n: int, shape: tuple[int, int, int], level: float = 1000, noise: float = 30) -> Windows:
    """Windows that correlate with the middle of their partners."""
    rng = np.random.default_rng(sum(shape))
    fixed = rng.normal(level, noise, (n, *shape)).astype(np.float32)
    moving = rng.normal(level, noise, (n, *[s + 2 for s in shape])).astype(np.float32)
    moving[:, 1:-1, 1:-1, 1:-1] += fixed - np.float32(level)
    return fixed, moving


def same() -> Windows:
    """Windows cut from their partners, with another gain, once negative."""
    moving = pairs(2, (9, 8, 7))[1]
    cut = moving[:, 2:, 1:-1, :-2]
    return np.float32([3, -3])[:, None, None, None] * cut + np.float32(70), moving


def two_levels() -> Windows:
    """Cells on black: sums of few different values."""
    fixed, moving = pairs(2, (6, 30, 11))
    return np.where(fixed > 1030, np.float32(60000.1), 0), np.where(moving > 1030, np.float32(60000.1), 0)


def constants() -> Windows:
    """Constant windows of several levels against others, and both at once."""
    fixed, moving = pairs(8, (5, 6, 7))
    for i, level in enumerate((0, 1000.1, 65535)):
        fixed[i] = level
        moving[i + 3] = level
    fixed[6], moving[6] = 7, 7
    return fixed, moving


def constant_at_one_shift() -> Windows:
    """Planes that are constant, each at another level."""
    fixed, moving = pairs(1, (1, 9, 9))
    moving[0, 0], moving[0, 2] = 17.3, 5000.7
    return fixed, moving


def not_finite() -> Windows:
    """NaN and infinity within a window, and on the outermost voxels of a moving one."""
    fixed, moving = pairs(6, (4, 5, 6))
    fixed[0, 1, 2, 3], fixed[1, 3, 4, 5] = np.nan, np.inf
    moving[2, 2, 2, 2], moving[3, 0, 0, 0], moving[4, 5, 6, 7] = np.nan, np.nan, -np.inf
    return fixed, moving


def bright_border() -> Windows:
    """Voxels far brighter than all others that only some shifts take in."""
    fixed, moving = pairs(1, (7, 7, 7), 200, 10)
    moving[0, 0, 0, 0], moving[0, -1, 4, 4], moving[0, 3, -1, 2] = 65535, 65535, 65535
    return fixed, moving


def one_step(windows: Callable[[], Windows]) -> dict[str, Any]:
    """Windows that know their 27 correlations after one step: their partners have room for no more."""
    fixed, moving = windows()
    return packed(list(fixed), list(moving), [(0, 0, 0)] * len(fixed), [(1, 1, 1)] * len(fixed), fixed.shape[1:], 1)


def packed(
    fixed: Sequence[np.ndarray],
    moving: Sequence[np.ndarray],
    here: Sequence[Place],
    there: Sequence[Place],
    shape: Sequence[int],
    max_steps: int,
) -> dict[str, Any]:
    """Arguments of the twin: arrays, and the first voxels of the windows in them; ``out`` holds other values before."""
    arrays = [*fixed, *moving]
    windows = np.full((len(arrays), max(a.size for a in arrays)), np.nan, np.float32)
    for row, array in zip(windows, arrays, strict=True):
        row[: array.size] = array.ravel()
    places = np.array([[*a.shape, *start] for a, start in zip(arrays, (*here, *there), strict=True)])
    depth, height, width = shape
    out = np.full((len(fixed), 31), 7.0)
    return {
        "windows": windows, "places": places, "depth": depth, "height": height, "width": width, "out": out,
        "max_steps": max_steps,
    }  # fmt: skip


def tissue(shape: tuple[int, ...]) -> np.ndarray:
    """Smooth structures some voxels wide."""
    cells = np.random.default_rng(5).standard_normal(shape, np.float32)
    return (1000 + 3000 * ndimage.gaussian_filter(cells, 2.0, mode="wrap")).astype(np.float32)


def walks(max_steps: int) -> dict[str, Any]:
    """Walks of no, some and many steps, to places within, at a face and beyond it; arrays of several shapes."""
    whole, size = tissue((24, 27, 29)), (7, 5, 6)
    true = [(9, 10, 11), (9, 10, 11), (3, 4, 5), (1, 9, 9), (14, 2, 20), (16, 20, 3), (8, 8, 0), (9, 9, 9)]
    first = [(9, 10, 11), (11, 8, 9), (6, 7, 7), (3, 9, 8), (13, 4, 19), (15, 19, 4), (8, 7, 2), (0, 9, 9)]
    here = [(1, 2, 0), (0, 0, 0), (2, 1, 3), (0, 0, 0), (1, 1, 1), (0, 1, 0), (0, 0, 0), (0, 0, 0)]
    fixed = [
        whole[tuple(slice(t - h, t + n + 1) for t, h, n in zip(at, begin, size, strict=True))]
        for at, begin in zip(true, here, strict=True)
    ]
    moving = [whole, whole[1:, 1:, 1:], whole, whole, whole[:, :, 3:], whole, whole[:, :20], whole]
    cut = [(0, 0, 0), (1, 1, 1), (0, 0, 0), (0, 0, 0), (0, 0, 3), (0, 0, 0), (0, 0, 0), (0, 0, 0)]
    there = [tuple(a - b for a, b in zip(at, by, strict=True)) for at, by in zip(first, cut, strict=True)]
    return packed(fixed, moving, here, there, size, max_steps)


CASES = [
    *(
        Case("climb", "x".join(map(str, shape)), partial(one_step, partial(pairs, n, shape)), atol=ATOL)
        for n, shape in (
            (1, (1, 1, 1)),
            (3, (1, 1, 13)),
            (2, (1, 35, 2)),
            (2, (13, 2, 4)),
            (3, (5, 7, 9)),
            (1, (17, 16, 18)),
            (1, (9, 21, 21)),
        )
    ),
    *(
        Case("climb", id, partial(one_step, windows), atol=ATOL)
        for id, windows in (
            ("background of 30000", partial(pairs, 1, (11, 12, 13), 30000, 20)),
            ("background of 65000", partial(pairs, 1, (8, 33, 8), 65000, 5)),
            ("the same", same),
            ("constants", constants),
            ("constant at one shift", constant_at_one_shift),
            ("not finite", not_finite),
            ("bright border", bright_border),
        )
    ),
    # Without fused multiply-add, as on old kinds of CPU, the definition's product rounds such levels twice as often.
    Case("climb", "two levels", partial(one_step, two_levels), atol=2e-6),
    # Of three voxels hardly anything is left when their mean is subtracted.
    Case("climb", "3x1x1", partial(one_step, partial(pairs, 2, (3, 1, 1))), atol=5e-5),
    *(Case("climb", f"{n} steps", partial(walks, n), atol=ATOL) for n in (0, 1, 2, 100)),
]
