"""The files that a DICOMDIR names."""

from __future__ import annotations

import warnings
from pathlib import Path

from pydicom import dcmread

from gpustitch.errors import DamagedInputError
from gpustitch.io.images.files import reading

_NAME = "dicomdir"


def is_directory_file(path: Path) -> bool:
    """Whether a path is a DICOMDIR by its name."""
    return path.name.lower() == _NAME and path.is_file()


def named_files(path: Path) -> tuple[list[Path], int]:
    """The files that a DICOMDIR names, in its order, and the number of those that are not there.

    Names are taken as they are, else in small letters, as file systems of CDs show them.

    Raises
    ------
    InputMissingError
        If it cannot be opened.
    DamagedInputError
        If it cannot be read, or names no files.
    """
    with reading(path, "a DICOMDIR"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        records = dcmread(path, force=True).get("DirectoryRecordSequence") or []
        parts = [_parts(record.get("ReferencedFileID")) for record in records]
    named = [names for names in parts if names]
    if not named:
        raise DamagedInputError(f"{path} names no files")
    found = [file for names in named if (file := _found(path.parent, names)) is not None]
    return list(dict.fromkeys(found)), len(named) - len(found)


def _parts(value: object) -> list[str]:
    """Names of the folders and of the file, below the folder of the DICOMDIR."""
    if not value:
        return []
    names = [value] if isinstance(value, str) else [str(name) for name in value]  # type: ignore[attr-defined]
    return [name for name in names if name not in ("", ".", "..") and "/" not in name]


def _found(folder: Path, names: list[str]) -> Path | None:
    for some in (names, [name.lower() for name in names]):
        file = folder.joinpath(*some)
        if file.is_file():
            return file
    return None
