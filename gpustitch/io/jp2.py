"""JPEG 2000 frames."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import numpy.typing as npt

from gpustitch.errors import DamagedInputError
from gpustitch.io.images import reading

_SIZE_MARKER = b"\xff\x4f\xff\x51"  # start of codestream, then image and tile size


def read_jp2(path: Path) -> npt.NDArray[Any]:
    """The image in a JPEG 2000 file.

    Raises
    ------
    InputMissingError
        If there is no such file.
    DamagedInputError
        If it cannot be decoded.
    """
    with reading(path, "JPEG 2000"):
        return np.asarray(imagecodecs.jpeg2k_decode(path.read_bytes()))


def jp2_shape_and_dtype(path: Path) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and type of the image in a JPEG 2000 file, from its header alone; raises as :func:`read_jp2`."""
    with reading(path, "JPEG 2000"):
        with path.open("rb") as file:
            start = file.read(1 << 16)
        at = start.find(_SIZE_MARKER)
        if at < 0 or len(start) < at + 44:
            raise DamagedInputError(f"{path} is not a JPEG 2000 file: there is no image size in it")
        right, bottom, left, top = struct.unpack_from(">4I", start, at + 8)
        (components,) = struct.unpack_from(">H", start, at + 40)
        bits = (start[at + 42] & 0x7F) + 1
    shape = (bottom - top, right - left) if components == 1 else (bottom - top, right - left, components)
    return shape, np.dtype(np.uint8 if bits <= 8 else np.uint16)
