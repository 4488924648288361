"""Which scanner log is of which stack of images, and the spacing that the stack gets from it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from gpustitch.errors import GpustitchError
from gpustitch.io.stacks.holes import number_step
from gpustitch.model.arrays import LengthsZYX
from gpustitch.slices.logs.scanners import ScannerLog, find_logs, read_scanner_log
from gpustitch.slices.model import Code, Note, SliceSeries

_SAME = 1e-3  # two logs of one reconstruction differ by their decimals at most
_SAME_STATED = 1e-2  # as SpacingBetweenSlices of DICOM
_MORE_PROJECTIONS = 2  # taken again at the end, to see whether something moved


def logs_for(series: SliceSeries) -> list[Path]:
    """Logs in the folder of a stack, then in the one above it: scanners put slices in a folder beside the log."""
    found: list[Path] = []
    for folder in _folders(series):
        try:
            found += find_logs(folder)
        except GpustitchError:
            continue
    return found


def with_logs(series: Sequence[SliceSeries], logs: Iterable[Path] | None = None) -> list[SliceSeries]:
    """Series of images with the spacing of the log that is theirs.

    A log is looked for in the folder of the images and the one above. It is theirs if the numbers of rows, columns and
    slices agree; where a log states none, if no other log is nearer. Several may agree: those of a reconstruction come
    first, then those named as the images, then those in their folder. Logs that contradict the images, or each other,
    are named in a note and not used.

    Parameters
    ----------
    series
        From :func:`gpustitch.slices.images.series.find_image_series`; DICOM series come back as they are.
    logs
        Those to choose from; by default all that lie there.
    """
    known = None if logs is None else list(logs)
    read: dict[Path, ScannerLog | Note] = {}
    return [_with_nearby(one, known, read) for one in series]


def series_with_log(series: SliceSeries, log: ScannerLog) -> SliceSeries:
    """A series with the spacing of a log: what it does not state itself, and a note on where that is from.

    Distances that the images only imply, or that are written unasked, give way to the log's. A log whose size
    contradicts the images', or that is of their projections, is noted and not used.
    """
    wrong = contradiction(series, log)
    if wrong:
        return _noted(series, [Note(Code.SCANNER_LOG_MISMATCH, f"{log.path} is not used: {wrong}")])
    notes = [Note(Code.SCANNER_LOG_MISMATCH, problem) for problem in log.problems]
    stated = series.spacing_mm or (None, None, None)
    is_default = any(note.code is Code.RESOLUTION_IS_DEFAULT for note in series.notes)
    own: LengthsZYX = (None, None, None) if is_default and None not in log.spacing_mm else stated
    spacing = tuple(mine if mine is not None else mm for mine, mm in zip(own, log.spacing_mm, strict=True))
    z, y, x = spacing
    taken = [axis for axis, mine, got in zip("zyx", own, spacing, strict=True) if mine is None and got is not None]
    notes += _differences(series, own, log)
    if not taken:
        return _noted(series, notes)
    lengths = " x ".join("?" if mm is None else f"{mm:.7g}" for mm in spacing)
    which = "" if len(taken) == len(own) else f" {', '.join(taken)}"
    said = f"{lengths} mm (z, y, x),{which} from {log.path} ({log.log_type}): {'; '.join(log.quotes)}"
    notes.append(Note(Code.SCANNER_LOG_USED, f"{said}; {_agreement(series, log)}"))
    kept = tuple(note for note in series.notes if note.code not in _answered(spacing))
    pixel = (y, x) if y is not None and x is not None else None
    return replace(
        series,
        source_format="scanner log" if "z" in taken else series.source_format,
        headers=tuple(replace(header, pixel_spacing_mm=pixel) for header in series.headers),
        notes=(*kept, *notes),
        spacing_mm=(z, y, x),
    )


def contradiction(series: SliceSeries, log: ScannerLog) -> str:
    """Why a log cannot be of a stack; empty if it can."""
    n, rows, columns = _size(series)
    taken, taken_rows, taken_columns = log.projections
    count, log_rows, log_columns = log.shape
    is_shape_known = log_rows is not None and log_columns is not None
    fits = is_shape_known and (log_rows, log_columns) == (rows, columns)
    as_taken = taken is not None and (taken_rows, taken_columns) == (rows, columns)
    if as_taken and not fits and taken is not None and abs(n - taken) <= _MORE_PROJECTIONS:
        return f"the {n} images of {rows} x {columns} are its {taken} projections, which are no slices"
    if all(mm is None for mm in log.spacing_mm):
        return "; ".join(log.problems) or "it states no voxel size"
    if is_shape_known and not fits:
        if _is_turned(log, (n, rows, columns)):
            return ""
        return f"the images are {rows} x {columns}, its reconstruction {log_rows} x {log_columns}"
    if count is None and not is_shape_known and not _is_near(series, log):
        return "it states no size, and neither its name nor its folder is that of the images"
    if count is None or count == n or _is_part(series, log):
        return ""
    return f"there are {n} images, its reconstruction has {count}"


def _is_near(series: SliceSeries, log: ScannerLog) -> bool:
    """Whether a log lies beside the images, or is named as they or their folder are."""
    first = series.headers[0].path.absolute()
    names = (first.stem.lower(), first.parent.name.lower())
    return log.path.parent.absolute() == first.parent or any(name.startswith(_beginning(log)) for name in names)


def _beginning(log: ScannerLog) -> str:
    return (log.prefix or log.path.stem).lower()


def _is_turned(log: ScannerLog, size: tuple[int, int, int]) -> bool:
    """Whether slices were cut across another axis of cubes: their spacing is the same."""
    known = [count for count in log.shape if count is not None]
    return len(known) == 3 and sorted(known) == sorted(size) and len(set(log.spacing_mm)) == 1


def _is_part(series: SliceSeries, log: ScannerLog) -> bool:
    """Whether the numbers in the names are some of the sections of the log, in its steps."""
    numbers = [header.number for header in series.headers]
    if log.sections is None or len({header.path for header in series.headers}) != len(numbers):
        return False
    first, last, step = log.sections
    inside = all(number is not None and first <= number <= last for number in numbers)
    return inside and number_step(numbers) == step


def _agreement(series: SliceSeries, log: ScannerLog) -> str:
    """How far the size that a log states is that of the images, in words."""
    n, rows, columns = _size(series)
    if all(count is None for count in log.shape):
        return "it states no size that could be compared"
    if log.shape == (n, rows, columns):
        return f"its size, {n} x {rows} x {columns}, is that of the images"
    if _is_turned(log, (n, rows, columns)) and log.shape[1:] != (rows, columns):
        return "its size is that of the images but for the order of axes; voxels are cubes"
    if log.shape[0] is not None and log.shape[0] != n:
        return f"{n} of its {log.shape[0]} sections are here"
    return f"its size is that of the images ({rows} x {columns}) as far as stated"


def _differences(series: SliceSeries, own: LengthsZYX, log: ScannerLog) -> list[Note]:
    """Where the images and the log both state a distance, and not the same."""
    return [
        Note(
            Code.SPACING_TAG_MISMATCH,
            f"{series.name}: the images state {mine:.6g} mm along {axis}, {log.path} {other:.6g} mm; the images count",
        )
        for axis, mine, other in zip("zyx", own, log.spacing_mm, strict=True)
        if mine is not None and other is not None and not math.isclose(mine, other, rel_tol=_SAME_STATED)
    ]


def _answered(spacing: Sequence[float | None]) -> set[Code]:
    z, y, x = spacing
    codes = {Code.NO_SPACING} if z is not None else set()
    return codes | ({Code.NO_PIXEL_SPACING, Code.RESOLUTION_IS_DEFAULT} if y is not None and x is not None else set())


def _read_once(path: Path, read: dict[Path, ScannerLog | Note]) -> ScannerLog | Note:
    """A log, or why it cannot be read; ``read`` has those of other series."""
    if path not in read:
        try:
            read[path] = read_scanner_log(path)
        except GpustitchError as error:
            read[path] = Note(Code.UNREADABLE_FILE, str(error))
    return read[path]


def _with_nearby(series: SliceSeries, logs: list[Path] | None, read: dict[Path, ScannerLog | Note]) -> SliceSeries:
    """A series with the spacing of the likeliest log that fits it; of rivals as likely, none is used."""
    if series.source_format == "dicom" or not series.headers:
        return series
    folders = _folders(series)
    near = logs_for(series) if logs is None else [path for path in logs if path.parent.absolute() in folders]
    found = [_read_once(path, read) for path in near]
    usable = sorted((log for log in found if isinstance(log, ScannerLog)), key=lambda log: _rank(series, log))
    fitting = [log for log in usable if not contradiction(series, log)]
    notes = [note for note in found if isinstance(note, Note)]
    if not fitting:
        wrong = [(log, contradiction(series, log)) for log in usable]
        said = [Note(Code.SCANNER_LOG_MISMATCH, f"{log.path} is not used: {why}") for log, why in wrong]
        return _noted(series, [*notes, *said])
    best, *others = fitting
    rivals = [log for log in others if not _agree(best, log)]
    equals = [log for log in rivals if _rank(series, log) == _rank(series, best)]
    if equals:
        named = " and ".join(str(log.path) for log in (best, *equals))
        text = f"{named} could all be of {series.name} and state different voxels; none is used"
        return _noted(series, [*notes, Note(Code.SCANNER_LOG_MISMATCH, text)])
    notes += [
        Note(Code.SCANNER_LOG_MISMATCH, f"{log.path} states other voxels than {best.path}, which counts")
        for log in rivals
    ]
    return _noted(series_with_log(series, best), notes)


def _rank(series: SliceSeries, log: ScannerLog) -> tuple[bool, bool, bool]:
    """Smaller for logs that are more likely of a stack."""
    name = series.headers[0].path.stem.lower()
    return (
        not log.is_reconstruction,
        not name.startswith(_beginning(log)),
        log.path.parent.absolute() != series.headers[0].path.parent.absolute(),
    )


def _agree(one: ScannerLog, other: ScannerLog) -> bool:
    return all(
        a is None or b is None or math.isclose(a, b, rel_tol=_SAME)
        for a, b in zip(one.spacing_mm, other.spacing_mm, strict=True)
    )


def _folders(series: SliceSeries) -> list[Path]:
    folder = series.headers[0].path.parent.absolute()
    return [folder, folder.parent] if folder.parent != folder else [folder]


def _size(series: SliceSeries) -> tuple[int, int, int]:
    return (len(series.headers), *series.headers[0].shape)


def _noted(series: SliceSeries, notes: Sequence[Note]) -> SliceSeries:
    return replace(series, notes=(*series.notes, *notes))
