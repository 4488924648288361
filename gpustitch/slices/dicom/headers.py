"""What one DICOM file states about its slices, without reading their pixels."""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from pydicom import dcmread
from pydicom.config import IGNORE
from pydicom.dataset import FileDataset
from pydicom.errors import InvalidDicomError
from pydicom.tag import BaseTag
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, MediaStorageDirectoryStorage

from gpustitch.errors import DamagedInputError
from gpustitch.io.images.files import reading
from gpustitch.slices.dicom.frames import Slice, slices_of
from gpustitch.slices.dicom.values import TAGS, Problem, Values
from gpustitch.slices.model import Code, SliceHeader, StoredPixels

_WANTED = [BaseTag(tag) for tag, _ in TAGS.values()]
_FLOAT_PIXELS = {0x7FE00008: "f4", 0x7FE00009: "f8"}
_PIXELS = 0x7FE00010
_DICOM_ROOT = "1.2.840.10008."
# Length of an element that ends with a delimiter: compressed pixels.
_UNDEFINED = 0xFFFFFFFF
# Tags of a series, for the report.
_OF_SERIES = ("SeriesInstanceUID", "StudyInstanceUID", "Modality", "SeriesNumber", "SeriesDescription")


@dataclass(frozen=True)
class DicomFile:
    """A file's slices (none if it is no image), its series' tags, what is wrong with it, its ConcatenationUID."""

    path: Path
    slices: tuple[Slice, ...] = ()
    series: Mapping[str, str] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()
    concatenation: str = ""

    @property
    def volume(self) -> str:
        """What names the volume that a file of many frames is, or is a part of; empty for a single slice."""
        if self.concatenation or len(self.slices) < 2:
            return self.concatenation
        return self.slices[0].header.instance or str(self.path)


@dataclass(frozen=True)
class _Element:
    """Where pixels are in a file."""

    tag: int
    offset: int
    length: int


def read_dicom(path: Path, split_by: tuple[str, ...] = ()) -> DicomFile:
    """Read the header of a file.

    Parameters
    ----------
    path
        DICOM with or without preamble, of any transfer syntax.
    split_by
        Keys of :data:`gpustitch.slices.dicom.frames.SPLIT_TAGS` whose values are wanted of each slice.

    Returns
    -------
    What was read; a DICOMDIR, a report and the like have no slices, but a problem of code NOT_AN_IMAGE.

    Raises
    ------
    InputMissingError
        If there is no such file.
    DamagedInputError
        If it is not DICOM, or ends before its pixels.
    """
    with reading(path, "DICOM"), path.open("rb") as file:
        data = _data_set(path, file)
        values = Values(data)
        syntax = str(data.file_meta.get("TransferSyntaxUID", ""))
        is_deflated = syntax == DeflatedExplicitVRLittleEndian
        element = None if is_deflated else _pixel_element(file, data)
        n_rows, n_columns = values.whole("Rows"), values.whole("Columns")
        if not n_rows or not n_columns or (element is None and not is_deflated):
            return _no_image(path, values, has_shape=bool(n_rows and n_columns), has_pixels=element is not None)
        n_frames = _count_frames(values, path.stat().st_size)
        pixels = dataclasses.replace(_stored(values, syntax, element), n_frames=n_frames)
        header = SliceHeader(path, 0, (n_rows, n_columns), instance=values.word("SOPInstanceUID"))
        slices = slices_of(values, header, n_frames, split_by)
        if element is not None and pixels.offset is not None:
            _check_length(values, element, pixels, n_frames * n_rows * n_columns, file)
    series = {name: values.text(name) for name in _OF_SERIES}
    described = tuple(_with_pixels(one, pixels) for one in slices)
    problems = tuple(dict.fromkeys(values.problems))
    return DicomFile(path, described, series, problems, values.word("ConcatenationUID"))


def _data_set(path: Path, file: BinaryIO) -> FileDataset:
    """The wanted tags; the file is left at its pixels."""
    try:
        return dcmread(file, stop_before_pixels=True, specific_tags=_WANTED)
    except InvalidDicomError:
        file.seek(0)
        start = file.read(8)
    # Files without a preamble begin with group 2 (about the file) or 8 (about the image), of either byte order.
    if len(start) < 8 or start[:2] not in (b"\2\0", b"\x08\0", b"\0\x08"):
        why = f"it begins with {start!r}" if start else "it is empty"
        raise DamagedInputError(f"{path} is not DICOM: {why}")
    file.seek(0)
    data = dcmread(file, stop_before_pixels=True, specific_tags=_WANTED, force=True)
    if not any(TAGS[name][0] in data for name in ("SOPClassUID", "SeriesInstanceUID", "Modality", "Rows")):
        raise DamagedInputError(f"{path} is not DICOM: it has none of the tags that every DICOM file has")
    return data


def _pixel_element(file: BinaryIO, data: FileDataset) -> _Element | None:
    """The element at which reading stopped; None if that was the end of the file."""
    is_implicit, is_little = data.original_encoding
    order, size = "<" if is_little else ">", 8 if is_implicit else 12
    head = file.read(size)
    if len(head) < size:
        return None
    group, number = struct.unpack(f"{order}HH", head[:4])
    (length,) = struct.unpack(f"{order}I", head[-4:])
    tag = group << 16 | number
    return _Element(tag, file.tell(), length) if tag == _PIXELS or tag in _FLOAT_PIXELS else None


def _no_image(path: Path, values: Values, *, has_shape: bool, has_pixels: bool) -> DicomFile:
    """What a file without slices is; DamagedInputError if it should have some."""
    kind = values.word("SOPClassUID") or Values(values.data.file_meta).word("MediaStorageSOPClassUID")
    name = UID(kind, validation_mode=IGNORE).name if kind else ""
    if has_pixels:
        raise DamagedInputError(f"{path}: Rows (0028,0010) or Columns (0028,0011) is missing or 0")
    if has_shape or "Image Storage" in name:
        raise DamagedInputError(
            f"{path} ends before PixelData (7fe0,0010): it is truncated, or its pixels were removed"
        )
    # A class of DICOM's own that is not registered has been cut.
    is_cut = kind == name and (kind.startswith(_DICOM_ROOT) or _DICOM_ROOT.startswith(kind))
    if (not kind and not values.has("Modality")) or (kind and is_cut):
        raise DamagedInputError(
            f"{path} is truncated or not DICOM: it has neither a SOPClassUID (0008,0016) nor pixels"
        )
    what = "a DICOMDIR" if kind == MediaStorageDirectoryStorage else name or f"of modality {values.word('Modality')}"
    return DicomFile(path, problems=(Problem(Code.NOT_AN_IMAGE, "", f"is {what}, which has no pixels"),))


def _stored(values: Values, syntax: str, element: _Element | None) -> StoredPixels:
    """How all slices of a file are stored; the offset is that of the first."""
    allocated = values.whole("BitsAllocated") or 0
    stored, high_bit = _bits(values, allocated)
    is_signed = values.whole("PixelRepresentation") == 1
    pixels = StoredPixels(
        syntax=syntax,
        stored_as="",
        offset=None,
        bits_stored=stored,
        high_bit=high_bit,
        is_signed=is_signed,
        photometric=values.word("PhotometricInterpretation"),
        items=element.offset if element is not None and element.length == _UNDEFINED else None,
        has_table=bool(values.items("ModalityLUTSequence")),
    )
    is_little = values.data.original_encoding[1]
    # Bytes of 8-bit pixels are swapped in pairs in big endian files; those are left to the decoder.
    if element is None or element.length == _UNDEFINED or (allocated == 8 and not is_little):
        return pixels
    kind = _FLOAT_PIXELS.get(element.tag)
    if kind is None and allocated in (8, 16, 32) and (values.whole("SamplesPerPixel") or 1) == 1:
        kind = f"{'i' if is_signed else 'u'}{allocated // 8}"
    if kind is None:
        return pixels
    return dataclasses.replace(pixels, stored_as=("<" if is_little else ">") + kind, offset=element.offset)


def _count_frames(values: Values, n_bytes: int) -> int:
    """NumberOfFrames; 1, with a problem, if that is impossible."""
    count = values.whole("NumberOfFrames")
    if count is None:
        return 1
    if not 0 < count <= n_bytes:
        values.note(Code.TAG_BAD, "NumberOfFrames", f"is {count} in a file of {n_bytes} bytes; taken as 1")
        return 1
    return count


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


def _check_length(values: Values, element: _Element, pixels: StoredPixels, n_pixels: int, file: BinaryIO) -> None:
    """Note pixels that are not all there."""
    needed = n_pixels * int(pixels.stored_as[2:])
    there = min(element.length, file.seek(0, 2) - element.offset)
    if there < needed:
        values.problems.append(
            Problem(Code.UNREADABLE_PIXELS, "", f"is truncated: PixelData (7fe0,0010) has {there} of {needed} bytes")
        )


def _with_pixels(one: Slice, first: StoredPixels) -> Slice:
    """The slice with its own part of the pixels and its own rescaling."""
    header = one.header
    offset = first.offset
    if offset is not None:
        offset += header.frame * header.shape[0] * header.shape[1] * int(first.stored_as[2:])
    pixels = dataclasses.replace(first, offset=offset, slope=one.slope, intercept=one.intercept)
    return dataclasses.replace(one, header=dataclasses.replace(header, pixels=pixels))
