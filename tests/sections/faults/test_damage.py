"""Damaged sections: runs of any length, and what looks like them but is none."""

from __future__ import annotations

import numpy as np
import pytest

from gpustitch.sections.faults.damage import damaged_sections
from gpustitch.sections.faults.find import find_faults
from tests.sections.series import sampled_strip

N = 120


def damaged_in(strip):
    """Sections named."""
    return [i for i, _ in damaged_sections(strip, np.ones(len(strip)))]


@pytest.mark.parametrize("length", [1, 2, 6, 9, 20, 45])
@pytest.mark.parametrize("seed", range(2))
def test_runs_of_any_length_are_named_and_nothing_else(length, seed):
    rng = np.random.default_rng(10 * length + seed)
    positions, quality = np.cumsum(rng.uniform(0.6, 1.4, N)), rng.uniform(0.97, 1, N)
    start = int(rng.integers(15, N - 15 - length))
    quality[start : start + length] *= rng.uniform(0.3, 0.6)
    strip = sampled_strip(positions, 10, seed, quality)
    assert damaged_in(strip) == list(range(start, start + length))
    faults = find_faults(strip, positions)
    assert [f.sections[0] for f in faults if f.fault_type == "damaged"] == damaged_in(strip)


@pytest.mark.parametrize("seed", range(3))
def test_quality_that_changes_slowly_is_no_damage(seed):
    """Staining that fades towards an end, and a weak stretch in the middle."""
    rng = np.random.default_rng(seed)
    fade = np.exp(-np.linspace(0, 1.5, N))
    weak = 1 - 0.6 * np.exp(-(((np.arange(N) - rng.integers(40, 80)) / 18) ** 2))
    for quality in (fade, fade[::-1], weak):
        assert damaged_in(sampled_strip(np.cumsum(rng.uniform(0.7, 1.3, N)), 10, seed, quality, patches=6000)) == []


def test_damage_is_found_where_quality_changes_slowly():
    rng = np.random.default_rng(8)
    quality = np.linspace(1, 0.5, N)
    quality[[25, 80, 81]] *= 0.4
    assert damaged_in(sampled_strip(np.cumsum(rng.uniform(0.8, 1.2, N)), 10, 8, quality)) == [25, 80, 81]


@pytest.mark.parametrize("seed", range(3))
def test_wide_spacing_and_gaps_are_no_damage(seed):
    rng = np.random.default_rng(50 + seed)
    spacing = rng.uniform(0.7, 1.3, N)
    start = int(rng.integers(20, 60))
    spacing[start : start + 15] *= 2
    spacing[start + 30] += 6
    assert damaged_in(sampled_strip(np.cumsum(spacing), 10, seed)) == []


def test_a_third_of_all_sections_damaged_here_and_there():
    rng = np.random.default_rng(4)
    quality, damaged = np.ones(N), np.sort(rng.choice(np.arange(2, N - 2), N // 3, replace=False))
    quality[damaged] = rng.uniform(0.4, 0.6, len(damaged))
    named = damaged_in(sampled_strip(np.cumsum(rng.uniform(0.8, 1.2, N)), 10, 4, quality))
    assert set(named) <= set(damaged) and len(named) > 0.7 * len(damaged)


def test_a_witness_that_nobody_trusts_says_nothing():
    """Pairs of such sections would show another one as damaged."""
    strip, weights = sampled_strip(np.arange(40.0), 6, 1), np.ones(40)
    liars = [17, 18, 19, 21, 22, 23]
    weights[liars] = 0
    for i in liars:
        strip[min(i, 20), abs(i - 20)] *= 0.2
    assert damaged_sections(strip, weights) == []
