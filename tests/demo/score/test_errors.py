"""Every figure of the evaluation must see the error it is there for."""

from __future__ import annotations

import math

import numpy as np
import pytest

from gpustitch.demo.phantom.scene import spread_points
from gpustitch.demo.phantom.specimen import Blobs, Lattice, add_blobs
from gpustitch.demo.score.cells import cell_amount, find_cells, halo_px, match_cells
from gpustitch.demo.score.errors import flat_rmse, position_errors, row_energy, row_profile, seam_step, stripe_energy

SPACING = (1.27, 1.8, 1.28)


def test_a_common_displacement_is_no_position_error() -> None:
    true = np.array([[0.0, 0, 0], [0, 200, 0], [0, 0, 150]])
    assert position_errors(true + [3, -2, 7], true, SPACING).distance_um.max() == pytest.approx(0, abs=1e-9)


def test_one_wrong_tile_is_seen_in_voxels_and_um() -> None:
    true = np.zeros((4, 3))
    solved = true.copy()
    solved[2] = [0, 1, 0]
    errors = position_errors(solved, true, SPACING)
    assert errors.error_px[2].tolist() == [0, 0.75, 0]
    assert errors.distance_px[2] == pytest.approx(0.75)
    assert errors.distance_um[2] == pytest.approx(0.75 * 1.8)


def test_flat_rmse_ignores_scale_and_sees_shape() -> None:
    true = np.linspace(0.5, 1.0, 200).reshape(10, 20)
    assert flat_rmse(true * 7, true) == pytest.approx(0, abs=1e-12)
    sign = np.where(np.arange(200).reshape(10, 20) % 2, 1.03, 0.97)
    assert flat_rmse(true * sign, true) == pytest.approx(0.03, rel=0.02)
    seen = np.zeros((10, 20), bool)
    seen[:, ::2] = True
    assert flat_rmse(true * sign, true, seen) == pytest.approx(0, abs=1e-12)


def test_row_energy_is_that_of_the_injected_stripes() -> None:
    rng = np.random.default_rng(1)
    ideal = rng.uniform(800, 1200, (12, 300, 10)).astype(np.float32)
    gain = 1 + 0.05 * np.sin(np.arange(300) * 2 * np.pi / 7)
    usable = np.ones(ideal.shape, bool)
    energy = row_energy([row_profile((ideal * gain[:, None]).astype(np.float32), ideal, usable)])
    assert energy == pytest.approx(0.05**2 / 2, rel=0.03)
    assert row_energy([row_profile(ideal, ideal, usable)]) == pytest.approx(0, abs=1e-12)


def test_row_energy_ignores_illumination_and_masked_voxels() -> None:
    ideal = np.full((4, 200, 6), 1000, np.float32)
    image = (ideal * np.linspace(0.8, 1.0, 200)[:, None]).astype(np.float32)
    usable = np.ones(ideal.shape, bool)
    usable[:2] = False
    usable[:, 50:60] = False
    image[:2] = 5
    image[:, 50:60] = 1
    profile, known = row_profile(image, ideal, usable)
    assert row_energy([(profile, known)]) < 2e-5
    assert not known[50:60].any()
    assert known.sum() == 190
    assert math.isnan(row_energy([row_profile(image, ideal, np.zeros(ideal.shape, bool))]))


def test_stripe_energy_is_the_part_of_the_pattern_that_is_left() -> None:
    rng = np.random.default_rng(7)
    known = np.ones(400, bool)
    pattern, other = rng.normal(scale=0.07, size=400), rng.normal(scale=0.07, size=400)
    other -= pattern * (other @ pattern) / (pattern @ pattern)
    assert stripe_energy([(pattern, known)], [(pattern, known)]) == pytest.approx(1)
    assert stripe_energy([(0.3 * pattern + other, known)], [(pattern, known)]) == pytest.approx(0.09)
    two = [(pattern, known), (-pattern, known)], [(pattern, known), (pattern, known)]
    assert stripe_energy(*two) == pytest.approx(1)
    assert math.isnan(stripe_energy([(pattern, known)], [(pattern, ~known)]))


def test_row_profile_takes_zero_voxels_as_unknown() -> None:
    ideal = np.full((2, 40, 3), 1000, np.float32)
    image = ideal.copy()
    image[:, 7] = 0
    profile, known = row_profile(image, ideal, np.ones(ideal.shape, bool))
    assert not known[7]
    assert np.isfinite(profile).all()


@pytest.mark.parametrize("step", [0.0, 0.02, -0.05])
def test_an_injected_seam_is_measured(step: float) -> None:
    rng = np.random.default_rng(2)
    ideal = rng.uniform(500, 1500, (30, 40, 20)).astype(np.float32)
    distance = np.broadcast_to(np.arange(40.0, dtype=np.float32)[None, :, None] - 19.5, ideal.shape)
    image = np.where(distance > 0, ideal * (1 + step), ideal).astype(np.float32)
    assert seam_step(image, ideal, distance, np.ones(ideal.shape, bool)) == pytest.approx(step, abs=2e-3)


def test_a_gradual_change_counts_by_its_slope_and_a_step_as_a_whole() -> None:
    ideal = np.full((30, 40, 20), 1000, np.float32)
    distance = np.broadcast_to(np.arange(40.0, dtype=np.float32)[None, :, None] - 19.5, ideal.shape)
    ramp = ideal * (1 + 0.001 * distance)
    usable = np.ones(ideal.shape, bool)
    assert seam_step(ramp, ideal, distance, usable) == pytest.approx(0.001, abs=1e-4)
    assert seam_step(ramp * (1 - 0.03 * (distance > 0)), ideal, distance, usable) == pytest.approx(-0.029, abs=1e-3)
    beside = ramp * (1 + 0.03 * (distance > 2))
    assert seam_step(beside, ideal, distance, usable) == pytest.approx(0.031, abs=1e-3)


def test_a_true_step_is_no_seam_and_too_little_data_gives_nothing() -> None:
    distance = np.broadcast_to(np.arange(40.0, dtype=np.float32)[None, :, None] - 20, (20, 40, 20))
    ideal = np.where(distance > 0, 900, 300).astype(np.float32)
    everything = np.ones(ideal.shape, bool)
    assert seam_step(ideal * 2, ideal, distance, everything) == pytest.approx(0, abs=1e-6)
    assert math.isnan(seam_step(ideal, ideal, distance, distance > 0))


@pytest.fixture(scope="module")
def cells() -> tuple[np.ndarray, np.ndarray]:
    """A volume with texture, noise and cells at known positions (um, z y x)."""
    rng = np.random.default_rng(4)
    shape = (70, 60, 80)
    size = np.array(shape) * SPACING
    inner = rng.uniform(16, size - 16, (120, 3))
    true_um = spread_points(inner, 17.0)
    lattice = Lattice((0.0, 0.0, 0.0), (0.0, SPACING[0]), SPACING[1], (SPACING[2], 0.0), shape)
    volume = np.full(shape, 1000, np.float32)
    blobs = Blobs(true_um[:, ::-1], np.full(len(true_um), 2.7), np.full(len(true_um), 2500.0))
    add_blobs(volume, blobs, lattice)
    volume += rng.normal(scale=40, size=shape).astype(np.float32)
    return volume, true_um


def test_cells_are_found_where_they_are(cells: tuple[np.ndarray, np.ndarray]) -> None:
    volume, true_um = cells
    found = find_cells(np.rint(volume).astype(np.uint16), SPACING) * SPACING
    matches = match_cells(true_um, found, 4.0)
    assert len(true_um) >= 30
    assert matches.recall == 1
    assert matches.precision == 1
    assert np.median(matches.distance_um) < 0.25


def test_a_shift_shows_as_centroid_error(cells: tuple[np.ndarray, np.ndarray]) -> None:
    volume, true_um = cells
    found = find_cells(np.roll(volume, 1, axis=1), SPACING) * SPACING
    matches = match_cells(true_um, found, 4.0)
    assert np.median(matches.distance_um) == pytest.approx(1.8, abs=0.1)


def test_a_missing_and_an_invented_cell_are_counted(cells: tuple[np.ndarray, np.ndarray]) -> None:
    _, true_um = cells
    count = len(true_um)
    assert match_cells(true_um, true_um[1:], 4.0).recall == pytest.approx((count - 1) / count)
    assert match_cells(true_um, true_um[1:], 4.0).precision == 1
    invented = np.vstack([true_um, true_um.max(axis=0) + 50])
    assert match_cells(true_um, invented, 4.0).precision == pytest.approx(count / (count + 1))
    assert match_cells(true_um, invented, 4.0).recall == 1


def test_two_found_cells_cannot_be_one_true_cell() -> None:
    true = np.array([[10.0, 10, 10]])
    matches = match_cells(true, np.array([[10.0, 10, 11], [10, 10, 9.5]]), 4.0)
    assert matches.pairs.tolist() == [[0, 1]]
    assert matches.precision == 0.5


def test_without_cells_recall_or_precision_is_0() -> None:
    none, one = np.zeros((0, 3)), np.zeros((1, 3))
    assert match_cells(one, none, 4.0).recall == 0
    assert match_cells(none, one, 4.0).precision == 0
    assert math.isnan(match_cells(none, one, 4.0).recall)
    assert match_cells(one, one + 5, 4.0).recall == 0


def test_texture_and_flat_volumes_hold_no_cells() -> None:
    wave = 1000 + 170 * np.sin(np.arange(60) * 2 * np.pi * 1.8 / 18)[None, :, None] * np.ones((40, 60, 40))
    assert len(find_cells(wave, SPACING)) == 0
    assert len(find_cells(np.zeros((20, 20, 20), np.uint16), SPACING)) == 0
    assert find_cells(np.zeros((1, 2, 1)), SPACING).shape == (0, 3)


def test_without_its_background_a_volume_holds_texture_that_is_no_cell(cells: tuple[np.ndarray, np.ndarray]) -> None:
    """What is left of a tissue's texture is far above what is left around it, and no cell."""
    volume, true_um = cells
    z, y, x = (np.sin(np.arange(n) * s * 2 * np.pi / 26) for n, s in zip(volume.shape, SPACING, strict=True))
    alone = np.maximum(volume - 1000 + 250 * z[:, None, None] * y[:, None] * x, 0)
    by_contrast = match_cells(true_um, find_cells(alone, SPACING) * SPACING, 4.0)
    assert by_contrast.precision < 0.9
    by_height = match_cells(true_um, find_cells(alone, SPACING, removed=1000) * SPACING, 4.0)
    assert (by_height.recall, by_height.precision) == (1, 1)


def test_a_plateau_is_one_cell() -> None:
    volume = np.full((40, 40, 40), 100, np.float32)
    volume[19:21, 19:21, 19:21] = 60000
    assert len(find_cells(volume, (1.5, 1.5, 1.5))) == 1


def test_cell_amount_is_the_integral_above_its_surroundings() -> None:
    lattice = Lattice((0.0, 0.0, 0.0), (0.0, SPACING[0]), SPACING[1], (SPACING[2], 0.0), (31, 25, 31))
    volume = np.full(lattice.shape, 700, np.float32)
    centre_px = np.array([15.2, 12.4, 14.9])
    add_blobs(volume, Blobs((centre_px * SPACING)[None, ::-1], np.array([2.7]), np.array([2000.0])), lattice)
    amount = cell_amount(volume, centre_px, SPACING, 9.0)
    assert amount == pytest.approx(2000 * (2 * math.pi) ** 1.5 * 2.7**3 / math.prod(SPACING), rel=0.05)
    weaker = (volume - 700) * 0.9 + 700
    assert cell_amount(weaker, centre_px, SPACING, 9.0) / amount == pytest.approx(0.9, rel=1e-3)


def test_halo_is_wide_enough(cells: tuple[np.ndarray, np.ndarray]) -> None:
    """A block with its halo gives the cells that the whole volume gives there."""
    volume, _ = cells
    halo = halo_px(SPACING)
    start, stop = (25, 20, 30), (45, 40, 50)
    cut = [(max(0, a - h), min(n, b + h)) for a, b, h, n in zip(start, stop, halo, volume.shape, strict=True)]
    block = volume[tuple(slice(a, b) for a, b in cut)]
    inside = [
        f for f in find_cells(block, SPACING) + [a for a, _ in cut] if all(np.array(start) <= f) and all(f < stop)
    ]
    whole = [f for f in find_cells(volume, SPACING) if all(np.array(start) <= f) and all(f < stop)]
    assert np.allclose(sorted(map(tuple, inside)), sorted(map(tuple, whole)), atol=1e-3)
    assert whole
