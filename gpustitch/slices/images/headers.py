"""Size, type and resolution of PNG, JPEG and BMP files, from their headers alone."""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from PIL import Image

from gpustitch.errors import DamagedInputError
from gpustitch.io.images.files import reading
from gpustitch.io.images.tiff_meaning import Meaning, shown_as
from gpustitch.io.units import Resolution, meter_resolution, resolution, tiff_resolution

_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_BARE = frozenset({0x01, *range(0xD0, 0xD8)})  # markers without a length
_JPEG_UNITS = {0: (None, "unit"), 1: (25.4, "inch"), 2: (10.0, "cm")}
_EXIF_ORIENTATION, _EXIF_X, _EXIF_Y, _EXIF_UNIT = 274, 282, 283, 296
_TAIL_BYTES = 1 << 16


@dataclass(frozen=True)
class ImageHeader:
    """``shape`` is (rows, columns) as it is shown; ``pixels`` names the type (``uint8``, ``uint8 x 3``).

    ``orientation`` is that of Exif: where the first row and column are, 1 (at the top, on the left) to 8.
    """

    shape: tuple[int, int]
    pixels: str
    resolution: Resolution | None
    orientation: int = 1


def read_header(path: Path) -> ImageHeader:
    """Header of a PNG, JPEG or BMP file, told by its content.

    Raises
    ------
    InputMissingError
        If there is no such file.
    DamagedInputError
        If it is none of these, or ends early.
    """
    with reading(path, "PNG, JPEG or BMP"), path.open("rb") as stream:
        start = stream.read(8)
        readers: dict[bytes, Callable[[BinaryIO], ImageHeader]] = {_PNG: _png, b"\xff\xd8\xff": _jpeg, b"BM": _bmp}
        for magic, read in readers.items():
            if start.startswith(magic):
                header = read(stream)
                break
        else:
            raise DamagedInputError(f"{path} is not a PNG, JPEG or BMP file")
    if min(header.shape) < 1:
        raise DamagedInputError(f"{path} says that it has {header.shape[0]} rows and {header.shape[1]} columns")
    return header


def _unpack(stream: BinaryIO, layout: str) -> tuple[Any, ...]:
    size = struct.calcsize(layout)
    data = stream.read(size)
    if len(data) < size:
        raise ValueError("the file ends in its header")
    return struct.unpack(layout, data)


def _typed(bits: int, samples: int) -> str:
    kind = "uint16" if bits > 8 else "uint8"
    return kind if samples == 1 else f"{kind} x {samples}"


def _tail(stream: BinaryIO, n_bytes: int) -> bytes:
    size = stream.seek(0, 2)
    stream.seek(max(0, size - n_bytes))
    return stream.read()


def _png(stream: BinaryIO) -> ImageHeader:
    """Shape, type and stated resolution of a PNG."""
    stream.seek(8)
    shape, pixels, stated = (0, 0), "", None
    while True:
        length, name = _unpack(stream, ">I4s")
        if name == b"IHDR":
            columns, rows, bits, colors = _unpack(stream, ">IIBB")
            shape, pixels = (rows, columns), "palette" if colors == 3 else _typed(bits, _PNG_SAMPLES[colors])
            length -= 10
        elif name == b"pHYs":
            x, y, unit = _unpack(stream, ">IIB")
            stated = meter_resolution(y, x) if unit == 1 else resolution(y, x, None, "unit")
            length -= 9
        elif name in (b"IDAT", b"IEND"):
            break
        stream.seek(length + 4, 1)
    if b"IEND" not in _tail(stream, _TAIL_BYTES):
        raise ValueError("the file ends early")
    return ImageHeader(shape, pixels, stated)


def _bmp(stream: BinaryIO) -> ImageHeader:
    """Shape, type and stated resolution of a BMP."""
    stream.seek(10)
    offset, size = _unpack(stream, "<II")
    if size < 40:  # of OS/2
        columns, rows, _, bits = _unpack(stream, "<HHHH")
        compression = x = y = 0
    else:
        columns, rows, _, bits, compression, _, x, y = _unpack(stream, "<iiHHIIii")
    if compression == 0 and _size(stream) < offset + (bits * columns + 31) // 32 * 4 * abs(rows):
        raise ValueError("the file ends early")
    pixels = "uint8" if bits <= 8 else _typed(8, bits // 8)
    return ImageHeader((abs(rows), columns), pixels, meter_resolution(y, x) if x or y else None)


def _size(stream: BinaryIO) -> int:
    return int(stream.seek(0, 2))


def _jpeg(stream: BinaryIO) -> ImageHeader:
    """Shape, type and stated resolution of a JPEG."""
    stream.seek(2)
    stated: Resolution | None = None
    shown = Meaning()
    while True:
        marker = _marker(stream)
        if marker in _JPEG_BARE:
            continue
        (length,) = _unpack(stream, ">H")
        segment = stream.read(length - 2) if marker in (0xE0, 0xE1) or marker in _JPEG_FRAMES else b""
        if marker in _JPEG_FRAMES:
            break
        if marker in (0xD9, 0xDA):
            raise ValueError("it states no size")
        if marker == 0xE0 and segment[:5] == b"JFIF\0":
            unit, x, y = struct.unpack(">BHH", segment[7:12])
            length_mm, name = _JPEG_UNITS.get(unit, (None, "unit"))
            stated = resolution(y, x, length_mm, name)
        elif marker == 0xE1 and segment[:6] == b"Exif\0\0":
            shown = _shown(segment)
            if stated is None or stated.spacing_mm is None:
                stated = _exif(segment) or stated
        if not segment:
            stream.seek(length - 2, 1)
    bits, rows, columns, samples = struct.unpack(">BHHB", segment[:6])
    if b"\xff\xd9" not in _tail(stream, _TAIL_BYTES):
        raise ValueError("the file ends early")
    if stated is not None and stated.spacing_mm is not None:
        first, second = shown.shape((0, 1))
        spacing = stated.spacing_mm[first], stated.spacing_mm[second]
        stated = dataclasses.replace(stated, spacing_mm=spacing)
    rows, columns = shown.shape((rows, columns))
    return ImageHeader((rows, columns), _typed(bits, samples), stated, shown.orientation)


def _marker(stream: BinaryIO) -> int:
    """The next marker; any number of bytes 0xFF may precede it."""
    byte = stream.read(1)
    if byte != b"\xff":
        raise ValueError("a marker was expected")
    while byte == b"\xff":
        byte = stream.read(1)
    return byte[0]


def _shown(segment: bytes) -> Meaning:
    """How Exif says that the image is shown; as it is stored where that cannot be read, as viewers do."""
    exif = Image.Exif()
    try:
        exif.load(segment)
        return shown_as(exif.get(_EXIF_ORIENTATION))
    except (SyntaxError, ValueError, TypeError, KeyError, OSError, struct.error):
        return Meaning()


def _exif(segment: bytes) -> Resolution | None:
    exif = Image.Exif()
    exif.load(segment)
    if _EXIF_X not in exif or _EXIF_Y not in exif:
        return None
    y, x = ((value.numerator, value.denominator) for value in (exif[_EXIF_Y], exif[_EXIF_X]))
    return tiff_resolution(y, x, int(exif.get(_EXIF_UNIT, 2)))
