"""Faults in words."""

from __future__ import annotations

from gpustitch.sections.faults.find import SectionFault
from gpustitch.sections.faults.report import doubt_about, fault_lines, gap_doubt, gap_record


def test_a_line_for_each_type():
    faults = (
        SectionFault("missing", (7, 8), 0.6, 2),
        SectionFault("missing", (19, 20), 0.9, 7, at_least=True),
        SectionFault("swapped", (30, 31, 32), 0.75),
        SectionFault("duplicate", (40, 41), 1.0),
        SectionFault("damaged", (50,), 0.5),
    )
    assert fault_lines(faults) == [
        "damaged: 50 (50 %)",
        "duplicate: 40=41 (100 %)",
        "missing: 7|8 (2 missing, 60 %), 19|20 (at least 7 missing, wider than the range tells, 90 %)",
        "swapped: 30-32 (75 %)",
    ]


def test_very_many_faults_raise_doubt_and_damage_does_not():
    """Images show damage; distances depend on a model."""
    pairs = [SectionFault("duplicate", (i, i + 1), 0.9) for i in range(0, 12, 2)]
    assert doubt_about(pairs, 100).startswith("12 of 100 sections")
    assert doubt_about(pairs[:2], 100) == ""
    assert doubt_about([SectionFault("damaged", (i,), 0.9) for i in range(50)], 100) == ""


def test_gaps_of_unknown_width_are_one_sided():
    gaps = [SectionFault("missing", (7, 8), 0.6, 2), SectionFault("missing", (19, 20), 0.9, 7, at_least=True)]
    assert "19|20 (at least 8 sections)" in gap_doubt(gaps) and "7|8" not in gap_doubt(gaps)
    assert gap_record(gaps) == {"open_gaps": [{"sections": [19, 20], "at_least_sections": 8}]}
    assert gap_doubt(gaps[:1]) == "" and gap_record(gaps[:1]) == {"open_gaps": []}
