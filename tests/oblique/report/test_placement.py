"""Overlaps that are compared anew: tiles in their place, displaced, exchanged, and such that show nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpustitch.model import PlacedVolume
from gpustitch.oblique.report.placement import compare, pairs_of
from tests.oblique.report.scenes import ArrayTile, row_of_tiles


def positions(tiles: dict[str, PlacedVolume]) -> dict[str, tuple[float, float, float]]:
    return {name: tile.origin_px for name, tile in tiles.items()}


def moved(tile: PlacedVolume, by: tuple[float, float, float]) -> PlacedVolume:
    z, y, x = (a + b for a, b in zip(tile.origin_px, by, strict=True))
    return replace(tile, origin_px=(z, y, x))


@settings(max_examples=4, deadline=None)
@given(st.integers(0, 1000), st.tuples(*[st.integers(-22, 22)] * 3))
def test_a_displaced_tile_is_off_by_what_it_was_displaced(seed: int, by: tuple[int, int, int]) -> None:
    tiles = row_of_tiles(seed)
    stage = positions(tiles)
    last = max(tiles)
    tiles[last] = moved(tiles[last], by)
    (link,) = compare(tiles, stage, 1 << 40, lambda: 0, tiles).links
    assert not link.reason and link.off_px is not None
    sign = 1 if link.moving == last else -1
    np.testing.assert_allclose(np.array(link.off_px) * sign, by, atol=0.3)


def test_what_the_stage_says_finds_a_tile_that_lies_far_from_its_place() -> None:
    tiles = row_of_tiles(3)
    stage, last = positions(tiles), max(tiles)
    tiles[last] = moved(tiles[last], (0, 200, 0))
    (link,) = compare(tiles, stage, 1 << 40, lambda: 0, tiles).links
    assert link.off_px is not None and abs(link.off_px[1]) == pytest.approx(200, abs=0.3)


@pytest.mark.parametrize(("seed", "which"), [(5, (0, 1)), (6, (1, 2)), (7, (0, 2))])
def test_exchanged_tiles_are_named_and_no_others(seed: int, which: tuple[int, int]) -> None:
    tiles = row_of_tiles(seed, n=3, size=(24, 52, 48), step=32)
    stage = positions(tiles)
    assert compare(tiles, stage, 1 << 40, lambda: 0, tiles).exchanged == ()
    a, b = (sorted(tiles, key=_y)[n] for n in which)
    wrong = tiles | {a: replace(tiles[a], volume=tiles[b].volume), b: replace(tiles[b], volume=tiles[a].volume)}
    assert [set(pair) for pair in compare(wrong, stage, 1 << 40, lambda: 0, tiles).exchanged] == [{a, b}]
    assert not compare(wrong, stage, 1 << 40, lambda: 0, ()).exchanged, "tiles that show nothing are not tried"


def test_noise_is_not_measured() -> None:
    tiles = row_of_tiles(7)
    last = max(tiles)
    noise = np.random.default_rng(8).normal(600, 8, tiles[last].volume.coverage.shape).astype(np.float32)
    tiles[last] = replace(tiles[last], volume=ArrayTile(noise))
    placing = compare(tiles, positions(tiles), 1 << 40, lambda: 0, tiles)
    assert placing.links[0].off_px is None and placing.links[0].reason and not placing.exchanged


def test_overlaps_beyond_the_bytes_are_left_out_and_named() -> None:
    tiles = row_of_tiles(9, n=4)
    read = iter(range(0, 1000, 10))
    placing = compare(tiles, positions(tiles), 15, lambda: next(read), tiles)
    assert len(placing.links) == 1 and len(placing.left_out) == 2


def test_the_first_pairs_touch_all_tiles() -> None:
    blank = ArrayTile(np.zeros((4, 10, 12), np.float32))
    tiles = {
        f"{x}_{y}_0": PlacedVolume(f"{x}_{y}_0", blank, (0.0, 8.0 * y, 9.0 * x)) for x in range(3) for y in range(4)
    }
    pairs = pairs_of(tiles, positions(tiles))
    assert len(pairs) == len(set(map(frozenset, pairs))) == 3 * 3 + 2 * 4
    assert {name for pair in pairs[: len(tiles) // 2 + 1] for name in pair} == set(tiles), "half as many, nearly"


def _y(name: str) -> int:
    return int(name.split("_")[1])
