"""First qualities, and what positions make of them: runs of damaged sections keep their thickness."""

from __future__ import annotations

import numpy as np
import pytest

from gpustitch.sections.positions.estimate import estimate_positions
from gpustitch.sections.positions.quality import first_quality
from tests.sections.positions.zspacing_golden import rms_error
from tests.sections.series import sampled_strip

N = 120


def first(strip):
    values = strip[:, 1:].T
    return first_quality(np.nan_to_num(values), np.isfinite(values).astype(float), 8)


@pytest.mark.parametrize("length", [12, 16, 25])
def test_a_run_of_damaged_sections_longer_than_the_range_keeps_its_thickness(length):
    rng = np.random.default_rng(length)
    positions, quality = np.cumsum(rng.uniform(0.5, 1.5, N)), np.ones(N)
    start = int(rng.integers(20, 70))
    run = slice(start, start + length)
    quality[run] = rng.uniform(0.25, 0.4)
    strip = sampled_strip(positions, 10, length, quality, patches=6000)
    np.testing.assert_array_equal(np.flatnonzero(first(strip)), np.arange(N)[run])
    found = estimate_positions(strip).positions
    assert rms_error(found, positions) < 1
    scale = np.ptp(positions) / (N - 1)
    assert 0.8 < np.ptp(found[run]) * scale / np.ptp(positions[run]) < 1.25


@pytest.mark.parametrize("seed", range(3))
def test_sound_series_start_with_equal_qualities(seed):
    """Whatever their spacing: even, uneven, in steps, with gaps. At the ends it cannot be told from quality."""
    rng = np.random.default_rng(seed)
    uneven = rng.uniform(0.4, 1.6, N)
    stretch = np.where((np.arange(N) // 20) % 3 == seed, 2.2, 0.8)
    gaps = np.where(np.isin(np.arange(N), rng.choice(N, 3, replace=False)), 5, uneven)
    for spacing in (np.ones(N), uneven, stretch, gaps):
        assert not first(sampled_strip(np.cumsum(spacing), 10, seed))[1:-1].any()


def test_no_quality_without_any_pair():
    assert not first_quality(np.ones((3, 9)), np.zeros((3, 9)), 3).any()
