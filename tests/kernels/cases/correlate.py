"""Correlation: sizes from one voxel to runs longer than the body's, high backgrounds, constants, NaN, parts wanted."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from tests.kernels.case import Case

# What float32 products leave: the definition is off by up to 3e-7 in these cases, the body by up to 1e-7.
ATOL = 5e-7
Windows = tuple[np.ndarray, np.ndarray]


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


def arguments(windows: Callable[[], Windows], wanted: str = "all") -> dict[str, Any]:
    """Arguments of the twin; ``out`` holds other values before."""
    fixed, moving = windows()
    shape = (len(fixed), 3, 3, 3)
    which = np.ones(shape, np.uint8)
    if wanted == "some":
        which = (np.random.default_rng(0).random(shape) < 0.5).astype(np.uint8) * 3
        which[0, 1] = 0
        which[-1] = 0
    return {"fixed": fixed, "moving": moving, "wanted": which, "out": np.full(shape, 7.0)}


CASES = [
    *(
        Case("pearson_shifts", "x".join(map(str, shape)), partial(arguments, partial(pairs, n, shape)), atol=ATOL)
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
        Case("pearson_shifts", id, partial(arguments, windows), atol=ATOL)
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
    Case("pearson_shifts", "two levels", partial(arguments, two_levels), atol=2e-6),
    # Of three voxels hardly anything is left when their mean is subtracted.
    Case("pearson_shifts", "3x1x1", partial(arguments, partial(pairs, 2, (3, 1, 1))), atol=5e-5),
    Case("pearson_shifts", "some shifts", partial(arguments, partial(pairs, 4, (5, 5, 5)), "some"), atol=ATOL),
]
