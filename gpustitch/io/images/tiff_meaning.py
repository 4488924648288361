"""What the numbers of a TIFF's page mean: whether 0 is black, and where its first row and column are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from gpustitch.errors import DamagedInputError

T = TypeVar("T")

_WHITE_IS_ZERO, _PALETTE = 0, 3
_ORIENTATION, _COLOR_MAP = 274, 320  # tags
# Colors that are no red, green and blue. JPEG within a TIFF is decoded to these, whatever it holds.
_YCBCR, _JPEGS = 6, (6, 7, 34892)
_OTHER_COLORS = {5: "inks (CMYK)", _YCBCR: "YCbCr", 8: "CIELab", 9: "ICCLab", 10: "ITULab"}
# By Orientation: whether columns are stored as rows, then which axes of what is shown run backwards.
_TURNED: dict[int, tuple[bool, tuple[int, ...]]] = {
    1: (False, ()), 2: (False, (1,)), 3: (False, (0, 1)), 4: (False, (0,)),
    5: (True, ()), 6: (True, (1,)), 7: (True, (0, 1)), 8: (True, (0,)),
}  # fmt: skip


@dataclass(frozen=True)
class Meaning:
    """How a page is shown, which its pixels as they are stored need not be.

    Attributes
    ----------
    black
        The number that stands for black where 0 stands for white; None where 0 is black.
    orientation
        Where the first row and column are, as the tag of that name: 1 (at the top, on the left) to 8.
    """

    black: int | None = None
    orientation: int = 1

    @property
    def is_plain(self) -> bool:
        """Whether pixels are shown as they are stored."""
        return self == Meaning()

    def shape(self, stored: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of the page as it is shown, of that in the file: (rows, columns), or more axes."""
        return (stored[1], stored[0], *stored[2:]) if _TURNED[self.orientation][0] else stored

    def pixels(self, stored: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """The page as it is shown, of that in the file."""
        if self.is_plain:
            return stored
        is_turned, backwards = _TURNED[self.orientation]
        image = np.flip(stored.swapaxes(0, 1) if is_turned else stored, backwards)
        if self.black is not None:
            image = ~image if image.dtype == bool else image.dtype.type(self.black) - image
        return np.ascontiguousarray(image)


def meaning_of(page: Any, path: Path) -> Meaning:
    """What the tags of a page, as tifffile has it, say of its pixels.

    ImageJ keeps the numbers that it computes with, and states by the same tags how it colors them: these are left. So
    are booleans that tifffile wrote, which states 0 as white of them whatever they mean.

    Raises
    ------
    DamagedInputError
        If the numbers are places in a table of colors, or 0 is white and the numbers are signed or real.
    """
    page, orientation = page.keyframe, _orientation(page)
    by_program = page.description.startswith("ImageJ=") or (page.dtype.kind == "b" and "tifffile" in page.software)
    if page.photometric not in (_WHITE_IS_ZERO, _PALETTE) or by_program:
        return Meaning(orientation=orientation)
    if page.photometric == _PALETTE:
        if _is_by_brightness(page.tags.valueof(_COLOR_MAP)):
            return Meaning(orientation=orientation)
        raise DamagedInputError(
            f"{path} holds numbers of colors in a table, which are no brightness; save it as a grey image, or its "
            "numbers without the table"
        )
    if page.dtype.kind not in "ub":
        raise DamagedInputError(
            f"{path} states that 0 is white, which {page.dtype} numbers do not tell black from; save it with 0 as black"
        )
    return Meaning((1 << int(page.bitspersample)) - 1, orientation)


def check_colors(page: Any, path: Path) -> None:
    """Raise DamagedInputError if the colors of a page, as tifffile has it, are no red, green and blue."""
    page = page.keyframe
    colors = _OTHER_COLORS.get(page.photometric)
    if colors and page.samplesperpixel > 1 and not (page.photometric == _YCBCR and page.compression in _JPEGS):
        raise DamagedInputError(f"{path} holds colors as {colors}; save it as red, green and blue, or as a grey image")


def turned(page: Any, of_rows: T, of_columns: T) -> tuple[T, T]:
    """What is stated of the rows and columns that are stored, of those that are shown."""
    return (of_columns, of_rows) if _TURNED[_orientation(page)][0] else (of_rows, of_columns)


def shown_as(orientation: Any) -> Meaning:
    """How an image of this Orientation is shown (Exif states it as TIFF does); as it is stored if there is none."""
    return Meaning(orientation=int(orientation) if orientation in _TURNED else 1)


def _orientation(page: Any) -> int:
    return shown_as(page.keyframe.tags.valueof(_ORIENTATION, default=1)).orientation


def _is_by_brightness(table: Any) -> bool:
    """Whether a table of colors (red, green, blue; number) only colors numbers that are brightness themselves."""
    colors = np.asarray(table)
    return colors.ndim == 2 and len(colors) == 3 and bool((np.diff(colors.astype(np.int64), axis=1) >= 0).all())
