"""What one DICOM file states about its slices, without reading their pixels."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from pydicom import dcmread
from pydicom.config import IGNORE
from pydicom.dataset import FileDataset
from pydicom.errors import InvalidDicomError
from pydicom.tag import BaseTag
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    MediaStorageDirectoryStorage,
    SecondaryCaptureImageStorage,
)

from gpustitch.errors import DamagedInputError
from gpustitch.io.images.files import reading
from gpustitch.slices.dicom.frames import Slice, slices_of
from gpustitch.slices.dicom.scan import ScannedSet, scanned
from gpustitch.slices.dicom.stored import pixel_element, stored_pixels, whole_frames, with_pixels
from gpustitch.slices.dicom.values import TAGS, Problem, Values
from gpustitch.slices.model import Code, SliceHeader, StoredPixels

_WANTED = [BaseTag(tag) for tag, _ in TAGS.values()]
_TAGS = frozenset(tag for tag, _ in TAGS.values())
_SEQUENCES = frozenset(tag for tag, vr in TAGS.values() if vr == "SQ")
_DICOM_ROOT = "1.2.840.10008."
_CAPTURE = str(SecondaryCaptureImageStorage)
# Tags of a series, for the report.
_OF_SERIES = (
    "SeriesInstanceUID", "StudyInstanceUID", "FrameOfReferenceUID", "Modality", "SeriesNumber", "SeriesDescription",
)  # fmt: skip


@dataclass(frozen=True)
class DicomFile:
    """A file's slices (none if it is no image), its series' tags, what is wrong with it, its ConcatenationUID.

    ``is_capture`` tells pictures of screens and reports: secondary captures without a position.
    """

    path: Path
    slices: tuple[Slice, ...] = ()
    series: Mapping[str, str] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()
    concatenation: str = ""
    is_capture: bool = False

    @property
    def volume(self) -> str:
        """What names the volume that a file of many frames is, or is a part of; empty for a single slice."""
        if self.concatenation or len(self.slices) < 2:
            return self.concatenation
        return self.slices[0].header.instance or str(self.path)


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
        data: FileDataset | ScannedSet | None = scanned(file, _TAGS, _SEQUENCES)
        if data is None:
            file.seek(0)
            data = _data_set(path, file)
        values = Values(data)
        syntax = _syntax(data)
        is_deflated = syntax == DeflatedExplicitVRLittleEndian
        element = None if is_deflated else pixel_element(file, data)
        n_rows, n_columns = values.whole("Rows"), values.whole("Columns")
        if not n_rows or not n_columns or (element is None and not is_deflated):
            return _no_image(path, values, has_shape=bool(n_rows and n_columns), has_pixels=element is not None)
        n_frames = _count_frames(values, file)
        pixels = stored_pixels(values, syntax, element, n_frames)
        header = SliceHeader(path, 0, (n_rows, n_columns), instance=values.word("SOPInstanceUID"), pixels=pixels)
        slices = slices_of(values, header, n_frames, split_by)
        is_whole = whole_frames(values, element, pixels, header.shape, file)
    series = {name: values.text(name) for name in _OF_SERIES}
    described = tuple(_with_pixels(one, pixels, is_whole(one.header.frame)) for one in slices)
    problems = tuple(dict.fromkeys(values.problems))
    is_capture = described[0].header.position_mm is None and _is_secondary(values)
    return DicomFile(path, described, series, problems, values.word("ConcatenationUID"), is_capture)


def _is_secondary(values: Values) -> bool:
    """Whether it is a secondary capture by its class (of several frames too) or its ImageType."""
    kind = values.word("SOPClassUID")
    return kind == _CAPTURE or kind.startswith(f"{_CAPTURE}.") or values.words("ImageType")[1:2] == ["SECONDARY"]


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


def _syntax(data: FileDataset | ScannedSet) -> str:
    """TransferSyntaxUID, which pydicom has decoded where it has read the file; empty if it is not stated."""
    if isinstance(data, ScannedSet):
        return Values(data.file_meta).word("TransferSyntaxUID")
    return str(data.file_meta.get("TransferSyntaxUID", ""))


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


def _count_frames(values: Values, file: BinaryIO) -> int:
    """NumberOfFrames; 1, with a problem, if that is impossible."""
    count = values.whole("NumberOfFrames")
    if count is None:
        return 1
    n_bytes = os.fstat(file.fileno()).st_size
    if not 0 < count <= n_bytes:
        values.note(Code.TAG_BAD, "NumberOfFrames", f"is {count} in a file of {n_bytes} bytes; taken as 1")
        return 1
    return count


def _with_pixels(one: Slice, first: StoredPixels, is_whole: bool) -> Slice:
    """The slice with its own part of the pixels and its own rescaling; its header has those of the first so far."""
    header = one.header
    pixels = with_pixels(first, header.frame, header.shape, is_whole)
    if (pixels.slope, pixels.intercept) != (one.slope, one.intercept):
        pixels = dataclasses.replace(pixels, slope=one.slope, intercept=one.intercept)
    if pixels is header.pixels:
        return one
    return dataclasses.replace(one, header=dataclasses.replace(header, pixels=pixels))
