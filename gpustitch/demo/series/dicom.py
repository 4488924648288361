"""Synthetic DICOM series of known geometry, a few pixels to the slice.

Positions and directions are x, y, z in mm (LPS). Pixels are any function of the place in the body, by default a linear
gradient. A resampled volume can then be compared with the function itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    JPEG2000,
    UID,
    CTImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
    generate_uid,
)

from gpustitch.model.arrays import HostArray

Encoder = Callable[[HostArray, int], bytes | bytearray]

ORIGIN = (-12.0, -20.0, 30.0)
AXIAL = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0))


@dataclass(frozen=True)
class Gradient:
    """The function ``offset + slope . (x, y, z)`` of arrays of places in mm."""

    slope: tuple[float, float, float] = (3.0, 5.0, 7.0)
    offset: float = 1000.0

    def __call__(self, x: HostArray, y: HostArray, z: HostArray) -> HostArray:
        return self.offset + self.slope[0] * x + self.slope[1] * y + self.slope[2] * z


@dataclass(frozen=True)
class DicomSeries:
    """A series to write: where slices lie, what their pixels hold, and what their files say.

    Attributes
    ----------
    along_mm
        Positions along the normal, from ``origin_mm``.
    row_and_column
        Unit vectors (x, y, z) along a row and along a column; None writes no ImageOrientationPatient.
    origin_mm
        Center of the first pixel at position 0; None writes no ImagePositionPatient.
    shear
        (y, x): mm that slices move along columns and along rows for each mm along the normal.
    shape, pixel_spacing_mm
        Rows and columns; spacing (y, x). With None no spacing is written (pixels are then 1 mm apart).
    decimals
        Decimals of ImagePositionPatient and SliceLocation, zeros included; None writes as many as 16 characters hold.
    names
        File name of each slice, copies included; by default names in natural order follow the slices.
    numbers
        InstanceNumber of each slice, 1 to n by default. An entry None leaves the tag out.
    duplicates, same_instance
        Numbers of slices to write once more; whether a copy keeps the SOPInstanceUID of the first or gets its own.
    spacing_between, thickness, slice_location
        SpacingBetweenSlices, SliceThickness, mm; whether to write SliceLocation (the position along the normal).
    series
        Name of the series; all files of one name share one SeriesInstanceUID.
    pixels
        Real-world values at places in mm. The file stores the whole number nearest to (value - intercept) / slope.
    dtype, slope, intercept
        Stored type (uint8, int8, uint16, int16) and RescaleSlope, RescaleIntercept, for all slices or each.
    transfer_syntax
        A UID: a key of ``ENCODERS``, or a syntax that pydicom can write.
    edit
        Called with the data set and the number of each slice before the slice is written.
    """

    along_mm: Sequence[float]
    row_and_column: Sequence[Sequence[float]] | None = AXIAL
    origin_mm: Sequence[float] | None = ORIGIN
    shear: tuple[float, float] = (0.0, 0.0)
    shape: tuple[int, int] = (6, 5)
    pixel_spacing_mm: tuple[float, float] | None = (0.75, 0.5)
    decimals: int | None = None
    names: Sequence[str] | None = None
    numbers: Sequence[int | None] | None = None
    duplicates: Sequence[int] = ()
    same_instance: bool = True
    spacing_between: float | None = None
    thickness: float | None = None
    slice_location: bool = False
    series: str = "phantom"
    pixels: Callable[[HostArray, HostArray, HostArray], HostArray] = Gradient()
    dtype: str = "int16"
    slope: float | Sequence[float] = 1.0
    intercept: float | Sequence[float] = 0.0
    transfer_syntax: str = ExplicitVRLittleEndian
    edit: Callable[[Dataset, int], None] | None = None

    def write(self, folder: Path) -> list[Path]:
        """Write one file for each slice, and for each copy; paths in the order of ``along_mm``, copies last.

        Raises
        ------
        ValueError
            If pixels do not fit the stored type.
        """
        folder.mkdir(parents=True, exist_ok=True)
        n = len(self.along_mm)
        written = [*range(n), *self.duplicates]
        names = [f"IM{i + 1:04d}.dcm" for i in range(len(written))] if self.names is None else self.names
        paths = []
        for i, (k, name) in enumerate(zip(written, names, strict=True)):
            copy = "" if i < n or self.same_instance else f"copy {i}"
            data = data_set(self.series, f"slice {k} {copy}", self.transfer_syntax)
            slope, intercept = (_of_slice(values, k) for values in (self.slope, self.intercept))
            data.RescaleSlope, data.RescaleIntercept = decimal_string(slope), decimal_string(intercept)
            set_pixels(data, stored(self.values(k), self.dtype, slope, intercept))
            for keyword, value in self.tags(k).items():
                if value is not None:
                    setattr(data, keyword, value)
            if self.edit is not None:
                self.edit(data, k)
            paths.append(save(data, folder / name))
        return paths

    def values(self, k: int) -> HostArray:
        """The real-world values (row, column) of a slice."""
        row, column = self._axes
        y_mm, x_mm = self.pixel_spacing_mm or (1.0, 1.0)
        y, x = np.arange(self.shape[0])[:, None, None] * y_mm, np.arange(self.shape[1])[:, None] * x_mm
        return self.pixels(*np.moveaxis(self.place_mm(k) + y * column + x * row, -1, 0))

    def tags(self, k: int) -> dict[str, Any]:
        """What the file of a slice says of its place, None for nothing."""
        place = [position_string(v, self.decimals) for v in self.place_mm(k)]
        axes = [decimal_string(v) for axis in self._axes for v in axis]
        pixel_mm = [decimal_string(v) for v in self.pixel_spacing_mm or ()]
        along = position_string(self.along_mm[k], self.decimals)
        return {
            "InstanceNumber": k + 1 if self.numbers is None else self.numbers[k],
            "ImagePositionPatient": None if self.origin_mm is None else place,
            "ImageOrientationPatient": None if self.row_and_column is None else axes,
            "PixelSpacing": pixel_mm or None,
            "SliceLocation": along if self.slice_location else None,
            "SpacingBetweenSlices": None if self.spacing_between is None else decimal_string(self.spacing_between),
            "SliceThickness": None if self.thickness is None else decimal_string(self.thickness),
        }

    def place_mm(self, k: int) -> HostArray:
        """Centre (x, y, z) of the first pixel of a slice, mm."""
        row, column = self._axes
        moved = np.cross(row, column) + self.shear[0] * column + self.shear[1] * row
        return np.asarray(self.origin_mm or ORIGIN, np.float64) + self.along_mm[k] * moved

    @property
    def _axes(self) -> tuple[HostArray, HostArray]:
        """Unit vectors (x, y, z) along a row and along a column."""
        row, column = (np.asarray(v, np.float64) for v in (self.row_and_column or AXIAL))
        return row, column


def write_series(folder: Path, along_mm: Iterable[float], **how: Any) -> list[Path]:
    """Write slices at these positions; ``how`` are the other values of :class:`DicomSeries`."""
    return DicomSeries([float(at) for at in along_mm], **how).write(folder)


def _of_slice(values: float | Sequence[float], k: int) -> float:
    """The value of a slice, of one for all or one for each."""
    each = np.asarray(values, np.float64)
    return float(each[k] if each.ndim else each)


def position_string(value: float, decimals: int | None = None) -> str:
    """A number with trailing zeros, as scanners write positions; by default all decimals that 16 characters hold."""
    if decimals is not None:
        return f"{value:.{decimals}f}"
    return next(text for text in (f"{value:.{n}f}" for n in range(14, -1, -1)) if len(text) <= 16)


def decimal_string(value: float) -> str:
    """A number as DICOM's decimal string of at most 16 characters."""
    return next(text for text in (f"{value:.{n}g}" for n in range(16, 0, -1)) if len(text) <= 16)


def stored(values: HostArray, dtype: str, slope: float = 1.0, intercept: float = 0.0) -> HostArray:
    """The numbers to store for these values; ValueError if the type does not hold them."""
    whole = np.rint((values - intercept) / slope)
    limits = np.iinfo(dtype)
    if whole.min() < limits.min or whole.max() > limits.max:
        raise ValueError(f"pixels of {whole.min():g} to {whole.max():g} do not fit {dtype}")
    return whole.astype(dtype)


def data_set(series: str, instance: str, transfer_syntax: str = ExplicitVRLittleEndian) -> Dataset:
    """A CT image without pixels and geometry."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = UID(transfer_syntax)
    data = Dataset()
    data.file_meta = meta
    data.SOPClassUID = CTImageStorage
    data.SOPInstanceUID = generate_uid(entropy_srcs=[series, instance])
    data.StudyInstanceUID = generate_uid(entropy_srcs=["study"])
    data.SeriesInstanceUID = generate_uid(entropy_srcs=[series])
    data.FrameOfReferenceUID = generate_uid(entropy_srcs=["frame of reference"])
    data.Modality, data.PatientID, data.PatientName = "CT", "phantom", "Phantom"
    data.SeriesDescription, data.SeriesNumber = series, 1
    return data


def set_pixels(data: Dataset, pixels: HostArray) -> None:
    """Set whole numbers (row, column) or (frame, row, column) and the tags that describe them."""
    data.Rows, data.Columns = pixels.shape[-2:]
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    bits = pixels.dtype.itemsize * 8
    data.BitsAllocated, data.BitsStored, data.HighBit = bits, bits, bits - 1
    data.PixelRepresentation = int(pixels.dtype.kind == "i")
    if pixels.ndim == 3:
        data.NumberOfFrames = len(pixels)
    big = data.file_meta.TransferSyntaxUID == ExplicitVRBigEndian
    raw = pixels.astype(pixels.dtype.newbyteorder(">" if big else "<")).tobytes()
    data.PixelData = raw + b"\0" * (len(raw) % 2)
    data["PixelData"].VR = "OB" if bits == 8 else "OW"


def _plain_bits(frame: HostArray) -> HostArray:
    """The frame as unsigned numbers: JPEG and JPEG-LS know no sign."""
    return np.ascontiguousarray(frame).view(f"u{frame.itemsize}")


def _jpeg(frame: HostArray, bits: int) -> bytes | bytearray:
    used = _plain_bits(frame) & ((1 << bits) - 1)
    return imagecodecs.jpeg8_encode(used, level=100, bitspersample=bits)


def _jpeg_lossless(predictor: int) -> Encoder:
    return lambda frame, _: imagecodecs.jpeg8_encode(
        _plain_bits(frame), lossless=True, predictor=predictor, bitspersample=8 * frame.itemsize
    )


# Functions from a frame and BitsStored to a compressed stream.
ENCODERS: dict[str, Encoder] = {
    JPEGBaseline8Bit: _jpeg,
    JPEGExtended12Bit: _jpeg,
    JPEGLossless: _jpeg_lossless(4),
    JPEGLosslessSV1: _jpeg_lossless(1),
    JPEGLSLossless: lambda frame, _: imagecodecs.jpegls_encode(_plain_bits(frame)),
    JPEG2000Lossless: lambda frame, _: imagecodecs.jpeg2k_encode(frame, reversible=True, level=0, codecformat="j2k"),
    JPEG2000: lambda frame, _: imagecodecs.jpeg2k_encode(frame, level=60, codecformat="j2k"),
    HTJ2KLossless: lambda frame, _: imagecodecs.htj2k_encode(frame, reversible=True),
}


def save(data: Dataset, path: Path, has_bot: bool = True) -> Path:
    """Write a data set, compressed if its transfer syntax says so; return the path.

    ``has_bot`` says whether the file has a table of the offsets of compressed frames.
    """
    syntax = data.file_meta.TransferSyntaxUID
    if encode := ENCODERS.get(syntax):
        frames = np.frombuffer(data.PixelData, f"{'ui'[data.PixelRepresentation]}{data.BitsAllocated // 8}")
        frames = frames[: frames.size - frames.size % (data.Rows * data.Columns)]
        frames = frames.reshape(-1, data.Rows, data.Columns)
        data.PixelData = encapsulate([bytes(encode(frame, data.BitsStored)) for frame in frames], has_bot=has_bot)
        data["PixelData"].VR = "OB"
    elif syntax.is_encapsulated:
        data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        # Of other encoders of RLE one ends the process on some sizes.
        plugin = "pydicom" if syntax == RLELossless else ""
        data.compress(syntax, encoding_plugin=plugin, generate_instance_uid=False)
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
    data.save_as(
        path,
        enforce_file_format=True,
        implicit_vr=syntax == ImplicitVRLittleEndian,
        little_endian=syntax != ExplicitVRBigEndian,
    )
    return path
