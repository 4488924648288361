"""The direction of lines, on stripes at known angles and on tissue without any."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from gpustitch.oblique.destripe.measured.direction import direction_of
from tests.oblique.destripe.scenes import SceneSpec, scene


def tissue(shape, seed):
    return scene(SceneSpec(*shape, amplitude=0, borders=False, seed=seed)).ideal


def seen(light, seed):
    """Counts above the offset that a camera sees."""
    noise = np.random.default_rng(seed).normal(size=light.shape)
    return np.maximum(light + noise * np.sqrt(2.17 * light + 9), 0).astype(np.float32)


def striped(shape, angle, width, strength, seed):
    """Tissue with stripes that run down to the right by ``angle`` degrees."""
    y, x = np.indices(shape)
    across = y * np.cos(np.deg2rad(angle)) - x * np.sin(np.deg2rad(angle))
    at = np.arange(-2 * max(shape), 2 * max(shape))
    gains = ndimage.gaussian_filter1d(np.random.default_rng(seed).normal(size=at.size), width / 2.355)
    return seen(tissue(shape, seed) * np.exp(strength * np.interp(across, at, gains / gains.std())), seed)


def everywhere(light):
    return np.ones(light.shape, bool)


@settings(max_examples=12, deadline=None)
@given(st.floats(-60, 60), st.sampled_from([(0.05, 2.0), (0.1, 2.0), (0.1, 4.0)]), st.integers(0, 9))
def test_the_angle_of_stripes_within_a_degree(angle, stripe, seed):
    strength, width = stripe
    light = striped((256, 320), angle, width, strength, seed)
    assert direction_of(light, everywhere(light)) == pytest.approx(angle, abs=1)


@pytest.mark.parametrize("angle", [-30.0, 0.0, 7.0])
def test_wide_stripes_of_large_frames(angle):
    light = striped((512, 512), angle, 8.0, 0.1, 3)
    assert direction_of(light, everywhere(light)) == pytest.approx(angle, abs=1)


def test_lines_down_the_columns():
    light = striped((256, 256), 90.0, 2.0, 0.1, 1)
    assert abs(direction_of(light, everywhere(light))) == pytest.approx(90, abs=1)


@pytest.mark.parametrize("seed", range(4))
def test_tissue_has_no_direction(seed):
    light = seen(tissue((256, 320), seed), seed)
    assert direction_of(light, everywhere(light)) is None


@pytest.mark.parametrize("fibre", [(2, 6), (3, 9), (3, 12)])
def test_fibres_are_not_lines(fibre):
    """Those up to about four times as long as they are wide; longer ones cannot be told from lines."""
    texture = ndimage.gaussian_filter(np.random.default_rng(5).normal(size=(700, 700)), fibre)
    turned = ndimage.rotate(texture / texture.std(), -30, reshape=False, order=1)[150:550, 150:550]
    light = seen(tissue((400, 400), 5) * np.exp(0.3 * turned), 5)
    assert direction_of(light, everywhere(light)) is None


def test_outlines_and_darkness_are_no_lines():
    of = scene(SceneSpec(256, 384, amplitude=0, seed=11))
    lit = of.ideal > 200
    assert direction_of(seen(of.ideal, 1), lit) is None
    assert direction_of(np.zeros((256, 256), np.float32), np.zeros((256, 256), bool)) is None
    for shape in ((0, 0), (1, 300), (40, 40)):
        assert direction_of(np.ones(shape, np.float32), np.ones(shape, bool)) is None
