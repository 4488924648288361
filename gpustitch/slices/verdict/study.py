"""What series of a study say of each other: slices that each have a series of their own, first files that were lost."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from gpustitch.slices.dicom.series import alike
from gpustitch.slices.model import Code, Note, SliceSeries, SliceStack, SpacingClass
from gpustitch.slices.verdict.text import plural

# Fewer single slices are not taken for a series that fell apart.
_LEAST_SCATTERED = 3
# First files that may be lost of a series of fewer.
_MOST_LOST = 10
_STUDY = "StudyInstanceUID"


def with_study(stacks: Sequence[SliceStack]) -> list[SliceStack]:
    """The verdicts, with notes of what only the series of a study together tell."""
    return _with_first_numbers(_with_scattered(list(stacks)))


def _with_scattered(stacks: list[SliceStack]) -> list[SliceStack]:
    """Single slices that differ in nothing but their SeriesInstanceUID are told to be merged."""
    single = [
        k for k, stack in enumerate(stacks)
        if stack.fit.spacing_class is SpacingClass.SINGLE and not stack.series.role and _is_dicom(stack)
    ]  # fmt: skip
    groups: list[list[int]] = []
    for k in single:
        own = next((group for group in groups if alike(stacks[group[0]].series, stacks[k].series)), None)
        if own is None:
            groups.append([k])
        else:
            own.append(k)
    for group in (some for some in groups if len(some) >= _LEAST_SCATTERED):
        text = f"{len(group)} series of one slice each agree in size, pixel spacing, orientation and frame of reference"
        note = Note(Code.SERIES_SCATTERED, f"{text}; `merge` joins them")
        for k in group:
            advice = f"Join the {len(group)} series of one slice each (`merge`)."
            stacks[k] = dataclasses.replace(stacks[k], notes=(note, *stacks[k].notes), advice=advice)
    return stacks


def _is_dicom(stack: SliceStack) -> bool:
    return stack.series.source_format == "dicom"


def _with_first_numbers(stacks: list[SliceStack]) -> list[SliceStack]:
    """A series whose instance numbers begin late, where those of others of its study begin at 1, may be cut short."""
    numbers = [_numbers(stack.series) for stack in stacks]
    for k, stack in enumerate(stacks):
        own = numbers[k]
        # Numbers that begin far above 1 count something else, derived series among them.
        if len(own) < 2 or not 1 < min(own) <= max(len(own), _MOST_LOST) + 1 or stack.series.role:
            continue
        others = [numbers[i] for i, other in enumerate(stacks) if i != k and numbers[i] and _is_of_study(stack, other)]
        begin = min(own)
        # Numbers may go on from series to series.
        goes_on = begin - 1 in {max(some) for some in others}
        if goes_on or not any(min(some) == 1 and len(some) > 1 for some in others):
            continue
        text = (
            f"InstanceNumber begins at {begin}, in other series of the study at 1: "
            f"{plural(begin - 1, 'file')} before the first slice may be lost"
        )
        stacks[k] = dataclasses.replace(stack, notes=(*stack.notes, Note(Code.FIRST_FILES_LOST, text)))
    return stacks


def _numbers(series: SliceSeries) -> frozenset[int]:
    """Instance numbers of a SeriesInstanceUID, also of what was taken for another series; none of files of frames."""
    if series.source_format != "dicom" or _paths(series) < len(series.headers):
        return frozenset()
    own = {header.number for header in series.headers}
    return frozenset() if None in own else frozenset(own | series.numbers_apart)  # type: ignore[arg-type]


def _paths(series: SliceSeries) -> int:
    return len(set[Path](header.path for header in series.headers))


def _is_of_study(one: SliceStack, other: SliceStack) -> bool:
    study = one.series.key.get(_STUDY)
    return study is not None and other.series.key.get(_STUDY) == study and not other.series.role
