"""Faults found from images alone: their similarity, the positions estimated from it, and what these show."""

from __future__ import annotations

import numpy as np
import pytest

from gpustitch.demo.series.simulate import SimulatedSeries, SimulationOptions, simulate_series
from gpustitch.sections.faults.find import FAULT_TYPES, SectionFault, find_faults
from gpustitch.sections.positions.estimate import estimate_positions
from gpustitch.sections.similarity.banded import BandedCorrelation
from tests.sections.faults.fault_counts import FaultCounts

pytestmark = pytest.mark.long

# Sections of a series.
N = 200
FAULTS = {
    "duplicates": 3,
    "near_duplicates": 4,
    "swaps": 5,
    "block_swaps": 2,
    "damaged": 7,
    "constant": 1,
    "gaps": 3,
}
SETTINGS = {
    "even": {"spacing_cv": 0.1, "brightness_cv": 0.1},
    "uneven": {"spacing_cv": 0.3, "brightness_cv": 0.1},
    "half of it noise": {"spacing_cv": 0.2, "counts_per_electron": 150.0, "read_noise": 200.0},
    "many gaps": {"spacing_cv": 0.2, "gaps": 10, "gap_sections": (1, 6)},
}


def faults_of(series: SimulatedSeries) -> list[SectionFault]:
    """Faults found from the planes alone."""
    compared = BandedCorrelation(series.shape[1:], 10)
    strips = [compared.push(planes) for planes in series.chunks(16)]
    half_strip = np.concatenate([*strips, compared.finish()])
    return find_faults(half_strip, estimate_positions(half_strip).positions)


def test_recall_and_false_alarms_from_images() -> None:
    """Of all series at least 95 % of duplicates, swaps and damage, and 85 % of gaps.

    In each at most 1 % of the sections wrongly; as beside a gap at most 5 % in each, and 1.5 % in all.
    """
    total = FaultCounts()
    for seed, name in zip((1006, 1010, 1014, 1019), SETTINGS, strict=True):
        given = {"number": N, "contrast_cv": 0.1, "seed": seed, **FAULTS, **SETTINGS[name]}
        series, counts = simulate_series(SimulationOptions(**given)), FaultCounts()  # type: ignore[arg-type]
        faults = faults_of(series)
        for each in (counts, total):
            each.add(series, faults)
        assert max(counts.wrong[kind] for kind in FAULT_TYPES if kind != "missing") <= 0.01 * N, name
        assert counts.wrong["missing"] <= 0.05 * N, name
    assert total.wrong["missing"] <= 0.015 * len(SETTINGS) * N
    for kind in ("damaged", "duplicate", "swapped"):
        assert total.true[kind] == 28 and total.found[kind] >= 0.95 * total.true[kind], kind
    assert total.found["constant"] == total.true["constant"]
    assert total.true["missing"] == 19 and total.found["missing"] >= 0.85 * total.true["missing"]
