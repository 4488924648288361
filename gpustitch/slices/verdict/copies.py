"""Slices of a series that are at one place: copies, several volumes, positions too coarse to tell them apart."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from gpustitch.errors import GpustitchError, ParameterError
from gpustitch.model.arrays import Floats, Integers
from gpustitch.slices.fit.classes import fit_slices
from gpustitch.slices.fit.geometry import same_places
from gpustitch.slices.model import Code, Note, SliceHeader, SliceSeries, SpacingFit
from gpustitch.slices.verdict.places import Places, instance_numbers
from gpustitch.slices.verdict.text import listed, plural, slice_name
from gpustitch.slices.verdict.words import ANY_SPLIT

PixelsEqual = Callable[[SliceHeader, SliceHeader], bool]


@dataclass(frozen=True)
class Single:
    """One slice at each place.

    Attributes
    ----------
    chosen
        int64 (n,): numbers in the arrays of :class:`Places`, along the normal.
    notes
        What was left out and why.
    fit
        The explanation, if it took the instance numbers to tell slices apart.
    dropped
        int64 (m,): numbers in the arrays of slices that were left out as asked, though no other has their pixels.
    """

    chosen: Integers
    notes: tuple[Note, ...] = ()
    fit: SpacingFit | None = None
    dropped: Integers = field(default_factory=lambda: np.empty(0, np.int64))


def without_same_instances(series: SliceSeries) -> tuple[list[int], tuple[Note, ...]]:
    """Numbers of the headers without those that name the same SOP instance, frame, number and position as another.

    Of two, the first is kept, unless its file ends before its pixels do.
    """
    seen: dict[object, int] = {}
    kept: list[int] = []
    copies: list[str] = []
    for i, header in enumerate(series.headers):
        name = (header.instance, header.frame, header.number, header.position_mm, header.slice_location_mm)
        if header.instance and name in seen:
            k = seen[name]
            if header.is_whole and not series.headers[kept[k]].is_whole:
                kept[k], i = i, kept[k]
            copies.append(_pair(series.headers[i], "of", series.headers[kept[k]]))
        else:
            seen[name] = len(kept)
            kept.append(i)
    if not copies:
        return kept, ()
    text = f"{plural(len(copies), 'copy', 'copies')} of the same SOP instance left out: {listed(copies)}"
    return kept, (Note(Code.SAME_INSTANCE, text),)


def one_at_each_place(
    series: SliceSeries,
    places: Places,
    tolerance: float,
    pixels: PixelsEqual | None,
    hint_mm: float | None,
    keep: str | None = None,
) -> Single:
    """Choose one slice at each place.

    Parameters
    ----------
    series
        The slices.
    places
        Where they are.
    tolerance
        Of the fit, a part of the spacing.
    pixels
        Whether the pixels of two slices are equal; None if they cannot be read.
    hint_mm
        |SpacingBetweenSlices|, which decides where two readings are possible.
    keep
        Of slices at one place with different pixels: ``first``, ``last`` or ``none``; None for a conflict.
    """
    headers = [series.headers[i] for i in places.kept]
    numbers = np.array([-1 if header.number is None else header.number for header in headers], np.int64)
    order = np.lexsort((numbers, places.along_mm))
    t = places.along_mm[order]
    place = same_places(t)
    n_places = int(place[-1]) + 1
    if n_places == len(t):
        return Single(order.astype(np.int64))
    groups = np.split(order.astype(np.int64), np.flatnonzero(np.diff(place)) + 1)
    is_even = len({len(group) for group in groups}) == 1
    told = None
    if n_places > 1 and _have_numbers(headers):
        told = _told_by_number(t, order, places, numbers, tolerance)
        if told is not None and (not is_even or _agrees(told.fit, hint_mm, tolerance) or _differ(places, groups)):
            return told
    if is_even and not _is_equal(headers, groups[0], pixels):
        return _one_volume(headers, groups, keep, told)
    single = _without_copies(headers, groups, pixels, keep)
    if is_even and any(note.code in (Code.SLICES_CONFLICT, Code.SLICES_DROPPED) for note in single.notes):
        return _one_volume(headers, groups, keep, told)
    return single


def _told_by_number(t: Floats, order: Integers, places: Places, numbers: Integers, tolerance: float) -> Single | None:
    digits = None if places.digits_mm is None else places.digits_mm[order]
    try:
        fit = fit_slices(t, places.rounding_mm, numbers[order], tolerance, digits)
    except ParameterError:
        return None
    if not fit.by_number:
        return None
    return Single(ordered_by_number(t, order, numbers), (), fit)


def ordered_by_number(t: Floats, order: Integers, numbers: Integers) -> Integers:
    """The slices ``order``, at ascending positions ``t``, in the order of their numbers, up along the normal."""
    by_number = np.argsort(numbers[order], kind="stable")
    if t[by_number[0]] > t[by_number[-1]]:
        by_number = by_number[::-1]
    return order[by_number].astype(np.int64)


def _have_numbers(headers: Sequence[SliceHeader]) -> bool:
    """Whether each slice has an InstanceNumber of its own."""
    numbers = instance_numbers(headers)
    return numbers is not None and len(np.unique(numbers)) == len(numbers)


def _agrees(fit: SpacingFit | None, hint_mm: float | None, tolerance: float) -> bool:
    """Whether SpacingBetweenSlices is the fitted spacing: then slices at one place are close, not several volumes."""
    return fit is not None and hint_mm is not None and abs(hint_mm - fit.spacing_mm) <= tolerance * fit.spacing_mm


def _differ(places: Places, groups: list[Integers]) -> bool:
    """Whether slices at one place along the normal lie beside each other: those of several volumes do not."""
    at = places.positions_mm
    return at is not None and any((at[group] != at[group[0]]).any() for group in groups)


def _is_equal(headers: Sequence[SliceHeader], group: Integers, pixels: PixelsEqual | None) -> bool:
    try:
        return pixels is not None and all(pixels(headers[group[0]], headers[i]) for i in group[1:])
    except GpustitchError:
        return False


def _one_volume(
    headers: Sequence[SliceHeader], groups: list[Integers], keep: str | None, told: Single | None
) -> Single:
    """A slice of each place; ``told`` is how all make one volume by their numbers, if their places are that coarse."""
    n, which = len(groups[0]), -1 if keep == "last" else 0
    numbers = [[headers[i].number for i in group[:2]] for group in groups]
    is_ordered = all(None not in pair and pair[0] != pair[1] for pair in numbers)
    name = "last" if which else "first"
    taken = f"the {name} was taken"
    if not is_ordered:
        taken = f"of each place the {name} file was taken, perhaps of several volumes"
    if len(groups) == 1:
        text = f"all {n} slices are at one place and differ: a series in time, not a volume; the {name} was taken"
    else:
        text = (
            f"{n} different slices at each of {len(groups)} places: {n} volumes in one series; {taken} "
            f"({ANY_SPLIT} tells them apart)"
        )
    notes = [Note(Code.MULTI_VOLUME, text)]
    if told is not None and told.fit is not None:
        spacing = f"{told.fit.spacing_mm:.3g} ± {told.fit.uncertainty_mm:.2g} mm"
        text = f"or places are too coarse, and it is one volume of {spacing} by InstanceNumber"
        notes.append(Note(Code.POSITIONS_ROUNDED, text))
    return Single(np.array([group[which] for group in groups], np.int64), tuple(notes))


@dataclass
class _Compared:
    """Slices that lie at the place of another, as pairs in words, and why some could not be compared."""

    copies: list[str] = field(default_factory=list)
    conflicts: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def compare(self, first: SliceHeader, other: SliceHeader, pixels: PixelsEqual | None) -> bool:
        """Whether ``other`` is a copy of ``first``; it is noted as one or as a conflict."""
        try:
            is_copy = pixels is not None and pixels(first, other)
        except GpustitchError as error:
            self.failures.append(str(error))
            is_copy = False
        (self.copies if is_copy else self.conflicts).append(_pair(other, "and", first))
        return is_copy

    def notes(self, *, were_compared: bool, keep: str | None) -> Iterator[Note]:
        """What to say of them; ``keep`` says which of those that differ was kept."""
        if self.conflicts:
            n, what = len(self.conflicts), "differ" if were_compared else "were not compared"
            text = f"{plural(n, 'slice is', 'slices are')} at the place of another, and their pixels {what}"
            fate = {None: "", "none": "; all of them were left out"}.get(keep, f"; the {keep} was kept, as asked")
            code = Code.SLICES_CONFLICT if keep is None else Code.SLICES_DROPPED
            yield Note(code, f"{text}: {listed(self.conflicts)}{fate}")
        if self.failures:
            yield Note(Code.UNREADABLE_PIXELS, listed(self.failures))
        if self.copies:
            text = f"{plural(len(self.copies), 'copy', 'copies')} with equal pixels at the same place left out"
            yield Note(Code.SAME_SLICE, f"{text}: {listed(self.copies)}")


def _without_copies(
    headers: Sequence[SliceHeader], groups: list[Integers], pixels: PixelsEqual | None, keep: str | None
) -> Single:
    """One slice of each place, or none where several differ and ``keep`` asks for none."""
    compared = _Compared()
    chosen: list[int] = []
    dropped: list[int] = []
    for group in groups:
        are_copies = [compared.compare(headers[group[0]], headers[i], pixels) for i in group[1:]]
        kept, left = _kept(group, keep, is_conflict=not all(are_copies))
        chosen += kept
        dropped += left
    if not chosen:  # all places have several: nothing would be left
        return _without_copies(headers, groups, pixels, None)
    notes = compared.notes(were_compared=pixels is not None, keep=keep)
    return Single(np.array(chosen, np.int64), tuple(notes), None, np.array(dropped, np.int64))


def _kept(group: Integers, keep: str | None, *, is_conflict: bool) -> tuple[list[int], list[int]]:
    """The slice that is kept of those at one place, if any, and those left out though they are no copies."""
    members = [int(i) for i in group]
    if not is_conflict or keep is None:
        return members[:1], []
    if keep == "none":
        return [], members
    return (members[-1:], members[:-1]) if keep == "last" else (members[:1], members[1:])


def _pair(one: SliceHeader, word: str, other: SliceHeader) -> str:
    """Two slices by name, with their folders if the names are one."""
    if slice_name(one) != slice_name(other):
        return f"{slice_name(one)} {word} {slice_name(other)}"
    return f"{one.path.parent.name}/{slice_name(one)} {word} {other.path.parent.name}/{slice_name(other)}"
