"""What a format of volumes in folders is: a class with a name, the files that betray it, and a way to open a folder."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Protocol

from gpustitch.model import Spacing, Volume


class StoredVolume(Volume, Protocol):
    """A volume on disk at full resolution."""

    @property
    def stated_spacing(self) -> Spacing | None:
        """Voxel spacing that its files state; None if they do not state all of it with its unit."""

    @property
    def depth(self) -> int:
        """How many planes are stored together: reading fewer at a time decodes the same chunks again."""

    @property
    def levels(self) -> int:
        """Number of pyramid levels."""


class VolumeFormat(ABC):
    """A format of volumes; one instance of it in :data:`gpustitch.io.volumes.opening.VOLUME_FORMATS` makes it known.

    Attributes
    ----------
    name
        How people call it.
    marks
        Files in the folder of a volume; any of them betrays it. Messages name the first.
    """

    name: str
    marks: tuple[str, ...]

    def found_in(self, folder: Path) -> bool:
        """Whether a folder is a volume of this format."""
        return any((folder / mark).is_file() for mark in self.marks)

    @abstractmethod
    def open(self, folder: Path, fallback: Spacing | None = None) -> StoredVolume:
        """The volume in a folder that is one.

        Parameters
        ----------
        folder
            The volume's.
        fallback
            Spacing of a volume that has nothing to go by.

        Raises
        ------
        DamagedInputError
            If it cannot be opened.
        ParameterError
            If it has nothing to go by and there is no ``fallback``.
        """
