"""Compressed DICOM pixels: imagecodecs decodes them, and what it cannot, the decoders that pydicom finds installed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import imagecodecs
import numpy as np
import numpy.typing as npt
from pydicom import dcmread
from pydicom.encaps import get_frame
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.utils import pixel_array
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    UID,
    DeflatedExplicitVRLittleEndian,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from gpustitch.errors import DamagedInputError, MissingExtraError, ParameterError
from gpustitch.io.images import reading
from gpustitch.model.slices import SliceHeader, StoredPixels

Image = npt.NDArray[Any]

_JPEG = (JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLossless, JPEGLosslessSV1)
_JPEG_LS = (JPEGLSLossless, JPEGLSNearLossless)
_JPEG_2000 = (JPEG2000Lossless, JPEG2000, HTJ2KLossless, HTJ2KLosslessRPCL, HTJ2K)
_LOSSY = (JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSNearLossless, JPEG2000, HTJ2K)
# Functions of imagecodecs by transfer syntax, in the order in which they are tried. Its fast JPEG decoder (jpeg8) reads
# 12 bits and lossless streams since libjpeg-turbo 3.
_DECODERS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(_JPEG, ("jpeg8_decode", "jpegsof3_decode")),
    **dict.fromkeys(_JPEG_LS, ("jpegls_decode",)),
    **dict.fromkeys(_JPEG_2000, ("jpeg2k_decode", "htj2k_decode")),
    RLELossless: ("dicomrle_decode",),
}
_SIZE = b"\xff\x4f\xff\x51"
# Frames of JPEG and JPEG-LS: SOF markers but those for tables.
_FRAME_MARKERS = frozenset((*range(0xC0, 0xD0), 0xF7)) - {0xC4, 0xC8, 0xCC}


class TruncatedError(DamagedInputError):
    """Compressed pixels end before they are complete; no other decoder can help."""


class _Whole:
    """A binary file whose reads are complete: pydicom takes the rest of a truncated file for a frame."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.tell, self.seek = file.tell, file.seek

    def read(self, count: int = -1) -> bytes:
        found = self._file.read(count)
        # Nothing at all is how pydicom learns that there is no further item.
        if 0 < len(found) < count:
            raise EOFError(f"the file ends {count - len(found)} bytes early")
        if not found and count > 8:
            raise EOFError("the file ends at the beginning of a frame")
        return found


def check_decodable(path: Path, syntax: str) -> None:
    """Whether something installed decodes a transfer syntax.

    Raises
    ------
    MissingExtraError
        If the extra ``dicom`` would.
    ParameterError
        If nothing does.
    """
    if syntax in _DECODERS:
        return
    try:
        is_available = bool(get_decoder(UID(syntax)).is_available)
    except NotImplementedError as error:
        raise ParameterError(
            f"{path}: TransferSyntaxUID (0002,0010) is {_named(syntax)}; pixels of that kind cannot be decoded"
        ) from error
    if not is_available:
        raise MissingExtraError(f"{path} is compressed ({_named(syntax)}): pip install 'gpustitch[dicom]' to read it")


def decode_slice(header: SliceHeader) -> Image:
    """A slice that is not stored as plain numbers, as (rows, columns).

    Returns
    -------
    Signed or not as PixelRepresentation says, in 8, 16 or 32 bits. What lies above BitsStored may be anything, but
    values of lossy pixels that overshoot BitsStored are cut to its range.

    Raises
    ------
    DamagedInputError
        If pixels are truncated or no decoder that is installed reads them; the text names the extra.
    """
    pixels = header.pixels
    syntax = "" if pixels is None else pixels.syntax
    what = f"DICOM pixels (PixelData (7fe0,0010), slice {header.frame}, {_named(syntax)})"
    with reading(header.path, what):
        image = None
        if pixels is not None and pixels.items is not None:
            data = _frame_bytes(header, pixels, pixels.items)
            if syntax in _DECODERS:
                image = _own(data, header, pixels)
        if image is None:
            image = _by_pydicom(header, syntax)
    if image.shape != header.shape:
        raise DamagedInputError(
            f"{header.path}: pixels decode to {image.shape}; Rows and Columns say {header.shape} (slice {header.frame})"
        )
    return image


def _own(data: bytes, header: SliceHeader, pixels: StoredPixels) -> Image:
    """Decoded by imagecodecs, or else by pydicom; one error tells why neither could."""
    try:
        return _decoded(data, header, pixels)
    except TruncatedError:
        raise
    except Exception as error:  # decoders raise many types
        own = error
    try:
        if not get_decoder(UID(pixels.syntax)).is_available:
            raise RuntimeError("none is installed for it")
        return _by_pydicom(header, pixels.syntax)
    except Exception as error:
        raise DamagedInputError(
            f"{header.path}: PixelData (7fe0,0010), slice {header.frame}, cannot be decoded ({_named(pixels.syntax)}): "
            f"imagecodecs says {_line(own)}; decoders of the extra (pip install 'gpustitch[dicom]'): {_line(error)}"
        ) from own


def _by_pydicom(header: SliceHeader, syntax: str) -> Image:
    # pydicom's own treatment of unused bits takes HighBit for BitsStored - 1.
    options: dict[str, Any] = {"index": header.frame, "raw": True, "correct_unused_bits": False}
    if syntax not in ("", DeflatedExplicitVRLittleEndian):
        return pixel_array(header.path, **options)
    # pydicom inflates deflated files, and guesses the syntax of those that state none, only here.
    return pixel_array(dcmread(header.path, force=True), **options)


def _frame_bytes(header: SliceHeader, pixels: StoredPixels, items: int) -> bytes:
    """The compressed slice; TruncatedError if the file ends in it."""
    with header.path.open("rb") as file:
        file.seek(items)
        try:
            whole: Any = _Whole(file)
            return get_frame(whole, header.frame, number_of_frames=pixels.n_frames)
        except EOFError as error:
            raise TruncatedError(
                f"{header.path} is truncated in PixelData (7fe0,0010), slice {header.frame}: {error}"
            ) from error


def _decoded(data: bytes, header: SliceHeader, pixels: StoredPixels) -> Image:
    """By the first function of imagecodecs that can."""
    _check_end(data, header, pixels.syntax)
    kind = "i" if pixels.is_signed else "u"
    if pixels.syntax == RLELossless:
        # There is a segment for each byte of a pixel.
        stored_as = np.dtype(f"<{kind}{int.from_bytes(data[:4], 'little')}")
        found = imagecodecs.dicomrle_decode(data, stored_as)
        return np.frombuffer(found, stored_as).reshape(header.shape)
    errors = []
    for name in _DECODERS[pixels.syntax]:
        try:
            decode: Callable[..., Any] = getattr(imagecodecs, name)
            found = decode(data)
        except Exception as error:  # of many types, ImportError among them
            errors.append(_line(error))
            continue
        return _as_stored(found, data, pixels, np.dtype(f"{kind}{1 << (pixels.high_bit // 8).bit_length()}"))
    raise ValueError("; ".join(errors))


def _check_end(data: bytes, header: SliceHeader, syntax: str) -> None:
    """TruncatedError for a JPEG without its end marker, whose missing part would be decoded to grey."""
    if syntax in _JPEG and not data.rstrip(b"\0\xff").endswith(b"\xff\xd9"):
        raise TruncatedError(
            f"{header.path}: PixelData (7fe0,0010), slice {header.frame}, is truncated: JPEG without its end marker"
        )


def _as_stored(image: Image, data: bytes, pixels: StoredPixels, container: np.dtype[Any]) -> Image:
    """Bits in the type that the header states, and the sign that the compressed stream may not have."""
    if container.itemsize < image.dtype.itemsize:
        container = np.dtype(f"{container.kind}{image.dtype.itemsize}")
    precision, is_signed = frame_format(data)
    stored = image.astype(container)
    spare = container.itemsize * 8 - precision
    knows_sign = pixels.syntax in _JPEG_2000 and is_signed == pixels.is_signed
    if pixels.syntax not in _JPEG and not knows_sign and spare > 0:
        stored = (stored << spare) >> spare
    if pixels.syntax in _LOSSY and precision > pixels.bits_stored == pixels.high_bit + 1:
        span = 1 << pixels.bits_stored
        least = -span // 2 if pixels.is_signed else 0
        stored = stored.clip(least, least + span - 1)
    return stored


def frame_format(data: bytes) -> tuple[int, bool]:
    """Bits and sign of the samples in a JPEG, JPEG-LS or JPEG 2000 stream; ValueError if it does not say."""
    start = 0 if data.startswith(_SIZE) else data.find(_SIZE) if data[4:8] == b"jP  " else -1
    if start >= 0 and len(data) > start + 42:
        size = data[start + 42]
        return (size & 0x7F) + 1, bool(size >> 7)
    at = 2
    while at + 4 < len(data):
        if data[at] != 0xFF:
            break
        if data[at + 1] in _FRAME_MARKERS:
            return data[at + 4], False
        # Markers may be preceded by any number of fill bytes.
        at += 1 if data[at + 1] == 0xFF else 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    raise ValueError("it has no frame header")


def _named(syntax: str) -> str:
    return UID(syntax).name if syntax else "missing"


def _line(error: BaseException) -> str:
    """What an error says, in one line."""
    return " ".join(str(error).split()) or type(error).__name__
