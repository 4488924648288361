"""Arguments for the body of fusion: whole tiles and parts of them, one to many at a voxel."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gpustitch.model import Box, Coverage, PlacedVolume
from gpustitch.oblique.fuse.fuse import plan_block
from tests.kernels.case import Case
from tests.oblique.fuse.fuse_tiles import oblique, tile, whole_box

Tiles = list[PlacedVolume]


def arguments_of(tiles: Sequence[PlacedVolume], box: Box, gains: dict[int, Any] | None = None) -> dict[str, Any]:
    """What :func:`gpustitch.oblique.fuse.fuse.fuse_block` passes to the twin."""
    plan = plan_block(box, tiles)
    assert plan.tables is not None
    places = {place: gains[n] for place, n in enumerate(plan.numbers) if gains and n in gains}
    tables = plan.tables.in_boxes([plan.reads[n] for n in plan.numbers], places)
    return {
        "voxels": [np.ascontiguousarray(tiles[n].volume.read(plan.reads[n])) for n in plan.numbers],
        "bounds": tables.bounds,
        "columns": tables.columns,
        "edges": tables.edges,
        "planes": tables.planes,
        "rows": tables.rows,
        "axes": tables.axes,
        "out": np.full(box.shape, 77, tiles[0].volume.dtype),
    }


def of_type(tiles: Sequence[PlacedVolume], dtype: str) -> Tiles:
    """The same tiles with voxels of another type, full range."""
    changed = []
    for t in tiles:
        values = t.volume.read(Box.of_shape(t.volume.coverage.shape))
        cover = t.volume.coverage
        scaled = values >> 8 if dtype == "uint8" else values / np.float32(37) if dtype == "float32" else values
        changed.append(
            tile(scaled.astype(dtype), t.origin_px, shear=cover.shear, frames=cover.n_frames, shear_px=t.shear_px)
        )
    return changed


def one(origin: Sequence[float], shear: float = 1.0, **more: Any) -> Tiles:
    """A tile of 9 planes, 19 rows and 40 frames."""
    return [oblique(40, 19, 9, shear, origin, 1, **more)]


def pair(second: Sequence[float], shear: float = 0.9) -> Tiles:
    """Two such tiles, the first at a place that is not whole."""
    return [oblique(40, 19, 9, shear, (0.3, 0.6, 0.45), 2), oblique(40, 19, 9, shear, second, 3)]


def grid() -> Tiles:
    """Eight tiles, all of which cover the middle."""
    return [
        oblique(20, 12, 10, 1.0, (4 * i + 0.1 * j, 6 * j + 0.2 * k, 12 * k + 4.3 * i), 20 + 4 * i + 2 * j + k)
        for i, j, k in itertools.product((0, 1), repeat=3)
    ]


def many() -> Tiles:
    """More tiles than a warp has lanes, on two rows; ten or so cover a voxel."""
    return [oblique(11, 4, 3, 0.0, (0.1 * (n % 3), 2.5 * (n % 2), 1.3 * n), 100 + n) for n in range(42)]


def with_nan() -> Tiles:
    """Two tiles of floats, one with a value that is not a number."""
    values = np.random.default_rng(4).random((6, 9, 33), dtype=np.float32)
    first = values.copy()
    first[2, 3, 20] = np.nan
    return [tile(first, (0.0, 0.5, 0.0)), tile(values, (0.2, 6.25, 1.5))]


def saturated() -> Tiles:
    """Three full tiles."""
    full = Coverage(20, 12, 9, 0.7)
    return [
        tile(np.full(full.shape, 65535, np.uint16), origin, shear=0.7, frames=20)
        for origin in ((0, 0, 0), (0.4, 7.7, 0.3), (0.1, 0.2, 12.6))
    ]


def touching() -> Tiles:
    """Two tiles that share the row at which both end."""
    return [oblique(4, 5, 4, 0.0, (0, 0, 0), 34), oblique(4, 5, 4, 0.0, (0, 4, 0), 35)]


def case(name: str, tiles: Callable[[], Tiles], box: Box | None = None, **more: Any) -> Case:
    """A case of whole tiles, or of the part of them in a box (mosaic voxels)."""
    gains, tolerance = more.pop("gains", None), more
    return Case(
        "fuse_tiles",
        name,
        lambda: arguments_of(tiles(), box or whole_box(tiles()), gains),
        **tolerance,
    )


INSIDE = Box((3, 2, 9), (8, 18, 41))
GAINS = {0: np.linspace(0.5, 2.5, 19, dtype=np.float32)}
# More than two tiles: the definition divides the weights by their sum, the body the weighted sum; halves round apart.
APART = {"rtol": 0.0, "atol": 1.0}

CASES = [
    case("one tile, whole voxels", lambda: one((0, 0, 0))),
    case("one tile, whole voxels, part", lambda: one((1, 2, 3)), INSIDE),
    case("one tile, sub-voxel", lambda: one((0.3, 1.6, 2.45))),
    case("one tile, sub-voxel, part", lambda: one((0.3, 1.6, 2.45)), INSIDE),
    case("one tile, along z only", lambda: one((0.4, 1, 2), 0.0)),
    case("one tile, along y only", lambda: one((1, 0.6, 2), 0.0)),
    case("one tile, along x only", lambda: one((1, 0, 2.7))),
    case("one tile, slope not whole", lambda: one((1.2, 0, 0.9), 0.73)),
    case("one tile, sheared more", lambda: one((1.2, 0.5, 0.9), 0.73, shear_px=0.07)),
    case("one tile, sheared less", lambda: one((0, 0, 1.0), shear_px=-0.13)),
    case("one tile, uint8", lambda: of_type(one((0.3, 1.6, 2.45)), "uint8")),
    case("one tile, float32", lambda: of_type(one((0.3, 1.6, 2.45)), "float32")),
    case("one tile with gains", lambda: one((0.3, 1.6, 2.45)), gains=GAINS),
    case("one voxel", lambda: [oblique(1, 1, 1, 1.0, (0, 0, 0), 6)]),
    case("one plane, one row", lambda: [oblique(9, 1, 1, 0.7, (0, 0, 0.5), 7)], Box((0, 0, 0), (1, 1, 10))),
    case("two along y", lambda: pair((0.2, 12.7, 0.6))),
    case("two along y, part", lambda: pair((0.2, 12.7, 0.6)), Box((2, 10, 5), (9, 30, 47))),
    case("two along x", lambda: pair((0.1, 0.2, 27.3))),
    case("two along z", lambda: pair((5.4, 0.2, 6.1))),
    case("two along y, 3 columns apart", lambda: pair((0.3, 11.6, 3.45))),
    case("two, uint8", lambda: of_type(pair((0.2, 12.7, 20.6)), "uint8")),
    case("two, float32", lambda: of_type(pair((0.2, 12.7, 20.6)), "float32")),
    case("two with gains", lambda: pair((0.2, 12.7, 0.6)), gains=GAINS | {1: 1 / GAINS[0]}),
    case("two, one with gains", lambda: pair((0.2, 12.7, 0.6)), gains=GAINS),
    case("two at one place", lambda: pair((0.3, 0.6, 0.45))),
    case("two whose edges touch", touching),
    case("two far apart", lambda: pair((0.3, 25.0, 50.45))),
    case("not a number", with_nan),
    case("eight", grid, **APART),
    case("eight, part", grid, Box((3, 5, 8), (10, 16, 27)), **APART),
    case("eight, uint8", lambda: of_type(grid(), "uint8"), **APART),
    case("eight, float32", lambda: of_type(grid(), "float32"), rtol=1e-6),
    case("saturated", saturated),
    case("more tiles than lanes", many, **APART),
    case("one tile, frames absent", lambda: one((0, 0, 0), absent=(0, 7, 8, 21))),
    case("one tile, sub-voxel, frames absent", lambda: one((0.3, 1.6, 2.45), 0.73, absent=(11, 30))),
    case("one tile, most frames absent", lambda: one((0, 0, 0), absent=tuple(range(0, 40, 2)))),
    case(
        "two, frames absent",
        lambda: [
            oblique(40, 19, 9, 0.9, (0.3, 0.6, 0.45), 2, absent=(5, 20)),
            oblique(40, 19, 9, 0.9, (0.2, 12.7, 0.6), 3, absent=(13,)),
        ],
        gains=GAINS,
        **APART,
    ),
]
