"""Lines that end within a frame: short tissue, vessels of one kind, and streaks of light, on grids drawn with them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from gpustitch.oblique.destripe.guarded_notch.streaks import are_streaks, bright_lines, length_of

ROWS, WINDOWS, STEP_PX = 800, 32, 32.0
NOISE = 0.02


def _turned(rng):
    return [(rng.normal(size=(WINDOWS * 16, ROWS // 32)) * NOISE, np.ones((WINDOWS * 16, ROWS // 32)))]


def _lines(rng, sigma: float, strength: float = 0.1, degrees: float = 0.0):
    """Lines of both kinds, alike over some ``sigma`` windows, that leave their row at an angle."""
    fine = ndimage.gaussian_filter(rng.normal(size=(ROWS, WINDOWS)), (1, sigma))
    down = np.rint(np.arange(WINDOWS) * STEP_PX * np.tan(np.deg2rad(degrees))).astype(int)
    leaning = np.stack([np.roll(fine[:, n], shift) for n, shift in enumerate(down)], axis=1)
    return [(leaning * strength / fine.std() + rng.normal(size=fine.shape) * NOISE, np.ones(fine.shape))]


@pytest.mark.parametrize("degrees", [0.0, -3.0])
@pytest.mark.parametrize("seed", range(3))
def test_lines_are_as_long_as_they_are_drawn(degrees, seed):
    rng = np.random.default_rng(seed)
    for sigma, short in ((1.0, True), (8.0, False), (1000.0, False)):
        length = length_of(_lines(rng, sigma, degrees=degrees), _turned(rng), 1, 1, STEP_PX)
        assert length.is_short == short
    assert length.far == pytest.approx(0.01, rel=0.2)
    if degrees == 0:
        assert length.near == pytest.approx(0.01, rel=0.2)


@pytest.mark.parametrize("seed", range(4))
def test_noise_and_faint_stripes_are_not_short(seed):
    rng = np.random.default_rng(seed)
    for strength in (0.0, 0.004, 0.01):
        assert not length_of(_lines(rng, 1000.0, strength), _turned(rng), 1, 1, STEP_PX).is_short


@pytest.mark.parametrize("shape", [(800, 4), (40, 32), (1, 32), (64, 2)])
def test_grids_that_cannot_tell_hold_nothing_short(shape):
    rng = np.random.default_rng(0)
    grids = [(rng.normal(size=shape), np.ones(shape))]
    assert not length_of(grids, _turned(rng), 1, 1, STEP_PX).is_short


def _vessels(rng, of_kinds: tuple[float, ...], strength: float = 0.3):
    """Noise, and lines of eight windows at a tenth of all places, of these signs."""
    values = rng.normal(size=(ROWS, WINDOWS)) * NOISE
    for _ in range(ROWS // 2):
        row, start = rng.integers(ROWS - 2), rng.integers(-4, WINDOWS)
        values[row : row + 2, max(0, start) : start + 8] += strength * rng.choice(of_kinds)
    return values


@pytest.mark.parametrize("kind", [-1.0, 1.0])
@pytest.mark.parametrize("seed", range(3))
def test_lines_of_one_kind_are_vessels_also_among_stripes(kind, seed):
    rng = np.random.default_rng(seed)
    for stripes in (0.0, 0.05, 0.1, 0.3):
        values = _vessels(rng, (kind,)) + stripes * rng.normal(size=(ROWS, 1))
        assert not are_streaks([(values, np.ones(values.shape))], _turned(rng), 1, 1, 0.01)


@pytest.mark.parametrize("seed", range(3))
def test_lines_of_both_kinds_are_streaks_if_they_are_most_of_all(seed):
    rng = np.random.default_rng(seed)
    upright, turned = _lines(rng, 5.0), _turned(rng)
    assert are_streaks(upright, turned, 1, 1, 0.008)
    assert not are_streaks(upright, turned, 1, 1, 0.0015)


@pytest.mark.parametrize("seed", range(3))
def test_few_lines_of_both_kinds_are_vessels(seed):
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(ROWS, WINDOWS)) * NOISE
    for n in range(40):
        row, start = rng.integers(ROWS - 2), rng.integers(-4, WINDOWS)
        values[row : row + 2, max(0, start) : start + 12] += 0.3 * (-1) ** n
    energy = 0.5 * float((values[:, :-1] * values[:, 1:]).mean())
    assert not are_streaks([(values, np.ones(values.shape))], _turned(rng), 1, 1, energy)


@pytest.mark.parametrize("seed", range(3))
def test_lines_of_both_kinds_that_are_everywhere_but_short_are_tissue(seed):
    rng = np.random.default_rng(seed)
    values = np.repeat(rng.normal(size=(ROWS, WINDOWS // 4)), 4, axis=1) * 0.1
    energy = 0.5 * float((values[:, :-1] * values[:, 1:]).mean())
    assert not are_streaks([(values, np.ones(values.shape))], _turned(rng), 1, 1, energy)


@pytest.mark.parametrize("seed", range(4))
def test_bright_lines_among_dark_are_told_from_stripes(seed):
    rng = np.random.default_rng(seed)
    turned, noise = _turned(rng), rng.normal(size=(ROWS, WINDOWS)) * NOISE
    rows = np.zeros((ROWS, 1))
    rows[rng.choice(ROWS, 40, replace=False)] = 0.3
    for kind, expected in ((rows, True), (-rows, False), (0.1 * rng.normal(size=(ROWS, 1)), False), (0 * rows, False)):
        found = bright_lines([(noise + kind, np.ones(noise.shape))], turned, 1, 1)
        assert (found > 0) == expected
    assert bright_lines([(noise + rows, np.ones(noise.shape))], turned, 1, 1) == pytest.approx(0.0045, rel=0.15)
