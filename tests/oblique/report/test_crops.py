"""The same place of an overlap in both tiles."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import scipy
from hypothesis import given, settings
from hypothesis import strategies as st

from gpustitch.oblique.report.crops import Detail, crop_of, detail, flattened, flicker, shares_of
from gpustitch.oblique.report.placement import Remeasured
from tests.oblique.report.scenes import ArrayTile, row_of_tiles


@pytest.mark.parametrize(("seed", "gain"), [(1, 1.0), (2, 0.5)])
def test_crops_show_the_same_where_tiles_lie_right(seed: int, gain: float) -> None:
    tiles = row_of_tiles(seed, noise=2.0)
    a, b = tiles
    voxels = tiles[b].volume.voxels  # type: ignore[attr-defined]
    tiles[b] = replace(tiles[b], volume=ArrayTile(gain * voxels))
    at, off = (0.0, 50.0, 0.0), (0.0, 43.0, 0.0)
    crop = crop_of(Remeasured(a, b, at, off), tiles)
    assert crop is not None and crop.by_stage is not None
    fixed, moving, stage = flattened([crop.fixed, crop.moving, crop.by_stage])
    assert np.corrcoef(fixed.ravel(), moving.ravel())[0, 1] > 0.95 > np.corrcoef(fixed.ravel(), stage.ravel())[0, 1]
    assert crop.ratio(0.0) == pytest.approx(gain, rel=0.02)
    z, y, x = crop.where_px
    assert 0 <= z < 40 and 50 <= y < 80 and 0 <= x < 90


def test_tiles_that_share_nothing_have_no_crop() -> None:
    tiles = row_of_tiles(3)
    a, b = tiles
    assert crop_of(Remeasured(a, b, (0.0, 79.0, 0.0), (0.0, 79.0, 0.0)), tiles) is None


def test_dark_tiles_have_no_ratio() -> None:
    tiles = row_of_tiles(4)
    a, b = tiles
    crop = crop_of(Remeasured(a, b, (0.0, 50.0, 0.0), (0.0, 50.0, 0.0)), tiles)
    assert crop is not None and crop.ratio(1e6) is None


@st.composite
def boxes(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, float]:
    """Tissue whose texture is finer or coarser, what the camera adds to every frame alike, and its noise."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    shape = draw(st.sampled_from([(11, 60, 129), (3, 20, 60), (5, 41, 90)]))
    tissue = scipy.ndimage.gaussian_filter(rng.standard_normal(shape), draw(st.sampled_from([2.0, 4.0])))
    fixed = rng.uniform(50, 4000, (*shape[:2], 1)) * draw(st.sampled_from([0.0, 1.0]))
    noise = draw(st.sampled_from([1.0, 5.0, 30.0]))
    return tissue / tissue.std(), fixed + noise * rng.standard_normal(shape), noise


@settings(max_examples=40, deadline=None)
@given(boxes(), st.floats(2, 40))
def test_detail_is_that_of_tissue_whatever_every_frame_shows(made: tuple[np.ndarray, np.ndarray, float], times: float):
    tissue, camera, noise = made
    dark = detail(camera)
    assert dark.sure == 0 and dark.seen < 0.4 * noise, "offset, flat, stripes and hot pixels are no tissue"
    amplitude = times * noise
    found = detail(camera + amplitude * tissue)
    assert 0.3 * amplitude < found.seen == found.sure < 1.3 * amplitude
    assert detail(0.01 * (camera + amplitude * tissue)).seen == pytest.approx(0.01 * found.seen)


def test_a_box_too_short_to_change_shows_nothing() -> None:
    assert detail(np.arange(24.0).reshape(2, 3, 4)) == Detail(0, 0)


def shown(*places: tuple[float, float]) -> list[tuple[Detail, Detail]]:
    return [(Detail(a, a), Detail(b, b)) for a, b in places]


def test_shares_are_of_neighbours_that_show_much() -> None:
    places = {("a", "b"): shown((100, 1)), ("b", "c"): shown((1, 1)), ("a", "c"): shown((80, 90), (90, 60))}
    expected = {"b": [0.01], "c": [9 / 8, 2 / 3], "a": [8 / 9, 3 / 2]}
    assert {name: pytest.approx(seen) for name, seen in shares_of(places).items()} == expected
    assert shares_of({("a", "b"): shown((0, 0))}) == shares_of({}) == {}
    assert shares_of(places, ["a"]) == {"b": [1.0], "c": [1.0]}
    faint = [(Detail(3.0, 3.0), Detail(2.0, 0.0))]
    assert shares_of({("a", "b"): faint}) == {"b": [pytest.approx(2 / 3)]}, "what is not sure is no zero"


@pytest.mark.parametrize("mad", [3e3, 1e6])
def test_a_tile_of_garbage_makes_no_neighbour_dead(mad: float) -> None:
    """Bytes in the wrong order show far more detail than tissue."""
    places = {("x", "b"): shown((mad, 100)), ("x", "c"): shown((mad, 90)), ("b", "d"): shown((99, 101))}
    assert all(min(seen) > 0.9 for seen in shares_of(places | {("c", "d"): shown((91, 90))}).values())


@pytest.mark.parametrize("seed", range(4))
def test_a_part_without_light_is_seen_in_its_pieces(seed: int) -> None:
    tiles = row_of_tiles(seed, noise=2.0)
    a, b = tiles
    at = (0.0, 50.0, 0.0)

    def shares() -> tuple[float, list[float]]:
        crop = crop_of(Remeasured(a, b, at, at), tiles)
        assert crop is not None
        return shares_of({(a, b): [crop.details]})[b][0], shares_of({(a, b): crop.pieces})[b]

    whole, pieces = shares()
    assert whole > 0.5 and min(pieces) > 0.3
    voxels = np.array(tiles[b].volume.voxels)  # type: ignore[attr-defined]
    noise = np.random.default_rng(seed).normal(100, 2, voxels.shape)
    voxels[:, :, 45:] = noise[:, :, 45:]
    tiles[b] = replace(tiles[b], volume=ArrayTile(voxels))
    whole, pieces = shares()
    assert whole > 0.05 > min(pieces)
    tiles[b] = replace(tiles[b], volume=ArrayTile(noise))
    whole, pieces = shares()
    assert max(whole, *pieces) < 0.05


@pytest.mark.parametrize("every", [3, 5, 10])
@pytest.mark.parametrize("times", [0.3, 1.0, 1.6, 3.0])
def test_flicker_is_seen_beside_tissue_that_changes(every: int, times: float) -> None:
    """One frame in so many is brighter or darker; both tiles show the same bright cells and a slow change."""
    rng = np.random.default_rng(every)
    tissue = scipy.ndimage.gaussian_filter(rng.standard_normal((1, 80, 120)), (0, 3, 3))
    tissue = np.exp(1.5 * tissue / tissue.std()) * 300
    a, b = (100 + rng.poisson(tissue * slow) for slow in (1.0, np.linspace(1, 0.6, 120)))
    b = b.astype(float)
    b[:, :, ::every] *= times
    found = flicker([a, a], [b, b])
    assert flicker([a], [b]) == pytest.approx(found) == flicker([b], [a])
    if times == 1.0:
        assert found < 0.05
    else:
        assert found == pytest.approx(max(times, 1 / times) - 1, rel=0.25)
    assert flicker([np.zeros((1, 9, 30))], [b[:, :9, :30]]) == flicker([], []) == 0
