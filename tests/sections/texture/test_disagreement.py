"""Patches that do not agree on how the spacing runs."""

import numpy as np
import pytest

from bench.patch_series import moving_border, patches_of
from gpustitch.ops.patches import PatchSimilarities, taken_planes
from gpustitch.sections.texture.disagreement import disagreement
from gpustitch.sections.texture.trend import CHANCE_OF_PARTS

pytestmark = pytest.mark.long


def spaced(seed, n=120):
    return np.cumsum(np.random.default_rng(seed).uniform(0.5, 1.5, n))


@pytest.mark.parametrize("seed", range(3))
def test_a_border_that_moves_is_told_from_noise(seed):
    positions = spaced(seed)
    stays = disagreement(patches_of(positions, seed), positions)
    moves = disagreement(patches_of(positions, seed, moving_border(), 1.7), positions)
    assert stays.chance > 100 * CHANCE_OF_PARTS
    assert moves.chance < CHANCE_OF_PARTS / 100
    assert moves.height > 0.08 > stays.height


@pytest.mark.parametrize("spacing", ["wave", "ramp", "two tissues"])
def test_thickness_and_tissues_that_stay_are_no_disagreement(spacing):
    chances = []
    for seed in range(2):
        run = np.linspace(0, 1, 120)
        steps = 1 + 0.5 * np.sin(8 * run) if spacing == "wave" else np.linspace(0.5, 1.5, 120)
        positions = np.cumsum(steps * np.random.default_rng(seed).uniform(0.8, 1.2, 120))
        where = np.where(np.arange(8) < 4, -1.0, 2.0) * np.ones((8, 1)) if spacing == "two tissues" else None
        chances.append(disagreement(patches_of(positions, seed, where, 2.0), positions).chance)
    assert min(chances) > 100 * CHANCE_OF_PARTS


def test_noise_that_hides_everything_and_few_sections_say_nothing():
    positions = spaced(1, 80)
    found = patches_of(positions, 1)
    noise = np.random.default_rng(1).normal(0.01, 0.05, found.values.shape)
    noise[np.isnan(found.values)] = np.nan
    assert disagreement(PatchSimilarities(found.planes, noise), positions) is None
    assert disagreement(patches_of(positions[:50], 1), positions[:50]) is None


def test_patches_without_similarity_are_left_out():
    positions = spaced(2)
    found = patches_of(positions, 2, moving_border(), 1.7)
    values = found.values.copy()
    values[:, 0] = np.nan
    values[40:60, 3:5, 3:5] = np.nan
    values[70] = np.nan
    assert disagreement(PatchSimilarities(found.planes, values), positions).chance < CHANCE_OF_PARTS
    some = np.flatnonzero(np.arange(120) % 12 < 9)
    assert (np.diff(some) > 1).any()
    assert disagreement(PatchSimilarities(some, found.values[some]), positions).chance < CHANCE_OF_PARTS


def test_groups_of_a_long_series_tell_as_much():
    positions = spaced(3, 360)
    taken = taken_planes(360)
    assert len(taken) < 200
    chances = []
    for finer in (1.0, 1.7):
        found = patches_of(positions, 3, moving_border(), finer)
        values = found.values[taken]
        for d in range(1, 5):
            values[~np.isin(taken + d, taken), ..., d - 1] = np.nan
        chances.append(disagreement(PatchSimilarities(taken, values), positions).chance)
    assert chances[0] > 100 * CHANCE_OF_PARTS and chances[1] < CHANCE_OF_PARTS / 100


def test_patches_beside_borders_with_a_few_pairs_do_not_count():
    for seed in range(2):
        positions = spaced(seed)
        found = patches_of(positions, seed)
        values = found.values.copy()
        values[:, :, -1], values[:, 0, 0] = np.nan, np.nan
        rng = np.random.default_rng(seed)
        few = rng.choice(110, 4, replace=False)
        values[few, 0, 0] = rng.uniform(-0.2, 0.9, (4, values.shape[-1]))
        with_few = disagreement(PatchSimilarities(found.planes, values), positions)
        values[:, 0, 0] = np.nan
        without = disagreement(PatchSimilarities(found.planes, values), positions)
        assert with_few.chance == pytest.approx(without.chance, rel=0.5) and with_few.chance > 100 * CHANCE_OF_PARTS
    assert disagreement(PatchSimilarities(found.planes, np.full_like(values, np.nan)), positions) is None
