"""The base of all formats of frames: a name, suffixes, and a way to open files."""

from __future__ import annotations

import enum
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from gpustitch.io.stacks.choice import NO_CHOICE, StackChoice
from gpustitch.model import Frames, Spacing

# Types that every stage takes; stages that compare or resample planes take other types too.
FRAME_TYPES = ("uint8", "uint16", "float32")
PLANE_TYPES = (*FRAME_TYPES, "int8", "int16", "int32", "uint32", "float64")


class Files(enum.Enum):
    """How many files hold a stack of frames."""

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
    allow_missing
        Go on where frames are missing, and name them in ``absent``.
    skip_damaged
        Go on where a frame's file is damaged; the frame keeps its place, and reading it raises DamagedInputError.
    choice
        Which stack to read of several.
    """

    types: Sequence[str] = FRAME_TYPES
    allow_missing: bool = False
    choice: StackChoice = NO_CHOICE
    skip_damaged: bool = field(default=False, kw_only=True)


class FrameFormat(ABC):
    """A format of frames, in use once :data:`gpustitch.io.frames.formats.FRAME_FORMATS` holds an instance.

    Attributes
    ----------
    name
        The format's name in messages.
    suffixes
        Ends of file names, in lower case, with the dot.
    files
        How many files make a stack. With :attr:`Files.ONE`, each file holds one stage run of a camera.
    is_raw
        Whether files of this format, in a tree of tiles, are tiles. Files of other formats are pictures there.
    """

    name: str
    suffixes: tuple[str, ...]
    files: ClassVar[Files] = Files.EACH
    is_raw: ClassVar[bool] = True

    @abstractmethod
    def open(self, files: Sequence[Path], reading: Reading) -> Frames:
        """The frames in sorted files: at least one file, exactly one for :attr:`Files.ONE`.

        Raises
        ------
        DamagedInputError
            If a file is damaged, frames differ in size or type, or their type is not in ``reading.types``.
        """

    def has_suffix(self, file: Path) -> bool:
        """Whether the name of a file ends in a suffix of this format."""
        return file.name.lower().endswith(self.suffixes)

    def recognises(self, file: Path) -> bool:
        """Whether the first bytes of an existing file are this format's; False if the format has no such mark."""
        return False

    def spacing(self, files: Sequence[Path]) -> Spacing | None:
        """Voxel spacing that the files state; None unless they state all three distances."""
        return None

    def origin_um(self, files: Sequence[Path]) -> tuple[float, float, float] | None:
        """Where the first voxel is (z, y, x), um, as the files state it; None unless they state all three numbers."""
        return None

    def stated(
        self, files: Sequence[Path], image: int | None = None
    ) -> tuple[Spacing | None, tuple[float, float, float] | None]:
        """Spacing and place that files state: of an ``image`` by its number from 0, where they hold several."""
        return self.spacing(files), self.origin_um(files)

    def cautions(self, file: Path) -> Iterable[str]:
        """Warnings about a file that is used all the same: frames are absent, or its kind was never tried."""
        return ()

    def details(self, file: Path) -> Iterable[str]:
        """What else is known of a file, in lines for people; a damaged file is described as far as it goes."""
        return ()
