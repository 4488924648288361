"""What the bench of spoilt section series measures: its figures do not drift, and its scores are what they say."""

from __future__ import annotations

import numpy as np
import pytest

from bench import bench_zspacing_cases as cases
from bench.section_cases import CASES, MAX_LAG, N, Series

pytestmark = pytest.mark.long

# Error, plugin's error, section numbers' error, cover, half an interval, of one series each.
KNOWN = {
    "3 off place": (0.2195, 4.121, 1.21946, 0.867, 0.330),
    "6 run of damaged": (0.489, 0.432, 1.21946, 0.653, 0.414),
}


@pytest.mark.parametrize("case", KNOWN)
def test_figures_do_not_drift(case):
    """Whoever changes them measures all cases again, and says so."""
    found = cases.one(case, 0)
    error, plugin, nothing, cover, half = KNOWN[case]
    assert found.error == pytest.approx(error, rel=0.05) and found.nothing == pytest.approx(nothing, rel=1e-3)
    assert found.plugin == pytest.approx(plugin, rel=0.1)
    assert found.cover == pytest.approx(cover, abs=0.03) and found.half_interval == pytest.approx(half, rel=0.05)
    assert found.false_faults == 0 and found.is_in_order


def test_scores_heed_neither_offset_nor_scale_nor_what_lies_between_pieces():
    rng = np.random.default_rng(1)
    truth, pieces = np.arange(20.0), np.repeat([0, 1], 10)
    error = 0.1 * rng.standard_normal(20)
    moved = 3 * (truth + error) - 7
    planes = np.zeros((20, 1, 1), np.float32)
    whole, factor = cases.apart(moved, Series(planes, truth, 0 * pieces))
    assert cases.rms(whole) < 0.15 and factor == pytest.approx(1 / 3, rel=0.05)
    apart, _ = cases.apart(moved + 50 * pieces, Series(planes, truth, pieces))
    assert cases.rms(apart) < 0.15


def test_rows_count_series_that_are_better():
    made = [cases.Figures(e, 0.5, 1.0, c, 1.5 * e, 2, True) for e, c in ((0.4, 0.95), (0.7, 0.4), (1.2, 0.9))]
    row = cases.row("some", made)
    assert (row["better than nothing"], row["than plugin"], row["below half"], row["in order"]) == (2, 1, 1, 3)
    assert row["cover"] == 0.75 and row["half/error"] == 1.5 and row["false faults"] == 2


@pytest.mark.parametrize("case", ["8 out of order", "7 gaps"])
def test_series_hold_what_their_case_says(case):
    made = CASES[case](3)
    steps = np.diff(made.positions)
    assert made.planes.shape[0] == N and len(made.planes) == len(made.positions)
    if case == "7 gaps":
        assert np.flatnonzero(steps > MAX_LAG).tolist() == np.flatnonzero(np.diff(made.pieces)).tolist()
        assert made.pieces[-1] == 2
    else:
        assert (steps < 0).sum() > 5
