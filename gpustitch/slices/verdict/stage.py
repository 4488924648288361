"""Judges the slice spacing of all series at paths: DICOM, images, and what scanners' logs say of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gpustitch.array import Device
from gpustitch.errors import DamagedInputError, GpustitchError, InputMissingError
from gpustitch.model.options import documented, nested, option
from gpustitch.running import options as shared
from gpustitch.running.progress import SILENT, Progress
from gpustitch.slices.dicom.directory import is_directory_file, named_files
from gpustitch.slices.dicom.pixels import pixels_equal
from gpustitch.slices.dicom.series import find_dicom_series
from gpustitch.slices.found import SliceFiles, slice_files
from gpustitch.slices.images.series import find_image_series
from gpustitch.slices.logs.matching import logs_for, with_logs
from gpustitch.slices.logs.scanners import read_scanner_log
from gpustitch.slices.model import Code, Note, SliceHeader, SliceSeries, SliceStack
from gpustitch.slices.parts.numbered import STRUCTURAL
from gpustitch.slices.verdict.flicker import without_flicker
from gpustitch.slices.verdict.judge import DEFAULT, SPLITS, JudgeOptions, judge_series, parted_series
from gpustitch.slices.verdict.pixels import with_pixels, without_damaged
from gpustitch.slices.verdict.study import with_study
from gpustitch.slices.verdict.text import listed, plural

__all__ = ["DEFAULT", "SPLITS", "JudgeOptions", "SpacingOptions", "judge", "judge_series"]


@documented
@dataclass(frozen=True)
class SpacingOptions:
    """Which series are judged, and how."""

    inputs: tuple[Path, ...] = option(
        is_argument=True, metavar="PATH", help="Folders, files or globs: DICOM, TIFF, other images."
    )
    judge: JudgeOptions = nested(
        JudgeOptions, without=("keep_going",), slice_spacing_mm={"flag": "--spacing-z --spacing"}
    )
    device: str | Device = shared.idle_device()


_PACKED = (".zip", ".gz", ".bz2", ".xz", ".zst", ".tar", ".tgz", ".7z", ".rar", ".iso")
# Unreadable files that are named with a series; of more it is said how many.
_MOST_NAMED = 3


def judge(
    paths: str | Path | Iterable[str | Path], options: JudgeOptions = DEFAULT, progress: Progress = SILENT
) -> list[SliceStack]:
    """Judge all series at paths.

    Parameters
    ----------
    paths
        Files, folders (with all folders in them) and globs; one or several.
    options
        How.
    progress
        Told how many headers are read, and warned of files that cannot be and belong to no series.

    Returns
    -------
    The series, DICOM first, in the order of their first files. Files that cannot be read are named in the notes of
    the series in their folder.

    Raises
    ------
    InputMissingError
        If nothing is at a path, or no file is of a series.
    DamagedInputError
        If all files that should be of a series are unreadable, or one is and ``keep_going`` is False.
    """
    named = [str(path) for path in ([paths] if isinstance(paths, str | Path) else paths)]
    files = slice_files(_expanded(named, progress))
    found, loose = _found(files, options, progress)
    series = [one for one in found if one.headers]
    _check_found(series, [*loose, *(note for one in series for note in one.notes)], files, named, options)
    if packed := _archives(files.others):
        progress.note(f"archives are not opened, unpack them if they belong to it: {packed}")
    series = _told(series, loose, files, progress)
    if shared.checked_on_error(options.on_error):
        series = without_damaged(series)
    series = [part for one in series for part in parted_series(one, options)]
    judged = [judge_series(one, options, pixels_equal if one.source_format == "dicom" else None) for one in series]
    judged = [with_pixels(stack) for stack in judged]
    return judged if options.split_by else with_study(judged)


def _found(files: SliceFiles, options: JudgeOptions, progress: Progress) -> tuple[list[SliceSeries], list[Note]]:
    """All series, DICOM first, else what logs say of absent images; and the notes that are of no series."""
    dicom, notes = _dicom(files.dicom, options, progress)
    dicom = without_flicker(dicom, options.tolerance)
    images, lone = _series_beside(dicom, _images(files.images, options))
    found = [*dicom, *images]
    if not found:
        found, notes = _of_logs(files.logs, notes)
    return found, [*files.notes, *notes, *lone, *(note for one in found if not one.headers for note in one.notes)]


def _check_found(
    series: Sequence[SliceSeries],
    notes: Sequence[Note],
    files: SliceFiles,
    named: Sequence[str],
    options: JudgeOptions,
) -> None:
    """Raise DamagedInputError for unreadable files that are not to be passed over, InputMissingError for no series."""
    bad = [note for note in notes if _is_bad(note)]
    if bad and (not series or not options.keep_going):
        raise DamagedInputError(
            bad[0].text if len(bad) == 1 else f"{bad[0].text} (and {plural(len(bad) - 1, 'more file')})"
        )
    if not series:
        packed = _archives(files.others)
        hint = f"; unpack {packed} first" if packed else ""
        raise InputMissingError(f"there are no slices (DICOM, TIFF, PNG, JPEG, BMP) in {', '.join(named)}{hint}")


def _told(
    series: Sequence[SliceSeries], loose: Sequence[Note], files: SliceFiles, progress: Progress
) -> list[SliceSeries]:
    """The series with the notes of unreadable files beside them; notes that are of no series are told."""
    folders = {note: _folders(note, [*files.dicom, *files.images]) for note in loose}
    noted, left = _attached(series, folders)
    for is_bad, text in _few([(note, folders[note]) for note in left]):
        (progress.warn if is_bad else progress.note)(text)
    return noted


def _expanded(paths: Sequence[str], progress: Progress) -> list[str]:
    """The paths, with the files that a DICOMDIR names in its place."""
    found: list[str] = []
    for path in paths:
        if not is_directory_file(Path(path)):
            found.append(path)
            continue
        files, n_missing = named_files(Path(path))
        if n_missing:
            progress.warn(f"{path}: {plural(n_missing, 'file')} of those that it names {_are(n_missing)} not there")
        found += map(str, files)
    if paths and not found:
        raise InputMissingError(f"no file that {', '.join(paths)} names is there")
    return found


def _are(count: int) -> str:
    return "is" if count == 1 else "are"


def _archives(files: Sequence[Path]) -> str:
    """The first few archives and compressed files among others; empty if there are none."""
    return listed([path.name for path in files if path.name.lower().endswith(_PACKED)])


def _dicom(files: Sequence[Path], options: JudgeOptions, progress: Progress) -> tuple[list[SliceSeries], list[Note]]:
    if not files:
        return [], []
    progress.start("Headers", len(files), "files")
    try:
        names = [SPLITS[name] for name in options.split_by if name not in STRUCTURAL]
        return find_dicom_series(files, names, lambda _: progress.advance(), merge=options.merge)
    finally:
        progress.finish()


def _images(files: Sequence[Path], options: JudgeOptions) -> list[SliceSeries]:
    """Series of images, with the spacing of scanners' logs; files of other programs may end in .log too."""
    series = find_image_series(files, options.trust_resolution)
    near = dict.fromkeys(path for one in series if one.headers for path in logs_for(one))
    return with_logs(series, slice_files(near).logs)


def _series_beside(dicom: Sequence[SliceSeries], images: Sequence[SliceSeries]) -> tuple[list[SliceSeries], list[Note]]:
    """Series of images; where there is DICOM, single images are previews or pictures of the screen, and only noted."""
    lone = [one for one in images if dicom and len(one.headers) == 1]
    notes = [Note(Code.NOT_AN_IMAGE, f"{one.headers[0].path} is a single image beside DICOM; left out") for one in lone]
    return [one for one in images if one not in lone], notes


def _of_logs(paths: Sequence[Path], notes: Sequence[Note]) -> tuple[list[SliceSeries], list[Note]]:
    """What logs say of slices that are not there."""
    series, bad = [], list(notes)
    for path in paths:
        try:
            series.append(_of_log(path))
        except GpustitchError as error:
            bad.append(Note(Code.UNREADABLE_FILE, str(error)))
    return series, bad


def _of_log(path: Path) -> SliceSeries:
    """The series that a log tells of; DamagedInputError if it does not say how many slices, or how far apart."""
    log = read_scanner_log(path)
    n, rows, columns = log.shape
    if n is None or rows is None or columns is None or log.spacing_mm[0] is None:
        sizes = " x ".join("?" if size is None else f"{size:.7g}" for size in log.spacing_mm)
        what = "how far apart slices are" if log.spacing_mm[0] is None else "how many"
        raise DamagedInputError(f"{path} states voxels of {sizes} mm (z, y, x), but not {what}")
    _, y, x = log.spacing_mm
    pixel = None if y is None or x is None else (y, x)
    headers = tuple(SliceHeader(path, k, (rows, columns), pixel_spacing_mm=pixel) for k in range(n))
    note = Note(Code.NOT_AN_IMAGE, f"the images of {path} are not there; this is what it says of them")
    return SliceSeries(str(path), "scanner log", headers, (note,), {}, log.spacing_mm)


def _is_bad(note: Note) -> bool:
    return note.code is Code.UNREADABLE_FILE


def _folders(note: Note, files: Sequence[Path]) -> set[Path]:
    """Folders of the files that a note names."""
    return {file.parent for file in files if str(file) in note.text}


def _attached(series: Sequence[SliceSeries], folders: Mapping[Note, set[Path]]) -> tuple[list[SliceSeries], list[Note]]:
    """The series with the notes of unreadable files in their folders, and the notes of the other files."""
    noted: list[SliceSeries] = []
    used: set[Note] = set()
    for one in series:
        places = {header.path.parent for header in one.headers}
        own = [note for note, there in folders.items() if _is_bad(note) and places & there]
        if len(own) <= _MOST_NAMED:
            used.update(own)
        else:
            own = [Note(Code.UNREADABLE_FILE, f"{len(own)} files beside these cannot be read")]
        noted.append(dataclasses.replace(one, notes=(*one.notes, *own)) if own else one)
    return noted, [note for note in folders if note not in used]


def _few(notes: Sequence[tuple[Note, set[Path]]]) -> Iterator[tuple[bool, str]]:
    """Whether a file is unreadable, and the text: all of a few, the first of many in one folder."""
    groups: dict[tuple[Code, tuple[Path, ...]], list[Note]] = {}
    for note, there in notes:
        groups.setdefault((note.code, tuple(sorted(there))), []).append(note)
    for some in groups.values():
        shown = some if len(some) <= _MOST_NAMED + 1 else some[:_MOST_NAMED]
        yield from ((_is_bad(note), note.text) for note in shown)
        if len(some) > len(shown):
            yield _is_bad(some[0]), f"and {len(some) - len(shown)} more files in the same folder ({some[0].code})"
