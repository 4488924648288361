"""Lines and bands through points."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpustitch.slices.fit.lines import band_slopes, least_squares_line, narrowest_band


@given(st.lists(st.floats(-10, 10), min_size=2, max_size=30), st.integers(0, 99))
def test_the_narrowest_band_is_the_narrowest(values: list[float], seed: int) -> None:
    rng = np.random.default_rng(seed)
    y = np.array(values)
    x = np.cumsum(rng.uniform(0.1, 2, len(y)))
    slope, half = narrowest_band(x, y)
    rest = y - slope * x
    assert rest.max() - rest.min() == pytest.approx(2 * half, abs=1e-9)
    for other in slope + rng.normal(0, 1, 50) * 10.0 ** rng.uniform(-6, 1, 50):
        there = y - other * x
        assert there.max() - there.min() >= 2 * half - 1e-9


def test_slopes_of_a_band_are_its_limits() -> None:
    x, y = np.arange(20.0), np.round(0.37 * np.arange(20))
    low, high = band_slopes(x, y, 0.5)
    assert low <= 0.37 <= high
    for slope, fits in ((low + 1e-9, True), (high - 1e-9, True), (low - 1e-6, False), (high + 1e-6, False)):
        rest = y - slope * x
        assert (rest.max() - rest.min() <= 1 + 1e-12) == fits


def test_least_squares_line_has_the_error_of_its_slope() -> None:
    x = np.arange(200.0)
    rng = np.random.default_rng(1)
    found = [least_squares_line(x, 2 * x + 1 + rng.normal(0, 0.3, 200)) for _ in range(300)]
    slopes = np.array([f[0] for f in found])
    assert slopes.std() == pytest.approx(np.mean([f[2] for f in found]), rel=0.15)
