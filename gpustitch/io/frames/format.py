"""What a format of frames is: a class with a name, suffixes, and a way to open its files."""

from __future__ import annotations

import enum
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from gpustitch.model import Frames, Spacing

# Types that every stage takes; stages that compare or resample planes take the others too.
FRAME_TYPES = ("uint8", "uint16", "float32")
PLANE_TYPES = (*FRAME_TYPES, "int8", "int16", "int32", "uint32", "float64")


class Files(enum.Enum):
    """How many files a stack of frames is."""

    ONE = "one file"
    EACH = "a file for each frame"
    BOTH = "one file, or a file for each frame"


@dataclass(frozen=True)
class Reading:
    """How frames are read.

    Parameters
    ----------
    types
        Types of pixels that the caller takes.
    allow_truncated
        Take the whole frames of a file that ends early.
    """

    types: Sequence[str] = FRAME_TYPES
    allow_truncated: bool = False


class FrameFormat(ABC):
    """A format of frames; one instance of it in :data:`gpustitch.io.frames.formats.FRAME_FORMATS` makes it known.

    Attributes
    ----------
    name
        How people call it.
    suffixes
        Ends of file names, small, with the dot.
    files
        How many files make a stack. What is :attr:`Files.ONE` is one stage run of a camera in each file.
    is_raw
        Whether its files, in a tree of tiles, are tiles; others lie there as pictures.
    """

    name: str
    suffixes: tuple[str, ...]
    files: ClassVar[Files] = Files.EACH
    is_raw: ClassVar[bool] = True

    @abstractmethod
    def open(self, files: Sequence[Path], reading: Reading) -> Frames:
        """The frames in files that are sorted, one at least; one alone for :attr:`Files.ONE`.

        Raises
        ------
        DamagedInputError
            If a file is damaged, or frames differ in size or type, or are of none of ``reading.types``.
        """

    def has_suffix(self, file: Path) -> bool:
        """Whether a file is named as of this format."""
        return file.name.lower().endswith(self.suffixes)

    def recognises(self, file: Path) -> bool:
        """Whether a file that is there begins as this format does, whatever its name; False if that is not known."""
        return False

    def spacing(self, files: Sequence[Path]) -> Spacing | None:
        """Voxel spacing that the files state; None if not all three distances."""
        return None

    def truncation(self, file: Path) -> str:
        """What to be told of a file that ends early and is used all the same; empty for a whole one."""
        return ""
