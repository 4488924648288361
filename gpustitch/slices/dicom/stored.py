"""How a DICOM file stores its pixels, where they are, and whether they are all there; they are not read."""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO

from pydicom.dataset import FileDataset

from gpustitch.slices.dicom.scan import ScannedSet
from gpustitch.slices.dicom.values import Problem, Values
from gpustitch.slices.model import Code, StoredPixels

_FLOAT_PIXELS = {0x7FE00008: "f4", 0x7FE00009: "f8"}
_PIXELS = 0x7FE00010
# Length of an element that ends with a delimiter: compressed pixels.
_UNDEFINED = 0xFFFFFFFF
_ITEM = 0xFFFEE000


@dataclass(frozen=True)
class PixelElement:
    """Where pixels are in a file: tag, first byte, length in bytes."""

    tag: int
    offset: int
    length: int


def pixel_element(file: BinaryIO, data: FileDataset | ScannedSet) -> PixelElement | None:
    """The element at which reading stopped; None if that was the end of the file."""
    is_implicit, is_little = data.original_encoding
    order, size = "<" if is_little else ">", 8 if is_implicit else 12
    head = file.read(size)
    if len(head) < size:
        return None
    group, number = struct.unpack(f"{order}HH", head[:4])
    (length,) = struct.unpack(f"{order}I", head[-4:])
    tag = group << 16 | number
    return PixelElement(tag, file.tell(), length) if tag == _PIXELS or tag in _FLOAT_PIXELS else None


def stored_pixels(values: Values, syntax: str, element: PixelElement | None, n_frames: int) -> StoredPixels:
    """How all slices of a file are stored; the offset is that of the first.

    Parameters
    ----------
    values
        Tags of the file.
    syntax
        TransferSyntaxUID; empty if the file does not state it.
    element
        Where the pixels are; None if that is not known (deflated files).
    n_frames
        How many slices there should be.
    """
    allocated = values.whole("BitsAllocated") or 0
    stored, high_bit = _bits(values, allocated)
    is_signed = values.whole("PixelRepresentation") == 1
    samples = values.whole("SamplesPerPixel") or 1
    offset, stored_as = None, ""
    is_little = values.data.original_encoding[1]
    # Bytes of 8-bit pixels are swapped in pairs in big endian files; those are left to the decoder.
    if element is not None and element.length != _UNDEFINED and (allocated != 8 or is_little):
        kind = _FLOAT_PIXELS.get(element.tag)
        if kind is None and allocated in (8, 16, 32) and samples == 1:
            kind = f"{'i' if is_signed else 'u'}{allocated // 8}"
        if kind is not None:
            stored_as, offset = ("<" if is_little else ">") + kind, element.offset
    padding, limit = _padding(values, stored, is_signed, is_real=stored_as[1:2] == "f")
    return StoredPixels(
        syntax=syntax,
        stored_as=stored_as,
        offset=offset,
        bits_stored=stored,
        high_bit=high_bit,
        is_signed=is_signed,
        photometric=values.word("PhotometricInterpretation"),
        items=element.offset if element is not None and element.length == _UNDEFINED else None,
        n_frames=n_frames,
        has_table=bool(values.items("ModalityLUTSequence")),
        n_bits=allocated,
        samples=samples,
        padding=padding,
        padding_limit=limit,
    )


def _padding(values: Values, bits_stored: int, is_signed: bool, *, is_real: bool) -> tuple[float | None, float | None]:
    """What pixels without data hold, and the other end of that range; None for what is not stated."""
    if is_real:
        names = ("FloatPixelPaddingValue", "DoubleFloatPixelPaddingValue")
        return next((values.scalar(name) for name in names if values.has(name)), None), None
    padding = _whole_padding(values, "PixelPaddingValue", bits_stored, is_signed)
    limit = _whole_padding(values, "PixelPaddingRangeLimit", bits_stored, is_signed)
    return padding, None if padding is None else limit


def _whole_padding(values: Values, name: str, bits_stored: int, is_signed: bool) -> float | None:
    """A value of padding, signed as the pixels are, whatever its encoding; None if no pixel can have it."""
    found = values.words(name)
    if not found or not 0 < bits_stored <= 16:
        return None
    value = int(float(found[0])) & 0xFFFF
    if is_signed and value >> 15:
        value -= 1 << 16
    least = -(1 << bits_stored - 1) if is_signed else 0
    return float(value) if least <= value < least + (1 << bits_stored) else None


def _bits(values: Values, allocated: int) -> tuple[int, int]:
    """BitsStored and HighBit; the usual ones, with a problem, if they do not fit BitsAllocated."""
    stored, high = values.whole("BitsStored"), values.whole("HighBit")
    if stored is None or not 0 < stored <= allocated:
        if stored is not None:
            values.note(Code.TAG_BAD, "BitsStored", f"is {stored} of {allocated} bits; taken as {allocated}")
        return allocated, allocated - 1
    if high is not None and not stored - 1 <= high < allocated:
        values.note(Code.TAG_BAD, "HighBit", f"is {high} where {stored} of {allocated} bits are stored; ignored")
        high = None
    return stored, stored - 1 if high is None else high


def whole_frames(
    values: Values, element: PixelElement | None, pixels: StoredPixels, shape: tuple[int, int], file: BinaryIO
) -> Callable[[int], bool]:
    """Whether the pixels of a slice, by its number, are all in the file; a problem is noted if some are not.

    So is one where they are as long as more slices than there should be. Of compressed slices only those are known to
    be cut that begin behind the last whole item, or are the last.
    """
    if element is None:
        return lambda _: True
    if element.length == _UNDEFINED:
        return _whole_items(values, element, pixels, file)
    bits = shape[0] * shape[1] * _bits_of_pixel(pixels)
    there = min(element.length, file.seek(0, 2) - element.offset)
    needed = (pixels.n_frames * bits + 7) // 8
    if there >= needed:
        if 8 * there >= (pixels.n_frames + 1) * bits:
            text = (
                f"has {there} bytes of PixelData (7fe0,0010), but its tags describe {needed}: Rows, Columns, "
                "BitsAllocated, SamplesPerPixel or NumberOfFrames may be wrong; the rest is not read"
            )
            values.problems.append(Problem(Code.TAG_BAD, "", text))
        return lambda _: True
    text = f"is truncated: PixelData (7fe0,0010) has {there} of {needed} bytes"
    values.problems.append(Problem(Code.UNREADABLE_PIXELS, "", text))
    return lambda frame: (frame + 1) * bits <= 8 * there


def _bits_of_pixel(pixels: StoredPixels) -> int:
    """Of all samples; of YBR_FULL_422 two pixels share their colors."""
    return pixels.n_bits * (2 if pixels.photometric == "YBR_FULL_422" and pixels.samples == 3 else pixels.samples)


def _whole_items(values: Values, element: PixelElement, pixels: StoredPixels, file: BinaryIO) -> Callable[[int], bool]:
    """Tells which frames of compressed pixels are whole, each of them an item; notes a file that ends early."""
    order = "<" if values.data.original_encoding[1] else ">"
    size, at, n_items = file.seek(0, 2), element.offset, 0
    is_cut = False
    while not is_cut:
        file.seek(at)
        head = file.read(8)
        if len(head) < 8:
            break
        group, number, length = struct.unpack(f"{order}HHI", head)
        if group << 16 | number != _ITEM:
            break
        at += 8 + length
        is_cut = at > size
        n_items += not is_cut
    # The first item holds offsets.
    n_there = max(0, n_items - 1)
    last = pixels.n_frames - 1
    if n_there >= pixels.n_frames and not is_cut:
        return lambda _: True
    text = f"is truncated: PixelData (7fe0,0010) ends in or before slice {min(n_there, last)}, counted from 0"
    values.problems.append(Problem(Code.UNREADABLE_PIXELS, "", text))
    return lambda frame: frame < n_there and (frame < last or not is_cut)


def with_pixels(pixels: StoredPixels, frame: int, shape: tuple[int, int], is_whole: bool) -> StoredPixels:
    """How slice ``frame`` is stored, from how the first is."""
    offset = pixels.offset
    if is_whole and (offset is None or frame == 0):
        return pixels
    if offset is not None:
        offset += frame * shape[0] * shape[1] * int(pixels.stored_as[2:])
    return dataclasses.replace(pixels, offset=offset, is_whole=is_whole)
