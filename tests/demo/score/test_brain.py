"""The evaluation of volumes with known faults: a perfect one passes, and each fault is seen by its figure."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gpustitch.demo.phantom.specimen import render
from gpustitch.demo.phantom.stage import SIZES, make_phantom
from gpustitch.demo.phantom.truth import Truth
from gpustitch.demo.score.brain import (
    Solved,
    cell_figures,
    interval_figure,
    pixel_figures,
    position_figures,
    raw_frames,
    seam_figures,
    stripe_figures,
)
from gpustitch.demo.score.compare import Footing, tile_alone
from gpustitch.demo.score.volume import measure_cells, measure_seams, measure_stripes
from gpustitch.errors import InputMissingError
from gpustitch.io.volumes.array import ArrayVolume
from gpustitch.model import Box, Spacing
from gpustitch.oblique.deskew.tile import ObliqueTile
from gpustitch.running.progress import SILENT

pytestmark = pytest.mark.long

SPEC = replace(SIZES["tiny"], stage_error_um=4.0, pixel_error=0.01)


def perfect_footing(truth: Truth) -> Footing:
    """Tiles exactly where they are, in a mosaic that begins at its first tile; the pixel size is the true one."""
    blank = Footing(truth, {}, truth.spec.true_pixel_um)
    true = blank.true_px()
    true -= true.min(axis=0)
    return replace(blank, origin_px={t.name: tuple(p) for t, p in zip(truth.tiles, true.tolist(), strict=True)})


def ideal_volume(footing: Footing) -> np.ndarray:
    """The scene with the noise of a camera, at the mosaic's voxels, zero where no tile saw it."""
    spec = footing.truth.spec
    last = footing.solved_px().max(axis=0) + np.array(spec.scan.shape)
    box = Box.of_shape(np.ceil(last).astype(int).tolist())
    volume = render(footing.truth.scene(), footing.lattice(box))
    volume += np.random.default_rng(3).normal(size=volume.shape) * np.sqrt(2.17 * volume)
    seen = np.max([footing.depth_px(tile, box) for tile in footing.truth.tiles], axis=0) >= 0
    return np.where(seen, volume, 0).astype(np.float32)


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> Truth:
    return make_phantom(tmp_path_factory.mktemp("phantom") / "p", SPEC)


@pytest.fixture(scope="module")
def footing(truth: Truth) -> Footing:
    return perfect_footing(truth)


@pytest.fixture(scope="module")
def ideal(footing: Footing) -> np.ndarray:
    return ideal_volume(footing)


def as_volume(array: np.ndarray, footing: Footing) -> ArrayVolume:
    return ArrayVolume(array, Spacing(*footing.spacing_um))


def test_a_perfect_volume_passes_everything(footing: Footing, ideal: np.ndarray) -> None:
    volume, scene = as_volume(ideal, footing), footing.truth.scene()
    figures, tiles = position_figures(footing)
    figures += cell_figures(measure_cells(footing, volume, scene, 1, SILENT))
    figures += seam_figures(measure_seams(footing, volume, scene, None, 1))
    raw = raw_frames(footing.truth, 0)
    figures += stripe_figures(measure_stripes(footing, volume, scene, raw))
    assert all(figure.passed is not False for figure in figures), figures
    value = {figure.name: figure.value for figure in figures}
    assert value["tile position error, worst"] == pytest.approx(0, abs=1e-6)
    assert value["stage error, median"] > 1
    assert value["cell recall"] == 100
    assert value["cell centroid error, median"] < 0.3
    assert value["seam step, worst patch"] < 0.5
    assert value["stripe energy, down by"] > 50
    assert len(tiles) == 4


def test_raw_stripes_are_measured_as_they_were_made(footing: Footing, ideal: np.ndarray) -> None:
    scene, raw = footing.truth.scene(), raw_frames(footing.truth, 0)
    stripes = measure_stripes(footing, as_volume(ideal, footing), scene, raw)
    made = np.mean([np.var(tile.stripes.row_gain) for tile in footing.truth.tiles])
    assert stripes.pattern_before == pytest.approx(1, abs=0.1)
    assert stripes.rows_before == pytest.approx(made, rel=0.5)
    assert stripes.pattern_after < 0.01
    assert stripes.rows_after < made / 30


def test_stripes_left_in_the_volume_are_seen(footing: Footing, ideal: np.ndarray) -> None:
    """A volume of tiles that still have half of each stripe."""
    striped = ideal.copy()
    box = Box.of_shape(ideal.shape)
    for tile in footing.truth.tiles:
        frame, row, _ = footing.within_tile(tile, box)
        inside = (np.broadcast_to(frame, ideal.shape) >= 0) & (np.broadcast_to(row, ideal.shape) >= 0)
        inside &= footing.depth_px(tile, box) >= 0
        number = np.clip(np.rint(row).astype(int), 0, len(tile.stripes.row_gain) - 1)
        gain = np.broadcast_to(1 + 0.5 * (tile.stripes.row_gain[number] - 1), ideal.shape)
        striped[inside] = (ideal * gain)[inside]
    scene, raw = footing.truth.scene(), raw_frames(footing.truth, 0)
    stripes = measure_stripes(footing, as_volume(striped, footing), scene, raw)
    figures = {figure.name: figure for figure in stripe_figures(stripes)}
    assert stripes.pattern_after == pytest.approx(0.25, abs=0.1)
    assert figures["stripe energy, down by"].passed is False
    assert figures["row-to-row error energy, down by"].value < 8


@pytest.mark.parametrize(("stated", "passed"), [(1.0, True), (4.0, True), (0.1, False)])
def test_stated_intervals_are_held_against_the_truth(footing: Footing, stated: float, passed: bool) -> None:
    """Positions off by a tenth of a voxel, that much times ``stated`` as standard error."""
    rng, moved, sigma = np.random.default_rng(5), {}, {}
    for name, place in footing.origin_px.items():
        moved[name] = tuple(np.add(place, rng.normal(0, 0.1, 3)))
        sigma[name] = (0.1 * stated,) * 3
    figure = interval_figure(replace(footing, origin_px=moved), sigma)
    assert figure.passed is passed and (figure.value > 75) == passed
    assert figure.target == ">= 78"


def test_intervals_that_are_not_stated_are_no_figure(footing: Footing) -> None:
    figure = interval_figure(footing, {})
    assert np.isnan(figure.value) and figure.passed is None


def test_a_right_interval_misses_its_target_in_few_mosaics(footing: Footing) -> None:
    rng, missed = np.random.default_rng(6), 0
    for _ in range(300):
        moved = {name: tuple(np.add(place, rng.normal(0, 1, 3))) for name, place in footing.origin_px.items()}
        own = 0.75**0.5  # standard error of one of four tiles relative to their mean
        figure = interval_figure(replace(footing, origin_px=moved), dict.fromkeys(moved, (own, own, own)))
        missed += figure.passed is False
    assert missed <= 12


def test_a_tile_put_wrong_is_seen(footing: Footing) -> None:
    name = footing.truth.tiles[2].name
    z, y, x = footing.origin_px[name]
    wrong = replace(footing, origin_px={**footing.origin_px, name: (z, y + 1.2, x)})
    figures = {figure.name: figure for figure in position_figures(wrong)[0]}
    assert figures["tile position error, worst"].value == pytest.approx(0.9)
    assert figures["tile position error, worst"].passed is False
    missing = replace(footing, origin_px={name: (z, y, x)})
    with pytest.raises(InputMissingError, match=footing.truth.tiles[0].name):
        missing.solved_px()


def test_a_tile_blended_in_at_the_wrong_place_costs_cells(footing: Footing, ideal: np.ndarray) -> None:
    """The half of the volume that is shifted by 4 voxels loses its cells, or they are off."""
    shifted = ideal.copy()
    half = ideal.shape[1] // 2
    shifted[:, half:] = np.roll(ideal, 4, axis=2)[:, half:]
    cells = measure_cells(footing, as_volume(shifted, footing), footing.truth.scene(), 1, SILENT)
    assert cells.matches.recall < 0.9 or np.quantile(cells.matches.distance_um, 0.9) > 3


def test_erased_cells_lower_the_recall_and_invented_ones_the_precision(footing: Footing, ideal: np.ndarray) -> None:
    scene = footing.truth.scene()
    before = measure_cells(footing, as_volume(ideal, footing), scene, 1, SILENT)
    erased = ideal.copy()
    erased[: ideal.shape[0] // 2] = np.minimum(erased[: ideal.shape[0] // 2], 1200)
    after = measure_cells(footing, as_volume(erased, footing), scene, 1, SILENT)
    assert before.matches.recall == 1
    assert after.matches.recall < 0.7
    assert after.n_true == before.n_true
    invented = ideal.copy()
    rng = np.random.default_rng(6)
    for z, y, x in (rng.uniform(0.3, 0.7, (30, 3)) * ideal.shape).astype(int):
        invented[z - 2 : z + 2, y - 2 : y + 2, x - 2 : x + 2] += 4000
    assert measure_cells(footing, as_volume(invented, footing), scene, 1, SILENT).matches.precision < 0.95


def test_dimmed_cells_are_weighed(footing: Footing, ideal: np.ndarray) -> None:
    dimmed = np.where(ideal > 1000, 1000 + (ideal - 1000) * 0.8, ideal).astype(np.float32)
    cells = measure_cells(footing, as_volume(dimmed, footing), footing.truth.scene(), 1, SILENT)
    kept = {figure.name: figure for figure in cell_figures(cells)}["cell intensity kept"]
    assert kept.value == pytest.approx(80, abs=6)
    assert kept.passed is False


@pytest.mark.parametrize("axis", ["y", "x"])
def test_an_injected_seam_is_seen(footing: Footing, ideal: np.ndarray, axis: str) -> None:
    last = footing.truth.tiles[-1]
    box = Box.of_shape(ideal.shape)
    frame, row, _ = footing.within_tile(last, box)
    beyond = np.broadcast_to(row if axis == "y" else frame, ideal.shape) >= 0
    stepped = np.where(beyond, ideal * 1.02, ideal).astype(np.float32)
    seam = seam_figures(measure_seams(footing, as_volume(stepped, footing), footing.truth.scene(), None, 1))[0]
    assert seam.value == pytest.approx(2, abs=0.5)
    assert seam.passed is False


def test_seams_against_a_single_tile(truth: Truth, footing: Footing) -> None:
    """Tiles laid side by side show seams, because their stripes differ; tiles that fade into each other do not."""
    raw = raw_frames(truth, 0)
    nominal = replace(truth.spec.scan, pixel_um=truth.spec.pixel_um)
    tiles = {name: ObliqueTile(frames, nominal) for name, frames in raw.items()}
    box = Box.of_shape(np.ceil(footing.solved_px().max(axis=0) + truth.spec.scan.shape).astype(int).tolist())
    alone = {tile.name: tile_alone(footing, tile, tiles[tile.name], box) for tile in truth.tiles}
    depth = {}
    for tile in truth.tiles:
        frame, row, column = footing.within_tile(tile, box)
        aside = np.minimum(np.minimum(frame, 119 - frame), np.minimum(row, 127 - row))
        fade = np.clip(np.minimum(column, 63 - column) / 12, 0, 1)
        depth[tile.name] = np.where(footing.depth_px(tile, box) > 0, aside * fade, 0)
    hard, total, weight = np.zeros(box.shape, np.float32), np.zeros(box.shape), np.zeros(box.shape)
    for name, image in alone.items():
        hard = np.where(depth[name] > 0, image, hard)
        total += image * depth[name] ** 2
        weight += depth[name] ** 2
    faded = (total / np.maximum(weight, 1e-6)).astype(np.float32)
    scene = truth.scene()
    worst = [
        np.abs(measure_seams(footing, as_volume(volume, footing), scene, tiles, 1).steps).max()
        for volume in (hard, faded)
    ]
    assert worst[0] > 0.02
    assert worst[1] < 0.01


def test_a_tile_alone_is_the_tile_where_nothing_is_between_voxels(truth: Truth) -> None:
    tile = truth.tiles[0]
    nominal = replace(truth.spec.scan, pixel_um=truth.spec.pixel_um)
    volume = ObliqueTile(raw_frames(truth, 0)[tile.name], nominal)
    footing = Footing(truth, {t.name: (0.0, 0.0, 0.0) for t in truth.tiles}, truth.spec.pixel_um)
    box = Box((10, 20, 40), (20, 40, 80))
    assert np.allclose(tile_alone(footing, tile, volume, box), volume.read(box), atol=0.01)
    between = replace(footing, origin_px={tile.name: (0.5, 0.0, 0.5 * nominal.shear)})
    whole = volume.read(Box((9, 20, 39), (20, 40, 80))).astype(float)
    near = tile_alone(between, tile, volume, box)
    assert np.corrcoef(near.ravel(), whole[1:, :, 1:].ravel())[0, 1] > 0.9
    assert tile_alone(footing, tile, volume, box.shift((500, 0, 0))).max() == 0


def test_the_footing_undoes_a_wrong_pixel_size(truth: Truth, tmp_path: Path) -> None:
    """A mosaic sheared with the wrong pixel size is compared at the points its voxels truly show."""
    wrong = replace(perfect_footing(truth), pixel_um=truth.spec.pixel_um)
    tile = truth.tiles[1]
    box = Box((10, 40, 60), (11, 41, 61))
    frame, row, column = (float(v.squeeze()) for v in wrong.within_tile(tile, box))
    by_tile = truth.lattice(tile).point_of(np.array([[frame, row, column]]))[0]
    by_mosaic = wrong.lattice(box).point_of(np.zeros((1, 3)))[0]
    assert by_mosaic == pytest.approx(by_tile, abs=0.02)


def test_pixel_size_is_judged_by_its_own_uncertainty_only_when_the_stage_errs(truth: Truth) -> None:
    true = truth.spec.true_pixel_um
    solved = Solved({}, true * 1.005, true * 0.01)
    assert pixel_figures(truth, solved)[0].passed is True
    assert pixel_figures(truth, replace(solved, pixel_uncertainty_um=true * 0.004))[0].passed is False
    assert pixel_figures(truth, replace(solved, pixel_uncertainty_um=None))[0].passed is False
    exact = replace(truth, spec=replace(truth.spec, stage_error_um=0.0))
    assert pixel_figures(exact, solved)[0].passed is False
    assert pixel_figures(exact, replace(solved, pixel_estimate_um=true * 1.001))[0].passed is True
    assert pixel_figures(truth, replace(solved, pixel_estimate_um=None)) == []
