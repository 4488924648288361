"""What a stack of planes is, and a format of planes that is neither one of frames nor one of volumes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Protocol

from gpustitch.model import Frames, Spacing


class Planes(Frames, Protocol):
    """A stack of planes that can be asked for any part of it; ``shape`` is (planes, rows, columns)."""

    @property
    def name(self) -> str:
        """What messages call it."""

    @property
    def spacing(self) -> Spacing | None:
        """Distances that the source itself states; None if it does not state all three."""

    @property
    def depth(self) -> int:
        """How many planes are stored together: reading fewer at a time decodes the same chunks again."""


class PlaneFormat(ABC):
    """A format of planes; one instance of it in :data:`gpustitch.io.planes.opening.PLANE_FORMATS` makes it known.

    Attributes
    ----------
    name
        How people call it.
    suffixes
        Ends of file names, small, with the dot.
    """

    name: str
    suffixes: tuple[str, ...]

    @abstractmethod
    def open(self, file: Path) -> Planes:
        """The planes in a file; DamagedInputError if they cannot be read."""

    def has_suffix(self, file: Path) -> bool:
        """Whether a file is named as of this format."""
        return file.name.lower().endswith(self.suffixes)
