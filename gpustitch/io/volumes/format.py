"""The base of formats of volumes in folders: a name, the files that mark a volume, and a way to open a folder."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol

from gpustitch.io.stacks.choice import StackChoice
from gpustitch.model import Spacing, Volume


class StoredVolume(Volume, Protocol):
    """A level of a volume on disk."""

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
