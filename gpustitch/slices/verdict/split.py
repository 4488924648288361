"""Which tag tells the volumes of one DICOM series apart."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from gpustitch.errors import GpustitchError
from gpustitch.slices.dicom.frames import SPLIT_TAGS
from gpustitch.slices.dicom.headers import read_dicom
from gpustitch.slices.dicom.pixels import pixels_equal
from gpustitch.slices.model import Code, SliceHeader, SliceSeries, SliceStack
from gpustitch.slices.verdict.judge import SPLITS, JudgeOptions, judge_series
from gpustitch.slices.verdict.words import ANY_SPLIT, ONE_SPLIT

_SEVERAL = {Code.MULTI_VOLUME, Code.SLICES_CONFLICT}


def with_split(stack: SliceStack, options: JudgeOptions) -> SliceStack:
    """The verdict with the one ``split_by`` that leaves one slice at each place, if there is one.

    The headers are read once more, of series with several slices at one place only.
    """
    if stack.series.source_format != "dicom" or not _is_several(stack):
        return stack
    name = _helpful(stack.series, options)
    if name is None:
        return stack
    said = ONE_SPLIT.format(name)
    notes = tuple(dataclasses.replace(note, text=note.text.replace(ANY_SPLIT, said)) for note in stack.notes)
    return dataclasses.replace(stack, notes=notes, advice=stack.advice.replace(ANY_SPLIT, said))


def _helpful(series: SliceSeries, options: JudgeOptions) -> str | None:
    values = _values(series.headers)
    for option, split in SPLITS.items():
        if option in options.split_by or split not in SPLIT_TAGS:
            continue
        column = list(SPLIT_TAGS).index(split)
        groups: dict[str, list[SliceHeader]] = {}
        for header in series.headers:
            value = values.get((header.path, header.frame), ("",) * len(SPLIT_TAGS))[column]
            groups.setdefault(value, []).append(header)
        if len(groups) > 1 and all(_is_one(series, some, options) for some in groups.values()):
            return option
    return None


def _values(headers: Sequence[SliceHeader]) -> dict[tuple[Path, int], tuple[str, ...]]:
    """Values of all splits in ``SPLIT_TAGS`` of each slice, by file and frame."""
    found = {}
    for path in dict.fromkeys(header.path for header in headers):
        try:
            slices = read_dicom(path, tuple(SPLIT_TAGS)).slices
        except GpustitchError:
            continue
        found.update({(path, one.header.frame): one.parts for one in slices})
    return found


def _is_one(series: SliceSeries, headers: Sequence[SliceHeader], options: JudgeOptions) -> bool:
    """Whether slices are a volume; each by itself they would be none."""
    part = dataclasses.replace(series, headers=tuple(headers), notes=())
    return len(headers) > 1 and not _is_several(judge_series(part, options, pixels_equal))


def _is_several(stack: SliceStack) -> bool:
    return any(note.code in _SEVERAL for note in stack.notes)
