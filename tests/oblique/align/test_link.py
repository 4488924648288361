from __future__ import annotations

import functools

import numpy as np
import pytest
from scipy import ndimage

from gpustitch.array import CPU
from gpustitch.io.volumes.array import ArrayVolume
from gpustitch.model import Link, Spacing
from gpustitch.oblique.align.link import link_tiles
from gpustitch.oblique.align.matching import MatchOptions
from gpustitch.oblique.align.overlaps.refine import LinkCount
from gpustitch.oblique.align.points import Overlap
from gpustitch.running.threads import Workers

pytestmark = pytest.mark.long

SPACING = Spacing(1.3, 1.8, 1.3)
SHAPE, NOMINAL = (40, 48, 60), (4, 36, 4)


@functools.cache
def link_of_few(seed: int, n_objects: int) -> tuple[Link, np.ndarray]:
    """The link of two tiles that share few objects, most of them cut off where the overlap ends, and the truth."""
    rng = np.random.default_rng(seed)
    true = np.array(NOMINAL) + rng.integers(-4, 5, 3)
    whole = np.zeros((52, 100, 76), np.float32)
    for _ in range(n_objects):
        whole[rng.integers(8, 36), rng.integers(36, 60), rng.integers(8, 56)] = rng.uniform(1e4, 5e4)
    whole = ndimage.gaussian_filter(whole, 2.2)
    cuts = (whole[tuple(slice(t, t + n) for t, n in zip(start, SHAPE, strict=True))] for start in ((0, 0, 0), true))
    first, second = (ArrayVolume(rng.poisson(20 + cut).astype(np.uint16), SPACING) for cut in cuts)
    overlap = Overlap(first, second, NOMINAL)
    workers = Workers(1, CPU)
    return link_tiles(overlap, ("a", "b"), MatchOptions(), (10, 10, 10), np.random.default_rng(seed), workers)[0], true


def test_links_by_few_cut_objects_know_how_little_they_know() -> None:
    """What shows only a part of an object fits a little off its place: the standard error has to say so."""
    links = [link_of_few(seed, n) for n in (1, 2, 3) for seed in range(44, 60)]
    errors = [(np.subtract(k.offset_px, true), np.array(k.sigma_px)) for k, true in links if not k.reason]
    assert len(errors) > 2
    assert max(np.abs(error).max() for error, _ in errors) < 1.5
    assert np.sqrt(np.mean([(error / sigma) ** 2 for error, sigma in errors], axis=0)).max() < 1.7
    assert all("`sigma_um`" in k.reason or "`search_px`" in k.reason for k, _ in links if k.reason)


def link_in_a_void(seed: int, n_objects: int) -> tuple[Link, np.ndarray]:
    """The link of two tiles that share a few whole objects, far apart in a void, and the truth."""
    rng = np.random.default_rng(seed)
    shape, true = (40, 60, 150), np.array(NOMINAL) + rng.integers(-4, 5, 3)
    whole = np.zeros((52, 110, 162), np.float32)
    for _ in range(n_objects):
        whole[rng.integers(14, 30), rng.integers(46, 52), rng.integers(16, 140)] = rng.uniform(1e4, 5e4)
    whole = ndimage.gaussian_filter(whole, 2.2)
    cuts = (whole[tuple(slice(t, t + n) for t, n in zip(start, shape, strict=True))] for start in ((0, 0, 0), true))
    first, second = (ArrayVolume(rng.poisson(400 + cut).astype(np.uint16), SPACING) for cut in cuts)
    overlap, workers = Overlap(first, second, NOMINAL), Workers(1, CPU)
    return link_tiles(overlap, ("a", "b"), MatchOptions(), (10, 10, 10), np.random.default_rng(seed), workers)[0], true


def test_a_few_objects_in_a_void_join_tiles() -> None:
    """Noise of the void lowers the correlation of the whole overlap, and moves none of the objects."""
    links = [link_in_a_void(seed, 4) for seed in range(8)]
    errors = [np.abs(np.subtract(k.offset_px, true)).max() for k, true in links if not k.reason]
    assert len(errors) >= 4 and max(errors) < 0.3
    assert not any("`sigma_um`" in k.reason for k, _ in links)


def test_rejected_links_offer_no_place_that_is_known_badly() -> None:
    links = [link_of_few(seed, 1)[0] for seed in range(44, 60)]
    assert any(k.reason for k in links)
    assert all(max(c.sigma_px) <= 0.6 for k in links for c in k.candidates)


def link_of_speckled_images(kind: str, seed: int) -> tuple[Link, np.ndarray]:
    """The link of two images of a texture with saturated speckles of a few pixels, and the truth (y, x).

    Both tiles see ``all`` speckles, as where dark pixels wrap round; or ``each`` has its own, or only ``one``.
    """
    rng = np.random.default_rng(seed)
    true = np.array([rng.integers(0, 8), rng.integers(50, 70)])
    whole = ndimage.gaussian_filter(rng.normal(size=(210, 280)), rng.uniform(1.5, 4))
    whole *= 600 / whole.std()

    def speckle(image: np.ndarray) -> None:
        for _ in range(rng.integers(1, 12)):
            y, x = (rng.integers(0, n) for n in image.shape)
            image[y : y + rng.integers(1, 5), x : x + rng.integers(1, 5)] = 6e4

    if kind == "all":
        speckle(whole)
        speckle(whole[:, 195:225])  # beside the end of the first tile
    images = [3000 + whole[y : y + 200, x : x + 200] for y, x in ((0, 0), true)]
    for image in images[{"all": 2, "one": 1, "each": 0}[kind] :]:
        speckle(image)
    noisy = [np.rint(image + rng.normal(size=image.shape) * 60).clip(0, 65535) for image in images]
    first, second = (ArrayVolume(image[None].astype(np.uint16), Spacing(1, 1, 1)) for image in noisy)
    how = MatchOptions(), (0, 24, 24), np.random.default_rng(0), Workers(1, CPU)
    return link_tiles(Overlap(first, second, (0, 0, 55)), ("a", "b"), *how)[0], true


@pytest.mark.parametrize(("kind", "least_accepted"), [("all", 10), ("one", 5), ("each", 1)])
def test_a_few_pixels_far_outside_the_rest_do_not_lead_links(kind: str, least_accepted: int) -> None:
    """One that only the larger of two boxes holds would be smoothed into it alone, and displace the link."""
    links = [link_of_speckled_images(kind, seed) for seed in range(10)]
    accepted = [(k, true) for k, true in links if not k.reason]
    assert len(accepted) >= least_accepted
    for link, true in accepted:
        off, sigma = np.abs(np.subtract(link.offset_px[1:], true)), np.array(link.sigma_px[1:])
        assert (off < 4 * sigma).all() and (off < (0.05 if kind == "all" else 1)).all(), (kind, off, sigma)


@pytest.mark.parametrize("n_rows", [1, 2, 3, 4, 6])
def test_overlaps_of_a_few_rows_are_not_surer_than_they_are(n_rows: int) -> None:
    """One shift further nearly nothing is shared: that is no sharp peak."""
    n_accepted = 0
    for seed in range(2):
        rng = np.random.default_rng(seed)
        true = np.array([rng.uniform(-2, 2), 48 - n_rows + rng.uniform(-0.5, 0.5), rng.uniform(-2, 2)])
        whole = ndimage.gaussian_filter(rng.normal(size=(56, 120, 90)), 2)
        whole = 2000 + 300 * whole / whole.std()
        shape = (40, 48, 70)
        moved = ndimage.affine_transform(whole, np.ones(3), true + 8, shape, order=3, mode="nearest")
        tiles = (ArrayVolume(rng.poisson(v).astype(np.uint16), SPACING) for v in (whole[8:48, 8:56, 8:78], moved))
        how = MatchOptions(), (8, 8, 8), np.random.default_rng(seed), Workers(1, CPU)
        link, _ = link_tiles(Overlap(*tiles, (0, 48 - n_rows, 0)), ("a", "b"), *how)
        if not link.reason:
            n_accepted += 1
            assert (np.abs(np.subtract(link.offset_px, true)) < 4 * np.array(link.sigma_px)).all(), (seed, link)
    assert n_accepted or n_rows < 4


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("part", [0.0, 0.02])
def test_the_error_of_a_link_of_stretched_tiles_holds_all_of_the_overlap(part: float, seed: int) -> None:
    """At each place of the overlap the moving tile is off by another part of a voxel."""
    rng = np.random.default_rng(seed)
    whole = ndimage.gaussian_filter(rng.normal(size=(40, 140, 90)), 1.6)
    whole = 2000 + 300 * whole / whole.std()
    y = np.arange(100)
    at = 18 + (y - 50) * (1 + part) + 50
    stretched = ndimage.map_coordinates(whole, np.meshgrid(np.arange(40), at, np.arange(90), indexing="ij"), order=3)
    tiles = (rng.poisson(image.clip(1)).astype(np.uint16) for image in (whole, stretched))
    first, second = (ArrayVolume(tile, Spacing(1.3, 1.3, 1.3)) for tile in tiles)
    options = MatchOptions(sample_count=40)
    overlap = Overlap(first, second, (0, 16, 0))
    link, _ = link_tiles(overlap, ("a", "b"), options, (6, 6, 6), np.random.default_rng(seed), Workers(1, CPU))
    assert not link.reason and (link.bend_px is not None) == (part > 0)
    off = at - y - link.offset_px[1]
    rms, sigma = np.sqrt(np.mean(off**2)), np.array(link.sigma_px)
    assert sigma[1] == pytest.approx(rms, rel=0.35) if part else sigma.max() < 0.05
    assert sigma[[0, 2]].max() < 0.05


def link_of_objects_at_the_end(seed: int) -> tuple[Link, np.ndarray]:
    """The link of two tiles of which the first ends in the midst of all bright objects, and the truth."""
    rng = np.random.default_rng(seed)
    shape, nominal = (44, 60, 80), (0, 24, 0)
    true = np.array(nominal) + rng.uniform(-1.5, 1.5, 3)
    centres = np.column_stack([rng.uniform(6, 38, 6), shape[1] + rng.uniform(-1, 1.5, 6), rng.uniform(6, 74, 6)])
    sigma, peak = rng.uniform(1.2, 1.9, 6), rng.uniform(1500, 4000, 6)

    def tile(start: np.ndarray) -> ArrayVolume:
        along = [
            np.exp(-((np.arange(n) + s - c[:, None]) ** 2) / (2 * sigma[:, None] ** 2))
            for n, s, c in zip(shape, start, centres.T, strict=True)
        ]
        voxels = 300 + np.einsum("o,oz,oy,ox->zyx", peak, *along, optimize=True)
        return ArrayVolume(rng.poisson(voxels).astype(np.uint16), SPACING)

    overlap = Overlap(tile(np.zeros(3)), tile(true), nominal)
    workers = Workers(1, CPU)
    return link_tiles(overlap, ("a", "b"), MatchOptions(), (10, 10, 10), np.random.default_rng(seed), workers)[0], true


def test_objects_cut_off_at_the_end_of_the_overlap_do_not_draw_windows_to_themselves() -> None:
    """Smoothing spreads what is left of them over windows that lie beside: no standard error knows of that."""
    accepted = [(k, true) for k, true in map(link_of_objects_at_the_end, range(1, 9)) if not k.reason]
    assert accepted
    for link, true in accepted:
        error = np.abs(np.subtract(link.offset_px, true))
        assert error.max() < 1 and (error < 4 * np.array(link.sigma_px)).all()


def torn(seed: int, moved: tuple[int, int, int], part: float) -> tuple[LinkCount, Link]:
    """The link of two tiles of which the second has a part of all rows elsewhere, as after lost frames."""
    rng = np.random.default_rng(seed)
    whole = ndimage.gaussian_filter(rng.standard_normal((44, 60, 260), np.float32), 1.7)
    whole = np.maximum(300 + 60 * whole / whole.std(), 30)
    first = whole[:40, :48, :240]
    second = whole[2:42, 10:58, 6:246].copy()
    if part:
        cut = int(240 * (1 - part))
        other = np.roll(whole, [-m for m in moved], (0, 1, 2))[2:42, 10:58, 6:246]
        second[:, :, cut:] = other[:, :, cut:]
    volumes = (ArrayVolume(rng.poisson(v).astype(np.uint16), SPACING) for v in (first, second))
    overlap, rng = Overlap(*volumes, (0, 8, 4)), np.random.default_rng(seed)
    link, count = link_tiles(overlap, ("a", "b"), MatchOptions(), (10, 10, 10), rng, Workers(1, CPU))
    return count, link


@pytest.mark.parametrize("moved", [(0, 0, 4), (2, -3, 0), (0, 3, -2)])
def test_windows_that_agree_on_another_place_are_counted(moved: tuple[int, int, int]) -> None:
    for seed in range(2):
        count, link = torn(seed, moved, 0.4)
        assert not link.reason and count.elsewhere > 0.2 * (count.elsewhere + count.agreeing)


@pytest.mark.parametrize("seed", range(3))
def test_an_overlap_in_one_piece_has_none_elsewhere(seed: int) -> None:
    count, link = torn(seed, (0, 0, 0), 0.0)
    assert not link.reason and not count.elsewhere and count.agreeing == 20


@functools.cache
def tissue_and_debris(seed: int) -> tuple[np.ndarray, np.ndarray, int]:
    """A texture of unit standard deviation, objects in it, and a seed of what is drawn next."""
    rng = np.random.default_rng(seed)
    tissue = ndimage.gaussian_filter(rng.standard_normal((56, 110, 160), np.float32), 3)
    objects = np.zeros((76, 130, 180), np.float32)
    objects[tuple(rng.integers(0, n, 600) for n in objects.shape)] = rng.lognormal(0, 0.5, 600)
    return tissue / tissue.std(), ndimage.gaussian_filter(objects, 1.7), int(rng.integers(1 << 30))


def with_debris(
    seed: int, moved: tuple[int, int, int], texture: float = 60.0, debris: float = 3e4
) -> tuple[LinkCount, Link]:
    """The link of two tiles of one texture, (2, 40, 6) apart, with debris that moves by ``moved`` between them."""
    shape, true = (44, 60, 140), np.array([2, 40, 6])
    tissue, objects, further = tissue_and_debris(seed)
    rng = np.random.default_rng(further)
    whole, objects = np.maximum(300 + texture * tissue, 30), debris * objects
    volumes = []
    for start, way in (((0, 0, 0), (0, 0, 0)), (true, moved)):
        seen, there = (
            image[tuple(slice(a, a + n) for a, n in zip(at, shape, strict=True))]
            for image, at in ((whole, start), (objects, np.add(start, 10) - way))
        )
        volumes.append(ArrayVolume(rng.poisson(seen + there).astype(np.uint16), SPACING))
    overlap, rng = Overlap(*volumes, (0, 38, 4)), np.random.default_rng(seed)
    link, count = link_tiles(overlap, ("a", "b"), MatchOptions(), (12, 12, 12), rng, Workers(1, CPU), may_move=True)
    return count, link


@pytest.mark.parametrize("moved", [(0, 6, 0), (-6, 0, 3), (4, -4, -5)])
@pytest.mark.parametrize(("texture", "debris"), [(10.0, 3e4), (60.0, 2e5)])
def test_debris_that_moved_joins_no_tiles(moved: tuple[int, int, int], texture: float, debris: float) -> None:
    """It is brighter than all else, and alone would put the tile elsewhere without any doubt."""
    count, link = with_debris(3, moved, texture, debris)
    assert not link.reason
    assert np.abs(np.subtract(link.offset_px, (2, 40, 6))).max() < 0.8
    assert (np.abs(np.subtract(link.offset_px, (2, 40, 6))) < 3 * np.array(link.sigma_px)).all()
    assert count.moved_px is not None
    # Debris that moves on has the second tile seem to lie further back.
    np.testing.assert_allclose(count.moved_px, np.negative(moved), atol=1.2)


@pytest.mark.parametrize("moved", [(0, 2, 2), (2, 0, -1), (1, -1, 1), (0, 1, 0), (-2, 2, 2)])
def test_debris_that_moved_by_a_few_voxels_is_seen_or_doubted(moved: tuple[int, int, int]) -> None:
    for seed in range(2):
        _, link = with_debris(seed, moved)
        error = np.abs(np.subtract(link.offset_px, (2, 40, 6)))
        assert link.reason or (error < np.maximum(1, 4 * np.array(link.sigma_px))).all()


@pytest.mark.parametrize("seed", range(4))
def test_objects_that_stay_are_believed(seed: int) -> None:
    count, link = with_debris(seed, (0, 0, 0))
    assert not link.reason and count.moved_px is None and not count.by_objects_alone
    assert np.abs(np.subtract(link.offset_px, (2, 40, 6))).max() < 0.1


def test_overlaps_of_objects_alone_are_known() -> None:
    count, link = with_debris(5, (0, 5, 0), texture=0.0)
    assert not link.reason and count.moved_px is None and count.by_objects_alone


def texture_um(seed: int, start: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """Waves of 27 to 120 um in all directions, by an eighth of their level, about a voxel (z, y, x) of any fraction."""
    rng = np.random.default_rng(seed)
    waves = np.zeros(shape)
    z, y, x = (np.arange(n) + first for n, first in zip(shape, start, strict=True))
    for _ in range(60):
        way = rng.normal(size=3)
        turns = way / np.linalg.norm(way) * SPACING.zyx_um / rng.uniform(27, 120)
        a, b, c = (np.exp(2j * np.pi * k * v) for k, v in zip(turns, (z, y, x), strict=True))
        waves += np.real(a[:, None, None] * b[:, None] * c * np.exp(2j * np.pi * rng.random()))
    return 300 * (1 + 0.13 * waves / np.sqrt(30))


@pytest.mark.parametrize("seed", [3, 7])
def test_light_that_falls_off_along_the_camera_does_not_lead_windows(seed: int) -> None:
    """Tiles darken towards their last row. Windows alone were off by 1.6 and 0.9 voxels, 8 and 4 standard errors."""
    shape, nominal = (48, 160, 100), (0, 128, 0)
    rng = np.random.default_rng([seed, 1])
    true = np.array(nominal) + rng.uniform(-3, 3, 3)
    tiles = []
    for start in (np.zeros(3), true):
        light = texture_um(seed, start, shape) * np.linspace(1, 0.3, shape[1])[:, None]
        noisy = 100 + light + rng.normal(size=shape) * np.sqrt(light / 2.2)
        tiles.append(ArrayVolume(noisy.astype(np.uint16), SPACING))
    overlap, workers = Overlap(tiles[0], tiles[1], nominal), Workers(1, CPU)
    link, _ = link_tiles(overlap, ("a", "b"), MatchOptions(), (24, 24, 24), np.random.default_rng(seed), workers)
    error = np.abs(np.subtract(link.offset_px, true))
    assert not link.reason
    assert error.max() < 0.5
    assert (error < 3 * np.array(link.sigma_px)).all()


@pytest.mark.parametrize("seed", range(2))
def test_large_windows_leave_narrow_overlaps_of_good_tissue_their_links(seed: int) -> None:
    """Where windows nearly fill an overlap they all see the same: smaller ones tell the place."""
    rng = np.random.default_rng(seed)
    shape, true = (60, 80, 90), np.array([2, 47, 3])
    tissue = ndimage.gaussian_filter(rng.normal(size=(66, 130, 96)), 4.0)
    tiles = []
    for at in ((0, 0, 0), true):
        seen = tissue[tuple(slice(a, a + n) for a, n in zip(at, shape, strict=True))] / tissue.std()
        own = ndimage.gaussian_filter(rng.normal(size=shape), 2.0)
        tiles.append(ArrayVolume((1000 + 100 * seen + 50 * own / own.std()).astype(np.uint16), SPACING))
    how = MatchOptions(sample_count=60, largest_px=(51, 51, 51)), (10, 10, 10), np.random.default_rng(seed)
    link, _ = link_tiles(Overlap(*tiles, (0, 45, 0)), ("a", "b"), *how, Workers(1, CPU))
    assert not link.reason and link.sigma_px is not None, link.reason
    assert (np.abs(np.subtract(link.offset_px, true)) < 3 * np.array(link.sigma_px)).all()
    assert max(link.sigma_px) < 0.6


@pytest.mark.parametrize("seed", range(4))
def test_uneven_light_of_each_tile_leaves_links(seed: int) -> None:
    """Levels that change slowly, as strong as the texture and each tile's own: without them, two of these had none."""
    rng = np.random.default_rng(seed)
    shape, true = (50, 60, 90), np.array((2, 42, 3))
    whole = ndimage.gaussian_filter(rng.normal(size=(56, 112, 96)), 3.0)
    tiles = []
    for start in ((0, 0, 0), true):
        cut = whole[tuple(slice(p, p + n) for p, n in zip(start, shape, strict=True))] / whole.std()
        level = ndimage.gaussian_filter(rng.normal(size=shape), 9, mode="wrap")
        image = 1000 + 60 * cut + 60 * level / level.std() + 8 * rng.normal(size=shape)
        tiles.append(ArrayVolume(image.clip(0, 60_000).astype(np.uint16), SPACING))
    overlap, workers = Overlap(*tiles, (0, 40, 0)), Workers(1, CPU)
    link, _ = link_tiles(overlap, ("a", "b"), MatchOptions(), (10, 10, 10), np.random.default_rng(seed), workers)
    assert not link.reason and np.abs(np.subtract(link.offset_px, true)).max() < 0.6
    assert link.sigma_px is not None
    assert (np.abs(np.subtract(link.offset_px, true)) < 2.5 * np.array(link.sigma_px)).all()
