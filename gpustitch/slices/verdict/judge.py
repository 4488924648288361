"""Judges the slice spacing of one series: where slices are, how they lie, and what is wrong with them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gpustitch.errors import ParameterError
from gpustitch.io.stacks.holes import number_step
from gpustitch.model.arrays import Floats, Integers, LengthsZYX
from gpustitch.model.options import documented, option
from gpustitch.running import options as shared
from gpustitch.slices.dicom.series import SPLIT_NAMES
from gpustitch.slices.fit.classes import TOLERANCE, check_tolerance, fit_slices
from gpustitch.slices.fit.geometry import Drift, drift, first_voxel, least_shear
from gpustitch.slices.fit.grid import stated_grid
from gpustitch.slices.fit.holes import holes
from gpustitch.slices.fit.peers import peers
from gpustitch.slices.model import Code, Note, SliceHeader, SliceSeries, SliceStack, SpacingClass, SpacingFit
from gpustitch.slices.parts.numbered import STRUCTURAL
from gpustitch.slices.verdict import words
from gpustitch.slices.verdict.copies import (
    PixelsEqual,
    Single,
    one_at_each_place,
    ordered_by_number,
    without_same_instances,
)
from gpustitch.slices.verdict.places import (
    Places,
    has_plane_positions,
    instance_numbers,
    numbered_order,
)
from gpustitch.slices.verdict.scale import scale_notes
from gpustitch.slices.verdict.sources import first_source
from gpustitch.slices.verdict.split import parted, with_parts
from gpustitch.slices.verdict.text import mm, slice_name

# What series can be split by, as on the command line, and what the reader calls it; the last ones are judged here.
SPLITS = {name.replace(" ", "-"): name for name in (*SPLIT_NAMES, *STRUCTURAL)}
# Which of several different slices at one place may be kept.
KEPT = ("first", "last", "none")
# Heaviest first; codes that are not here keep their order after those.
_WEIGHT = (
    Code.SLICES_CONFLICT, Code.NAMES_CONTRADICT, Code.MOSAIC, Code.NO_SPACING, Code.PIXELS_REFUSED,
    Code.SINGLE_SLICE, Code.MULTI_VOLUME, Code.SLICES_DROPPED, Code.ORIENTATION_BAD, Code.POSITION_BAD,
    Code.IRREGULAR_SPACING, Code.VARIABLE_SPACING, Code.GAPS, Code.SLICES_MISSING, Code.FILES_LOST,
    Code.NEVER_ACQUIRED, Code.SCALE_DOUBTFUL, Code.SHEARED, Code.FILE_ORDER, Code.POSITIONS_ROUNDED,
)  # fmt: skip
# Notes that say what the spacing is from: evidence, no warning.
_SOURCES = (Code.SCANNER_LOG_USED, Code.SERIES_JOINED)


@documented
@dataclass(frozen=True)
class JudgeOptions:
    """How series are judged; ParameterError if an option is out of range."""

    slice_spacing_mm: float | None = option(
        None,
        flag="--spacing-z",
        unit="mm",
        help="Distance of slices that do not state their positions, mm.",
        shown="what other tags state",
    )
    tolerance: float = option(
        TOLERANCE, help="Greatest distance of a slice from an even grid, as a fraction of the spacing."
    )
    use_thickness: bool = option(
        False, help="Take SliceThickness for the distance of slices if nothing else states it."
    )
    trust_resolution: bool = option(
        False, help="Trust the resolution of plain images, which many programs write by default."
    )
    split_by: tuple[str, ...] = option(
        (), text="names", help=f"Divide series by these, separated by commas: {', '.join(SPLITS)}."
    )
    keep: str | None = option(
        None,
        metavar="first|last|none",
        help="Which of several different slices at one place counts, by InstanceNumber; none: the slice is missing.",
        shown="neither: the series is unusable",
    )
    merge: bool = option(
        False,
        help="Join DICOM series that agree in all but SeriesInstanceUID: size, pixel spacing, orientation, study, "
        "frame of reference.",
    )
    on_error: shared.OnError = shared.on_error(
        "What to do about slices whose pixels are not all there: stop (no volume is made), or skip them as if they "
        "were missing."
    )
    keep_going: bool = option(True, help="Judge the rest where a file cannot be read; else it is an error.")

    def __post_init__(self) -> None:
        spacing = self.slice_spacing_mm
        if spacing is not None and not (math.isfinite(spacing) and spacing > 0):
            raise ParameterError(f"`slice_spacing_mm` is {spacing}; slices are a positive distance apart, in mm")
        check_tolerance(self.tolerance)
        shared.checked_on_error(self.on_error)
        unknown = [name for name in self.split_by if name not in SPLITS]
        if unknown:
            raise ParameterError(f"`split_by` is {unknown[0]}; series are split by {', '.join(SPLITS)}")
        if self.keep is not None and self.keep not in KEPT:
            raise ParameterError(f"`keep` is {self.keep}; of slices at one place, keep {', '.join(KEPT)}")


DEFAULT = JudgeOptions()


def judge_series(series: SliceSeries, options: JudgeOptions = DEFAULT, pixels: PixelsEqual | None = None) -> SliceStack:
    """Judge one series from its headers.

    Parameters
    ----------
    series
        Slices in the order of their files' names.
    options
        How.
    pixels
        Whether the pixels of two slices are equal: asked for slices at one place only. None if they cannot be read.

    Raises
    ------
    ParameterError
        If the series has no slice.
    """
    stack, places = _judged(series, options, pixels)
    if places is None:
        return stack

    def judge(part: SliceSeries) -> SliceStack:
        return _judged(part, options, pixels)[0]

    return with_parts(stack, places, options.tolerance, judge, asked=options.split_by, keeps=options.keep is not None)


def parted_series(series: SliceSeries, options: JudgeOptions = DEFAULT) -> list[SliceSeries]:
    """The series parted by what ``split_by`` names that no tag states: volumes and passes, by numbers and places."""
    names = [name for name in options.split_by if name in STRUCTURAL]
    is_stated = series.spacing_mm is not None and not has_plane_positions(series)
    if not names or is_stated or not series.headers:
        return [series]
    kept, _ = without_same_instances(series)
    found = first_source(series, kept, options.slice_spacing_mm, use_thickness=options.use_thickness)
    if not isinstance(found, Places) or found.source not in words.MEASURED:
        return [series]
    return parted(series, found, options.tolerance, names)


def _judged(series: SliceSeries, options: JudgeOptions, pixels: PixelsEqual | None) -> tuple[SliceStack, Places | None]:
    """All slices together, and where they are, if something says so."""
    if not series.headers:
        raise ParameterError(f"{series.name} has no slices")
    if series.spacing_mm is not None and not has_plane_positions(series):
        return _stated(series, series.spacing_mm, options), None
    kept, notes = without_same_instances(series)
    if any(header.is_mosaic for header in series.headers):
        return _unknown(series, kept, (*notes, Note(Code.MOSAIC, words.MOSAIC))), None
    found = first_source(series, kept, options.slice_spacing_mm, pixels, use_thickness=options.use_thickness)
    if not isinstance(found, Places):
        return _unknown(series, kept, (*notes, *found)), None
    hint = words.spacing_tag([series.headers[i] for i in kept])
    hint = None if hint is None else abs(hint)
    single = one_at_each_place(series, found, options.tolerance, pixels, hint, options.keep)
    return _measured(series, found, single, (*notes, *found.notes), options), found


def _measured(
    series: SliceSeries, places: Places, single: Single, notes: tuple[Note, ...], options: JudgeOptions
) -> SliceStack:
    """The stack of slices whose places are known."""
    chosen = single.chosen
    headers = [series.headers[i] for i in places.kept]
    fit = single.fit
    if fit is None:
        numbers = instance_numbers([headers[i] for i in chosen])
        digits = None if places.digits_mm is None else places.digits_mm[chosen]
        fit = fit_slices(places.along_mm[chosen], places.rounding_mm, numbers, options.tolerance, digits)
        if fit.by_number:
            all_numbers = np.array([-1 if header.number is None else header.number for header in headers])
            chosen = ordered_by_number(places.along_mm[chosen], chosen, all_numbers)
    along = places.along_mm[chosen]
    if places.source not in words.MEASURED:
        fit = dataclasses.replace(fit, uncertainty_mm=math.nan)
    stacked = [headers[i] for i in chosen]
    sideways, crooked = _sideways(places, chosen, fit, stacked)
    found = words.Findings(
        headers=stacked,
        order=places.kept[chosen],
        along_mm=along,
        source=places.source,
        fit=fit,
        drift=sideways,
        holes=holes(fit, along, instance_numbers(stacked)),
        dropped_mm=places.along_mm[single.dropped],
        present=series.numbers_apart | {h.number for h in series.headers if h.number is not None},
    )
    return _stack(series, found, places, (*notes, *single.notes, *crooked), options.slice_spacing_mm)


def _sideways(
    places: Places, chosen: Integers, fit: SpacingFit, headers: Sequence[SliceHeader]
) -> tuple[Drift | None, list[Note]]:
    """How the slices move sideways; stacks that are not straight are taken as upright."""
    if places.directions is None or places.positions_mm is None or places.quantum_mm is None:
        return None, []
    along = places.along_mm[chosen]
    at = places.positions_mm[chosen] @ places.directions[1:].T
    if fit.spacing_class is SpacingClass.SINGLE:
        return drift(along, at, 0.0), []
    cosines = places.cosines if places.cosines is not None else places.directions
    # Decimals of positions that are coarser than the spacing would shear the fit.
    quantum = places.quantum_mm * (max(1.0, fit.rounding_mm / places.rounding_mm) if places.rounding_mm else 1.0)
    least = least_shear(quantum, places.directions, cosines, float(along[-1] - along[0]))
    line = drift(along, at, least)
    pixel = headers[0].pixel_spacing_mm
    limit = max(min(pixel) / 2 if pixel else fit.spacing_mm / 2, float(quantum.sum()))
    if line.crooked_mm <= limit:
        return line, []
    beside = np.hypot(*(at - np.array(line.start_mm) - np.outer(along, line.slope)).T)
    worst = slice_name(headers[int(beside.argmax())])
    text = (
        f"slices lie up to {mm(line.crooked_mm, 0.01)} mm beside a straight line by ImagePositionPatient "
        f"({worst}); they are not shifted back"
    )
    upright = Drift((float(at[0, 0]), float(at[0, 1])), (0.0, 0.0), (0.0, 0.0), line.crooked_mm)
    return upright, [Note(Code.POSITION_BAD, text)]


def _stack(
    series: SliceSeries,
    found: words.Findings,
    places: Places,
    notes: tuple[Note, ...],
    given_mm: float | None = None,
) -> SliceStack:
    """The verdict on a series: what was found, its warnings, and what to do."""
    fit, sideways = found.fit, found.drift
    everything = [
        *(note for note in series.notes if note.code not in _SOURCES), *notes, *words.fit_notes(found),
        *words.drift_notes(found), *words.order_notes(found), *words.tag_notes(found),
        *words.location_notes(found),
        *_pixel_notes(series, found.headers),
    ]  # fmt: skip
    pixel = found.headers[0].pixel_spacing_mm or (None, None)
    z = fit.spacing_mm if math.isfinite(fit.spacing_mm) else None
    measured = found.source if found.is_measured else ""
    everything += scale_notes((z, *pixel), found.headers, found.along_mm, measured)
    origin = None
    if sideways is not None and places.directions is not None:
        origin = first_voxel(fit.origin_mm, sideways, places.directions)
    return SliceStack(
        series=series,
        order=found.order,
        positions_mm=found.along_mm,
        fit=fit,
        spacing_mm=(z, *pixel),
        uncertainty_mm=(fit.uncertainty_mm if math.isfinite(fit.uncertainty_mm) else None, None, None),
        origin_mm=origin,
        directions=places.directions,
        shear=(0.0, 0.0) if sideways is None else sideways.shear,
        notes=_weighed(everything),
        evidence=(*words.evidence(found), *words.against_given(found, given_mm), *_sources(series)),
        others_mm=_others(series, places),
        advice=words.advice(found, {note.code for note in everything}),
    )


def _pixel_notes(series: SliceSeries, headers: Sequence[SliceHeader]) -> list[Note]:
    stated = series.spacing_mm[1:] if series.spacing_mm is not None else headers[0].pixel_spacing_mm or (None,)
    if None not in stated or any(note.code is Code.NO_PIXEL_SPACING for note in series.notes):
        return []
    return [Note(Code.NO_PIXEL_SPACING, "the size of pixels is not stated")]


def _others(series: SliceSeries, places: Places) -> dict[str, float | None]:
    """What other programs take for a DICOM series of single slices; files of many frames they read otherwise."""
    n = len(series.headers)
    is_plain = series.source_format == "dicom" and n > 1 and len({header.path for header in series.headers}) == n
    # Files whose position was not believed state one all the same; what comes of it is not known.
    stated = [h.position_mm is not None and bool(np.isfinite(h.position_mm).all()) for h in series.headers]
    is_plain &= all(stated) or not any(stated)
    return peers(series.headers, places.normal) if is_plain else {}


def _sources(series: SliceSeries) -> tuple[str, ...]:
    return tuple(note.text for note in series.notes if note.code in _SOURCES)


def _weighed(notes: Sequence[Note]) -> tuple[Note, ...]:
    unique = dict.fromkeys(notes)
    return tuple(sorted(unique, key=lambda note: _WEIGHT.index(note.code) if note.code in _WEIGHT else len(_WEIGHT)))


def _unknown(series: SliceSeries, kept: Sequence[int], notes: tuple[Note, ...]) -> SliceStack:
    """A series of which nothing says where the slices are."""
    order = np.array(kept, np.int64)[numbered_order([series.headers[i] for i in kept])]
    is_stated = words.spacing_tag([series.headers[i] for i in kept]) is not None
    text = "nothing says for sure how far apart slices are" if is_stated else "nothing states the distance of slices"
    note = Note(Code.NO_SPACING, text)
    return _without_places(series, order, SpacingClass.UNKNOWN, (note, *notes), series.headers[0].pixel_spacing_mm)


def _stated(series: SliceSeries, stated: LengthsZYX, options: JudgeOptions) -> SliceStack:
    """A series whose files say outright how far apart its slices are; a given spacing counts for more."""
    z, y, x = stated
    n = len(series.headers)
    order = np.arange(n, dtype=np.int64)
    pixel = None if y is None or x is None else (y, x)
    notes: tuple[Note, ...] = ()
    if options.slice_spacing_mm is not None and n > 1:
        said = "nothing states the distance of slices" if z is None else f"files say {mm(z)} mm"
        notes = (Note(Code.USER_SPACING_USED, f"{said}; the given {mm(options.slice_spacing_mm)} mm was used"),)
        z = options.slice_spacing_mm
    if n == 1:
        return _without_places(series, order, SpacingClass.SINGLE, notes, pixel)
    if z is None:
        note = Note(Code.NO_SPACING, "nothing states the distance of slices")
        return _without_places(series, order, SpacingClass.UNKNOWN, (note,), pixel)
    fit = stated_grid(z, _planes(series))
    along: Floats = z * fit.steps.astype(np.float64)
    found = words.Findings(series.headers, order, along, _source(series, notes), fit, None, holes(fit, along, None))
    places = Places(order, along, 0.0, found.source)
    stack = _stack(series, found, places, notes)
    evidence = (f"{found.source}: {mm(z)} mm for {n} slices",)
    return dataclasses.replace(stack, spacing_mm=(z, y, x), evidence=_sources(series) or evidence)


def _planes(series: SliceSeries) -> Integers:
    """Plane of each slice from 0: that of its number where the reader has found that numbers are missing."""
    every = np.arange(len(series.headers), dtype=np.int64)
    numbers = [header.number for header in series.headers]
    step = number_step(numbers)
    if step is None or all(note.code is not Code.FILES_LOST for note in series.notes):
        return every
    planes = (np.array(numbers, np.int64) - int(numbers[0] or 0)) // step
    return planes if (np.diff(planes) > 0).all() else every


def _source(series: SliceSeries, notes: tuple[Note, ...]) -> str:
    if notes:
        return "given"
    return {"tiff": "stated by the TIFF file", "image": "stated by the images"}.get(
        series.source_format, f"from the {series.source_format}"
    )


def _without_places(
    series: SliceSeries,
    order: Integers,
    spacing_class: SpacingClass,
    notes: tuple[Note, ...],
    pixel: tuple[float, float] | None,
) -> SliceStack:
    """The verdict on slices of which nothing says where they lie, or of one alone."""
    nothing: Floats = np.full(len(order), np.nan)
    nan = math.nan
    n_output = 1 if spacing_class is SpacingClass.SINGLE else 0
    fit = SpacingFit(
        spacing_class=spacing_class,
        spacing_mm=nan,
        uncertainty_mm=nan,
        origin_mm=nan,
        steps=np.arange(len(order)),
        residual_mm=nan,
        rounding_mm=nan,
        is_rounded=False,
        by_number=False,
        stretches=(),
        n_output=n_output,
    )
    headers = [series.headers[i] for i in order]
    is_by_log = any(note.code is Code.SCANNER_LOG_USED for note in series.notes)
    log_mm = pixel[0] if pixel is not None and pixel[0] == pixel[1] and is_by_log else None
    found = words.Findings(headers, order, nothing, "", fit, None, (), log_mm=log_mm)
    stack = _stack(series, found, Places(order, nothing, nan, ""), notes)
    return dataclasses.replace(stack, spacing_mm=(None, *(pixel or (None, None))))
