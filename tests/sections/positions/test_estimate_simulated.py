"""Positions of simulated series against the truth and Fiji's z-spacing; their intervals; when they come to rest."""

from __future__ import annotations

import functools

import numpy as np
import pytest

from gpustitch.demo.series.simulate import SimulationOptions, simulate_series
from gpustitch.sections.model import EstimateOptions
from gpustitch.sections.positions.estimate import estimate_positions
from gpustitch.sections.positions.waves import LEAST_PART, LONG, held_waves
from gpustitch.sections.similarity.banded import banded_correlation
from tests.sections.positions.zspacing_golden import rms_error

# One worker makes and estimates each series, for all tests.
pytestmark = pytest.mark.xdist_group("estimate-simulated")

# Nothing was calibrated with these seeds.
SEEDS = range(7000, 7003)
# The plugin's estimate takes eight times as long as ours.
PLUGIN_SEEDS = SEEDS[::2]
SERIES = {
    "usual": {},
    "without noise": {"read_noise": 5.0, "counts_per_electron": 0.5},
    "much noise": {"read_noise": 400.0, "counts_per_electron": 60.0},
    "short memory": {"correlation_z": 5.0},
    "uneven": {"spacing_cv": 0.5},
    "coarse": {"correlation_px": 8.0},
    "fine": {"correlation_px": 1.5},
    "gaps": {"gaps": 5},
    "swaps": {"swaps": 6, "block_swaps": 2},
    "duplicates": {"duplicates": 4, "near_duplicates": 4},
    "damage and all": {"gaps": 2, "duplicates": 1, "near_duplicates": 2, "swaps": 3, "block_swaps": 1, "damaged": 3},
}


@functools.cache
def simulated(name, seed):
    changes = {"number": 100, "rows": 80, "columns": 80, "spacing_cv": 0.2} | SERIES.get(name, {})
    if name == "changing texture":
        changes["correlation_change"] = 0.4
    series = simulate_series(SimulationOptions(seed=seed, **changes))
    strip = banded_correlation(series.planes(), 10)
    return series, strip, estimate_positions(strip)


def share_inside(series, result):
    """Part of the sound sections whose 90 % interval holds the truth."""
    slope, offset = np.polyfit(result.positions, series.positions, 1)
    error = np.abs(slope * result.positions + offset - series.positions)
    sound = [i for i in range(len(series)) if i not in series.faulty("damaged")]
    return np.mean((error < 1.645 * slope * result.uncertainty)[sound])


@pytest.mark.parametrize("name", SERIES)
def test_error_is_no_greater_than_the_plugin(name):
    ratios = []
    for seed in PLUGIN_SEEDS:
        series, strip, ours = simulated(name, seed)
        plugin = estimate_positions(strip, EstimateOptions(compat=True))
        ratios.append(rms_error(ours.positions, series.positions) / rms_error(plugin.positions, series.positions))
    assert max(ratios) < 1, ratios
    assert np.mean(ratios) < 0.75, ratios


def test_intervals_cover_the_truth():
    """90 % intervals. Errors of a series go together, so that the share varies a lot from one series to the next."""
    shares = {name: np.mean([share_inside(*simulated(name, s)[::2]) for s in SEEDS]) for name in SERIES}
    assert min(shares.values()) > 0.75, shares
    assert 0.85 < np.mean(list(shares.values())) < 0.98, shares


@pytest.mark.parametrize("name", SERIES)
def test_series_come_to_rest(name):
    for seed in SEEDS:
        result = simulated(name, seed)[2]
        assert result.largest_move < 1e-4
        assert result.iterations < 100


def test_a_texture_that_changes_along_the_series_widens_the_intervals():
    """Similarities cannot tell it from sections that grow thicker: positions are wrong, but said to be uncertain."""
    for seed in SEEDS:
        series, _, result = simulated("changing texture", seed)
        assert rms_error(result.positions, series.positions) > 1
        assert np.median(result.uncertainty) > 4 * np.median(simulated("usual", seed)[2].uncertainty)
        assert share_inside(series, result) > 0.8


def test_waves_without_evidence_are_held_back_and_others_stay():
    rng = np.random.default_rng(5)
    spacing = rng.normal(1, 0.1, 199)
    truth = np.concatenate([[0], np.cumsum(spacing)])
    wave = 2 * np.sin(np.arange(200) * 2 * np.pi / 80)
    order = np.arange(200)
    certain = held_waves(truth + wave, order, lambda columns: 1e-6 * columns)
    np.testing.assert_allclose(certain.positions, truth + wave, atol=0.01)
    assert certain.doubtful.max() > 1
    vague = held_waves(truth, order, lambda columns: 1e3 * columns)
    assert rms_error(vague.positions, np.arange(200)) < 0.5 * rms_error(truth, np.arange(200))
    assert (vague.less > 0).all()
    assert not vague.doubtful.any()


def test_waves_are_stated_to_err_as_samples_of_planes_do():
    rng = np.random.default_rng(6)
    truth = np.concatenate([[0], np.cumsum(rng.uniform(0.5, 1.5, 199))])
    order = np.arange(200)

    def held(part, of_prior=None):
        return held_waves(truth, order, lambda columns: 1e-4 * columns, of_prior, part)

    large = held(lambda columns: 9e-4 * (columns**2).sum(axis=0))
    # Held or not, the error of waves that are certain is stated in full.
    assert (large.more > 0).all()
    np.testing.assert_allclose(large.less, 0, atol=0.05 * large.more.max())
    count = 2 * 200 // 10
    assert large.stated.sum() == pytest.approx(1e-4 * count)
    assert large.more.sum() == pytest.approx(8e-4 * count) and large.shorter == pytest.approx(9)
    none = held(lambda columns: 0 * columns[0])
    assert none.shorter == pytest.approx(LEAST_PART**2)
    short = count - (2 * 200 // LONG - 1)  # those of more than 20 sections err no less
    assert none.more.sum() == pytest.approx((LEAST_PART**2 - 1) * 1e-4 * short, rel=1e-2)
    # What is known without similarities errs by no more than it says.
    known = held(lambda columns: 9e-4 * (columns**2).sum(axis=0), lambda columns: 1e-4 * columns.T @ columns)
    np.testing.assert_allclose(known.more, 0, atol=1e-12)
    plain = held(None)
    assert not plain.more.any() and plain.shorter == 1
    assert not held_waves(truth[:5], order[:5], lambda columns: 1e-4 * columns).more.any()
