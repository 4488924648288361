"""The base of formats of volumes in folders: a name, the files that mark a volume, and a way to open a folder."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol

from gpustitch.io.stacks.choice import StackChoice
from gpustitch.io.volumes.presence import Index, Naming
from gpustitch.model import ZYX, Spacing, Volume

READ_CACHE_BYTES = 1 << 28  # of decoded chunks, for each format: neighbouring blocks share many of them


class StoredVolume(Volume, Protocol):
    """A level of a volume on disk.

    It may have ``chunk_shape``, voxels (z, y, x) that are stored together; ``holds(box)``, which is False where no file
    has any voxel of a box, so that all are 0; and ``channel``, the name of its channel or None.
    """

    @property
    def stated_spacing(self) -> Spacing | None:
        """Voxel spacing that the volume's files state; None unless they state all axes with a unit."""

    @property
    def depth(self) -> int:
        """How many planes are stored together; reading fewer at a time decodes the same chunks again."""

    @property
    def levels(self) -> int:
        """Number of pyramid levels."""

    @property
    def n_files(self) -> int:
        """Number of files of chunks that the level should have; 0 for a format that cannot tell."""

    @property
    def n_missing(self) -> int:
        """How many of these files are not there; their voxels read as empty."""


def chunk_shape_of(volume: StoredVolume) -> ZYX:
    """Voxels (z, y, x) that are stored together: the volume's ``chunk_shape``, else whole planes of its ``depth``."""
    z, y, x = getattr(volume, "chunk_shape", (volume.depth, *volume.coverage.shape[1:]))
    return z, y, x


def missing_text(source: object, name: str) -> str:
    """What is missing of a volume or its planes, in a line for people; empty if nothing is, or nothing tells."""
    missing, due = (getattr(source, attribute, 0) for attribute in ("n_missing", "n_files"))
    return f"{name}: {missing} of {due} files of chunks are not there; they read as empty" if missing else ""


@dataclass(frozen=True)
class Access:
    """How a volume is opened.

    Parameters
    ----------
    fallback
        Spacing of a volume whose files state no spacing at all.
    level
        0 for full resolution; less than :attr:`StoredVolume.levels`.
    allow_missing
        Count files of chunks that are missing, and read their voxels as empty.
    choice
        Which volume to open, for a format that ``has_stacks``; None for a caller whose users cannot choose.
    """

    fallback: Spacing | None = None
    level: int = 0
    allow_missing: bool = False
    choice: StackChoice | None = None


FULL = Access()


@dataclass(frozen=True)
class LevelFiles:
    """The files of a level.

    Parameters
    ----------
    folder, naming
        Where they lie, and how they are named.
    is_sparse
        Whether files may be absent, unless a record knows them.
    decode
        Decodes every chunk in a file, one at a time, so that memory is that of a chunk. Takes the file's place on the
        grid of files, and the opened level, None if nobody can choose one. DamagedInputError if a chunk cannot be read.
    """

    folder: Path
    naming: Naming
    is_sparse: bool
    decode: Callable[[Index, StoredVolume | None], None]


@dataclass(frozen=True)
class VolumeFiles:
    """The files of a volume.

    Parameters
    ----------
    folder
        Holds the levels' folders and, if there is one, the record of files.
    levels
        Names of the levels' folders, fine to coarse.
    level
        The files of a level by its number; DamagedInputError if its description cannot be understood.
    is_record_due
        Whether the description says that there is a record.
    is_part
        Whether this is but one of the levels that a record in ``folder`` may be about.
    """

    folder: Path
    levels: Sequence[str]
    level: Callable[[int], LevelFiles]
    is_record_due: bool = False
    is_part: bool = False


class VolumeFormat(ABC):
    """A format of volumes, in use once :data:`gpustitch.io.volumes.opening.VOLUME_FORMATS` holds an instance.

    Attributes
    ----------
    name
        The format's name in messages.
    marks
        Names of files; any of them in a folder marks a volume of this format. Messages name the first.
    has_stacks
        Whether a folder may hold several volumes, so that ``choice`` means something.
    """

    name: str
    marks: tuple[str, ...]
    has_stacks: ClassVar[bool] = False

    def found_in(self, folder: Path) -> bool:
        """Whether a folder is a volume of this format."""
        return any((folder / mark).is_file() for mark in self.marks)

    @abstractmethod
    def open(self, folder: Path, access: Access = FULL) -> StoredVolume:
        """A level of the volume in a folder that :meth:`found_in` accepts.

        Parameters
        ----------
        folder
            The volume's folder.
        access
            Which part of it, and what to do where its files say too little.

        Raises
        ------
        DamagedInputError
            If the volume cannot be opened, or files are missing.
        ParameterError
            If its files state no spacing and there is no ``access.fallback``, or ``access.choice`` leaves several.
        """

    def choices(self, folder: Path) -> Sequence[tuple[str, StackChoice]]:
        """Of each volume in a folder its name, and the choice that picks it."""
        return [(folder.name, StackChoice())]

    def files(self, folder: Path) -> Sequence[VolumeFiles]:
        """The files of each volume in a folder; none of a format whose chunks share files in a way of its own.

        Raises
        ------
        InputMissingError, DamagedInputError
            If the volume's description is not there, or cannot be understood.
        """
        return ()
