"""Series of several volumes: what tells them apart, the verdict on one of them, and series parted as asked."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from gpustitch.model.arrays import Integers
from gpustitch.slices.model import Code, Note, Parting, SliceSeries, SliceStack, SpacingClass
from gpustitch.slices.parts.choice import even_partings, partings, within
from gpustitch.slices.parts.lying import Lying, members_of
from gpustitch.slices.verdict.places import Places, instance_numbers
from gpustitch.slices.verdict.text import listed, mm, plural
from gpustitch.slices.verdict.words import ANY_SPLIT, MEASURED, NO_SPLIT, ONE_SPLIT, fitted, spacing_tag

Judge = Callable[[SliceSeries], SliceStack]

_SEVERAL = {Code.MULTI_VOLUME, Code.SLICES_CONFLICT}
_UNEVEN = (SpacingClass.IRREGULAR, SpacingClass.VARIABLE)
# Planes that an even volume may hold for each slice: beyond, nearly all would be made up, or the spacing is no slice's.
_MOST_PLANES = 8
# Volumes whose planes are as many but for this part are alike: one may lack a slice at an end.
_SAME_SIZE = 0.1


def with_parts(
    stack: SliceStack,
    places: Places,
    tolerance: float,
    judge: Judge,
    *,
    asked: Sequence[str] = (),
    keeps: bool = False,
) -> SliceStack:
    """The verdict on a series that may hold several volumes: with what tells them apart, and on one of them alone.

    Parameters
    ----------
    stack
        The verdict on all slices together.
    places
        Where all of them are, also those that were left out.
    tolerance
        Of the fit, a part of the spacing.
    judge
        Judges some of the slices.
    asked
        By what the series is parted already.
    keeps
        Whether it was said which of several slices at one place is kept: then those stay.
    """
    if places.source not in MEASURED or len(stack.order) < 2:
        return stack
    is_several = any(note.code in _SEVERAL for note in stack.notes)
    if not is_several:
        # Copies that were left out are no volumes.
        places = _chosen(places, stack.order)
    lying = _lying(stack.series, places, tolerance)
    if lying.is_doubled and not is_several:
        return stack
    if not is_several and stack.fit.spacing_class in (SpacingClass.UNIFORM, SpacingClass.MISSING):
        return _perhaps_several(stack, lying, _numbered(even_partings(lying, stack.fit), places, asked))
    found = _numbered(partings(lying, stack.fit), places, asked)
    if found and keeps:
        return _told(dataclasses.replace(stack, partings=found), _split_text(found[0]))
    if found:
        return _one_of(stack, found, judge)
    if is_several:
        return _told(stack, NO_SPLIT)
    return _not_too_uneven(stack)


def parted(series: SliceSeries, places: Places, tolerance: float, names: Sequence[str]) -> list[SliceSeries]:
    """The series parted by names of ``STRUCTURAL``, one after another; as it is, where they tell nothing apart."""
    lying = _lying(series, places, tolerance)
    labels = np.zeros(len(places.kept), np.int64)
    for name in names:
        finer = within(lying, labels, name)
        labels = labels if finer is None else finer
    groups = members_of(lying, labels)
    if len(groups) < 2:
        return [series]
    if lying.numbers is not None:
        numbers = lying.numbers
        groups.sort(key=lambda members: int(numbers[members].min()))
    every = {header.number for header in series.headers if header.number is not None}
    beside = _beside(series, [places.kept[members].tolist() for members in groups])
    made = []
    for k, members in enumerate(beside, start=1):
        one = part_of(series, members)
        own = {header.number for header in one.headers}
        made.append(
            dataclasses.replace(
                one,
                name=f"{series.name}, {' and '.join(names)} {k} of {len(groups)}",
                key={**series.key, " and ".join(names): str(k)},
                numbers_apart=series.numbers_apart | (every - own),
            )
        )
    return made


def _beside(series: SliceSeries, groups: Sequence[list[int]]) -> list[list[int]]:
    """The groups with all other slices: copies go with their originals, those without a place with the first group."""
    of: dict[tuple[str, int], int] = {}
    for k, members in enumerate(groups):
        for i in members:
            of.setdefault((series.headers[i].instance, series.headers[i].frame), k)
    placed = {i for members in groups for i in members}
    whole = [list(members) for members in groups]
    for i, header in enumerate(series.headers):
        if i not in placed:
            whole[of.get((header.instance, header.frame), 0) if header.instance else 0].append(i)
    return [sorted(members) for members in whole]


def part_of(series: SliceSeries, members: Sequence[int]) -> SliceSeries:
    """Some slices of a series."""
    tags = {name: tuple(values[i] for i in members) for name, values in series.tags.items()}
    return dataclasses.replace(series, headers=tuple(series.headers[i] for i in members), tags=tags)


def _chosen(places: Places, order: Integers) -> Places:
    rows = np.flatnonzero(np.isin(places.kept, order))
    digits = None if places.digits_mm is None else places.digits_mm[rows]
    return dataclasses.replace(places, kept=places.kept[rows], along_mm=places.along_mm[rows], digits_mm=digits)


def _lying(series: SliceSeries, places: Places, tolerance: float) -> Lying:
    """What is needed of a series to see whether it is made of several volumes."""
    headers = [series.headers[i] for i in places.kept]
    stated = spacing_tag(headers)
    return Lying(
        places.along_mm,
        places.rounding_mm,
        instance_numbers(headers),
        tolerance,
        None if stated is None else abs(stated),
        {name: [values[i] for i in places.kept] for name, values in series.tags.items()},
        places.digits_mm,
    )


def _numbered(found: Sequence[Parting], places: Places, asked: Sequence[str]) -> tuple[Parting, ...]:
    """Members by their numbers in the series, and names after those it is parted by already."""
    return tuple(
        Parting(
            (*asked, *one.names),
            tuple(dataclasses.replace(part, members=places.kept[part.members]) for part in one.parts),
        )
        for one in found
    )


def _one_of(stack: SliceStack, found: tuple[Parting, ...], judge: Judge) -> SliceStack:
    """The verdict on the largest volume of the best parting, the first of several as large."""
    best = found[0]
    sizes = [len(part.members) for part in best.parts]
    main = sizes.index(max(sizes))
    members = sorted(best.parts[main].members.tolist())
    one = judge(part_of(stack.series, members))
    split = _split_text(best)
    if any(note.code in _SEVERAL for note in one.notes):
        return _told(stack, split)
    is_even = any(note.code is Code.MULTI_VOLUME for note in stack.notes)
    coarse = [note for note in stack.notes if note.code is Code.POSITIONS_ROUNDED and is_even]
    notes = [_several(stack, best, "the first" if main == 0 else "the largest"), *coarse, *one.notes]
    use = f"use {fitted(one.fit)} for all slices." if one.fit.spacing_class is SpacingClass.UNIFORM else one.advice
    advice = f"Tell the volumes apart ({split}) and {use}"
    if not _are_alike(best):
        text = f"the volumes are not alike, {_extents(best)}: say which is meant"
        notes = [note for note in notes if note.code is not Code.SPACING_TAG_MISMATCH]
        notes.insert(1, Note(Code.VOLUMES_DIFFER, text))
        advice = f"Tell the volumes apart ({split}): {_sizes(best)}."
    return dataclasses.replace(
        one,
        series=stack.series,
        order=np.asarray(members, np.int64)[one.order],
        notes=tuple(notes),
        evidence=(*one.evidence, *_evidence(found)),
        others_mm=stack.others_mm,
        advice=advice,
        partings=found,
    )


def _several(stack: SliceStack, best: Parting, taken: str) -> Note:
    """How volumes lie in one series, which was taken, and what tells them apart."""
    n = len(best.parts)
    if any(note.code is Code.MULTI_VOLUME for note in stack.notes):
        how = f"{n} different slices at each of {len(stack.order)} places: {n} volumes in one series"
    else:
        how = f"{n} volumes overlap in one series: {_sizes(best)}"
    return Note(Code.MULTI_VOLUME, f"{how}; {taken} was taken ({_split_text(best)} tells them apart)")


def _are_alike(parting: Parting) -> bool:
    """Whether volumes have one spacing, as many slices, and lie mostly beside each other."""
    first = parting.parts[0]
    for part in parting.parts[1:]:
        beside = min(part.stop_mm, first.stop_mm) - max(part.start_mm, first.start_mm)
        if (
            abs(part.fit.n_output - first.fit.n_output) > _SAME_SIZE * first.fit.n_output
            or not _is_near(part.fit.spacing_mm, first.fit.spacing_mm, first.fit.uncertainty_mm)
            or beside < (first.stop_mm - first.start_mm) / 2
        ):
            return False
    return True


def _is_near(one: float, other: float, error: float) -> bool:
    slack = 2 * error if math.isfinite(error) else 0.0
    return abs(one - other) <= 0.01 * other + slack


def _split_text(parting: Parting) -> str:
    return ONE_SPLIT.format(",".join(parting.names))


def _sizes(parting: Parting) -> str:
    """Slices and spacing of the volumes, those alike together."""
    parts = Counter(f"{plural(len(part.members), 'slice')} at {part.fit.spacing_mm:.4g} mm" for part in parting.parts)
    return listed([f"{n} x {text}" if n > 1 else text for text, n in parts.items()])


def _extents(parting: Parting) -> str:
    return listed([f"{part.start_mm:.6g} to {part.stop_mm:.6g} mm" for part in parting.parts])


def _evidence(found: Sequence[Parting]) -> tuple[str, ...]:
    """How the volumes lie, and what else would tell them apart."""
    best = found[0]
    said = [f"{_split_text(best)} makes {_sizes(best)}, each {best.parts[0].fit.spacing_class}"]
    said += [f"so does {_split_text(one)}: {plural(len(one.parts), 'volume')}" for one in found[1:]]
    return tuple(said)


def _told(stack: SliceStack, split: str) -> SliceStack:
    """The verdict with what tells volumes apart."""
    if split == NO_SPLIT:
        advice = stack.advice.replace(f"Split the series ({ANY_SPLIT}), or k", "No tag tells the slices apart: k")
        advice = advice.replace(f"Tell the volumes apart ({ANY_SPLIT}) and", "No tag tells the volumes apart:")
    else:
        advice = stack.advice.replace(ANY_SPLIT, split)
    notes = tuple(dataclasses.replace(note, text=note.text.replace(ANY_SPLIT, split)) for note in stack.notes)
    return dataclasses.replace(stack, notes=notes, advice=advice)


def _perhaps_several(stack: SliceStack, lying: Lying, found: tuple[Parting, ...]) -> SliceStack:
    """A warning where a tag parts an even series into even volumes of wider spacing."""
    if not found:
        return stack
    best = found[0]
    spacing = best.parts[0].fit.spacing_mm
    split = _split_text(best)
    makes = f"{split} makes {len(best.parts)} even volumes of it: {_sizes(best)}"
    if lying.states(spacing):
        makes += f"; SpacingBetweenSlices is {mm(spacing)} mm too"
        advice = f"Part the series with {split}, unless it is known to be one volume of {fitted(stack.fit)}."
    else:
        advice = f"{stack.advice} If it is of several volumes, part it with {split}: {_sizes(best)}."
    note = Note(Code.PERHAPS_SEVERAL, f"it is evenly spaced, but {makes}")
    return dataclasses.replace(stack, notes=(note, *stack.notes), advice=advice, partings=found)


def _not_too_uneven(stack: SliceStack) -> SliceStack:
    """A series whose even volume would hold nearly nothing that was acquired has no spacing."""
    fit, n = stack.fit, len(stack.order)
    if fit.spacing_class not in _UNEVEN or fit.n_output <= _MOST_PLANES * n:
        return stack
    text = (
        f"slices {mm(fit.spacing_mm)} mm apart would make {fit.n_output} planes of {n} slices: slices of several "
        "volumes, or positions that are wrong"
    )
    advice = "Part the series, or give the distance of the planes (gpustitch resample `spacing_mm`)."
    unknown = dataclasses.replace(fit, spacing_mm=math.nan, uncertainty_mm=math.nan, n_output=0)
    return dataclasses.replace(
        stack,
        fit=unknown,
        spacing_mm=(None, *stack.spacing_mm[1:]),
        uncertainty_mm=(None, None, None),
        notes=(Note(Code.TOO_UNEVEN, text), *stack.notes),
        advice=advice,
    )
