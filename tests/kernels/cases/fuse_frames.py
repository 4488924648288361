"""Arguments for the body that fuses frame by frame: slopes, places, absent frames, one to many tiles at a voxel."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gpustitch.model import Box, PlacedVolume
from tests.kernels.case import Case
from tests.oblique.stream.raw_tiles import arguments_of, noise, placed

Tiles = list[PlacedVolume]
SLOPES = (0.9943, 1.37)


def one(origin: Sequence[float], shear: float = 1.0, **more: Any) -> Tiles:
    """A tile of 12 frames, 19 rows and 9 columns."""
    return [noise((12, 19, 9), origin, shear, seed=1, **more)]


def pair(second: Sequence[float], shear: float = 0.9, **more: Any) -> Tiles:
    """Two such tiles, the first at a place that is not whole."""
    return [*one((0.3, 0.6, 0.45), shear, **more), noise((12, 19, 9), second, shear, seed=3, **more)]


def grid(**more: Any) -> Tiles:
    """Eight tiles, all of which cover the middle."""
    return [
        noise((9, 12, 10), (4 * i + 0.1 * j, 6 * j + 0.2 * k, 3 * k + 4.3 * i), seed=4 * i + 2 * j + k, **more)
        for i, j, k in itertools.product((0, 1), repeat=3)
    ]


def many() -> Tiles:
    """More tiles than a warp has lanes, on two rows; ten or so cover a voxel."""
    return [noise((7, 4, 3), (0.1 * (n % 3), 2.5 * (n % 2), 0.6 * n), seed=n) for n in range(42)]


def with_nan(origin: Sequence[float] = (0.0, 0.5, 0.25)) -> Tiles:
    """Two tiles of floats, one with values that are no numbers."""
    values = np.random.default_rng(4).random((15, 9, 7), np.float32)
    first = values.copy()
    first[5, 3, 2], first[9, 4, 6] = np.nan, np.inf
    return [placed(first, origin), placed(values, (0.2, 6.25, 1.5))]


def saturated() -> Tiles:
    """Three full tiles."""
    full = [np.full((9, 12, 9), 65535, np.uint16) for _ in range(3)]
    return [placed(f, o, 0.7) for f, o in zip(full, ((0, 0, 0), (0.4, 7.7, 0.3), (0.1, 0.2, 4.6)), strict=True)]


def case(name: str, tiles: Callable[[], Tiles], part: Box | None = None, gains: Any = None, **tolerance: Any) -> Case:
    """A case of whole tiles, or of a part (z, y, f) of the sheet."""
    return Case("fuse_frames", name, lambda: arguments_of(tiles(), part, gains), **tolerance)


INSIDE = Box((3, 2, 4), (8, 18, 13))
GAINS = {0: np.linspace(0.5, 2.5, 19, dtype=np.float32)}
# The definition sums the taps of many voxels at once, in another order than the body: halves round apart.
APART = {"rtol": 0.0, "atol": 1.0}
CLOSE = {"rtol": 1e-6, "atol": 1e-4}

CASES = [
    case("one tile, whole voxels", lambda: one((0, 0, 0))),
    case("one tile, whole voxels, part", lambda: one((1, 2, 3)), INSIDE),
    case("one tile, whole slope of 2", lambda: one((1, 2, 3), 2.0)),
    case("one tile, whole voxels, float32", lambda: one((1, 2, 3), dtype="float32")),
    case("one tile, whole voxels, uint8", lambda: one((1, 2, 3), dtype="uint8")),
    case("one tile, sub-voxel, part", lambda: one((0.3, 1.6, 2.45)), INSIDE, **APART),
    case("one tile, along y only", lambda: one((1, 0.6, 2)), **APART),
    case("one tile, along z only", lambda: one((0.4, 1, 2)), **APART),
    case("one tile, along x only", lambda: one((1, 0, 2.7)), **APART),
    case("one tile, slope not whole", lambda: one((1, 0, 2), 0.73), **APART),
    *(case(f"one tile, sub-voxel, slope {s}", lambda s=s: one((0.3, 1.6, 2.45), s), **APART) for s in SLOPES),
    case("two, slope not whole", lambda: pair((0.2, 12.7, 0.6), 0.73), **APART),
    case("one tile, slanted more", lambda: one((1.2, 0.5, 0.9), 0.73, shear_px=0.07), **APART),
    case("one tile, slanted less", lambda: one((0, 0, 1.0), shear_px=-0.13), **APART),
    case("one tile, sub-voxel, uint8", lambda: one((0.3, 1.6, 2.45), dtype="uint8"), **APART),
    case("one tile, sub-voxel, float32", lambda: one((0.3, 1.6, 2.45), 0.73, dtype="float32"), **CLOSE),
    case("one tile with gains", lambda: one((0.3, 1.6, 2.45)), gains=GAINS, **APART),
    case("one voxel", lambda: [noise((1, 1, 1), (0, 0, 0))]),
    case("one row, one column", lambda: [noise((9, 1, 1), (0, 0, 0.5), 0.7)], **APART),
    case(
        "more planes than a block of threads has", lambda: [noise((3, 3, 131), (0, 0, 0))], Box((0, 0, -2), (131, 3, 4))
    ),
    case("more rows than a thread writes", lambda: [noise((3, 77, 5), (0, 1, 0))]),
    case("two along y, part", lambda: pair((0.2, 12.7, 0.6)), Box((2, 10, 1), (9, 30, 16)), **APART),
    case("two along x", lambda: pair((0.1, 0.2, 7.3)), **APART),
    case("two along z", lambda: pair((5.4, 0.2, 6.1)), **APART),
    case("two along y, 3 columns apart", lambda: pair((0.3, 11.6, 3.45)), **APART),
    case("two, uint8", lambda: pair((0.2, 12.7, 8.6), dtype="uint8"), **APART),
    case("two, float32", lambda: pair((0.2, 12.7, 8.6), dtype="float32"), **CLOSE),
    case("two with gains", lambda: pair((0.2, 12.7, 0.6)), gains=GAINS | {1: 1 / GAINS[0]}, **APART),
    case("two, one with gains", lambda: pair((0.2, 12.7, 0.6)), gains=GAINS, **APART),
    case("two at one place", lambda: pair((0.3, 0.6, 0.45)), **APART),
    case("two far apart", lambda: pair((0.3, 25.0, 20.45)), **APART),
    case("two, slanted more", lambda: pair((0.1, 0.2, 7.3), 0.73, shear_px=0.07), **APART),
    case("not a number", with_nan, **CLOSE),
    case("not a number, whole voxels", lambda: with_nan((0, 0, 0)), **CLOSE),
    case("eight", grid, **APART),
    case("eight, part", grid, Box((3, 5, 2), (10, 16, 17)), **APART),
    case("eight, float32", lambda: grid(dtype="float32"), **CLOSE),
    case("saturated", saturated),
    case("more tiles than lanes", many, **APART),
    case("frames absent", lambda: one((0, 0, 0), absent=(0, 5, 6, 9))),
    case("most frames absent", lambda: one((0, 0, 0), absent=tuple(range(0, 12, 2)))),
    case("sub-voxel, frames absent", lambda: one((0.3, 1.6, 2.45), 0.73, absent=(6, 9)), **APART),
    case("two, frames absent", lambda: pair((0.2, 12.7, 0.6), absent=(4, 8)), gains=GAINS, **APART),
]
