"""Faults of sections in words."""

from __future__ import annotations

from collections.abc import Sequence

from gpustitch.sections.faults.find import SectionFault

# Types that are told from distances, by one curve of similarity, and the part of all sections that is too much of them.
_BY_DISTANCE = ("duplicate", "missing", "swapped")
_MANY = 0.05


def fault_lines(faults: Sequence[SectionFault]) -> list[str]:
    """Faults for people: a line for each type, with the confidence of each."""
    lines = []
    for fault_type in sorted({fault.fault_type for fault in faults}):
        named = ", ".join(_named(fault) for fault in faults if fault.fault_type == fault_type)
        lines.append(f"{fault_type}: {named}")
    return lines


def missing_text(fault: SectionFault) -> str:
    """How many sections are missing: ``2``, or ``at least 7`` where the range does not tell."""
    return f"at least {fault.missing}" if fault.at_least else str(fault.missing)


def doubt_about(faults: Sequence[SectionFault], n_sections: int) -> str:
    """A sentence if so many sections have faults that the model is more likely at fault; else empty."""
    named = {i for fault in faults if fault.fault_type in _BY_DISTANCE for i in fault.sections}
    if len(named) <= _MANY * n_sections:
        return ""
    return (
        f"{len(named)} of {n_sections} sections are named as {', '.join(_BY_DISTANCE[:-1])} or {_BY_DISTANCE[-1]}. "
        "Where spacing is very uneven, or similarity does not follow one curve of distance, such faults are not real"
    )


def open_gaps(faults: Sequence[SectionFault]) -> list[SectionFault]:
    """Gaps of which only a least width is known: positions on both sides have an error of their own beside these."""
    return [fault for fault in faults if fault.fault_type == "missing" and fault.at_least]


def gap_doubt(faults: Sequence[SectionFault]) -> str:
    """A sentence where the range does not tell how wide gaps are; else empty."""
    gaps = open_gaps(faults)
    if not gaps:
        return ""
    named = ", ".join(f"{'|'.join(map(str, gap.sections))} (at least {gap.missing + 1} sections)" for gap in gaps)
    return (
        f"the range does not tell how wide gaps are: {named}. Standard errors hold between sections on the same side "
        "of them; across, distances may be far larger"
    )


def gap_record(faults: Sequence[SectionFault]) -> dict[str, object]:
    """The same for programs: sections beside each such gap, and its least width in sections."""
    gaps = [{"sections": list(gap.sections), "at_least_sections": gap.missing + 1} for gap in open_gaps(faults)]
    return {"open_gaps": gaps}


def _named(fault: SectionFault) -> str:
    """One fault: ``7|8`` lacks sections between, ``7-9`` is in wrong order, ``7=8`` is one place, ``7`` one section."""
    joined = {"missing": "|", "swapped": "-", "duplicate": "="}.get(fault.fault_type, "")
    ends = (fault.sections[0], fault.sections[-1]) if fault.fault_type == "swapped" else fault.sections
    text = joined.join(str(i) for i in ends)
    details = [f"{missing_text(fault)} missing"] if fault.missing else []
    if fault.at_least:
        details.append("wider than the range tells")
    return f"{text} ({', '.join([*details, f'{100 * fault.confidence:.0f} %'])})"
