"""Frames in JPEG 2000 files."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from gpustitch.io.frames.format import FRAME_TYPES, FrameFormat, Reading
from gpustitch.io.frames.stacks import OneFilePerFrame
from gpustitch.io.images.files import JP2_SUFFIXES
from gpustitch.io.images.jp2 import jp2_shape_and_dtype, read_jp2
from gpustitch.model import Frames


class Jp2Frames(OneFilePerFrame):
    """JPEG 2000 files in the order given (:class:`gpustitch.model.Frames`); may be read from several threads.

    ``types`` names the types that pixels may have.

    Raises
    ------
    InputMissingError
        If there is no file.
    DamagedInputError
        If a file is not JPEG 2000, or its size or type differs from the first file's.
    """

    def __init__(
        self, paths: Iterable[str | Path], types: Sequence[str] = FRAME_TYPES, *, skip_damaged: bool = False
    ) -> None:
        super().__init__([Path(p) for p in paths], jp2_shape_and_dtype, read_jp2, types, skip_damaged)


class Jp2Format(FrameFormat):
    """JPEG 2000, a file for each frame."""

    name = "JPEG 2000"
    suffixes = JP2_SUFFIXES
    is_raw = False

    def open(self, files: Sequence[Path], reading: Reading) -> Frames:
        """The frames in files."""
        return Jp2Frames(files, reading.types, skip_damaged=reading.skip_damaged)
