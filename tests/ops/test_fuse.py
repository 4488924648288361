"""Fusion against its definition, voxel by voxel, and its laws."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from gpustitch.model import Box, Coverage, PlacedVolume, Spacing
from gpustitch.ops.blend import differing_axes
from gpustitch.ops.fuse import fuse_block, plan_block
from gpustitch.stages.tiles import ArrayVolume

DATA = Path(__file__).parents[1] / "data"
SPACING = Spacing(1.0, 1.0, 1.0)


def tile(
    values: Any,
    origin: Sequence[float],
    *,
    shear: float = 0.0,
    frames: int | None = None,
    shear_px: float = 0.0,
    name: str = "",
) -> PlacedVolume:
    """A tile of an array, or of a function of (z, y, x) in the tile's grid; zero outside its coverage."""
    array = np.asarray(values)
    coverage = Coverage(frames or array.shape[2], array.shape[1], array.shape[0], shear)
    assert coverage.shape == array.shape
    array = array * coverage.mask(Box.of_shape(array.shape)).astype(array.dtype)
    position = tuple(float(v) for v in origin)
    return PlacedVolume(name or str(position), ArrayVolume(array, SPACING, coverage), position, shear_px)  # type: ignore[arg-type]


def oblique(
    frames: int, rows: int, planes: int, shear: float, origin: Sequence[float], seed: int | None, **more: Any
) -> PlacedVolume:
    """An oblique tile of noise (constant 1000 without a seed)."""
    shape = Coverage(frames, rows, planes, shear).shape
    if seed is None:
        values = np.full(shape, 1000, np.uint16)
    else:
        values = np.random.default_rng(seed).integers(0, 65536, shape, dtype=np.uint16)
    return tile(values, origin, shear=shear, frames=frames, **more)


def fused(tiles: Sequence[PlacedVolume], box: Box) -> npt.NDArray[Any]:
    plan = plan_block(box, tiles)
    if plan.is_empty:
        return np.zeros(box.shape, tiles[0].volume.dtype)
    return fuse_block(plan, {n: tiles[n].volume.read(need) for n, need in plan.reads.items()})


def place_in(placed: PlacedVolume, voxel: Sequence[int]) -> tuple[float, float, float]:
    z, y = (voxel[a] - placed.origin_px[a] for a in (0, 1))
    x = voxel[2] - placed.origin_px[2] - placed.shear_px * z
    z, y, x = (float(round(v)) if abs(v - round(v)) < 1e-5 else v for v in (z, y, x))
    return z, y, x


def neighbours(place: Sequence[float]) -> list[tuple[tuple[int, ...], float]]:
    """The grid voxels that a place is interpolated from and their parts in it."""
    options = []
    for v in place:
        low = math.floor(v)
        options.append([(low, 1 - (v - low)), (low + 1, v - low)] if v > low else [(low, 1.0)])
    return [(tuple(i for i, _ in c), math.prod(p for _, p in c)) for c in itertools.product(*options)]


def naive_value(placed: PlacedVolume, voxel: Sequence[int]) -> float | None:
    """Interpolated value, None where a neighbour is not covered."""
    coverage = placed.volume.coverage
    total = 0.0
    for index, part in neighbours(place_in(placed, voxel)):
        box = Box.of_shape((1, 1, 1), index)
        if not coverage.mask(box)[0, 0, 0]:
            return None
        total += part * float(placed.volume.read(box)[0, 0, 0])
    return total


def naive_distances(placed: PlacedVolume, voxel: Sequence[int]) -> tuple[float, float, float]:
    """Distances along z, y and x to the edge of what can be interpolated."""
    cover = placed.volume.coverage
    z, y, x = place_in(placed, voxel)
    frames = [index[2] - cover.shear * index[0] for index, _ in neighbours((z, y, x))]
    return (
        min(z, cover.n_columns - 1 - z),
        min(y, cover.n_rows - 1 - y),
        min(min(frames), cover.n_frames - 1 - max(frames)),
    )


def naive(tiles: Sequence[PlacedVolume], voxel: Sequence[int]) -> float:
    found = [(t, v) for t in tiles if (v := naive_value(t, voxel)) is not None]
    products = []
    for a, _ in found:
        product = 1.0
        for b, _ in found:
            if b is a:
                continue
            axes = [n for n, differs in enumerate(differing_axes(a, b)) if differs]
            d_a, d_b = (max(1 / 32, min(naive_distances(t, voxel)[n] for n in axes)) for t in (a, b))
            product *= d_a**2 / (d_a**2 + d_b**2)
        products.append(product)
    return sum(p * v for p, (_, v) in zip(products, found, strict=True)) / sum(products) if found else 0.0


def assert_as_defined(tiles: Sequence[PlacedVolume], box: Box) -> None:
    result = fused(tiles, box)
    for index in np.ndindex(box.shape):
        voxel = [a + b for a, b in zip(box.start, index, strict=True)]
        expected = naive(tiles, voxel)
        assert abs(float(result[index]) - expected) <= 0.5 + 0.02, (voxel, result[index], expected)


CASES: dict[str, tuple[list[PlacedVolume], Box]] = {
    "one, whole": ([oblique(7, 5, 6, 1.0, (0, 0, 0), 1)], Box((0, 0, 0), (6, 5, 12))),
    "one, sub-voxel": ([oblique(7, 5, 6, 1.0, (0.3, 1.6, 2.45), 2)], Box((-1, 0, 0), (8, 8, 16))),
    "one, slope not whole": ([oblique(9, 4, 8, 0.73, (1.2, 0, 0.9), 3)], Box((0, 0, 0), (10, 4, 17))),
    "one, more shear": ([oblique(9, 4, 8, 0.73, (1.2, 0.5, 0.9), 4, shear_px=0.07)], Box((0, 0, 0), (10, 5, 17))),
    "one, less shear": ([oblique(9, 4, 8, 1.0, (0, 0, 1.0), 5, shear_px=-0.13)], Box((0, 0, 0), (8, 4, 18))),
    "one, single voxel": ([oblique(1, 1, 1, 1.0, (0, 0, 0), 6)], Box((0, 0, 0), (2, 2, 2))),
    "one plane, one row": ([oblique(9, 1, 1, 0.7, (0, 0, 0.5), 7)], Box((0, 0, 0), (1, 1, 10))),
    "two along y": (
        [oblique(9, 8, 6, 1.0, (0, 0, 0), 8), oblique(9, 8, 6, 1.0, (0.2, 4.7, 0.6), 9)],
        Box((0, 0, 0), (7, 14, 15)),
    ),
    "two along x": (
        [oblique(12, 3, 6, 1.0, (0, 0, 0), 10), oblique(12, 3, 6, 1.0, (0.4, 0.2, 7.3), 11)],
        Box((0, 0, 0), (7, 4, 26)),
    ),
    "two along z": (
        [oblique(12, 3, 8, 1.0, (0, 0, 0), 12), oblique(12, 3, 8, 1.0, (5.4, 0.2, 6.1), 13)],
        Box((0, 0, 0), (14, 4, 27)),
    ),
    "three": (
        [
            oblique(9, 8, 6, 0.9, (0, 0, 0), 14),
            oblique(9, 8, 6, 0.9, (0, 5.5, 0.25), 15),
            oblique(9, 8, 6, 0.9, (0.5, 0, 6.5), 16),
        ],
        Box((0, 0, 0), (6, 14, 21)),
    ),
    "eight": (
        [
            oblique(10, 6, 6, 1.0, (4 * i + 0.1 * j, 4 * j + 0.2 * k, 6 * k + 4 * i + 0.3 * i), 20 + 4 * i + 2 * j + k)
            for i, j, k in itertools.product((0, 1), repeat=3)
        ],
        Box((2, 2, 4), (8, 8, 20)),
    ),
    "sheared pair": (
        [
            oblique(10, 6, 9, 1.0, (0, 0, 0), 30, shear_px=0.04),
            oblique(10, 6, 9, 1.0, (0, 4.3, 0.5), 31, shear_px=0.04),
        ],
        Box((0, 0, 0), (9, 11, 20)),
    ),
    "at one place": (
        [oblique(7, 3, 4, 1.0, (0, 0, 0), 32), oblique(7, 3, 4, 1.0, (0, 0, 0), 33)],
        Box((0, 0, 0), (4, 3, 10)),
    ),
    "edges that touch": (
        [oblique(4, 5, 4, 0.0, (0, 0, 0), 34), oblique(4, 5, 4, 0.0, (0, 4, 0), 35)],
        Box((0, 0, 0), (4, 9, 4)),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_as_defined(name: str) -> None:
    assert_as_defined(*CASES[name])


@pytest.mark.parametrize("name", CASES)
def test_blocks_make_the_whole(name: str) -> None:
    tiles, box = CASES[name]
    whole = fused(tiles, box)
    for part in box.blocks((3, 4, 5)):
        np.testing.assert_array_equal(fused(tiles, part), whole[part.slices(box.start)])


@pytest.mark.parametrize("name", CASES)
def test_order_of_tiles_does_not_matter(name: str) -> None:
    tiles, box = CASES[name]
    expected = fused(tiles, box)
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(len(tiles))
        np.testing.assert_array_equal(fused([tiles[n] for n in order], box), expected)
