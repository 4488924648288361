"""Compressed DICOM pixels: imagecodecs decodes them, and what it cannot, the decoders that pydicom finds installed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import imagecodecs
import numpy as np
from pydicom import dcmread
from pydicom.encaps import get_frame
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.processing import convert_color_space
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
from gpustitch.io.images.files import reading
from gpustitch.model.arrays import HostArray
from gpustitch.slices.model import SliceHeader, StoredPixels

_JPEG = (JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLossless, JPEGLosslessSV1)
_JPEG_LS = (JPEGLSLossless, JPEGLSNearLossless)
_JPEG_2000 = (JPEG2000Lossless, JPEG2000, HTJ2KLossless, HTJ2KLosslessRPCL, HTJ2K)
_LOSSY = (JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSNearLossless, JPEG2000, HTJ2K)
# Functions of imagecodecs by transfer syntax, in the order in which they are tried. Its fast JPEG decoder (jpeg8) reads
# 12 bits and lossless streams since libjpeg-turbo 3. OpenJPEG (jpeg2k) reads HTJ2K too; OpenJPH (htj2k) returns what
# it has of a damaged stream without an error.
_DECODERS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(_JPEG, ("jpeg8_decode", "jpegsof3_decode")),
    **dict.fromkeys(_JPEG_LS, ("jpegls_decode",)),
    **dict.fromkeys(_JPEG_2000, ("jpeg2k_decode",)),
    RLELossless: ("dicomrle_decode",),
}
# pydicom's plugins that are tried on what imagecodecs refuses, which mostly is damaged. The others are left out: GDCM
# ends the process on some damaged streams, pyjpegls hangs on some, and Pillow's decoders are those of imagecodecs.
_FALLBACKS = ("pydicom", "pylibjpeg")
# What pydicom reads through the whole data set: it inflates deflated files, and guesses the syntax of those that state
# none, only there.
_PLAIN = ("", DeflatedExplicitVRLittleEndian)
# Lossless JPEG and JPEG-LS: colors are stored as PhotometricInterpretation says, whatever the stream guesses.
_COLOR_BY_IMAGECODECS = (JPEGLossless, JPEGLosslessSV1, *_JPEG_LS)
# SOC and SIZ: how a JPEG 2000 stream begins.
_SIZE = b"\xff\x4f\xff\x51"
# Frames of JPEG and JPEG-LS: SOF markers but those for tables.
_FRAME_MARKERS = frozenset((*range(0xC0, 0xD0), 0xF7)) - {0xC4, 0xC8, 0xCC}


class StreamError(DamagedInputError):
    """Compressed pixels are not all there or of another size; no other decoder can help."""


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
    """Check that something installed decodes a transfer syntax.

    Raises
    ------
    MissingExtraError
        If the extra ``dicom`` would.
    ParameterError
        If nothing does.
    """
    if syntax in _DECODERS:
        return
    _check_decoder(path, syntax)


def check_color_decodable(path: Path, syntax: str) -> None:
    """Check that something installed decodes color slices of a transfer syntax; raises as above."""
    if syntax in _PLAIN or not UID(syntax).is_encapsulated or syntax in _COLOR_BY_IMAGECODECS:
        return
    _check_decoder(path, syntax)
    if _color_plugin(syntax) is None:
        raise _extra(path, syntax)


def _color_plugin(syntax: str) -> str | None:
    """Pydicom's plugin that decodes colors; Pillow's is among those that are tried, and the others are left out too."""
    installed = get_decoder(UID(syntax)).available_plugins
    return next((name for name in (*_FALLBACKS, "pillow") if name in installed), None)


def _check_decoder(path: Path, syntax: str) -> None:
    try:
        is_available = bool(get_decoder(UID(syntax)).is_available)
    except NotImplementedError as error:
        raise ParameterError(
            f"{path}: TransferSyntaxUID (0002,0010) is {_named(syntax)}; pixels of that kind cannot be decoded"
        ) from error
    if not is_available:
        raise _extra(path, syntax)


def _extra(path: Path, syntax: str) -> MissingExtraError:
    return MissingExtraError(f"{path} is compressed ({_named(syntax)}): pip install 'gpustitch[dicom]' to read it")


def decode_color(header: SliceHeader) -> HostArray:
    """A color slice as uint8 (rows, 3 x columns): red, green and blue of each pixel, whatever the file stores.

    Raises
    ------
    DamagedInputError
        If pixels are truncated or cannot be decoded.
    """
    pixels = header.pixels
    syntax = "" if pixels is None else pixels.syntax
    with reading(header.path, f"DICOM pixels (PixelData (7fe0,0010), slice {header.frame}, {_named(syntax)})"):
        data = b""
        if pixels is not None and pixels.items is not None:
            data = _frame_bytes(header, pixels, pixels.items)
            if syntax in _DECODERS and syntax != RLELossless:
                _checked_stream(data, header, syntax)
        if data and syntax in _COLOR_BY_IMAGECODECS:
            image = _color_by_imagecodecs(data, syntax, "RGB" if pixels is None else pixels.photometric)
        else:
            source = dcmread(header.path, force=True) if syntax in _PLAIN else header.path
            plugin = _color_plugin(syntax) if data else ""
            image = pixel_array(source, index=header.frame, decoding_plugin=plugin or "")
    if image.shape != (*header.shape, 3) or image.dtype != np.uint8:
        raise DamagedInputError(
            f"{header.path}: colors decode to {image.dtype} of {image.shape}; Rows and Columns say {header.shape} "
            f"(slice {header.frame})"
        )
    return image.reshape(header.shape[0], -1)


def _color_by_imagecodecs(data: bytes, syntax: str, photometric: str) -> HostArray:
    """Colors as they are stored, made red, green and blue."""
    if syntax in _JPEG_LS:
        image = np.asarray(imagecodecs.jpegls_decode(data))
    else:
        image = np.asarray(imagecodecs.jpeg8_decode(data, colorspace="RGB", outcolorspace="RGB"))
    return convert_color_space(image, "YBR_FULL", "RGB") if photometric.startswith("YBR_FULL") else image


def decode_slice(header: SliceHeader) -> HostArray:
    """A slice that is not stored as plain numbers, as (rows, columns).

    Returns
    -------
    Signed or not as PixelRepresentation says, in 8, 16 or 32 bits. Bits above BitsStored may be anything, but values of
    lossy pixels that overshoot BitsStored are cut to its range.

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
                image = _by_imagecodecs(data, header, pixels)
        if image is None:
            image = _by_pydicom(header, syntax)
    if image.shape != header.shape:
        raise DamagedInputError(
            f"{header.path}: pixels decode to {image.shape}; Rows and Columns say {header.shape} (slice {header.frame})"
        )
    return image


def _by_imagecodecs(data: bytes, header: SliceHeader, pixels: StoredPixels) -> HostArray:
    """Decoded by imagecodecs, or else by a plugin of pydicom; one error tells why neither could."""
    try:
        return _decoded(data, header, pixels)
    except StreamError:
        raise
    except Exception as error:  # decoders raise many types
        first = error
    try:
        installed = get_decoder(UID(pixels.syntax)).available_plugins
        plugin = next((name for name in _FALLBACKS if name in installed), None)
        if plugin is None:
            raise RuntimeError("none is installed for it")
        return _by_pydicom(header, pixels.syntax, decoding_plugin=plugin)
    except Exception as error:
        raise DamagedInputError(
            f"{header.path}: PixelData (7fe0,0010), slice {header.frame}, cannot be decoded ({_named(pixels.syntax)}): "
            f"imagecodecs says {_line(first)}; decoders of the extra (pip install 'gpustitch[dicom]'): {_line(error)}"
        ) from first


def _by_pydicom(header: SliceHeader, syntax: str, **options: Any) -> HostArray:
    # pydicom's own treatment of unused bits takes HighBit for BitsStored - 1.
    options |= {"index": header.frame, "raw": True, "correct_unused_bits": False}
    return pixel_array(dcmread(header.path, force=True) if syntax in _PLAIN else header.path, **options)


def _frame_bytes(header: SliceHeader, pixels: StoredPixels, items: int) -> bytes:
    """The compressed slice; StreamError if the file ends in it."""
    with header.path.open("rb") as file:
        file.seek(items)
        try:
            whole: Any = _Whole(file)
            return get_frame(whole, header.frame, number_of_frames=pixels.n_frames)
        except EOFError as error:
            raise StreamError(
                f"{header.path} is truncated in PixelData (7fe0,0010), slice {header.frame}: {error}"
            ) from error


def _decoded(data: bytes, header: SliceHeader, pixels: StoredPixels) -> HostArray:
    """By the first function of imagecodecs that can."""
    kind = "i" if pixels.is_signed else "u"
    if pixels.syntax == RLELossless:
        # There is a segment for each byte of a pixel.
        stored_as = np.dtype(f"<{kind}{int.from_bytes(data[:4], 'little')}")
        found = imagecodecs.dicomrle_decode(data, stored_as)
        return np.frombuffer(found, stored_as).reshape(header.shape)
    stream = _checked_stream(data, header, pixels.syntax)
    errors = []
    for name in _DECODERS[pixels.syntax]:
        try:
            decode: Callable[..., Any] = getattr(imagecodecs, name)
            found = decode(data)
        except Exception as error:  # of many types, ImportError among them
            errors.append(_line(error))
            continue
        return _as_stored(found, stream, pixels, np.dtype(f"{kind}{1 << (pixels.high_bit // 8).bit_length()}"))
    raise ValueError("; ".join(errors))


@dataclass(frozen=True)
class Stream:
    """What a compressed frame says of itself: bits and sign of its samples, rows (0 if stated later) and columns."""

    precision: int
    is_signed: bool
    shape: tuple[int, int]


def _checked_stream(data: bytes, header: SliceHeader, syntax: str) -> Stream:
    """Its format; StreamError where decoding would fill a missing part with grey, never end, or need any memory."""
    where = f"{header.path}: PixelData (7fe0,0010), slice {header.frame}"
    try:
        stream = stream_format(data)
    except ValueError as error:
        raise StreamError(f"{where}, is damaged ({_named(syntax)}): {error}") from error
    if (stream.shape[0] or header.shape[0], stream.shape[1]) != header.shape:
        raise StreamError(f"{where}, is a stream of {stream.shape}; Rows and Columns say {header.shape}")
    if syntax in (*_JPEG, *_JPEG_LS) and not data.rstrip(b"\0\xff").endswith(b"\xff\xd9"):
        raise StreamError(f"{where}, is truncated: JPEG without its end marker")
    return stream


def _as_stored(image: HostArray, stream: Stream, pixels: StoredPixels, container: np.dtype[Any]) -> HostArray:
    """Bits in the type that the header states, and the sign that the compressed stream may not have."""
    if container.itemsize < image.dtype.itemsize:
        container = np.dtype(f"{container.kind}{image.dtype.itemsize}")
    stored = image.astype(container)
    spare = container.itemsize * 8 - stream.precision
    knows_sign = pixels.syntax in _JPEG_2000 and stream.is_signed == pixels.is_signed
    if pixels.syntax not in _JPEG and not knows_sign and spare > 0:
        stored = (stored << spare) >> spare
    if pixels.syntax in _LOSSY and stream.precision > pixels.bits_stored == pixels.high_bit + 1:
        span = 1 << pixels.bits_stored
        least = -span // 2 if pixels.is_signed else 0
        stored = stored.clip(least, least + span - 1)
    return stored


def stream_format(data: bytes) -> Stream:
    """Format of a JPEG, JPEG-LS or JPEG 2000 stream, which may be in a JP2 file; ValueError if it does not say."""
    start = 0 if data.startswith(_SIZE) else data.find(_SIZE) if data[4:8] == b"jP  " else -1
    if start >= 0 and len(data) > start + 42:
        right, bottom, left, top = (int.from_bytes(data[start + i : start + i + 4], "big") for i in (8, 12, 16, 20))
        size = data[start + 42]
        return Stream((size & 0x7F) + 1, bool(size >> 7), (bottom - top, right - left))
    at = 2
    while at + 9 < len(data) and data[at] == 0xFF:
        if data[at + 1] in _FRAME_MARKERS:
            shape = int.from_bytes(data[at + 5 : at + 7], "big"), int.from_bytes(data[at + 7 : at + 9], "big")
            return Stream(data[at + 4], False, shape)
        # Markers may be preceded by any number of fill bytes.
        at += 1 if data[at + 1] == 0xFF else 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    raise ValueError("it has no frame header")


def _named(syntax: str) -> str:
    return UID(syntax).name if syntax else "missing"


def _line(error: BaseException) -> str:
    """What an error says, in one line."""
    return " ".join(str(error).split()) or type(error).__name__
