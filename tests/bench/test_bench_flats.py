"""The scenes of the bench of flats, and what it counts as silent."""

from __future__ import annotations

import numpy as np
import pytest

from bench.bench_flats import COLUMNS, DARK, ROWS, SCENES, Outcome, outcome


@pytest.mark.parametrize(("command", "pipeline", "without", "warnings", "is_silent"), [
    (0.02, 0.02, 0.2, (), False), (0.04, 0.04, 0.2, (), True), (0.04, 0.04, 0.2, ("x",), False),
    (0.02, 0.02, 0.01, (), True), (None, 0.01, 0.01, (), False), (None, 0.2, 0.2, (), True),
])  # fmt: skip
def test_silent_is_what_is_wrong_or_worse_than_none_and_nobody_is_told(command, pipeline, without, warnings, is_silent):
    assert Outcome(command, pipeline, without, warnings).is_silent == is_silent


@pytest.mark.parametrize("name", ["other light later", "one half", "48 x 60 pixels"])
def test_frames_show_their_light(name):
    scene = SCENES[name]
    frames = scene.frames(np.random.default_rng(0))
    assert frames.dtype == scene.type and frames.shape[1:] == scene.light.shape
    first, last = (part.mean(axis=0) - scene.dark for part in np.array_split(frames.astype(float), 2))
    light = scene.light / scene.light.mean()
    seen = scene.seen > 0
    assert np.corrcoef((first / light)[seen], light[seen])[0, 1] ** 2 < 0.2
    if scene.later is not None:
        assert np.corrcoef(last.ravel(), scene.later.ravel())[0, 1] > 0.9


def test_no_light_is_dark():
    frames = SCENES["90 % empty"].frames(np.random.default_rng(0))
    assert np.median(frames) == pytest.approx(DARK, abs=1)
    assert frames.shape[1:] == (ROWS, COLUMNS)


def test_what_becomes_of_a_scene(monkeypatch):
    monkeypatch.setattr("gpustitch.oblique.flat.fit._TRIALS", 2)
    found = outcome(SCENES["no texture"], 0)
    assert found.command == found.pipeline < 0.01 < found.without
    refused = outcome(SCENES["one frame"], 0)
    assert refused.pipeline == refused.without and refused.warnings
