"""The first source that says where the slices of a series are, and slices that all state one position."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from gpustitch.errors import GpustitchError
from gpustitch.slices.model import Code, Note, SliceHeader, SliceSeries
from gpustitch.slices.verdict import words
from gpustitch.slices.verdict.copies import PixelsEqual
from gpustitch.slices.verdict.places import Places, counted, located, positioned
from gpustitch.slices.verdict.text import mm

# What one slice that is imaged again and again differs in, by the name of the split; and modalities that make films.
_AGAIN = ("time", "cardiac-phase", "echo", "b-value", "gradient", "inversion")
_FILMS = ("US", "IVUS", "XA", "RF", "ES", "NM")
# Times of acquisition differ in as many slices of a series in time, at least.
_LEAST_TIMES = 0.5


def first_source(
    series: SliceSeries,
    kept: Sequence[int],
    given_mm: float | None,
    pixels: PixelsEqual | None = None,
    *,
    use_thickness: bool = False,
) -> Places | tuple[Note, ...]:
    """Places from the first source that states them, or what is wrong with the series if none does.

    Parameters
    ----------
    series, kept
        The slices, and numbers of those that count.
    given_mm
        Distance of slices as the user knows it, which counts where there are no positions.
    pixels
        Whether the pixels of two slices are equal; None if they cannot be read.
    use_thickness
        Whether SliceThickness counts where nothing else is stated.
    """
    by_position = positioned(series, kept)
    if isinstance(by_position, Places):
        is_one_place = len(kept) > 1 and np.ptp(by_position.along_mm) == 0
        if not is_one_place:
            return by_position
        headers = [series.headers[i] for i in kept]
        if given_mm is None and located(series, kept) is None:
            if not _may_be_a_volume(series, kept, pixels):
                return by_position
            note = Note(Code.POSITION_BAD, _one_position_text(headers))
            found = _by_thickness(series, kept) if use_thickness else None
            return (note,) if found is None else dataclasses.replace(found[0], notes=(note, found[1]))
        wrong: tuple[Note, ...] = (Note(Code.POSITION_BAD, "ImagePositionPatient is the same in all slices"),)
    else:
        wrong = by_position
    counted_places = _without_positions(series, kept, given_mm, use_thickness=use_thickness)
    if counted_places is None:
        return wrong
    places, note_of_source = counted_places
    return dataclasses.replace(places, notes=(*wrong, *([note_of_source] if note_of_source else [])))


def _may_be_a_volume(series: SliceSeries, kept: Sequence[int], pixels: PixelsEqual | None) -> bool:
    """Whether slices that state one position may lie elsewhere.

    They state a distance or a thickness, and nothing says that one slice was imaged many times.
    """
    headers = [series.headers[i] for i in kept]
    if words.spacing_tag(headers) is None and headers[0].thickness_mm is None:
        return False
    if len({header.position_mm for header in headers}) > 1 or series.key.get("Modality") in _FILMS:
        return False
    if any(name in series.tags for name in _AGAIN):
        return False
    times = {series.tags["acquisition-time"][i] for i in kept} if "acquisition-time" in series.tags else set()
    return len(times) < _LEAST_TIMES * len(kept) and not _are_equal(headers, pixels)


def _are_equal(headers: Sequence[SliceHeader], pixels: PixelsEqual | None) -> bool:
    """Whether all slices are copies of one."""
    try:
        return pixels is not None and all(pixels(headers[0], other) for other in headers[1:])
    except GpustitchError:
        return False


def _one_position_text(headers: Sequence[SliceHeader]) -> str:
    place = ", ".join(f"{v:g}" for v in headers[0].position_mm or ())
    text = f"ImagePositionPatient is {place} in all {len(headers)} slices, which differ"
    tag = words.spacing_tag(headers)
    if tag is not None:
        text += f"; SpacingBetweenSlices says {mm(abs(tag))} mm, which is not believed against it"
    return text


def _without_positions(
    series: SliceSeries, kept: Sequence[int], given_mm: float | None, *, use_thickness: bool
) -> tuple[Places, Note | None] | None:
    """Places by what else is stated, the most trusted first; None if nothing is."""
    headers = [series.headers[i] for i in kept]
    if len(kept) == 1:
        return counted(series, kept, 1.0, ""), None
    if given_mm is not None:
        text = f"no positions; the given {mm(given_mm)} mm was used"
        return counted(series, kept, given_mm, "`slice_spacing_mm`"), Note(Code.USER_SPACING_USED, text)
    places = located(series, kept)
    if places is not None:
        return places, Note(Code.SLICE_LOCATION_USED, "no positions; SliceLocation was used, which need not be one")
    tag = words.spacing_tag(headers)
    if tag is not None and all(header.spacing_between_mm is not None for header in headers):
        text = f"no positions; SpacingBetweenSlices ({mm(abs(tag))} mm) was believed, order is by InstanceNumber"
        return counted(series, kept, abs(tag), "SpacingBetweenSlices"), Note(Code.SPACING_TAG_USED, text)
    return _by_thickness(series, kept) if use_thickness else None


def _by_thickness(series: SliceSeries, kept: Sequence[int]) -> tuple[Places, Note] | None:
    thickness = series.headers[kept[0]].thickness_mm
    if thickness is None or thickness <= 0:
        return None
    text = f"no positions; SliceThickness ({mm(thickness)} mm) was used as asked: gaps or overlap are unknown"
    return counted(series, kept, thickness, "SliceThickness"), Note(Code.THICKNESS_USED, text)
