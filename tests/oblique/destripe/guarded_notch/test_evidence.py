"""Stripes are what rows have in common beyond columns: told from tissue, on scenes and on pictures of all kinds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import skimage.data
from scipy import ndimage

from gpustitch.oblique.destripe.guarded_notch.evidence import Windows
from tests.oblique.destripe.scenes import SceneSpec, scene

PICTURES = ["camera", "moon", "cell", "text", "gravel", "grass"]


def strengths(frames, level=4, dark=100.0):
    return Windows(frames, dark).likeness(level, "db5").strengths


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("name", PICTURES)
def test_pictures_without_stripes_have_none(name, turned):
    try:
        picture = getattr(skimage.data, name)()
    except (OSError, ModuleNotFoundError) as error:  # not part of the wheel, and no network
        pytest.skip(str(error))
    picture = picture[:320, :320]
    assert not any(strengths([np.ascontiguousarray(picture.T) if turned else picture], dark=0.0))


@pytest.mark.parametrize("seed", range(60, 66))
def test_tissue_with_borders_and_cells_has_none(seed):
    made = scene(SceneSpec(rows=256, columns=320, amplitude=0, seed=seed))
    assert not any(strengths([made.raw]))


@pytest.mark.parametrize(("width", "level"), [(1, 1), (2, 1), (4, 2), (8, 3)])
def test_stripes_are_found_at_the_levels_of_their_width(width, level):
    made = scene(SceneSpec(rows=512, columns=320, amplitude=0.2, width=width, seed=80))
    found = strengths([made.raw])
    assert min(found[level - 1 : level + 1]) > 0.8
    # The same stripes down the columns are none.
    assert not any(strengths([np.ascontiguousarray(made.raw.T)]))


def test_frames_speak_together():
    faint = [scene(SceneSpec(rows=256, columns=256, amplitude=0.015, width=2, seed=seed)) for seed in range(90, 96)]
    alone, together = strengths([faint[0].raw]), strengths([made.raw for made in faint])
    assert not any(alone)
    assert min(together[:2]) > 0.4


def test_small_frames_say_nothing():
    rng = np.random.default_rng(0)
    for shape in ((1, 1), (5, 400), (400, 5), (17, 17), (64, 33)):
        frames = [rng.integers(100, 1000, shape).astype(np.uint16)]
        assert not any(strengths(frames))


@pytest.mark.parametrize("shape", [(512, 66), (1000, 64), (256, 64), (128, 70), (80, 128), (40, 1000)])
@pytest.mark.parametrize("size", [4, 12, 30])
def test_tissue_in_frames_of_a_short_side_is_not_taken_for_stripes(shape, size):
    frames = []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        tissue = ndimage.gaussian_filter(rng.standard_normal((shape[0] + 80, shape[1] + 80)), size)[40:-40, 40:-40]
        light = 1000 * (1 + 0.25 * tissue / tissue.std())
        frames.append(rng.poisson(np.clip(light, 20, None)).astype(np.uint16))
    assert not any(Windows(frames, 0).likeness(6, "db3").strengths)


def test_borders_do_not_hide_weak_shadows():
    spec = SceneSpec(rows=384, amplitude=0.1, width=4, partial=True, dense=False, cells=12, level=300)
    frames = [scene(replace(spec, seed=7204 + i)).raw for i in range(2)]
    found = Windows(frames, 100.0).likeness(5, "db5")
    assert min(found.strengths[1:3]) > 0.5


@pytest.mark.parametrize("seed", range(4))
def test_stripes_that_alone_are_alike_are_found_in_few_columns(seed):
    rng = np.random.default_rng(seed)
    gain = 1 + 0.1 * rng.standard_normal((96, 1))
    noise = rng.normal(1000, 50, (4, 96, 128))
    assert all(strengths(list((noise * gain).astype(np.uint16)), dark=0.0)[:2])
    assert not any(strengths(list(noise.astype(np.uint16)), dark=0.0))
