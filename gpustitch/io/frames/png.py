"""Frames in PNG files."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gpustitch.errors import DamagedInputError
from gpustitch.io.frames.format import FrameFormat, Reading
from gpustitch.io.frames.stacks import OneFilePerFrame
from gpustitch.io.images.files import PNG_SUFFIX, read_image, reading
from gpustitch.model import Frames

_PNG_HEADER = struct.Struct(">8s4x4sIIBB")
_PNG_GREY: dict[int, np.dtype[Any]] = {8: np.dtype(np.uint8), 16: np.dtype(np.uint16)}


class PngFrames(OneFilePerFrame):
    """PNG files in the order given (:class:`gpustitch.model.Frames`); may be read from several threads.

    Raises
    ------
    InputMissingError
        If there is no file.
    DamagedInputError
        If a file is not a grey PNG of 8 or 16 bits, or its size or type differs from the first file's.
    """

    def __init__(self, paths: Iterable[str | Path], *, skip_damaged: bool = False) -> None:
        super().__init__([Path(path) for path in paths], _describe_png, read_image, skip_damaged=skip_damaged)


def _describe_png(path: Path) -> tuple[tuple[int, ...], np.dtype[Any]]:
    with reading(path, "PNG"), path.open("rb") as file:
        header = file.read(_PNG_HEADER.size)
        if len(header) < _PNG_HEADER.size:
            raise DamagedInputError(f"{path} has {len(header)} bytes; a PNG is longer")
        signature, chunk, n_columns, n_rows, bits, colour = _PNG_HEADER.unpack(header)
        if signature != b"\x89PNG\r\n\x1a\n" or chunk != b"IHDR":
            raise DamagedInputError(f"{path} is not a PNG: it begins with {signature!r}")
        if colour != 0 or bits not in _PNG_GREY:
            raise DamagedInputError(
                f"{path} is a PNG of colour type {colour} and {bits} bits; frames are grey, 8 or 16"
            )
        return (int(n_rows), int(n_columns)), _PNG_GREY[bits]


class PngFormat(FrameFormat):
    """Grey PNG, a file for each frame."""

    name = "PNG"
    suffixes = (PNG_SUFFIX,)
    is_raw = False

    def open(self, files: Sequence[Path], reading: Reading) -> Frames:
        """The frames in files."""
        return PngFrames(files, skip_damaged=reading.skip_damaged)
