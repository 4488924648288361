"""Fusion against its definition, voxel by voxel, and its laws."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpustitch.model import Box, Coverage, PlacedVolume
from gpustitch.oblique.fuse.blend import Footprint, differing_axes, weights
from gpustitch.oblique.fuse.fuse import fuse_block, plan_block
from gpustitch.oblique.fuse.tables import Tables
from tests.cuda_cpu import module, shim
from tests.oblique.fuse.fuse_tiles import covered_by, fused, oblique, tile, whole_box


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
    # The edges of the frames without a gap around the voxel.
    before = max((f for f in (-1, *cover.absent) if f < min(frames)), default=-1)
    after = min(f for f in (*cover.absent, cover.n_frames) if f > before)
    return (
        min(z, cover.n_columns - 1 - z),
        min(y, cover.n_rows - 1 - y),
        min(min(frames) - (before + 1), after - 1 - max(frames)),
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
            near = [naive_distances(t, voxel) for t in (a, b)]
            d_a, d_b = (max(1 / 32, min(d[n] for n in axes)) for d in near)
            for n in {0, 1, 2}.difference(axes):
                e_a, e_b = (min(16, max(1 / 32, d[n])) for d in near)
                d_a, d_b = d_a * e_a / max(e_a, e_b), d_b * e_b / max(e_a, e_b)
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
    "one, frames absent": ([oblique(12, 4, 6, 1.0, (0, 1, 2), 36, absent=(0, 4, 5, 9))], Box((0, 0, 0), (6, 5, 20))),
    "one, sub-voxel, frames absent": (
        [oblique(12, 4, 6, 0.73, (0.3, 1.6, 2.45), 37, absent=(5,))], Box((0, 0, 0), (7, 6, 20)),
    ),
    "one, more shear, frames absent": (
        [oblique(12, 4, 6, 0.73, (0, 0, 0), 38, absent=(4, 11), shear_px=0.07)], Box((0, 0, 0), (6, 4, 18)),
    ),
    "two along y, frames absent": (
        [oblique(14, 8, 6, 1.0, (0, 0, 0), 39, absent=(3, 8)), oblique(14, 8, 6, 1.0, (0.2, 4.7, 0.6), 40)],
        Box((0, 3, 0), (7, 9, 20)),
    ),
    "two along x, both with frames absent": (
        [
            oblique(14, 3, 6, 1.0, (0, 0, 0), 41, absent=(9,)),
            oblique(14, 3, 6, 1.0, (0.4, 0.2, 6.3), 42, absent=(1, 7)),
        ],
        Box((0, 0, 0), (7, 4, 26)),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_fusion_is_as_it_is_defined(name: str) -> None:
    assert_as_defined(*CASES[name])


@pytest.mark.parametrize("name", CASES)
def test_blocks_make_the_whole(name: str) -> None:
    tiles, box = CASES[name]
    whole = fused(tiles, box)
    for part in box.blocks((3, 4, 5)):
        np.testing.assert_array_equal(fused(tiles, part), whole[part.slices(box.start)])


@pytest.mark.parametrize("name", CASES)
def test_the_body_gives_the_same_to_a_count(name: str) -> None:
    if module.why_not():
        pytest.skip(module.why_not())
    tiles, box = CASES[name]
    plan = plan_block(box, tiles)
    voxels = {n: tiles[n].volume.read(need) for n, need in plan.reads.items()}
    gains = {0: np.linspace(1, 0.7, tiles[0].volume.coverage.n_rows, dtype=np.float32)}
    for some in (None, gains):
        before = module.launches()
        with shim.installed():
            on_device = {n: shim.asarray(values) for n, values in voxels.items()}
            result = shim.asnumpy(fuse_block(plan, on_device, some))
        assert module.launches() == before + 1
        np.testing.assert_allclose(result, fuse_block(plan, voxels, some), rtol=0, atol=len(plan.numbers) > 2)


@pytest.mark.parametrize("name", CASES)
def test_order_of_tiles_does_not_matter(name: str) -> None:
    tiles, box = CASES[name]
    expected = fused(tiles, box)
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(len(tiles))
        np.testing.assert_array_equal(fused([tiles[n] for n in order], box), expected)


def grid_of_tiles(seed: int | None) -> list[PlacedVolume]:
    """2 x 2 x 2 oblique tiles whose stage positions are off by parts of a voxel."""
    shake = np.random.default_rng(5).uniform(-0.9, 0.9, (8, 3)) + 1
    return [
        oblique(
            40,
            30,
            20,
            1.0,
            np.add((14 * i, 22 * j, 30 * k + 14 * i), shake[4 * i + 2 * j + k]),
            None if seed is None else seed + 4 * i + 2 * j + k,
        )
        for i, j, k in itertools.product((0, 1), repeat=3)
    ]


def test_order_of_tiles_does_not_change_a_sum_of_floats() -> None:
    rng = np.random.default_rng(2)
    tiles = [tile(rng.random((9, 20, 20), np.float32), (0.3 * n, 2.1 * n, 3.7 * n)) for n in range(4)]
    box = whole_box(tiles)
    expected = fused(tiles, box)
    for order in ((3, 2, 1, 0), (2, 0, 3, 1)):
        np.testing.assert_array_equal(fused([tiles[n] for n in order], box), expected)


def test_constant_stays_constant_and_gaps_are_zero() -> None:
    """spimstitch leaves out blocks at the trailing corner, and takes 1 count off wherever two tiles touch a block."""
    tiles = grid_of_tiles(None)
    box = whole_box(tiles)
    result = fused(tiles, box)
    count = covered_by(tiles, box)
    assert {0, 1, 2, 4, 8} <= set(np.unique(count).tolist())
    np.testing.assert_array_equal(result, np.where(count > 0, 1000, 0))


def test_saturated_stays_saturated() -> None:
    full = Coverage(20, 12, 9, 0.7)
    tiles = [
        tile(np.full(full.shape, 65535, np.uint16), origin, shear=0.7, frames=20)
        for origin in ((0, 0, 0), (0.4, 7.7, 0.3), (0.1, 0.2, 12.6))
    ]
    result = fused(tiles, whole_box(tiles))
    assert set(np.unique(result)) == {0, 65535}


def test_linear_field_is_reproduced_at_sub_voxel_shifts() -> None:
    def field(z: Any, y: Any, x: Any) -> Any:
        return 500 + 3.5 * z + 2.25 * y + 4.75 * x

    tiles = []
    for origin in ((0, 0, 0), (0.37, 18.61, 0.83), (0.5, 0.25, 22.75), (0.12, 18.2, 23.4)):
        z, y, x = np.ogrid[:11, :26, :50]
        values = field(*(i + o for i, o in zip((z, y, x), origin, strict=True)))
        tiles.append(tile(values.astype(np.float32), origin, shear=1.0, frames=40))
    box = whole_box(tiles)
    expected = field(*np.ogrid[tuple(slice(0, n) for n in box.shape)])
    covered = covered_by(tiles, box) > 0
    result = fused(tiles, box)
    np.testing.assert_allclose(result[covered], expected[covered], rtol=2e-6)
    assert (result[~covered] == 0).all()


def test_no_step_at_seams() -> None:
    """Tiles of 1000, 1100, 1200 and 1300: where one begins or ends, the fused value does not jump."""
    tiles = []
    for number, (j, k) in enumerate(itertools.product((0, 1), repeat=2)):
        values = np.full(Coverage(120, 90, 30, 1.0).shape, 1000 + 100 * number, np.float32)
        tiles.append(tile(values, (0.3 * j, 60.4 * j, 80.6 * k), shear=1.0, frames=120))
    box = Box((5, 0, 0), (25, 152, 232))
    result = fused(tiles, box)
    count = covered_by(tiles, box)
    # At the rim of the mosaic the tiles of a pair along y end one after the other, by their error along x and z.
    z, _, x = np.indices(box.shape)
    count[(x - z < 5 + 3) | (x - z > 5 + 196)] = 0
    for axis in (1, 2):
        step = np.abs(np.diff(result, axis=axis))
        before, after = (np.delete(count, at, axis) for at in (-1, 0))
        seam = (before != after) & (np.minimum(before, after) > 0)
        assert seam.any()
        assert step[seam].max() <= 1
        assert step[(before > 0) & (after > 0)].max() <= 30


def test_weights_sum_to_one_where_a_tile_covers() -> None:
    tiles = grid_of_tiles(None)
    box = Box((15, 23, 46), (19, 30, 56))
    prints = [Footprint.of(t, box.start[0], box.stop[0]) for t in tiles]
    tables = Tables.of(box, tiles, prints)
    block = Box.of_shape(box.shape)
    columns = [tables.covered(n, block)[:, None, :] for n in range(len(tiles))]
    x = np.arange(box.shape[2])
    covered_columns = [(x >= c[..., :1]) & (x < c[..., 1:]) for c in columns]
    parts = weights([tables.near(n, block) for n in range(len(tiles))], covered_columns, tables.axes)
    total = sum(np.broadcast_to(part, box.shape).astype(np.float64) for part in parts)
    covered = covered_by(tiles, box) > 0
    np.testing.assert_allclose(total, covered, atol=1e-6)
    assert all(part.min() >= 0 for part in parts)


def test_whole_offsets_copy_exactly() -> None:
    placed = oblique(9, 5, 7, 1.0, (3, 2, 4), 1)
    result = fused([placed], Box((0, 0, 0), (12, 9, 22)))
    volume = placed.volume.read(Box.of_shape(placed.volume.coverage.shape))
    np.testing.assert_array_equal(result[3:10, 2:7, 4:19], volume)
    assert result.sum(dtype=np.int64) == volume.sum(dtype=np.int64)


def test_an_axis_with_a_stage_error_only_is_not_one_the_tiles_differ_in() -> None:
    a = oblique(60, 80, 40, 1.0, (0, 0, 0), None)
    assert differing_axes(a, oblique(60, 80, 40, 1.0, (1.5, 64.2, -2.3), None)) == (False, True, False)
    assert differing_axes(a, oblique(60, 80, 40, 1.0, (-0.5, 3.1, 48.0), None)) == (False, False, True)
    assert differing_axes(a, oblique(60, 80, 40, 1.0, (1, 64, 48), None)) == (False, True, True)
    # Stacked along z at one stage x, the covered columns of a plane lie 36 apart.
    assert differing_axes(a, oblique(60, 80, 40, 1.0, (36, 0, 0), None)) == (True, False, True)
    # A large overlap by design is no stage error, even where all offsets are small.
    assert differing_axes(a, oblique(60, 80, 40, 1.0, (0, 16, 12), None)) == (False, True, True)
    assert differing_axes(a, oblique(60, 80, 40, 1.0, (0, 0, 0), None)) == (True, True, True)


def test_stage_error_across_the_pair_leaves_no_seam() -> None:
    """Two tiles along y, the second 3 columns off: one has faded out where it ends, and nothing changes far off."""
    a = tile(np.full((6, 40, 65), 1000, np.float32), (0, 0, 0), shear=1.0, frames=60)
    b = tile(np.full((6, 40, 65), 2000, np.float32), (0, 30, 3), shear=1.0, frames=60)
    result = fused([a, b], Box((2, 0, 0), (3, 70, 70)))[0]
    y = np.arange(31, 39)
    expected = (39.0 - y) ** 2 / ((39.0 - y) ** 2 + (y - 30.0) ** 2)
    np.testing.assert_allclose(
        (2000 - result[31:39, 21:46]) / 1000, np.repeat(expected[:, None], 25, axis=1), rtol=1e-5
    )
    assert (result[31:39, 2:5] == 1000).all() and (result[31:39, 62:65] == 2000).all()
    steps = np.abs(np.diff(result[34:36], axis=1))
    assert steps[:, 2:64].max() < 250, "one voxel from the edge of one tile the other is all there is"
    assert steps[:, [4, 61]].max() < 10, "the other tile's end, where 500 would be missing at once"


def test_a_block_without_tiles_needs_nothing() -> None:
    plan = plan_block(Box((0, 0, 0), (4, 4, 4)), [oblique(5, 5, 5, 1.0, (0, 0, 40), None)])
    assert plan.is_empty
    assert not plan.reads
    with pytest.raises(ValueError, match="no tile covers"):
        fuse_block(plan, {})


def test_only_what_is_needed_is_read() -> None:
    placed = oblique(50, 60, 40, 1.0, (0.5, 0, 0), 1)
    plan = plan_block(Box((10, 10, 20), (14, 20, 30)), [placed])
    assert plan.reads == {0: Box((9, 10, 20), (14, 20, 30))}


def test_wrong_voxels_are_refused() -> None:
    placed = oblique(5, 5, 5, 1.0, (0, 0, 0), 1)
    plan = plan_block(Box((0, 0, 0), (4, 4, 4)), [placed])
    with pytest.raises(ValueError, match="needs the tiles"):
        fuse_block(plan, {})
    with pytest.raises(ValueError, match="needs voxels of shape"):
        fuse_block(plan, {0: np.zeros((1, 1, 1), np.uint16)})
    pair = [placed, oblique(5, 5, 5, 1.0, (0, 3, 0), 1)]
    plan = plan_block(Box((0, 0, 0), (4, 4, 4)), pair)
    mixed = {n: np.zeros(need.shape, dtype) for (n, need), dtype in zip(plan.reads.items(), "Hf", strict=True)}
    with pytest.raises(ValueError, match="one dtype"):
        fuse_block(plan, mixed)


def test_nan_stays_where_it_is() -> None:
    values = np.ones((4, 5, 6), np.float32)
    values[2, 2, 2] = np.nan
    result = fused([tile(values, (0.0, 0.5, 0.0))], Box((0, 0, 0), (4, 6, 6)))
    assert np.isnan(result).sum() == 2
    assert np.isnan(result[2, 2:4, 2]).all()


absences = st.sets(st.integers(0, 13), max_size=6).map(tuple)


@settings(max_examples=25)
@given(absences, absences, st.sampled_from([(0.0, 4.7, 0.6), (0.4, 0.2, 6.3), (2.0, 3.0, 4.0)]))
def test_holes_leave_all_other_voxels_as_they_are(
    absent_a: tuple[int, ...], absent_b: tuple[int, ...], origin: tuple[float, float, float]
) -> None:
    """Where one tile alone is left, the fused voxels are its own; where none is left they are 0."""
    tiles = [
        oblique(14, 6, 5, 0.8, (0, 0, 0), 1, absent=absent_a),
        oblique(14, 6, 5, 0.8, origin, 2, absent=absent_b),
    ]
    whole = [oblique(14, 6, 5, 0.8, (0, 0, 0), 1), oblique(14, 6, 5, 0.8, origin, 2)]
    box = whole_box(tiles)
    result = fused(tiles, box)
    a, b = (fused([t], box) for t in whole)
    covers_a, covers_b = (covered_by([t], box) > 0 for t in tiles)
    np.testing.assert_array_equal(result[covers_a & ~covers_b], a[covers_a & ~covers_b])
    np.testing.assert_array_equal(result[covers_b & ~covers_a], b[covers_b & ~covers_a])
    assert not result[~covers_a & ~covers_b].any()
    both = covers_a & covers_b
    assert (result[both] >= np.minimum(a, b)[both]).all() and (result[both] <= np.maximum(a, b)[both]).all()
