"""Where the slices of a series are along their normal, from the first tag that says so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gpustitch.errors import ParameterError
from gpustitch.io.stacks.holes import number_step
from gpustitch.model.arrays import Floats, Integers
from gpustitch.slices.fit.digits import plain_quanta, quanta_by_digits, quantum_of, single_errors
from gpustitch.slices.fit.geometry import mean_directions, quantum_of_series, rounding_error, rounding_errors
from gpustitch.slices.fit.grid import MOST_STEPS
from gpustitch.slices.model import Code, Note, SliceHeader, SliceSeries
from gpustitch.slices.verdict.text import listed, plural, slice_name
from gpustitch.slices.verdict.zeros import are_placeholders

# What an OME description calls the position of a plane.
PLANE_POSITION = "PositionZ"


@dataclass(frozen=True)
class Places:
    """Slices along their normal, in the order of their files.

    Attributes
    ----------
    kept
        int64 (n,): numbers in the series' headers.
    along_mm
        float64 (n,): positions along the normal.
    rounding_mm
        Greatest error of those.
    source
        Tag that they are from.
    positions_mm
        float64 (n, 3) in the body, and ``quantum_mm`` (3,) of their last decimals; None if not stated.
    directions
        float64 (3, 3): unit vectors (x, y, z, LPS), in rows, of the axes z, y, x; None where they are not stated or
        contradict themselves.
    normal
        float64 (3,): what ``along_mm`` is measured along; None if that is not known.
    cosines
        float64 (n, 2, 3): of rows and columns as written, for their decimals.
    digits_mm
        float64 (n,): greatest error of each position if all have one count of digits; None if that is ``rounding_mm``.
    notes
        What was wrong.
    """

    kept: Integers
    along_mm: Floats
    rounding_mm: float
    source: str
    positions_mm: Floats | None = None
    quantum_mm: Floats | None = None
    directions: Floats | None = None
    normal: Floats | None = None
    cosines: Floats | None = None
    digits_mm: Floats | None = None
    notes: tuple[Note, ...] = ()


def has_plane_positions(series: SliceSeries) -> bool:
    """Whether the planes of an image file state positions (PositionZ of OME)."""
    return series.source_format != "dicom" and all(header.position_mm is not None for header in series.headers)


def positioned(series: SliceSeries, kept: Sequence[int]) -> Places | tuple[Note, ...]:
    """Places by ImagePositionPatient; what is wrong with the positions (maybe nothing) if they say nothing.

    Slices without a position are left out and named, if others have one.
    """
    headers = [series.headers[i] for i in kept]
    good, notes = _with_position(series, kept)
    if not good or (len(good) == 1 and len(kept) > 1):
        return notes
    chosen = [series.headers[i] for i in good]
    at = np.array([header.position_mm for header in chosen], np.float64)
    directions, cosines, wrong = _directions(headers)
    normal = directions[0] if directions is not None else _line(at)
    source = "ImagePositionPatient"
    if has_plane_positions(series):
        # Planes go up in the order of their pages: no one turns a stack over because the stage went down.
        source, wrong = PLANE_POSITION, ()
        normal = np.array([0.0, 0.0, 1.0 if at[-1, 2] >= at[0, 2] else -1.0])
    written = plain_quanta(np.array([header.quantum_mm for header in chosen], np.float64), at)
    quantum = quantum_of_series(written, at)
    rounding = rounding_error(quantum, normal, at)
    return Places(
        kept=np.array(good, np.int64),
        along_mm=at @ normal,
        rounding_mm=rounding,
        source=source,
        positions_mm=at,
        quantum_mm=quantum,
        directions=directions,
        normal=normal,
        cosines=cosines,
        digits_mm=_digits(written, quantum, normal, at, rounding),
        notes=notes + wrong,
    )


def _digits(written: Floats, quantum: Floats, normal: Floats, at: Floats, rounding_mm: float) -> Floats | None:
    """Errors along the normal if coordinates were written with one count of digits, or were binary ones of 32 bits."""
    errors = np.tile(quantum / 2, (len(at), 1))
    for axis in np.flatnonzero(np.ptp(at, axis=0) > 0):
        errors[:, axis] = quanta_by_digits(written[:, axis], at[:, axis]) / 2
        errors[:, axis] += single_errors(written[:, axis], at[:, axis])
    along = rounding_errors(errors, normal, at)
    return along if along.max() > rounding_mm * (1 + 1e-6) else None


def located(series: SliceSeries, kept: Sequence[int]) -> Places | None:
    """Places by SliceLocation; None unless all slices have one and they differ."""
    stated = [series.headers[i].slice_location_mm for i in kept]
    values = np.array([np.nan if value is None else value for value in stated], np.float64)
    if not np.isfinite(values).all() or np.ptp(values) == 0:
        return None
    written = np.array([[quantum_of(value)] for value in values])
    quantum = written.min(0)
    rounding = float(quantum[0]) / 2
    directions, cosines, _ = _directions([series.headers[i] for i in kept])
    return Places(
        kept=np.array(kept, np.int64),
        along_mm=values,
        rounding_mm=rounding,
        source="SliceLocation",
        directions=directions,
        cosines=cosines,
        digits_mm=_digits(written, quantum, np.ones(1), values[:, None], rounding),
    )


def counted(series: SliceSeries, kept: Sequence[int], spacing_mm: float, source: str) -> Places:
    """Places a given distance apart, in the order of InstanceNumber, or else of the files.

    Where numbers go up evenly but for a few that are missing, their places are left free.
    """
    numbers = [series.headers[i].number for i in kept]
    order = numbered_order([series.headers[i] for i in kept])
    step = number_step(numbers)
    ranks = np.arange(len(kept))
    if step is not None:
        skipping = (np.array([numbers[i] for i in order], np.int64) - (numbers[order[0]] or 0)) // step
        ranks = skipping if np.diff(skipping).max() <= MOST_STEPS else ranks
    along = np.empty(len(kept))
    along[order] = spacing_mm * ranks
    directions, cosines, _ = _directions([series.headers[i] for i in kept])
    return Places(np.array(kept, np.int64), along, 0.0, source, directions=directions, cosines=cosines)


def instance_numbers(headers: Sequence[SliceHeader]) -> Integers | None:
    """InstanceNumber of each slice, int64 (n,); None unless all have one."""
    numbers = [header.number for header in headers]
    return None if None in numbers else np.array(numbers, np.int64)


def numbered_order(headers: Sequence[SliceHeader]) -> Integers:
    """Order of InstanceNumber if all slices have one of their own, else that of the files."""
    numbers = instance_numbers(headers)
    if numbers is None or len(np.unique(numbers)) < len(numbers):
        return np.arange(len(headers), dtype=np.int64)
    return np.argsort(numbers, kind="stable").astype(np.int64)


def _with_position(series: SliceSeries, kept: Sequence[int]) -> tuple[list[int], tuple[Note, ...]]:
    """Slices with a position; those at exactly (0, 0, 0) need not have one."""
    good = [i for i in kept if _is_finite(series.headers[i].position_mm)]
    zeros = {i for i in good if series.headers[i].position_mm == (0.0, 0.0, 0.0)}
    others = [series.headers[i] for i in good if i not in zeros]
    at = np.array([header.position_mm for header in others], np.float64).reshape(-1, 3)
    finest = min((max(header.quantum_mm) for header in others), default=0.0)
    are_false = bool(zeros) and are_placeholders(len(zeros), at, finest)
    if are_false:
        good = [i for i in good if i not in zeros]
    usable = set(good)
    bad = [i for i in kept if i not in usable]
    if not bad or all(series.headers[i].position_mm is None for i in kept):
        return good, ()
    reported = any(note.code is Code.POSITION_BAD for note in series.notes)
    if reported and all(series.headers[i].position_mm is None for i in bad):
        return good, ()
    what = "is 0, 0, 0" if are_false else "is missing or not a number"
    names = listed([slice_name(series.headers[i]) for i in bad])
    fate = "they were left out" if good else "positions were not used"
    return good, (
        Note(Code.POSITION_BAD, f"ImagePositionPatient {what} in {plural(len(bad), 'slice')} ({names}); {fate}"),
    )


def _is_finite(position: tuple[float, float, float] | None) -> bool:
    return position is not None and bool(np.isfinite(position).all())


def _directions(headers: Sequence[SliceHeader]) -> tuple[Floats | None, Floats | None, tuple[Note, ...]]:
    """The series' frame, the cosines it is from, and what is wrong with them."""
    stated = [(h.row_direction, h.column_direction) for h in headers if h.row_direction and h.column_direction]
    if not stated:
        text = "there is no usable ImageOrientationPatient; slices are measured along the line of their positions"
        return None, None, (Note(Code.ORIENTATION_BAD, text),)
    cosines = np.array(stated, np.float64)
    try:
        return mean_directions(cosines[:, 0], cosines[:, 1]), cosines, ()
    except ParameterError as error:
        name = slice_name(next(h for h in headers if h.row_direction))
        text = f"ImageOrientationPatient contradicts itself ({error}; {name}): not used"
        return None, None, (Note(Code.ORIENTATION_BAD, text),)


def _line(at: Floats) -> Floats:
    """Direction of the line that positions lie on, upward along the axis that it is nearest to."""
    centred = at - at.mean(0)
    if not centred.any():
        return np.array([0.0, 0.0, 1.0])
    direction: Floats = np.linalg.svd(centred, full_matrices=False)[2][0]
    return -direction if direction[np.argmax(np.abs(direction))] < 0 else direction
