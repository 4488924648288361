"""Qualities of sections before positions are known: runs of damage are told from wide spacing."""

from __future__ import annotations

import numpy as np
import pytest

from gpustitch.sections.faults.qualities import log_qualities
from tests.sections.series import sampled_strip

N = 120


def of_strip(strip, lags=8):
    """What is found in a half strip."""
    values = strip[:, 1:].T
    return log_qualities(np.nan_to_num(values), np.isfinite(values).astype(float), lags)


@pytest.mark.parametrize("seed", range(4))
def test_a_run_of_damaged_sections_has_its_quality_whatever_its_length(seed):
    rng = np.random.default_rng(seed)
    length, level = int(rng.integers(2, 40)), rng.uniform(0.3, 0.7)
    first = int(rng.integers(0, N - length))
    quality = np.ones(N)
    quality[first : first + length] = level
    judged = of_strip(sampled_strip(np.cumsum(rng.uniform(0.5, 1.5, N)), 10, seed, quality))
    found = judged.log
    damaged = quality < 1
    assert np.abs(np.median(found[damaged]) - np.log(level)) < 0.1
    assert found[damaged].max() < 0.5 * np.log(level)
    assert np.abs(found[~damaged]).max() < 0.12
    assert 0 < judged.scatter < 0.05


@pytest.mark.parametrize("seed", range(4))
def test_a_stretch_of_wide_spacing_is_no_run_of_damage(seed):
    """Nor is a gap; similarity is as low there. The first and the last section are seen from one side only."""
    rng = np.random.default_rng(100 + seed)
    spacing = rng.uniform(0.8, 1.2, N)
    first, length = int(rng.integers(10, 70)), int(rng.integers(10, 30))
    spacing[first : first + length] *= rng.uniform(2, 3)
    spacing[first + length + 10] += rng.uniform(3, 5)
    strip = sampled_strip(np.cumsum(spacing), 10, seed)
    assert strip[first : first + length, 4].mean() < 0.75 * np.nanmedian(strip[:, 4])
    assert of_strip(strip).log[1:-1].min() > -0.12


def test_a_run_and_a_stretch_of_wide_spacing_in_one_series():
    rng = np.random.default_rng(7)
    spacing, quality = rng.uniform(0.8, 1.2, N), np.ones(N)
    spacing[20:40], quality[70:85] = 2.5, 0.5
    found = of_strip(sampled_strip(np.cumsum(spacing), 10, 3, quality)).log
    np.testing.assert_array_equal(np.flatnonzero(found < -0.3), np.arange(70, 85))


@pytest.mark.parametrize("seed", range(5, 9))
def test_similarity_that_is_lost_says_that_quality_is_low_but_not_how_low(seed):
    """Sections that resemble none: values below 0 have no logarithm, and a few by chance are above."""
    rng = np.random.default_rng(seed)
    quality = np.ones(N)
    quality[50:66] = 0
    found = of_strip(sampled_strip(np.cumsum(rng.uniform(0.8, 1.2, N)), 10, seed, quality)).log
    np.testing.assert_array_equal(np.flatnonzero(found < -0.3), np.arange(50, 66))


@pytest.mark.parametrize("lags", [1, 2, 8])
def test_series_that_say_nothing(lags):
    """No pair, or nothing but chance: all qualities are as usual."""
    for values in (np.zeros((8, 30)), np.random.default_rng(0).normal(0, 0.02, (8, 30))):
        for counts in (np.zeros((8, 30)), np.ones((8, 30))):
            found = log_qualities(values, counts, lags)
            assert found.scatter == 0 and not found.log.any() and not found.unexplained.any()
    strip = sampled_strip(np.arange(30.0), 8, 1)
    assert np.abs(of_strip(strip, lags).log).max() < 0.1
