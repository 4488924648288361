"""A correction on a few frames: which are taken, and what is said."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from gpustitch.array import choose_device
from gpustitch.oblique.destripe.correction import Correction
from gpustitch.oblique.destripe.sampled import brightest, evenly, judged, sampled_frames
from gpustitch.oblique.destripe.wavelet_options import NOTCH_LENGTH_PX, WaveletOptions
from tests.oblique.deskew.test_sweep import Holed
from tests.oblique.destripe.scenes import SceneSpec, scene

OPEN = Correction("wavelet", WaveletOptions(wavelet="db5"), dark=100.0)
CPU = choose_device("cpu")


@pytest.mark.parametrize("length", [1, 2, 7, 24, 25, 1000])
def test_places_are_spread_evenly(length):
    places = evenly(length)
    assert places == sorted(set(places))
    assert places[0] >= 0 and places[-1] < length
    assert len(places) == min(length, 24) or length < 30
    assert max(np.diff(places), default=1) <= length / 24 + 2


def test_the_brightest_of_one_shape_are_taken_in_their_order():
    frames = [np.full((4, 4), level, np.uint16) for level in (5, 900, 7, 300, 800)]
    frames.insert(2, np.full((3, 3), 65535, np.uint16))
    assert [int(frame[0, 0]) for frame in brightest(frames, 3)] == [900, 300, 800]


def test_absent_frames_are_not_looked_at():
    frames = np.arange(1, 41, dtype=np.uint16)[:, None, None] * np.ones((1, 9, 9), np.uint16)
    seen = {int(f[0, 0]) for f in sampled_frames([Holed(frames, set(range(20, 40)))], lambda frame: True)}
    assert seen and max(seen) <= 20
    assert not sampled_frames([Holed(frames, set(range(40)))], lambda frame: True)


def test_what_could_not_be_chosen_is_not_left_out_in_silence():
    found = judged([], OPEN, CPU, choose=True)
    assert found.correction.destripes
    assert found.correction.wavelet.notch_length_px == NOTCH_LENGTH_PX
    assert any("no frame" in caution for caution in found.cautions())
    assert not any(judged([], replace(OPEN, method="none"), CPU, choose=False).cautions())


def test_the_record_is_json_and_measures_are_of_the_chosen_filter():
    frames = [scene(SceneSpec(rows=256, columns=320, amplitude=0.3, seed=seed)).raw for seed in range(2)]
    found = judged(frames, OPEN, CPU, choose=True)
    record = json.loads(json.dumps(found.record, allow_nan=False))
    assert record["method"] == "wavelet"
    assert record["measures"]["frames"] == 2
    assert record["measures"]["stripes_left_after_percent"] < record["measures"]["stripes_left_before_percent"]
    given = judged(frames, found.correction, CPU, choose=False)
    assert given.measures == found.measures
    assert given.choice is None
