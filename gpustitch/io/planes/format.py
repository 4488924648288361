"""The protocol of a stack of planes, and the base of formats that hold neither frames nor volumes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Protocol

from gpustitch.model import Frames, Spacing


class Planes(Frames, Protocol):
    """A stack of planes, readable in any part; ``shape`` is (planes, rows, columns)."""

    @property
    def name(self) -> str:
        """The stack's name in messages."""

    @property
    def spacing(self) -> Spacing | None:
        """Spacing that the source itself states; None unless it states all three distances."""

    @property
    def depth(self) -> int:
        """How many planes are stored together; reading fewer at a time decodes the same chunks again."""


def doubt_of(planes: Planes) -> str:
    """Why planes have no spacing, as a clause that follows their name."""
    return str(getattr(planes, "doubt", "")) or "does not state its voxel size"


class PlaneFormat(ABC):
    """A format of planes, in use once :data:`gpustitch.io.planes.opening.PLANE_FORMATS` holds an instance.

    Attributes
    ----------
    name
        The format's name in messages.
    suffixes
        Ends of file names, in lower case, with the dot.
    """

    name: str
    suffixes: tuple[str, ...]

    @abstractmethod
    def open(self, file: Path) -> Planes:
        """The planes in a file; DamagedInputError if they cannot be read."""

    def has_suffix(self, file: Path) -> bool:
        """Whether the name of a file ends in a suffix of this format."""
        return file.name.lower().endswith(self.suffixes)
