"""Which files of a level are there: its folder is listed once when the volume is opened, and compared with what is due.

"Not there" is never read as "empty": a record says which files were written, or else the format which there must be.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from gpustitch.errors import DamagedInputError
from gpustitch.io.volumes.record import RECORD

Index = tuple[int, ...]


class Naming(Protocol):
    """How the files of a level are named: a name's parts count along the axes of a grid of files."""

    @property
    def axes(self) -> Sequence[Mapping[str, int]]:
        """For each axis (z, y, x) the expected parts of a name, and the number of each along the axis."""

    def split(self, name: str) -> tuple[Sequence[str], int] | None:
        """The parts (z, y, x) of a file's path below the level's folder, and the number (from 1) of its kind.

        None for a file of another purpose. Parts that do not fit the axes belong to a level of another layout.
        """

    def name(self, index: Index, kind: int = 1) -> str:
        """The path, below the level's folder, of a file on the grid."""


@dataclass(frozen=True)
class Presence:
    """Which files of a level are there.

    Attributes
    ----------
    kinds
        uint8 over the grid of files (z, y, x): the kind of each file, 0 where there is none.
    n_due
        Number of files that there should be; without a record those of the whole grid.
    n_missing
        How many of them are not there.
    """

    kinds: npt.NDArray[np.uint8]
    n_due: int
    n_missing: int


@dataclass
class Listing:
    """A folder's files: on the grid (``kinds``), of another layout (``outside``), of another purpose (``others``).

    ``kinds`` is uint8 over the grid of files (z, y, x): the kind of each file, 0 where there is none.

    Names of the grid that are no files, as links whose files were not fetched, are ``broken``.
    """

    kinds: npt.NDArray[np.uint8]
    n_outside: int = 0
    outside: str = ""
    n_others: int = 0
    other: str = ""
    doubled: str = ""
    n_broken: int = 0
    broken: str = ""

    @property
    def strange(self) -> str:
        """What else the folder holds, for messages."""
        n, example = (self.n_outside, self.outside) if self.outside else (self.n_others, self.other)
        return f"it holds {n} files such as {example}" if n else "it holds nothing else"


def check_presence(
    folder: Path,
    naming: Naming,
    recorded: npt.NDArray[np.bool_] | None,
    *,
    is_sparse: bool = False,
    allow_missing: bool = False,
) -> Presence:
    """List the folder of a level, and refuse a level that has lost files.

    Parameters
    ----------
    folder, naming
        The level's folder, and how its files are named.
    recorded
        What the volume's record says of the level: bool over the grid of files. None without a record.
    is_sparse
        Whether the format allows files to be absent, as zarr does. Without a record they are then not refused, only
        counted, as long as there are any.
    allow_missing
        Count missing files, too, instead of refusing the level. Links that lead nowhere are missing files.

    Raises
    ------
    DamagedInputError
        If the folder or files are missing. Also if files are of another layout, or there are two of one place: then
        ``allow_missing`` does not help.
    """
    found = listed(folder, naming)
    there = found.kinds > 0
    due = np.ones(there.shape, np.bool_) if recorded is None else recorded
    if due.shape != there.shape:
        raise DamagedInputError(
            f"{folder} has a grid of {there.shape} files (z, y, x), but {RECORD} knows {due.shape}; one of the "
            "volume's descriptions was changed, copy the volume again"
        )
    missing = due & ~there
    presence = Presence(found.kinds, int(due.sum()), int(missing.sum()))
    if found.doubled:
        raise DamagedInputError(f"{folder} holds {found.doubled} of one chunk; remove the one that is out of date")
    if found.n_broken and not allow_missing:
        raise DamagedInputError(
            f"{folder}: {found.n_broken} of {presence.n_due} files of chunks are links that lead nowhere, or folders, "
            f"such as {found.broken}; bring the files there, or read them as empty with `allow_missing`"
        )
    if (there & ~due).any():
        surplus = naming.name(_first(there & ~due))
        raise DamagedInputError(
            f"{folder} holds {surplus}, which was not written with the volume; copy the volume again, or remove "
            f"{RECORD} if another program has changed the volume on purpose"
        )
    if presence.n_missing:
        example = naming.name(_first(missing))
        _refuse_others(folder, found, presence, example, allow_missing=allow_missing)
        if not (allow_missing or (is_sparse and recorded is None)):
            why = "a copy has lost them, or they held only zeros" if recorded is None else "a copy has lost them"
            raise DamagedInputError(
                f"{folder}: {presence.n_missing} of {presence.n_due} files of chunks are missing, such as {example}; "
                f"{why}. Copy the volume again, or read zeros there with `allow_missing`"
            )
    return presence


def _refuse_others(folder: Path, found: Listing, presence: Presence, example: str, *, allow_missing: bool) -> None:
    """Raise DamagedInputError if nothing is there in place of missing files, or files of another volume are."""
    if not folder.is_dir():
        raise DamagedInputError(f"there is no folder {folder}, which should hold {presence.n_due} files of chunks")
    if not found.kinds.any() and (found.outside or found.other or not allow_missing):
        raise DamagedInputError(
            f"{folder} has none of its {presence.n_due} files of chunks: {found.strange}; expected names such as "
            f"{example}"
        )
    if found.outside:
        raise DamagedInputError(
            f"{folder}: {presence.n_missing} of {presence.n_due} files of chunks are missing, such as {example}; "
            f"{found.strange}, which are of another size, offset or layout than the volume's description"
        )


def _first(flags: npt.NDArray[np.bool_]) -> Index:
    return tuple(map(int, np.unravel_index(int(flags.argmax()), flags.shape)))


def listed(folder: Path, naming: Naming, without: Collection[str] = ()) -> Listing:
    """List the folder of a level; files called as one of ``without`` are left out.

    Raises
    ------
    DamagedInputError
        If the folder cannot be listed. One that is not there holds nothing.
    """
    axes = naming.axes
    found = Listing(np.zeros([len(axis) for axis in axes], np.uint8))
    for name, is_file in _names(folder, len(axes) + 1):
        if name in without:
            continue
        parted = naming.split(name)
        if parted is None:
            found.n_others += 1
            found.other = min(found.other or name, name)
            continue
        parts, kind = parted
        index = tuple([axis.get(part, -1) for axis, part in zip(axes, parts, strict=False)])
        if len(parts) != len(axes) or -1 in index:
            found.n_outside += 1
            found.outside = min(found.outside or name, name)
        elif not is_file:
            found.n_broken += 1
            found.broken = min(found.broken or name, name)
        elif found.kinds[index]:
            found.doubled = " and ".join(sorted([naming.name(index, int(found.kinds[index])), name]))
        else:
            found.kinds[index] = kind
    return found


def _names(folder: Path | str, depth: int, above: str = "") -> Iterator[tuple[str, bool]]:
    """Paths below a folder, at most ``depth`` folders deep, with ``/`` between parts, and whether each is a file."""
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if depth > 1 and entry.is_dir():
                    yield from _names(entry.path, depth - 1, f"{above}{entry.name}/")
                else:
                    yield above + entry.name, entry.is_file()
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise DamagedInputError(f"{folder} cannot be listed: {error.strerror}") from error
