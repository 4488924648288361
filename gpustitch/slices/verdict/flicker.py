"""Series that were told apart by a pixel spacing or an orientation that flickers in its last digits."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Sequence

import numpy as np

from gpustitch.errors import ParameterError
from gpustitch.io.found import path_key
from gpustitch.model.arrays import Floats
from gpustitch.slices.fit.geometry import mean_directions, quantum_of_series, rounding_error
from gpustitch.slices.model import Code, Note, SliceHeader, SliceSeries, SpacingClass
from gpustitch.slices.parts.lying import Lying, members_of
from gpustitch.slices.verdict.text import mm, plural
from gpustitch.slices.verdict.words import spacing_tag

# Tags of the key that may flicker.
_FLICKERING = ("PixelSpacing", "ImageOrientationPatient")
# No cosine differs by more than this, and no pixel spacing by more than this part, where it is flicker at all.
_MOST_COSINE, _MOST_SPACING = 0.015, 0.01
_EVEN = (SpacingClass.UNIFORM, SpacingClass.MISSING)


def without_flicker(series: Sequence[SliceSeries], tolerance: float) -> list[SliceSeries]:
    """The series, those joined that only flicker told apart; others that may be one are told so.

    Series of one SeriesInstanceUID make one where their slices lie between one another and are even together, more
    finely than the parts are by themselves. They are joined if no pixel is moved by more than itself; beyond, a note
    says at which spacing they are even.

    Parameters
    ----------
    series
        As they were read.
    tolerance
        Greatest distance of a slice from an even grid, as a part of the spacing.
    """
    changed: dict[int, SliceSeries | None] = {}
    for some in _alike(series):
        together = _together(some, tolerance)
        if together is None:
            continue
        whole, spacing_mm, planes = together
        if _moves_px(whole) <= 1:
            changed |= dict.fromkeys(map(id, some))
            changed[id(some[0])] = _joined(some, whole)
            continue
        text = f"with the other parts it is {planes} planes, even at {mm(spacing_mm)} mm: one series, by their places"
        for one in some:
            changed[id(one)] = dataclasses.replace(one, notes=(*one.notes, Note(Code.EVEN_TOGETHER, text)))
    found = (changed.get(id(one), one) for one in series)
    return [one for one in found if one is not None]


def _alike(series: Sequence[SliceSeries]) -> Iterator[list[SliceSeries]]:
    """Series that were split and are of one key but for what may flicker, and that is near in all."""
    groups: dict[tuple[object, ...], list[SliceSeries]] = {}
    for one in series:
        if any(note.code is Code.SERIES_SPLIT for note in one.notes):
            key = tuple(sorted((name, value) for name, value in one.key.items() if name not in _FLICKERING))
            groups.setdefault(key, []).append(one)
    for some in groups.values():
        while len(some) > 1:
            near = [one for one in some if _is_near(some[0].headers[0], one.headers[0])]
            some = [one for one in some if one not in near]
            if len(near) > 1:
                yield near


def _is_near(one: SliceHeader, other: SliceHeader) -> bool:
    a, b = one.pixel_spacing_mm, other.pixel_spacing_mm
    if (a is None) is not (b is None) or one.shape != other.shape:
        return False
    first, second = _cosines([one]), _cosines([other])
    if first is None or second is None or np.abs(first - second).max() > _MOST_COSINE:
        return False
    return a is None or b is None or bool(np.abs(np.array(a) / b - 1).max() <= _MOST_SPACING)


def _cosines(headers: Sequence[SliceHeader]) -> Floats | None:
    """Directions of rows and columns, float64 (n, 2, 3); None unless all state them."""
    stated = [(header.row_direction, header.column_direction) for header in headers]
    return None if any(None in pair for pair in stated) else np.array(stated, np.float64)


def _together(some: Sequence[SliceSeries], tolerance: float) -> tuple[list[SliceHeader], float, int] | None:
    """All slices, their spacing and number of planes, if they are even; None if not, or parts were by right."""
    headers = [header for one in some for header in one.headers]
    cosines = _cosines(headers)
    if cosines is None or any(header.position_mm is None for header in headers):
        return None
    try:
        normal = mean_directions(cosines[:, 0], cosines[:, 1])[0]
    except ParameterError:
        return None
    at = np.array([header.position_mm for header in headers], np.float64)
    quantum = quantum_of_series(np.array([header.quantum_mm for header in headers], np.float64), at)
    stated = spacing_tag(headers)
    rounding = rounding_error(quantum, normal, at)
    lying = Lying(at @ normal, rounding, None, tolerance, None if stated is None else abs(stated))
    whole = lying.part(lying.order)
    if whole is None or whole.fit.spacing_class not in _EVEN:
        return None
    labels = np.repeat(np.arange(len(some)), [len(one.headers) for one in some])
    members = members_of(lying, labels)
    parts = [lying.part(part) for part in members]
    if not lying.states(whole.fit.spacing_mm) and all(p is not None and lying.states(p.fit.spacing_mm) for p in parts):
        return None
    along = [lying.along_mm[part] for part in members]
    # One after another: a table that was turned or moved between.
    if not any(_overlap(one, other) for one, other in itertools.combinations(along, 2)):
        return None
    return headers, whole.fit.spacing_mm, whole.fit.n_output


def _overlap(one: Floats, other: Floats) -> bool:
    return bool(one[0] < other[-1] and other[0] < one[-1])


def _moves_px(headers: Sequence[SliceHeader]) -> float:
    """How far the flicker moves a pixel at most, in pixels, from where the first slice's tags place it."""
    size = max(headers[0].shape)
    cosines = _cosines(headers)
    turned = 0.0 if cosines is None else float(np.abs(cosines - cosines[0]).max())
    pixels = np.array([header.pixel_spacing_mm or (1.0, 1.0) for header in headers])
    return size * max(turned, float(np.abs(pixels / pixels[0] - 1).max()))


def _joined(some: Sequence[SliceSeries], headers: Sequence[SliceHeader]) -> SliceSeries:
    """One series of several, slices in the order of their files."""
    order = sorted(range(len(headers)), key=lambda i: (path_key(headers[i].path), headers[i].frame))
    names = [name for one in some for name in one.tags]
    tags = {}
    for name in dict.fromkeys(names):
        values = [value for one in some for value in one.tags.get(name, ("",) * len(one.headers))]
        tags[name] = tuple(values[i] for i in order)
    own = {header.number for header in headers}
    what = "PixelSpacing" if len({header.pixel_spacing_mm for header in headers}) > 1 else "ImageOrientationPatient"
    text = f"{what} flickers by less than moves a pixel: {plural(len(some), 'part')} joined, which are even together"
    others = [note for one in some for note in one.notes if note.code is not Code.SERIES_SPLIT]
    return dataclasses.replace(
        some[0],
        name=some[0].name.split(", part ")[0],
        headers=tuple(headers[i] for i in order),
        notes=(*dict.fromkeys(others), Note(Code.SERIES_JOINED, text)),
        numbers_apart=frozenset().union(*(one.numbers_apart for one in some)) - own,
        tags=tags,
    )
