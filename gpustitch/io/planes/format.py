"""The protocol of a stack of planes, and the base of formats that hold neither frames nor volumes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
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


@dataclass(frozen=True)
class FileStack:
    """One of several stacks in a file (:class:`gpustitch.io.stacks.choice.Chosen`).

    Attributes
    ----------
    name
        Its name in lists.
    key
        What tells it from the others: ``time`` or ``channel``.
    count_text
        How much it holds, in words.
    """

    name: str
    key: Mapping[str, str]
    count_text: str


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

    def stacks(self, file: Path) -> tuple[FileStack, ...]:
        """Stacks in a file that holds several, of which each can be opened; by default none."""
        return ()

    def open_stack(self, file: Path, number: int) -> Planes:
        """The planes of one of several :meth:`stacks`, by its place among them."""
        raise NotImplementedError

    def has_suffix(self, file: Path) -> bool:
        """Whether the name of a file ends in a suffix of this format."""
        return file.name.lower().endswith(self.suffixes)
