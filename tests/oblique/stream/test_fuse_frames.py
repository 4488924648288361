"""Fusion frame by frame: against its words voxel by voxel, and against the fusion of de-obliqued tiles."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpustitch.model import Box, PlacedVolume
from gpustitch.oblique.fuse.blend import weights
from gpustitch.oblique.fuse.fuse import fuse_block, plan_block
from gpustitch.oblique.stream.fuse_frames import fuse_frames
from tests.oblique.stream.raw_tiles import Gains, arguments_of, extent, fused_by_frames, noise, placed, whole

TENTHS = st.integers(0, 60).map(lambda tenths: tenths / 10)
WHOLE = st.integers(0, 6)
SLOPES = st.sampled_from((0.4, 0.73, 0.9943, 1.0, 1.37, 2.0, 2.6))


@st.composite
def mosaics(draw: Any, dtype: str, *, is_whole: bool = False) -> list[PlacedVolume]:
    """One to four tiles of odd sizes, some of 1, with absent frames."""
    shear = float(draw(st.integers(1, 3))) if is_whole else draw(SLOPES)
    shear_px = 0.0 if is_whole else draw(st.sampled_from((0.0, 0.06, -0.11)))
    places = WHOLE if is_whole else TENTHS
    tiles = []
    for seed in range(draw(st.integers(1, 4))):
        shape = draw(st.tuples(st.integers(1, 9), st.integers(1, 5), st.integers(1, 6)))
        absent = draw(st.lists(st.integers(0, shape[0] - 1), max_size=min(2, shape[0] - 1), unique=True))
        origin = draw(st.tuples(places, places, places))
        tiles.append(noise(shape, origin, shear, seed=seed, dtype=dtype, shear_px=shear_px, absent=absent))
    return tiles


def gains_of(tiles: list[PlacedVolume], most: float) -> Gains:
    """Factors for the rows of every second tile."""
    rows = {n: tiles[n].volume.coverage.n_rows for n in range(0, len(tiles), 2)}
    return {n: np.linspace(0.5, most, rows[n], dtype=np.float32) for n in rows}


def by_deobliquing(tiles: list[PlacedVolume], gains: Gains | None = None) -> npt.NDArray[Any]:
    """The mosaic from de-obliqued tiles."""
    plan = plan_block(Box.of_shape(extent(tiles)), tiles)
    if plan.is_empty:
        return np.zeros(extent(tiles), tiles[0].volume.dtype)
    return np.asarray(fuse_block(plan, {n: tiles[n].volume.read(box) for n, box in plan.reads.items()}, gains))


def in_words(a: dict[str, Any]) -> npt.NDArray[np.float64]:
    """What the definition says of each voxel, from the twin's arguments, before it is rounded."""
    found = np.zeros(a["out"].shape)
    for f, y, z in np.ndindex(found.shape):
        near, values, tiles = [], [], []
        for n, bounds in enumerate(a["bounds"]):
            first, stop = a["columns"][n, z, :2]
            if not (bounds[0] <= z < bounds[1] and bounds[2] <= y < bounds[3] and first <= f < stop):
                continue
            before, after = f - a["edges"][n, z, 0], a["edges"][n, z, 1] - f
            distances = a["planes"][n, z, 3], a["rows"][n, y, 0], min(before, after)
            near.append(tuple(np.full((1, 1, 1), distance, np.float32) for distance in distances))
            values.append(interpolated(a, n, (f, y, z)) * (a["rows"][n, y, 1] if bounds[6] else 1.0))
            tiles.append(n)
        if tiles:
            shares = weights(near, [np.ones((1, 1, 1), bool)] * len(tiles), a["axes"][np.ix_(tiles, tiles)])
            found[f, y, z] = sum(float(s.item()) * v for s, v in zip(shares, values, strict=True))
    return found


def interpolated(a: dict[str, Any], n: int, voxel: tuple[int, int, int]) -> float:
    """The sum of a tile's taps, each between two rows."""
    f, y, z = voxel
    column, row = a["bounds"][n, 4] + z, a["bounds"][n, 5] + y
    along_y, total = float(a["planes"][n, z, 1]), 0.0
    for d, j in itertools.product(range(2), range(3)):
        if share := float(a["shares"][n, d, j, z]):
            frame = a["frames"][n][f + a["starts"][n, d, z] + j, :, column + d].astype(float)
            total += share * (frame[row] + (along_y * (frame[row + 1] - frame[row]) if along_y else 0.0))
    return total


@settings(max_examples=20)
@given(mosaics("float32"), st.booleans())
def test_each_voxel_is_what_the_words_say(tiles: list[PlacedVolume], has_gains: bool) -> None:
    arguments = arguments_of(tiles, gains=gains_of(tiles, 2.0) if has_gains else None)
    fuse_frames(**arguments)
    np.testing.assert_allclose(arguments["out"], in_words(arguments), rtol=2e-6, atol=2e-4)


@settings(max_examples=15)
@given(mosaics("uint8"))
def test_whole_numbers_are_rounded(tiles: list[PlacedVolume]) -> None:
    arguments = arguments_of(tiles)
    fuse_frames(**arguments)
    # Half a count, and what float32 rounds before.
    np.testing.assert_allclose(arguments["out"], in_words(arguments), rtol=0, atol=0.5001)


@settings(max_examples=15)
@given(mosaics("float32"), st.booleans())
def test_floats_are_those_of_deobliqued_tiles(tiles: list[PlacedVolume], has_gains: bool) -> None:
    gains = gains_of(tiles, 2.0) if has_gains else None
    np.testing.assert_allclose(fused_by_frames(tiles, gains), by_deobliquing(tiles, gains), rtol=2e-6, atol=2e-3)


@settings(max_examples=15)
@given(mosaics("uint16"), st.booleans())
def test_counts_are_within_one_of_those_of_deobliqued_tiles(tiles: list[PlacedVolume], has_gains: bool) -> None:
    """These are rounded twice, so one count apart."""
    gains = gains_of(tiles, 1.0) if has_gains else None
    found, expected = fused_by_frames(tiles, gains), by_deobliquing(tiles, gains)
    assert np.abs(found.astype(int) - expected).max() <= 1


@settings(max_examples=15)
@given(mosaics("uint16", is_whole=True))
def test_whole_places_are_exact(tiles: list[PlacedVolume]) -> None:
    np.testing.assert_array_equal(fused_by_frames(tiles[:1]), by_deobliquing(tiles[:1]))
    # Two sums of the same products.
    assert np.abs(fused_by_frames(tiles).astype(int) - by_deobliquing(tiles)).max() <= 1


@settings(max_examples=20)
@given(mosaics("uint16"), st.data())
def test_a_part_is_that_part_of_the_whole(tiles: list[PlacedVolume], data: st.DataObject) -> None:
    box = whole(tiles)
    low = [data.draw(st.integers(a, b - 1)) for a, b in zip(box.start, box.stop, strict=True)]
    high = [data.draw(st.integers(a + 1, b)) for a, b in zip(low, box.stop, strict=True)]
    part = Box((low[0], low[1], low[2]), (high[0], high[1], high[2]))
    all_of_it, some = arguments_of(tiles), arguments_of(tiles, part)
    fuse_frames(**all_of_it)
    fuse_frames(**some)
    expected = all_of_it["out"].transpose(2, 1, 0)[part.slices(box.start)]
    # Sums of taps are ordered by what else is computed with them.
    assert np.abs(some["out"].transpose(2, 1, 0).astype(int) - expected).max() <= 1


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
@pytest.mark.parametrize("origin", [(0, 0, 0), (0, 0.5, 0.25), (0.3, 0, 0.6)])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("n_tiles", [1, 2, 3])
def test_what_is_not_finite_stays_where_its_pixel_has_a_share(origin: Any, bad: float, n_tiles: int) -> None:
    frames = np.random.default_rng(0).random((9, 5, 4), np.float32)
    others = [placed(frames, place, 0.73) for place in ((0.2, 1.5, 0.25), (0.7, 0.5, 3.5))][: n_tiles - 1]
    damaged = frames.copy()
    damaged[4, 2, 1] = bad
    traced = np.zeros_like(frames)
    traced[4, 2, 1] = 1e6
    found = fused_by_frames([placed(damaged, origin, 0.73), *others])
    clean = [placed(f, origin, 0.73) for f in (np.zeros_like(frames), traced)]
    reached = np.subtract(*(fused_by_frames([tile, *others]) for tile in reversed(clean))) != 0
    assert reached.any()
    np.testing.assert_array_equal(~np.isfinite(found), reached)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("gain", [1.0, 3.0])
def test_full_pixels_stay_full(dtype: str, gain: float) -> None:
    most = np.iinfo(dtype).max
    tiles = [
        placed(np.full((9, 6, 5), most, dtype), origin, 0.7) for origin in ((0, 0, 0), (0.4, 3.7, 0.3), (0.1, 0.2, 5.6))
    ]
    gains = {n: np.full(6, gain, np.float32) for n in range(3)}
    expected = by_deobliquing(tiles)
    for found in (fused_by_frames(tiles), fused_by_frames(tiles, gains)):
        assert set(np.unique(found)) == {0, most}
        np.testing.assert_array_equal(found, expected)


def test_what_no_tile_covers_is_zero() -> None:
    arguments = arguments_of([noise((4, 3, 2), (0, 0, 0))], Box((0, 0, 50), (2, 3, 53)))
    fuse_frames(**arguments)
    assert not arguments["out"].any()
