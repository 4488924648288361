"""Positions of simulated series with swapped, doubled, damaged and missing sections."""

from __future__ import annotations

import numpy as np
import pytest

from gpustitch.demo.series.simulate import SimulationOptions, simulate_series
from gpustitch.sections.model import EstimateOptions
from gpustitch.sections.positions.estimate import estimate_positions
from gpustitch.sections.similarity.banded import banded_correlation
from tests.sections.positions.zspacing_golden import rms_error

SERIES = {
    "swaps": {"swaps": 6, "block_swaps": 2},
    "duplicates": {"duplicates": 3, "near_duplicates": 3},
    "damage": {"damaged": 8, "constant": 1},
    "all": {
        "swaps": 4,
        "block_swaps": 1,
        "duplicates": 2,
        "near_duplicates": 2,
        "damaged": 5,
        "constant": 1,
        "gaps": 2,
    },
}


@pytest.mark.parametrize("seed", [0, 3])
@pytest.mark.parametrize("kind", SERIES)
def test_sound_sections_are_where_they_should_be_and_in_order(kind, seed):
    options = SimulationOptions(number=120, rows=128, columns=128, seed=seed, spacing_cv=0.2, **SERIES[kind])
    series = simulate_series(options)
    strip = banded_correlation(series.planes(), 10)
    sound = np.ones(120, bool)
    sound[sorted(series.faulty("damaged") | series.faulty("constant"))] = False
    result = estimate_positions(strip)
    plugin = estimate_positions(strip, EstimateOptions(compat=True))
    error = rms_error(result.positions[sound], series.positions[sound])
    assert error < 0.7 * rms_error(plugin.positions[sound], series.positions[sound])
    assert error < 0.4
    order = [i for i in result.order if sound[i]]
    assert (np.diff(series.rank[order]) > 0).all()
    assert set(result.without_votes) == series.faulty("constant")
