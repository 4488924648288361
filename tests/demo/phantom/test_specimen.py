"""The phantom: a scene evaluated on a lattice, against its definition point by point."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from gpustitch.demo.phantom.camera import Illumination, Sensor, Stripes, expose, make_stripes
from gpustitch.demo.phantom.scene import depth_inside, make_scene, spread_points
from gpustitch.demo.phantom.specimen import (
    Blobs,
    Lattice,
    Outline,
    Scene,
    Texture,
    add_blobs,
    inside,
    render,
    render_cells,
    render_tissue,
)
from gpustitch.model import ObliqueScan

SCAN = ObliqueScan(n_frames=9, n_rows=11, n_columns=7, pixel_um=1.7, step_um=1.3, angle_deg=40)
ORIGIN = (3.0, -5.0, 2.0)


def points_of(lattice: Lattice) -> np.ndarray:
    """Naive coordinates (x, y, z) of every point, shape (*lattice.shape, 3)."""
    points = np.empty((*lattice.shape, 3))
    for i, j, k in np.ndindex(*lattice.shape):
        points[i, j, k] = (
            lattice.origin_um[0] + i * lattice.first_um[0] + k * lattice.last_um[0],
            lattice.origin_um[1] + j * lattice.row_um,
            lattice.origin_um[2] + i * lattice.first_um[1] + k * lattice.last_um[1],
        )
    return points


def naive_scene(scene: Scene, points: np.ndarray) -> np.ndarray:
    out = np.empty(points.shape[:-1])
    for index in np.ndindex(*out.shape):
        p = points[index]
        wave = sum(
            a * math.cos(k @ p + phase)
            for k, phase, a in zip(
                scene.texture.wave_rad_per_um, scene.texture.phase_rad, scene.texture.amplitude, strict=True
            )
        )
        x, y, z = p - np.array(scene.outline.centre_um)
        a, b, c = scene.outline.half_um
        depth = 1 - ((x - scene.outline.slant * z) / a) ** 4 - (y / b) ** 4 - (z / c) ** 4
        t = min(1.0, max(0.0, 0.5 + depth / scene.outline.softness))
        value = scene.empty + scene.tissue * max(0.2, 1 + wave) * t * t * (3 - 2 * t)
        for blobs in (scene.vessels, scene.cells):
            for centre, sigma, peak in zip(blobs.centre_um, blobs.sigma_um, blobs.peak, strict=True):
                value += peak * math.exp(-((p - centre) ** 2).sum() / (2 * sigma**2))
        out[index] = max(scene.empty, value)
    return out


@pytest.fixture
def scene() -> Scene:
    rng = np.random.default_rng(5)
    texture = Texture(rng.normal(scale=0.2, size=(4, 3)), rng.uniform(0, 6, 4), np.full(4, 0.1))
    cells = Blobs(rng.uniform(0, 12, (5, 3)), rng.uniform(1.5, 2.5, 5), rng.uniform(500, 900, 5))
    vessels = Blobs(rng.uniform(0, 12, (3, 3)), np.full(3, 2.0), np.full(3, -300.0))
    outline = Outline((9.0, 3.0, 5.0), (9.0, 10.0, 8.0), 0.7, 0.3)
    return Scene(outline, texture, cells, vessels, 8.0, 1000.0)


def test_cells_alone_are_the_scene_less_the_scene_without_cells(scene: Scene) -> None:
    lattice = Lattice.of_frames(SCAN, ORIGIN)
    points = points_of(lattice)
    nothing = Blobs(np.zeros((0, 3)), np.zeros(0), np.zeros(0))
    expected = naive_scene(scene, points) - naive_scene(replace(scene, cells=nothing), points)
    assert np.allclose(render_cells(scene, lattice), expected, atol=0.3)
    assert expected.max() > 100


def test_frames_lie_where_the_geometry_says() -> None:
    lattice = Lattice.of_frames(SCAN, ORIGIN)
    points = points_of(lattice)
    f, r, c = 4, 6, 3
    angle = math.radians(40)
    expected = (
        3 + f * 1.3 + c * 1.7 * math.cos(angle),
        -5 + r * 1.7,
        2 + c * 1.7 * math.sin(angle),
    )
    assert points[f, r, c] == pytest.approx(expected)
    assert lattice.point_of([[f, r, c]])[0] == pytest.approx(expected)
    assert lattice.index_of(points.reshape(-1, 3)) == pytest.approx(np.argwhere(np.ones(lattice.shape)), abs=1e-9)


def test_render_is_its_definition(scene: Scene) -> None:
    lattice = Lattice.of_frames(SCAN, ORIGIN)
    expected = naive_scene(scene, points_of(lattice))
    assert render(scene, lattice) == pytest.approx(expected, rel=2e-4, abs=0.2)


def test_render_of_an_upright_volume_is_its_definition(scene: Scene) -> None:
    lattice = Lattice((1.0, 2.0, 0.5), (0.02, 1.2), 1.7, (1.3, 0.0), (5, 4, 6))
    assert render(scene, lattice) == pytest.approx(naive_scene(scene, points_of(lattice)), rel=2e-4, abs=0.2)


def test_a_part_is_cut_from_the_whole(scene: Scene) -> None:
    lattice = Lattice.of_frames(SCAN, ORIGIN)
    start, stop = (2, 3, 1), (7, 4, 7)
    part = render(scene, lattice.part(start, stop))
    whole = render(scene, lattice)[2:7, 3:4, 1:7]
    assert part == pytest.approx(whole, rel=1e-4, abs=0.1)


def test_single_pixel_and_no_blobs(scene: Scene) -> None:
    lattice = Lattice.of_frames(ObliqueScan(1, 1, 1, 1.8, 1.28), (100.0, 0.0, 0.0))
    none = Blobs(np.zeros((0, 3)), np.zeros(0), np.zeros(0))
    bare = Scene(scene.outline, scene.texture, none, none, 8.0, 1000.0)
    assert render(bare, lattice).shape == (1, 1, 1)
    assert render(bare, lattice)[0, 0, 0] == 8.0


def test_tissue_alone_leaves_cells_and_vessels_out(scene: Scene) -> None:
    lattice = Lattice.of_frames(SCAN, ORIGIN)
    none = Blobs(np.zeros((0, 3)), np.zeros(0), np.zeros(0))
    bare = Scene(scene.outline, scene.texture, none, none, scene.empty, scene.tissue)
    assert np.array_equal(render_tissue(scene, lattice), render(bare, lattice))


def test_blobs_keep_their_integral() -> None:
    lattice = Lattice((0.0, 0.0, 0.0), (0.0, 1.0), 1.0, (1.0, 0.0), (40, 40, 40))
    image = np.zeros(lattice.shape, np.float32)
    add_blobs(image, Blobs(np.array([[19.3, 20.1, 18.7]]), np.array([3.0]), np.array([100.0])), lattice)
    assert image.sum() == pytest.approx(100 * (2 * math.pi) ** 1.5 * 27, rel=1e-3)


def test_outline_is_one_inside_and_zero_outside() -> None:
    outline = Outline((0.0, 0.0, 0.0), (10.0, 10.0, 10.0), 0.0, 0.25)
    line = Lattice((0.0, 0.0, 0.0), (1.0, 0.0), 1.0, (1.0, 0.0), (1, 1, 20))
    values = inside(outline, line)[0, 0]
    assert (values[:9] == 1).all()
    assert (values[11:] == 0).all()


def test_scenes_are_seeded_and_cells_keep_their_distance() -> None:
    first, again = (make_scene((0, 0, 0), (200, 200, 150), 1.0, seed=3) for _ in range(2))
    other = make_scene((0, 0, 0), (200, 200, 150), 1.0, seed=3, channel=1)
    assert np.array_equal(first.cells.centre_um, again.cells.centre_um)
    assert np.allclose(first.vessels.peak * 0.6, other.vessels.peak)
    assert not np.array_equal(first.cells.centre_um[:5], other.cells.centre_um[:5])
    assert (depth_inside(first.outline, first.cells.centre_um) > first.outline.softness / 2).all()
    gaps = np.linalg.norm(first.cells.centre_um[:, None] - first.cells.centre_um[None], axis=-1)
    assert gaps[gaps > 0].min() >= 17


def test_spread_points_keeps_the_first_of_a_crowd() -> None:
    points = np.array([[0.0, 0, 0], [1, 0, 0], [2.5, 0, 0], [0.5, 0, 0]])
    assert spread_points(points, 2.0)[:, 0].tolist() == [0.0, 2.5]


def test_flat_has_maximum_one_and_falls_towards_the_ends() -> None:
    flat = Illumination(peak_at=0.5, width=0.6, tilt=0.0).flat(3, 101)
    assert flat.max() == 1
    assert flat[1, 50] == 1
    assert flat[1, 0] == pytest.approx(math.exp(-0.5 * ((0.5 / 101 - 0.5) / 0.6) ** 2), rel=1e-3)


def test_stripe_gain_is_its_definition() -> None:
    stripes = Stripes(np.array([1.0, 1.1, 0.9]), *(np.array([v]) for v in (1.0, 2.0, 4.0, 3.0, 0.2, 5.0, 10.0)))
    gain = stripes.gain(np.array([0, 7]), 6)
    for f, r, c in np.ndindex(2, 3, 6):
        shadow = 0.2 * math.exp(-(((r - 1) / 2) ** 2) / 2) * (0.5 + 0.5 * math.tanh((c - 4) / 3))
        shadow *= math.exp(-((((0, 7)[f] - 5) / 10) ** 2) / 2)
        assert gain[f, r, c] == pytest.approx([1.0, 1.1, 0.9][r] * (1 - shadow), rel=1e-5)
    assert (Stripes.none(4).gain(np.arange(2), 3) == 1).all()


def test_made_stripes_are_as_strong_as_asked() -> None:
    stripes = make_stripes(np.random.default_rng(1), 50, 300, 40, 0.06)
    assert stripes.row_gain.std() == pytest.approx(0.06, rel=0.1)
    assert stripes.gain(np.arange(50), 40).mean() == pytest.approx(1, abs=0.005)
    assert len(make_stripes(np.random.default_rng(1), 1, 1, 1, 0.06).row_gain) == 1


def test_exposure_without_noise_rounds_and_saturates() -> None:
    sensor = Sensor(dark=100.0, saturation=4095)
    counts = expose(np.array([0, 10.4, 10.6, 5000], np.float32), sensor, None)
    assert counts.dtype == np.uint16
    assert counts.tolist() == [100, 110, 111, 4095]


def test_exposure_noise_has_the_stated_variance() -> None:
    sensor = Sensor(dark=100.0, read_noise=3.0, counts_per_electron=2.0)
    counts = expose(np.full(200_000, 1000, np.float32), sensor, np.random.default_rng(2)).astype(float)
    assert counts.mean() == pytest.approx(1100, abs=0.5)
    assert counts.var() == pytest.approx(2009, rel=0.02)
