"""Faults found from images alone: their similarity, the positions estimated from it, and what these show."""

from __future__ import annotations

import numpy as np

from gpustitch.ops.section_faults import find_faults
from gpustitch.ops.sections import SectionOptions, simulate_sections
from gpustitch.ops.similarity import BandedCorrelation
from gpustitch.ops.zspacing import estimate_positions

FAULT_KINDS = ("constant", "damaged", "duplicate", "missing", "swapped")
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


def counts_of(seed: int, **changes: object) -> tuple[dict[str, tuple[int, int]], dict[str, int]]:
    """(found, true) faults of each kind, and the sections that each kind was wrongly said of."""
    given = {"number": 200, "contrast_cv": 0.1, "seed": seed, **FAULTS, **changes}
    series = simulate_sections(SectionOptions(**given))  # type: ignore[arg-type]
    compared = BandedCorrelation(series.shape[1:], 10)
    strips = [compared.push(planes) for planes in series.chunks(16)]
    half_strip = np.concatenate([*strips, compared.finish()])
    faults = find_faults(half_strip, estimate_positions(half_strip).positions)
    recall, wrong = {}, {}
    for kind in FAULT_KINDS:
        named = {i for fault in faults if fault.kind == kind for i in fault.sections}
        true = [set(fault.sections) for fault in series.faults if fault.kind == kind]
        recall[kind] = (sum(sections <= named for sections in true), len(true))
        wrong[kind] = len(named - series.faulty(kind))
    return recall, wrong


def test_recall_and_false_alarms_from_images() -> None:
    """Of all series at least 95 % of duplicates, swaps and damage; in each at most 1 % of the sections wrongly."""
    hits, truth = dict.fromkeys(FAULT_KINDS, 0), dict.fromkeys(FAULT_KINDS, 0)
    for seed, name in zip((1006, 1010, 1014, 1019), SETTINGS, strict=True):
        recall, wrong = counts_of(seed, **SETTINGS[name])
        for kind, (found, true) in recall.items():
            hits[kind] += found
            truth[kind] += true
        assert max(wrong[kind] for kind in FAULT_KINDS if kind != "missing") <= 2, name
        assert wrong["missing"] <= 6, name
    for kind in ("damaged", "duplicate", "swapped"):
        assert truth[kind] == 28 and hits[kind] >= 0.95 * truth[kind], kind
    assert hits["constant"] == truth["constant"]
    assert truth["missing"] == 19 and hits["missing"] >= 0.85 * truth["missing"]
