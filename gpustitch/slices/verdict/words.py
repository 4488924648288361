"""What a judged series is warned of, what was measured, and what to do, in sentences."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from gpustitch.model.arrays import Floats, Integers
from gpustitch.slices.fit.geometry import Drift, decimals_quantum
from gpustitch.slices.fit.grid import MOST_STEPS
from gpustitch.slices.fit.holes import Hole
from gpustitch.slices.model import Code, Note, SliceHeader, SpacingClass, SpacingFit, Stretch
from gpustitch.slices.verdict.places import PLANE_POSITION, instance_numbers
from gpustitch.slices.verdict.text import listed, mm, percent, plural

# A tag within this part of the spacing agrees with it.
AGREES = 0.01
# Tags that say where each slice is; others only say how far apart slices are.
MEASURED = ("ImagePositionPatient", "SliceLocation", PLANE_POSITION)
# What may tell volumes in one series apart, until it is known; what does, and what is said where nothing does.
ANY_SPLIT = "perhaps `split_by`"
ONE_SPLIT = "`split_by` {}"
NO_SPLIT = "no tag"
MOSAIC = "each image is a mosaic: the slices of a volume side by side (ImageType MOSAIC, of Siemens)"
# Stretches, or pieces that file names fall into, that are named one by one.
_MOST_PIECES = 12
# Instance numbers of lost files that are named.
_MOST_NUMBERS = 6


@dataclass(frozen=True)
class Findings:
    """A series as measured.

    Attributes
    ----------
    headers
        Slices kept, along the normal.
    order
        Their numbers in the series.
    along_mm
        Their positions along the normal.
    source
        Tag that those are from.
    fit, drift, holes
        How they lie; no drift where directions are not known.
    present
        Instance numbers of all slices of the series, also of those without a position or of another size or direction.
    log_mm
        Size of pixels by a scanner's log that does not say how far apart the slices are.
    dropped_mm
        Where slices were that were left out as asked: holes there say nothing of the acquisition.
    """

    headers: Sequence[SliceHeader]
    order: Integers
    along_mm: Floats
    source: str
    fit: SpacingFit
    drift: Drift | None
    holes: Sequence[Hole]
    present: frozenset[int] = frozenset()
    log_mm: float | None = None
    dropped_mm: Floats = field(default_factory=lambda: np.empty(0))

    @property
    def numbers(self) -> Integers | None:
        """Instance numbers, if all have one."""
        return instance_numbers(self.headers)

    @property
    def spacing_tag(self) -> str:
        """Tag that states one distance for all slices."""
        return "PhysicalSizeZ" if self.source == PLANE_POSITION else "SpacingBetweenSlices"

    @property
    def number_tag(self) -> str:
        """What numbers the slices."""
        return "the number of planes" if self.source == PLANE_POSITION else "InstanceNumber"

    @property
    def is_measured(self) -> bool:
        """Whether the slices' places are stated, not counted."""
        return self.source in MEASURED

    @property
    def tilt_deg(self) -> float:
        """Angle between the normal and the way from slice to slice."""
        return 0.0 if self.drift is None else math.degrees(math.atan(math.hypot(*self.drift.shear)))


def fit_notes(found: Findings) -> list[Note]:
    """Warnings of the class, and of holes and rounded positions."""
    return [*_class_notes(found), *_hole_notes(found), *_rounding_notes(found)]


def _class_notes(found: Findings) -> Iterator[Note]:
    """Why the slices are not of the class UNIFORM; none if they are, or if nothing is known of their places."""
    fit = found.fit
    match fit.spacing_class:
        case SpacingClass.SINGLE:
            yield Note(Code.SINGLE_SLICE, "one slice is no volume")
        case SpacingClass.MISSING:
            n = fit.n_output - len(found.order)
            yield Note(Code.SLICES_MISSING, f"{plural(n, 'slice')} missing in {_where(found.holes)}")
        case SpacingClass.RUNS_WITH_GAPS:
            sizes = ", ".join(str(stretch.n_slices) for stretch in fit.stretches[:_MOST_PIECES])
            sizes += ", ..." if len(fit.stretches) > _MOST_PIECES else ""
            yield Note(Code.GAPS, f"stretches of {sizes} slices with {_where(found.holes)}")
        case SpacingClass.VARIABLE:
            yield Note(Code.VARIABLE_SPACING, _stretches_text(fit.stretches))
        case SpacingClass.IRREGULAR:
            low, middle, high = np.percentile(np.diff(found.along_mm), [0, 50, 100])
            text = f"intervals of {low:.3g} to {high:.3g} mm, half of them up to {middle:.3g} mm, follow no pattern"
            tag = spacing_tag(found.headers)
            text += f"; {found.spacing_tag} says {mm(abs(tag))} mm" if tag is not None and found.is_measured else ""
            yield Note(Code.IRREGULAR_SPACING, text)


def _where(holes: Sequence[Hole]) -> str:
    one = "hole" if holes and max(hole.steps for hole in holes) <= MOST_STEPS else "gap"
    widths = listed([f"{mm(hole.stop_mm - hole.start_mm)} mm" for hole in holes])
    return f"{plural(len(holes), one)} of {widths}"


def _stretches_text(stretches: Sequence[Stretch]) -> str:
    parts = [
        f"{stretch.n_slices} slices at {mm(stretch.spacing_mm)} mm" if stretch.n_slices > 1 else "1 slice apart"
        for stretch in stretches[:_MOST_PIECES]
    ]
    return ", then ".join(parts) + (" ..." if len(stretches) > _MOST_PIECES else "")


def _hole_notes(found: Findings) -> list[Note]:
    own = [hole for hole in found.holes if not _was_dropped(found, hole)]
    lost = [hole for hole in own if hole.cause == "lost" and not _skipped(found, hole) <= found.present]
    never = [hole for hole in own if hole.cause == "never"]
    some = "" if len(lost) == len(found.holes) or len(never) == len(found.holes) else " in some of them"
    notes = []
    if lost:
        notes.append(
            Note(Code.FILES_LOST, f"{found.number_tag} skips as many{some}: files were lost{_lost(found, lost)}")
        )
    if never:
        notes.append(Note(Code.NEVER_ACQUIRED, f"{found.number_tag} runs on{some}: nothing was acquired there"))
    return notes


def _was_dropped(found: Findings, hole: Hole) -> bool:
    """Whether slices were left out that lay in a hole."""
    return bool(((found.dropped_mm > hole.start_mm) & (found.dropped_mm < hole.stop_mm)).any())


def _lost(found: Findings, holes: Sequence[Hole]) -> str:
    """Instance numbers of the lost files, if they are few."""
    missing = sorted(set().union(*(_skipped(found, hole) for hole in holes)) - found.present)
    return f" ({', '.join(str(number) for number in missing)})" if 0 < len(missing) <= _MOST_NUMBERS else ""


def _skipped(found: Findings, hole: Hole) -> set[int]:
    """Instance numbers between those of the slices on both sides of a hole."""
    numbers = found.numbers
    if numbers is None:
        return set()
    low, high = sorted((int(numbers[hole.after]), int(numbers[hole.after + 1])))
    return set(range(low + 1, high))


def _rounding_notes(found: Findings) -> list[Note]:
    fit = found.fit
    if fit.by_number:
        text = f"{found.source} is coarser than the spacing; {found.number_tag} orders the slices"
    elif fit.is_rounded:
        text = f"{found.source} is rounded, up to {fit.rounding_mm:.2g} mm off; that explains all unevenness"
    else:
        return []
    return [Note(Code.POSITIONS_ROUNDED, text)]


def order_notes(found: Findings) -> list[Note]:
    """Warning of names that are not in the order of positions."""
    order = found.order
    if len(order) < 3 or (np.diff(order) > 0).all() or (np.diff(order) < 0).all():
        return []
    paths = [str(header.path) for header in found.headers]
    if len(set(paths)) == 1:
        return [Note(Code.FILE_ORDER, "frames of the file are not in the order of their positions")]
    if paths in (sorted(paths), sorted(paths, reverse=True)) and len(set(paths)) == len(paths):
        return []
    along_names = np.argsort(order)
    pieces = 1 + int((np.abs(np.diff(along_names)) != 1).sum())
    how = f"in {pieces} pieces, out of order" if pieces <= _MOST_PIECES else "in no order"
    return [Note(Code.FILE_ORDER, f"file names run through the stack {how}: go by position")]


def drift_notes(found: Findings) -> list[Note]:
    """Warning of a sheared stack."""
    if found.drift is None or not any(found.drift.shear):
        return []
    slope = math.hypot(*found.drift.shear)
    text = f"slices move sideways by {slope:.4g} mm per mm (tilt {found.tilt_deg:.2f} degrees)"
    if math.isfinite(found.fit.spacing_mm):
        text += f", {mm(slope * found.fit.spacing_mm, 1e-3)} mm from slice to slice"
    tag = found.headers[0].tilt_deg
    if tag is not None and abs(abs(tag) - found.tilt_deg) > 0.1:
        text += f"; GantryDetectorTilt says {tag:g}"
    return [Note(Code.SHEARED, text)]


def tag_notes(found: Findings) -> list[Note]:
    """Warnings of SpacingBetweenSlices, held against the positions."""
    tag = spacing_tag(found.headers)
    spacing = _compared(found.fit, tag)
    if tag is None or spacing is None or found.source == "SpacingBetweenSlices":
        return []
    notes = []
    error = found.fit.uncertainty_mm if math.isfinite(found.fit.uncertainty_mm) else 0.0
    limit = max(AGREES * spacing, error)
    size = abs(tag)
    along_bed = size * math.cos(math.radians(found.tilt_deg))
    if abs(size - spacing) > limit:
        if found.tilt_deg and abs(along_bed - spacing) <= limit:
            text = f"{found.spacing_tag} {mm(size)} mm is measured along the bed, not along the normal"
            notes.append(Note(Code.SPACING_TAG_ALONG_BED, text))
        else:
            off = percent(size / spacing - 1)
            text = f"{found.spacing_tag} says {mm(size)} mm, the positions {mm(spacing)} mm ({off})"
            notes.append(Note(Code.SPACING_TAG_MISMATCH, text + _gap_between(found.headers[0], size, spacing, limit)))
    if tag < 0:
        notes.append(Note(Code.SPACING_TAG_NEGATIVE, f"{found.spacing_tag} is negative ({tag:g}); its size was used"))
    return notes


def location_notes(found: Findings) -> list[Note]:
    """A warning if SliceLocation says of no way of measuring what the positions say.

    Vendors measure it along the normal, along the bed or along an axis of the body, from any zero, up or down. One that
    is the same in all slices says nothing.
    """
    stated = np.array([np.nan if h.slice_location_mm is None else h.slice_location_mm for h in found.headers])
    at = np.array([h.position_mm or (np.nan,) * 3 for h in found.headers], np.float64)
    if (
        found.source != "ImagePositionPatient"
        or len(at) < 2
        or not (np.isfinite(stated).all() and np.isfinite(at).all())
    ):
        return []
    if np.ptp(stated) == 0:
        return []
    moved, from_first = np.abs(stated - stated[0]), np.abs(at - at[0])
    ways = np.column_stack([found.along_mm - found.along_mm[0], np.linalg.norm(from_first, axis=1), from_first])
    rounding = decimals_quantum(stated) + 2 * found.fit.rounding_mm
    off = np.abs(ways - moved[:, None]) - rounding - AGREES * ways
    if (off <= 0).all(0).any():
        return []
    text = (
        f"SliceLocation runs over {mm(float(np.ptp(stated)))} mm, the positions over {mm(float(ways[-1, 0]))} mm"
        if (np.diff(stated) > 0).all() or (np.diff(stated) < 0).all()
        else "SliceLocation puts slices in another order than the positions"
    )
    return [Note(Code.SLICE_LOCATION_MISMATCH, f"{text}; ImagePositionPatient counts")]


def _gap_between(header: SliceHeader, size: float, spacing: float, limit: float) -> str:
    is_gap = header.thickness_mm is not None and abs(header.thickness_mm + size - spacing) <= limit
    return ": the gap between slices, without their thickness" if is_gap else ""


def spacing_tag(headers: Sequence[SliceHeader]) -> float | None:
    """SpacingBetweenSlices if it is stated, the same (but for its sign) in all slices that state it, and not 0."""
    stated = [h.spacing_between_mm for h in headers if h.spacing_between_mm is not None]
    if not stated or not np.isfinite(stated).all():
        return None
    sizes = np.abs(stated)
    return float(stated[0]) if sizes.min() > 0 and np.ptp(sizes) <= 1e-3 * sizes.max() else None


def _compared(fit: SpacingFit, tag: float | None) -> float | None:
    """The spacing that a tag should be: that of the stretch nearest to it."""
    if tag is None or fit.spacing_class in (SpacingClass.IRREGULAR, SpacingClass.SINGLE, SpacingClass.UNKNOWN):
        return None
    spacings = [stretch.spacing_mm for stretch in fit.stretches if math.isfinite(stretch.spacing_mm)] or [
        fit.spacing_mm
    ]
    return min(spacings, key=lambda spacing: abs(spacing - abs(tag)))


def evidence(found: Findings) -> tuple[str, ...]:
    """What was measured."""
    fit, n = found.fit, len(found.order)
    if fit.spacing_class in (SpacingClass.SINGLE, SpacingClass.UNKNOWN):
        return ()
    if not found.is_measured:
        return (f"{found.source}: {mm(fit.spacing_mm)} mm, {n} slices in the order of {_ordered_by(found)}",)
    extent = float(found.along_mm[-1] - found.along_mm[0])
    said = [f"{found.source} of {n} slices over {mm(extent)} mm"]
    grid = "an even grid" if fit.spacing_class in (SpacingClass.UNIFORM, SpacingClass.MISSING) else "their stretch"
    if fit.spacing_class is not SpacingClass.IRREGULAR and n > 2:
        is_exact = fit.residual_mm < 1e-4 * fit.spacing_mm
        said.append(f"all on {grid}" if is_exact else f"at most {fit.residual_mm:.2g} mm off {grid}")
    tag = spacing_tag(found.headers)
    if tag is not None and _compared(fit, tag) is not None and not tag_notes(found):
        said.append(f"{found.spacing_tag} agrees")
    return tuple(said)


def against_given(found: Findings, given_mm: float | None) -> tuple[str, ...]:
    """What a spacing that was given would do to slices whose places are stated."""
    spacing = found.fit.spacing_mm
    if given_mm is None or not found.is_measured or not math.isfinite(spacing):
        return ()
    if abs(given_mm / spacing - 1) < 1e-4:
        return (f"the given {mm(given_mm)} mm agrees",)
    change = given_mm / spacing - 1
    effect = f"{'stretch' if change > 0 else 'shrink'} the volume by {percent(abs(change)).removeprefix('+')}"
    return (f"the given {mm(given_mm)} mm was not used: it would {effect}",)


def _ordered_by(found: Findings) -> str:
    numbers = found.numbers
    return "InstanceNumber" if numbers is not None and (np.diff(numbers) > 0).all() else "files"


def fitted(fit: SpacingFit) -> str:
    """The spacing with its unit, to the digits that are known where positions are rounded or irregular."""
    is_vague = fit.is_rounded or fit.spacing_class is SpacingClass.IRREGULAR
    return f"{mm(fit.spacing_mm, fit.uncertainty_mm if is_vague else 0.0)} mm"


def advice(found: Findings, codes: set[Code]) -> str:
    """What to do, in a sentence or two."""
    fit = found.fit
    if Code.SLICES_CONFLICT in codes:
        return f"Split the series ({ANY_SPLIT}), or keep one of each two (`keep` first or last) or none (`keep` none)."
    if Code.NAMES_CONTRADICT in codes:
        return "Rename the files so that one number counts, with a z before it, as in z001."
    if Code.MOSAIC in codes:
        return "Take the mosaics apart with another program first, such as dcm2niix."
    if fit.spacing_class is SpacingClass.UNKNOWN:
        return _unknown_advice(found)
    if fit.spacing_class is SpacingClass.SINGLE:
        return "Nothing to stack."
    use = f"Use {fitted(fit)}"
    resampled = f"gpustitch resample makes {fit.n_output} planes at {fitted(fit)}"
    if fit.spacing_class is SpacingClass.UNIFORM:
        text = f"{use} for all slices."
        if Code.MULTI_VOLUME in codes:
            text = f"Tell the volumes apart ({ANY_SPLIT}) and {text[0].lower()}{text[1:]}"
    elif fit.spacing_class is SpacingClass.MISSING:
        again = "Fetch the lost files again, or let" if Code.FILES_LOST in codes else "Let"
        text = f"{again} gpustitch resample make {fit.n_output} planes at {fitted(fit)}"
        text += ", empty in the holes (`fill_gaps`: interpolated)."
    elif fit.spacing_class is SpacingClass.RUNS_WITH_GAPS:
        text = f"{use} within each stretch: {resampled}, empty in the gaps (`stretches`: each stretch by itself too)."
    else:
        text = f"Do not stack as it is: {resampled}."
    if Code.EVEN_TOGETHER in codes:
        text = (
            f"Make the tags of the parts one, for they are one series. Of this part alone: {text[0].lower()}{text[1:]}"
        )
    if Code.SCALE_DOUBTFUL in codes:
        text += " Check the unit of lengths first."
    if Code.SHEARED in codes:
        text += " Keep the shear in the matrix, or move the slices over each other (gpustitch resample `unshear`)."
    return text


def _unknown_advice(found: Findings) -> str:
    """What to do where nothing says how far apart slices are."""
    text = "Give the distance of slices with `slice_spacing_mm` MM; the protocol or the scanner's log has it."
    if found.log_mm is not None:
        text = (
            f"Give the distance of slices with `slice_spacing_mm` MM; the scanner's log states pixels of "
            f"{mm(found.log_mm)} mm but no step: sections as far apart as pixels are that, every second one twice that."
        )
    tag = spacing_tag(found.headers)
    if tag is not None:
        text = (
            "Slices of a volume: give their distance with `slice_spacing_mm` (SpacingBetweenSlices says "
            f"{mm(abs(tag))} mm). One slice in time: there is no volume in it; `split_by` time or volume parts it."
        )
    thickness = found.headers[0].thickness_mm
    if thickness is not None:
        text += f" SliceThickness ({thickness:g} mm) need not be it (`use_thickness` takes it)."
    return text
