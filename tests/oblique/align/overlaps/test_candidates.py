from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import ndimage

from gpustitch.array import CPU
from gpustitch.io.volumes.array import ArrayVolume
from gpustitch.model import Box, Spacing
from gpustitch.oblique.align.overlaps.candidates import TRUSTED, find_candidates
from gpustitch.oblique.align.overlaps.reasons import why_nothing
from gpustitch.oblique.align.overlaps.settle import settle
from gpustitch.oblique.align.points import Overlap

SPACING = Spacing(1.3, 1.8, 1.3)


def cells(shape: tuple[int, ...], n: int, seed: int = 0) -> np.ndarray:
    """So many cells in a dim background."""
    rng = np.random.default_rng(seed)
    image = np.zeros(shape, np.float32)
    image[tuple(rng.integers(4, s - 4, n) for s in shape)] = rng.uniform(2e4, 1e5, n)
    return rng.poisson(20 + ndimage.gaussian_filter(image, 2)).astype(np.uint16)


def cut(whole: np.ndarray, shape: tuple[int, ...], true: tuple[int, ...], nominal: tuple[int, ...]) -> Overlap:
    """Two tiles of one specimen, ``true`` apart, of which the stage says ``nominal``."""
    first = whole[tuple(slice(0, n) for n in shape)]
    second = whole[tuple(slice(t, t + n) for t, n in zip(true, shape, strict=True))]
    return Overlap(ArrayVolume(first, SPACING), ArrayVolume(second, SPACING), (nominal[0], nominal[1], nominal[2]))


def search(overlap: Overlap, reach: int = 12):
    return find_candidates(overlap, (reach, reach, reach), 2.5, np.random.default_rng(0), CPU)


@settings(max_examples=8, deadline=None)
@given(st.tuples(*[st.integers(-11, 11)] * 3), st.integers(0, 1), st.integers(0, 99))
def test_the_true_place_stands_out_wherever_the_stage_is_within_reach(error, axis, seed) -> None:
    shape = (44, 60, 64)
    nominal = tuple(int(0.7 * n) if k == axis + 1 else 12 for k, n in enumerate(shape))
    true = tuple(max(0, a + e) for a, e in zip(nominal, error, strict=True))
    whole = cells(tuple(n + t for n, t in zip(shape, (24, 72, 72), strict=True)), 2500, seed)
    found = search(cut(whole, shape, true, nominal))
    assert found.peaks[0].confidence > 0.5
    assert np.abs(np.subtract(found.peaks[0].offset_px, true)).max() < 1.6 * max(found.binning)
    assert sum(p.confidence for p in found.peaks) < 1


@pytest.mark.parametrize(("axis", "name", "beside"), [(0, "columns", 1), (1, "rows", 2), (2, "frames", 1)])
def test_a_tile_that_is_turned_over_is_known_to_be(axis: int, name: str, beside: int) -> None:
    """Along an axis on which the tiles do not lie beside each other: there the overlap turns over in itself."""
    shape, true = (44, 60, 64), tuple(40 if k == beside else 0 for k in range(3))
    whole = cells(tuple(n + t for n, t in zip(shape, true, strict=True)), 900)
    overlap = cut(whole, shape, true, true)
    turned = Overlap(overlap.fixed, ArrayVolume(np.flip(overlap.moving.read(Box.of_shape(shape)), axis), SPACING), true)
    reason = why_nothing(search(turned), (12, 12, 12))
    assert "mirror images (" in reason and f"the order of {name}" in reason
    assert "mirror images (" not in why_nothing(search(overlap), (12, 12, 12))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("what", ["unlike", "empty", "periodic", "one object"])
def test_no_place_is_trusted_where_nothing_tells(what: str, seed: int) -> None:
    """Different tissue; noise alone; a pattern that repeats within the reach; one object in each tile, not the same."""
    shape, nominal = (30, 40, 44), (0, 28, 0)
    rng = np.random.default_rng(seed)
    if what == "periodic":
        z, y, x = np.indices((42, 90, 60))
        pattern = 200 * (4 + np.sin(z * 2 * np.pi / 9) + np.sin(y * 2 * np.pi / 7) + np.sin(x * 2 * np.pi / 9))
        overlap = cut(rng.poisson(pattern).astype(np.uint16), shape, (2, 31, 3), nominal)
    else:
        n = {"unlike": 300, "empty": 0, "one object": 0}[what]
        first, second = (cells(shape, n, seed + k) for k in (10, 500))
        if what == "one object":
            for tile, place in ((first, (15, 33, 20)), (second, (12, 8, 27))):
                spot = np.zeros(shape, np.float32)
                spot[place] = 1e5
                tile += ndimage.gaussian_filter(spot, 2).astype(np.uint16)
        overlap = Overlap(ArrayVolume(first, SPACING), ArrayVolume(second, SPACING), nominal)
    assert all(p.confidence < TRUSTED for p in search(overlap).peaks)


def test_large_overlaps_are_compared_in_parts() -> None:
    read = []

    class Recorder(ArrayVolume):
        def read(self, box):
            read.append(box.size)
            return super().read(box)

    whole = cells((24, 120, 1500), 9000)
    overlap = cut(whole, (20, 60, 1400), (2, 47, 5), (0, 44, 0))
    fixed, moving = (Recorder(v.array, SPACING) for v in (overlap.fixed, overlap.moving))
    found = search(Overlap(fixed, moving, overlap.offset))
    assert found.peaks[0].confidence > TRUSTED
    assert np.abs(np.subtract(found.peaks[0].offset_px, (2, 47, 5))).max() < 1.6 * max(found.binning)
    assert sum(read) < 0.9 * 2 * 20 * 28 * 1400


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("empty_to", [0, 1000])
def test_parts_behind_one_beyond_doubt_are_not_read(empty_to: int, seed: int) -> None:
    """Where the first parts are empty, the others are read too, and the place is found as well."""
    read = []

    class Recorder(ArrayVolume):
        def read(self, box: Box) -> np.ndarray:
            read.append(box.size)
            return super().read(box)

    whole = cells((36, 100, 1250), 12000, seed)
    whole[:, :, :empty_to] = 20
    overlap = cut(whole, (30, 60, 1200), (2, 33, 5), (0, 30, 0))
    fixed = Recorder(overlap.fixed.array, SPACING)
    found = search(Overlap(fixed, overlap.moving, overlap.offset))
    assert found.peaks[0].confidence > TRUSTED
    assert np.abs(np.subtract(found.peaks[0].offset_px, (2, 33, 5))).max() < 1.6 * max(found.binning)
    one = 30 * 42 * 192
    assert sum(read) <= 1.01 * one if empty_to == 0 else sum(read) >= 1.9 * one


def test_settling_finds_the_place_to_a_fraction_of_a_voxel() -> None:
    overlap = cut(cells((50, 80, 70), 20, 3), (40, 50, 60), (3, 30, 4), (2, 32, 5))
    best = settle(overlap, (4, 4, 4), 2.5, np.random.default_rng(0), CPU)
    assert best is not None and best.peak.correlation > 0.9
    assert np.abs(np.subtract(best.peak.offset_px, (3, 30, 4))).max() < 0.1


@settings(max_examples=12, deadline=None)
@given(
    st.tuples(*[st.integers(-2, 2)] * 3).filter(any),
    st.sampled_from(["fibres", "layers"]),
    st.integers(4, 12),
    st.integers(0, 99),
)
@example((-1, 0, -1), "layers", 4, 28)
def test_what_runs_on_through_the_overlap_gives_no_place(direction, what: str, reach: int, seed: int) -> None:
    """Along fibres and layers all places fit alike: none is trusted, and none is offered as if it were sharp."""
    shape, nominal = (24, 40, 48), (0, 0, 30)
    rng = np.random.default_rng(seed)
    along = np.array(direction) / np.linalg.norm(direction)
    places = np.stack(np.indices((24, 44, 84)), axis=-1) * np.array(SPACING.zyx_um)
    across = list(np.linalg.svd(along[None])[2][1:])
    waves = [along] if what == "layers" else [np.cos(a) * across[0] + np.sin(a) * across[1] for a in range(24)]
    image = sum(
        np.cos(2 * np.pi / rng.uniform(12, 40) * (places @ wave) + rng.uniform(0, 6))
        for wave in waves
        for _ in range(3)
    )
    whole = rng.poisson(400 * np.exp(0.3 * image / image.std())).astype(np.uint16)
    for peak in search(cut(whole, shape, (0, 3, 32), nominal), reach).peaks:
        assert peak.confidence < 0.05 or peak.is_drawn_out, peak


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_voxels_without_a_number_do_not_count(value: float) -> None:
    overlap = cut(cells((54, 100, 64), 2500), (44, 60, 64), (3, 40, 0), (0, 42, 0))
    with_gaps = [v.read(Box.of_shape(v.coverage.shape)).astype(np.float32) for v in (overlap.fixed, overlap.moving)]
    with_gaps[0][:, 50:55, ::9], with_gaps[1][20:, :6] = value, value
    fixed, moving = (ArrayVolume(v, SPACING) for v in with_gaps)
    found = search(Overlap(fixed, moving, overlap.offset))
    assert found.peaks[0].confidence >= TRUSTED
    assert np.abs(np.subtract(found.peaks[0].offset_px, (3, 40, 0))).max() < 1.6 * max(found.binning)


class Slanted(ArrayVolume):
    """A volume along a sheet, whose column begins ``shear`` voxels further from plane to plane."""

    shear = 1.13


@pytest.mark.parametrize("seed", range(3))
def test_round_structures_along_a_flat_sheet_are_no_fibres(seed: int) -> None:
    """Along a sheet at 30 degrees round structures are drawn out, and their flanks are no other places."""
    shape, true = (50, 50, 70), np.array([3, 27, 2])
    texture = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(56, 100, 150)), (7, 3.5, 4.5))
    tiles = []
    for z, y, x in ((0, 0, 0), true):
        seen = [texture[z + k, y : y + 50, x + round(Slanted.shear * k) :][:, :70] for k in range(50)]
        own = ndimage.gaussian_filter(np.random.default_rng([seed, y]).normal(size=shape), (3, 1.5, 1.5))
        counts = 1000 + 100 * np.stack(seen) / texture.std() + 60 * own / own.std()
        tiles.append(Slanted(counts.astype(np.uint16), Spacing(0.65, 1.3, 1.0)))
    best = search(Overlap(*tiles, (0, 25, 0)), 24).peaks[0]
    assert best.confidence > TRUSTED and not best.is_drawn_out
    # Along the sheet, x is less by the slant.
    assert np.abs(best.offset_px - true + [0, 0, Slanted.shear * true[0]]).max() < 3
