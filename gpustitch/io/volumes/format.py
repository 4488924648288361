"""The base of formats of volumes in folders: a name, the files that mark a volume, and a way to open a folder."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Protocol

from gpustitch.model import Spacing, Volume


class StoredVolume(Volume, Protocol):
    """A volume on disk at full resolution."""

    @property
    def stated_spacing(self) -> Spacing | None:
        """Voxel spacing that the volume's files state; None unless they state all axes with a unit."""

    @property
    def depth(self) -> int:
        """How many planes are stored together; reading fewer at a time decodes the same chunks again."""

    @property
    def levels(self) -> int:
        """Number of pyramid levels."""


class VolumeFormat(ABC):
    """A format of volumes, in use once :data:`gpustitch.io.volumes.opening.VOLUME_FORMATS` holds an instance.

    Attributes
    ----------
    name
        The format's name in messages.
    marks
        Names of files; any of them in a folder marks a volume of this format. Messages name the first.
    """

    name: str
    marks: tuple[str, ...]

    def found_in(self, folder: Path) -> bool:
        """Whether a folder is a volume of this format."""
        return any((folder / mark).is_file() for mark in self.marks)

    @abstractmethod
    def open(self, folder: Path, fallback: Spacing | None = None) -> StoredVolume:
        """The volume in a folder that :meth:`found_in` accepts.

        Parameters
        ----------
        folder
            The volume's folder.
        fallback
            Spacing of a volume whose files state no spacing at all.

        Raises
        ------
        DamagedInputError
            If the volume cannot be opened.
        ParameterError
            If its files state no spacing at all and there is no ``fallback``.
        """
