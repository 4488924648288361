"""Lines that go on to an end of their row, and lines that end within it: grids drawn with both."""

from __future__ import annotations

import numpy as np
import pytest

from gpustitch.oblique.destripe.guarded_notch.reach import ending_of

ROWS, WINDOWS, APART = 1600, 32, 2
NOISE = 0.02


def _grids(drawn: dict[str, float], seed: int = 0, rows: int = ROWS, windows: int = WINDOWS):
    """Noise, and lines as strong as told: of whole rows, behind a shadow to one side, ending, and of tissue."""
    rng = np.random.default_rng(seed)
    frames = []
    for shape in ((rows, windows), (windows * 4, rows // 4)):
        values = rng.normal(size=shape) * NOISE
        blobs = np.repeat(rng.normal(size=(shape[0], -(-shape[1] // 4))), 4, axis=1)[:, : shape[1]]
        frames.append([values + drawn.get("tissue", 0) * blobs, rng.uniform(0.2, 1, shape)])
    place, start = np.arange(windows), rng.uniform(-0.5, 0.9, (rows, 1)) * windows
    amplitude = rng.normal(size=(4, rows, 1))
    middle, half = rng.uniform(0, windows, (rows, 1)), windows / 8
    frames[0][0] += drawn.get("whole", 0) * amplitude[0]
    frames[0][0] += drawn.get("right", 0) * amplitude[1] * (place > start)
    frames[0][0] += drawn.get("left", 0) * amplitude[2] * (place < windows - start)
    frames[0][0] += drawn.get("ending", 0) * amplitude[3] * (abs(place - middle) < half)
    return [tuple(frames[0])], [tuple(frames[1])]


@pytest.mark.parametrize(
    "drawn",
    [
        {},
        {"whole": 0.2},
        {"right": 0.2},
        {"left": 0.2},
        {"whole": 0.1, "right": 0.2},
        {"tissue": 0.03},
        {"whole": 0.2, "tissue": 0.03},
        {"whole": 0.3, "ending": 0.01},
    ],
)
@pytest.mark.parametrize("seed", range(3))
def test_stripes_and_tissue_do_not_end(drawn, seed):
    assert not ending_of(*_grids(drawn, seed), APART, APART).matters


@pytest.mark.parametrize(
    "drawn",
    [
        {"ending": 0.1},
        {"ending": 0.1, "whole": 0.12},
        {"ending": 0.2, "right": 0.2},
        {"ending": 0.1, "tissue": 0.02},
        {"left": 0.2, "right": 0.2},
    ],
)
@pytest.mark.parametrize("seed", range(3))
def test_lines_that_end_are_found_among_strong_stripes(drawn, seed):
    found = ending_of(*_grids(drawn, seed), APART, APART)
    assert found.matters
    if "left" not in drawn:
        # A line covers about a quarter of its row.
        assert found.energy == pytest.approx(drawn["ending"] ** 2 / 4, rel=0.5)


PROFILES = {
    "fainter at the ends": lambda place: 0.6 + 0.4 * np.exp(-0.5 * (place / 0.4) ** 2),
    "far fainter at the ends": lambda place: 0.3 + 0.7 * np.exp(-0.5 * (place / 0.4) ** 2),
    "hardly there at the ends": lambda place: 0.1 + 0.9 * np.exp(-0.5 * ((place + 0.1) / 0.44) ** 2),
    "in a focused sheet": lambda place: 1 / (1 + (place / 0.4) ** 2),
    "fading to the right": lambda place: 0.6 - 0.4 * place,
}


@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES.keys())
@pytest.mark.parametrize("strength", [0.1, 0.2])
@pytest.mark.parametrize("seed", range(3))
def test_stripes_that_all_fade_alike_are_no_lines_that_end(profile, strength, seed):
    upright, turned = _grids({}, seed)
    stripes = np.random.default_rng(seed).normal(size=(ROWS, 1)) * strength
    faded = stripes * profile(np.linspace(-1, 1, WINDOWS))
    assert not ending_of([(upright[0][0] + faded, upright[0][1])], turned, APART, APART).matters


@pytest.mark.parametrize("whole", [0.03, 0.06])
@pytest.mark.parametrize("seed", range(3))
def test_lines_in_the_middle_that_do_not_all_fade_alike_end(whole, seed):
    upright, turned = _grids({"whole": whole}, seed)
    rng, place = np.random.default_rng(seed), np.linspace(-1, 1, WINDOWS)
    lines = rng.normal(size=(ROWS, 1)) * 0.15 * (abs(place - rng.uniform(-0.5, 0.5, (ROWS, 1))) < 0.25)
    assert ending_of([(upright[0][0] + lines, upright[0][1])], turned, APART, APART).matters


def test_frames_speak_together_and_few_windows_do_not():
    frames = [_grids({"ending": 0.08, "whole": 0.1}, seed, rows=400) for seed in range(8)]
    together = ending_of([up[0] for up, _ in frames], [turned[0] for _, turned in frames], APART, APART)
    assert together.matters
    narrow = _grids({"ending": 0.2}, windows=4 * APART - 1)
    assert not ending_of(*narrow, APART, APART).matters
