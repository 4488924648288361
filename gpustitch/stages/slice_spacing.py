"""Judges the slice spacing of all series at paths: DICOM, images, and what scanners' logs say of them."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from gpustitch.errors import DamagedInputError, InputMissingError
from gpustitch.io.dicom_pixels import pixels_equal
from gpustitch.io.dicom_series import find_dicom_series
from gpustitch.io.image_series import find_image_series
from gpustitch.io.slice_files import slice_files
from gpustitch.model.slices import Code, Note, SliceSeries, SliceStack
from gpustitch.stages.progress import SILENT, Progress
from gpustitch.stages.slice_judge import DEFAULT, JudgeOptions, judge_series

__all__ = ["DEFAULT", "JudgeOptions", "judge", "judge_series"]


def judge(
    paths: Iterable[str | Path], options: JudgeOptions = DEFAULT, progress: Progress = SILENT
) -> list[SliceStack]:
    """Judge all series at paths.

    Parameters
    ----------
    paths
        Files, folders (with all folders in them) and globs.
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
    named = [str(path) for path in paths]
    files = slice_files(named)
    dicom, notes = _dicom(files.dicom, options, progress)
    images = find_image_series(files.images, options.trust_resolution)
    found = [*dicom, *images]
    loose = [*files.notes, *notes, *(note for one in found if not one.headers for note in one.notes)]
    series = [one for one in found if one.headers]
    bad = [note for note in (*loose, *(note for one in series for note in one.notes)) if _is_bad(note)]
    if bad and (not series or not options.keep_going):
        raise DamagedInputError(bad[0].text if len(bad) == 1 else f"{bad[0].text} (and {len(bad) - 1} more files)")
    if not series:
        raise InputMissingError(f"there are no slices (DICOM, TIFF, PNG, JPEG, BMP) in {', '.join(named)}")
    series, loose = _attached(series, loose)
    for note in loose:
        (progress.warn if _is_bad(note) else progress.note)(note.text)
    return [judge_series(one, options, pixels_equal if one.kind == "dicom" else None) for one in series]


def _dicom(files: Sequence[Path], options: JudgeOptions, progress: Progress) -> tuple[list[SliceSeries], list[Note]]:
    if not files:
        return [], []
    progress.start("Headers", len(files), "files")
    try:
        return find_dicom_series(files, options.split_by, lambda _: progress.advance())
    finally:
        progress.finish()


def _is_bad(note: Note) -> bool:
    return note.code is Code.UNREADABLE_FILE


def _attached(series: Sequence[SliceSeries], loose: Sequence[Note]) -> tuple[list[SliceSeries], list[Note]]:
    """The series with the notes of unreadable files in their folders, and the notes of the other files."""
    unused = dict.fromkeys(loose, True)
    noted = []
    for one in series:
        folders = {f"{header.path.parent}{os.sep}" for header in one.headers}
        own = [note for note in loose if _is_bad(note) and any(folder in note.text for folder in folders)]
        unused.update(dict.fromkeys(own, False))
        noted.append(dataclasses.replace(one, notes=(*one.notes, *own)) if own else one)
    return noted, [note for note, is_loose in unused.items() if is_loose]
