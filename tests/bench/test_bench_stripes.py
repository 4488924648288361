"""Scenes of the bench are what it says, and destriping of small ones is as near to the truth as it was."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bench import bench_stripes as bench
from bench.striped_scenes import AIMS, Truth, best_linear, frames_of, spec_of, without_destriping

# Small scenes whose stripes stand out.
EASY = (2033, 2049, 2076)
# Small scenes of all kinds.
SMALL = (2021, 2028, 2040, 2051)


@pytest.mark.parametrize("seed", EASY)
def test_easy_scenes_reach_all_aims(seed):
    found = bench.outcome(seed)
    assert found.is_in_reach and not found.is_left and found.missed == ()


@pytest.mark.parametrize("seed", SMALL)
def test_no_scene_is_worse_than_without_destriping(seed):
    found = bench.outcome(seed)
    assert not found.is_worse and found.missed != AIMS


def test_scenes_cover_what_is_asked():
    specs = [spec_of(seed) for seed in range(300)]
    assert {spec.columns for spec in specs} == {128, 256, 512, 1024, 2048}
    assert {spec.width for spec in specs} >= {1, 20} and {spec.amplitude for spec in specs} >= {0.05, 0.4}
    kinds = {(spec.dense, spec.partial, spec.bits, spec.padding > 0, spec.borders) for spec in specs}
    assert len(kinds) == 32 and spec_of(7) == specs[7]


def test_what_is_left_or_spoilt_misses_aims():
    seed = EASY[0]
    frames = frames_of(spec_of(seed))
    found = bench.outcome(seed, lambda raw: ([frame.astype(np.float32) - 100 for frame in raw], True, ()))
    assert found.is_left and not found.is_worse and "energy" in found.missed
    assert (found.made.error, found.made.energy) == (found.none.error, found.none.energy)
    ideal = Truth.of(frames, [without_destriping(frame) / frame.gain for frame in frames])
    assert ideal.error < 0.05 * found.none.error and ideal.energy < 0.01
    assert replace(found, made=ideal).missed == ()
    flat = Truth.of(frames, [np.full(frame.raw.shape, 500.0) for frame in frames])
    assert "error" in replace(found, made=flat, is_left=False).missed


def test_the_best_estimate_knows_no_more_than_spectra():
    spec = replace(spec_of(EASY[0]), rows=256, columns=256, amplitude=0.2, dense=True, partial=False, borders=False)
    left = [_energy_left(replace(spec, width=width)) for width in (1.0, 20.0)]
    assert 0 < left[0] < 0.05 < left[1] < 1


def _energy_left(spec):
    frames = frames_of(spec)
    made, none = (Truth.of(frames, [do(frame) for frame in frames]) for do in (best_linear, without_destriping))
    return made.energy / none.energy


def test_the_command_makes_the_same():
    frames = [frame.raw for frame in frames_of(spec_of(EASY[0]))]
    (here, left, _), (by_command, left_too, _) = (way(frames) for way in (bench.chosen, bench.by_command))
    assert left == left_too is False
    for light, counts in zip(here, by_command, strict=True):
        assert np.array_equal(np.clip(np.rint(light), 0, 65535), counts)
