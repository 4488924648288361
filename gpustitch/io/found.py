"""The one search for files: at a path, in a folder, by a glob; numbers in names sort by value."""

from __future__ import annotations

import functools
import glob
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from gpustitch.errors import InputMissingError, ParameterError

NameKey = tuple[tuple[int, int | str], ...]
_LITTER = (".", "__MACOSX")  # first letters of files and folders that programs leave unasked


def natural_key(path: Path) -> NameKey:
    """Sorts ``img_2.tif`` before ``img_10.tif``."""
    return tuple((0, int(part)) if part.isdecimal() else (1, part) for part in re.split(r"(\d+)", path.name) if part)


def path_key(path: Path) -> tuple[NameKey, ...]:
    """Sorts paths folder by folder, each by :func:`natural_key`: ``scan_2/im_9`` before ``scan_10/im_1``."""
    return (*_folder_key(path.parent), natural_key(path))


def is_text(path: Path) -> bool:
    """Whether the whole path is UTF-8: names on old disks may be other bytes."""
    try:
        os.fspath(path.absolute()).encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


@functools.lru_cache(maxsize=1024)
def _folder_key(folder: Path) -> tuple[NameKey, ...]:
    return tuple(natural_key(Path(part)) for part in folder.parts)


def found_files(
    place: str | Path, *, below: bool = False, failed: Callable[[OSError], None] | None = None
) -> list[Path]:
    """The files at a path in the order of :func:`path_key`: one file, the files in a folder, or those of a glob.

    Hidden files and folders are left out unless ``place`` names them. The name of an existing folder is no pattern,
    even ``brain [3]``; ``**`` in a glob stands for any number of folders.

    Parameters
    ----------
    place
        A file, a folder or a glob pattern.
    below
        Take also the files in all folders below, and in folders that the glob matches.
    failed
        Called with the error of each folder below that cannot be listed; by default the error is raised.

    Raises
    ------
    InputMissingError
        If nothing is at the path, or the path cannot be opened.
    """
    path = Path(place)
    try:
        if path.is_dir():
            return sorted(files_in(path, below=below, failed=failed), key=path_key)
        if path.exists():
            return [path]
        matches = list(_matches(path))
        if not matches:
            raise InputMissingError(f"there is no file or folder {place}")
        files = [match for match in matches if not match.is_dir()]
        for folder in set(matches).difference(files) if below else ():
            files.extend(files_in(folder, below=below, failed=failed))
    except InputMissingError:
        raise
    except OSError as error:
        raise InputMissingError(f"{place} cannot be opened: {error.strerror or error}") from error
    return sorted(files, key=path_key)


def found_places(place: str | Path) -> list[Path]:
    """The file or folder at a path, or the files and folders that a glob matches, in the order of :func:`path_key`.

    Raises
    ------
    InputMissingError
        If nothing is at the path.
    """
    path = Path(place)
    places = [path] if path.exists() else sorted(_matches(path), key=path_key)
    if not places:
        raise InputMissingError(f"there is no file or folder {place}")
    return places


def one_place(place: str | Path) -> Path:
    """The file or folder at a path, or the one that a glob matches.

    Raises
    ------
    InputMissingError
        If nothing is at the path.
    ParameterError
        If the glob matches several.
    """
    first, *more = found_places(place)
    if more:
        raise ParameterError(f"{place} matches {len(more) + 1} files and folders; give one, such as {first}")
    return first


def root_of(place: str | Path) -> Path:
    """The path itself if something is there; of a glob the folder above its first wildcard."""
    path = Path(place)
    while not path.exists():
        path = path.parent
    return path


def _matches(pattern: Path) -> Iterator[Path]:
    # The name of an existing folder is no pattern, even "brain [3]".
    text = Path(glob.escape(str(pattern.parent))) / pattern.name if pattern.parent.is_dir() else pattern
    return map(Path, glob.iglob(str(text), recursive=True))  # noqa: PTH207 (absolute patterns)


def files_in(folder: Path, *, below: bool, failed: Callable[[OSError], None] | None = None) -> Iterator[Path]:
    """The files in a folder as :func:`found_files` takes them, in the order of the disk."""

    def refuse(error: OSError) -> None:
        raise error

    for parent, folders, names in os.walk(folder, onerror=failed or refuse):
        folders[:] = [name for name in folders if below and not name.startswith(_LITTER)]
        yield from (Path(parent, name) for name in names if not name.startswith("."))
