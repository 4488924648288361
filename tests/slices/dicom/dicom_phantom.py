"""Synthetic DICOM series of known geometry, a few pixels to the slice.

Positions and directions are x, y, z in mm (LPS). Pixels are any function of the place in the body, a linear gradient
unless asked otherwise, so that a resampled volume can be compared with the function itself.
"""

from __future__ import annotations

import itertools
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
    generate_uid,
)

ORIGIN = (-12.0, -20.0, 30.0)
AXIAL = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0))


@dataclass(frozen=True)
class Gradient:
    """``offset + slope . (x, y, z)``: called with arrays of places in mm."""

    slope: tuple[float, float, float] = (3.0, 5.0, 7.0)
    offset: float = 1000.0

    def __call__(self, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        return self.offset + self.slope[0] * x + self.slope[1] * y + self.slope[2] * z


def write_series(
    folder: Path,
    along_mm: Iterable[float],
    *,
    directions: Sequence[Sequence[float]] | None = AXIAL,
    origin_mm: Sequence[float] | None = ORIGIN,
    shear: tuple[float, float] = (0.0, 0.0),
    shape: tuple[int, int] = (6, 5),
    pixel_spacing_mm: tuple[float, float] | None = (0.75, 0.5),
    decimals: int | None = None,
    names: Sequence[str] | None = None,
    numbers: Sequence[int | None] | None = None,
    duplicates: Sequence[int] = (),
    same_instance: bool = True,
    spacing_between: float | None = None,
    thickness: float | None = None,
    slice_location: bool = False,
    series: str = "phantom",
    pixels: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray] = Gradient(),
    dtype: str = "int16",
    slope: float | Sequence[float] = 1.0,
    intercept: float | Sequence[float] = 0.0,
    transfer_syntax: str = ExplicitVRLittleEndian,
    edit: Callable[[Dataset, int], None] | None = None,
) -> list[Path]:
    """Write one file per slice; return them in the order of ``along_mm``, copies last.

    Parameters
    ----------
    folder
        Made if need be.
    along_mm
        Positions along the normal, from ``origin_mm``.
    directions
        Unit vectors along a row and along a column; None writes no ImageOrientationPatient.
    origin_mm
        Center of the first pixel at position 0; None writes no ImagePositionPatient.
    shear
        (y, x): mm that slices move along columns and along rows for each mm along the normal.
    shape, pixel_spacing_mm
        Rows and columns; (y, x). A spacing of None is not written (pixels are then 1 mm apart).
    decimals
        Of ImagePositionPatient and SliceLocation, zeros too; None writes as many as 16 characters hold.
    names
        File of each slice, copies too; by default their natural order is that of the slices.
    numbers
        InstanceNumber of each; None within leaves it out. 1 .. n by default.
    duplicates
        Numbers of slices that are written once more, with the SOPInstanceUID of the first or one of their own.
    spacing_between, thickness, slice_location
        SpacingBetweenSlices, SliceThickness; whether to write SliceLocation (the position along the normal).
    series
        Files of the same name are of one SeriesInstanceUID.
    pixels
        Real-world values at places in mm; stored is the whole number nearest to (value - intercept) / slope.
    dtype, slope, intercept
        Stored type (uint8, int8, uint16, int16) and RescaleSlope, RescaleIntercept, for all slices or each.
    transfer_syntax
        UID; one of ``ENCODERS``, or what pydicom can write.
    edit
        Called with the data set and the number of the slice before it is written.
    """
    along = np.asarray(list(along_mm), np.float64)
    numbers = range(1, len(along) + 1) if numbers is None else numbers
    written = [*range(len(along)), *duplicates]
    names = [f"IM{i + 1:04d}.dcm" for i in range(len(written))] if names is None else names
    slopes, intercepts = (np.broadcast_to(np.asarray(v, np.float64), along.shape) for v in (slope, intercept))
    folder.mkdir(parents=True, exist_ok=True)
    row, column = (np.asarray(v, np.float64) for v in (directions or AXIAL))
    normal, start = np.cross(row, column), np.asarray(origin_mm or ORIGIN, np.float64)
    spacing = pixel_spacing_mm or (1.0, 1.0)
    paths = []
    for i, (k, name) in enumerate(zip(written, names, strict=True)):
        copy = "" if i < len(along) or same_instance else f"copy {i}"
        place = start + along[k] * (normal + shear[0] * column + shear[1] * row)
        y, x = np.arange(shape[0])[:, None, None] * spacing[0], np.arange(shape[1])[:, None] * spacing[1]
        values = pixels(*np.moveaxis(place + y * column + x * row, -1, 0))
        data = data_set(series, f"slice {k} {copy}", transfer_syntax)
        if numbers[k] is not None:
            data.InstanceNumber = numbers[k]
        if origin_mm is not None:
            data.ImagePositionPatient = [position_string(v, decimals) for v in place]
        if directions is not None:
            data.ImageOrientationPatient = [decimal_string(v) for v in (*row, *column)]
        if pixel_spacing_mm is not None:
            data.PixelSpacing = [decimal_string(v) for v in pixel_spacing_mm]
        if slice_location:
            data.SliceLocation = position_string(along[k], decimals)
        for keyword, value in (("SpacingBetweenSlices", spacing_between), ("SliceThickness", thickness)):
            if value is not None:
                setattr(data, keyword, decimal_string(value))
        data.RescaleSlope, data.RescaleIntercept = decimal_string(slopes[k]), decimal_string(intercepts[k])
        set_pixels(data, stored(values, dtype, slopes[k], intercepts[k]))
        if edit is not None:
            edit(data, k)
        paths.append(save(data, folder / name))
    return paths


def position_string(value: float, decimals: int | None = None) -> str:
    """A number with its last zeros, as scanners write positions; by default all decimals that 16 characters hold."""
    if decimals is not None:
        return f"{value:.{decimals}f}"
    return next(text for text in (f"{value:.{n}f}" for n in range(14, -1, -1)) if len(text) <= 16)


def decimal_string(value: float) -> str:
    """A number as DICOM's decimal string, of 16 characters at most."""
    return next(text for text in (f"{value:.{n}g}" for n in range(16, 0, -1)) if len(text) <= 16)


def stored(values: np.ndarray, dtype: str, slope: float = 1.0, intercept: float = 0.0) -> np.ndarray:
    """Values as they are stored; ValueError if the type does not hold them."""
    whole = np.rint((values - intercept) / slope)
    limits = np.iinfo(dtype)
    if whole.min() < limits.min or whole.max() > limits.max:
        raise ValueError(f"pixels of {whole.min():g} to {whole.max():g} do not fit {dtype}")
    return whole.astype(dtype)


def data_set(series: str, instance: str, transfer_syntax: str = ExplicitVRLittleEndian) -> Dataset:
    """A CT image without pixels and geometry."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = transfer_syntax
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


def set_pixels(data: Dataset, pixels: np.ndarray) -> None:
    """Set whole numbers (row, column) or (frame, row, column) and the tags that describe them."""
    data.Rows, data.Columns = pixels.shape[-2:]
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    bits = pixels.dtype.itemsize * 8
    data.BitsAllocated, data.BitsStored, data.HighBit = bits, bits, bits - 1
    data.PixelRepresentation = int(pixels.dtype.kind == "i")
    if pixels.ndim == 3:
        data.NumberOfFrames = len(pixels)
    order = ">" if data.file_meta.TransferSyntaxUID == ExplicitVRBigEndian else "<"
    raw = pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()
    data.PixelData = raw + b"\0" * (len(raw) % 2)
    data["PixelData"].VR = "OB" if bits == 8 else "OW"


def _plain_bits(frame: np.ndarray) -> np.ndarray:
    """JPEG and JPEG-LS know no sign."""
    return np.ascontiguousarray(frame).view(f"u{frame.itemsize}")


def _jpeg(frame: np.ndarray, bits: int) -> bytes:
    used = _plain_bits(frame) & ((1 << bits) - 1)
    return imagecodecs.jpeg8_encode(used, level=100, bitspersample=bits)


def _jpeg_lossless(predictor: int) -> Callable[[np.ndarray, int], bytes]:
    return lambda frame, _: imagecodecs.jpeg8_encode(
        _plain_bits(frame), lossless=True, predictor=predictor, bitspersample=8 * frame.itemsize
    )


# Frame and BitsStored to a stream.
ENCODERS: dict[str, Callable[[np.ndarray, int], bytes]] = {
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

    ``has_bot``: whether compressed frames are found by a table of offsets.
    """
    syntax = data.file_meta.TransferSyntaxUID
    if syntax in ENCODERS:
        frames = np.frombuffer(data.PixelData, f"{'ui'[data.PixelRepresentation]}{data.BitsAllocated // 8}")
        frames = frames[: frames.size - frames.size % (data.Rows * data.Columns)]
        frames = frames.reshape(-1, data.Rows, data.Columns)
        data.PixelData = encapsulate([ENCODERS[syntax](frame, data.BitsStored) for frame in frames], has_bot=has_bot)
        data["PixelData"].VR = "OB"
    elif syntax.is_encapsulated:
        data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        data.compress(syntax, generate_instance_uid=False)
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
    data.save_as(
        path,
        enforce_file_format=True,
        implicit_vr=syntax == ImplicitVRLittleEndian,
        little_endian=syntax != ExplicitVRBigEndian,
    )
    return path


@dataclass(frozen=True)
class Expected:
    """What is right for a scenario: class, spacing along the normal, planes of an even volume, warnings."""

    kind: str
    spacing_mm: float | None
    n_output: int
    codes: frozenset[str]


EXPECTED = {
    1: Expected("UNIFORM", 7 / 12, 306, frozenset({"FILE_ORDER", "POSITIONS_ROUNDED"})),
    2: Expected("RUNS_WITH_GAPS", 0.6, 593, frozenset({"GAPS"})),
    3: Expected("MISSING", 1.5, 30, frozenset({"SLICES_MISSING", "FILES_LOST"})),
    4: Expected("UNIFORM", 5 * np.cos(np.radians(20)), 20, frozenset({"SHEARED"})),
    5: Expected("VARIABLE", 2.5, 56, frozenset({"VARIABLE_SPACING"})),
    6: Expected("UNIFORM", 2.5, 20, frozenset({"SAME_INSTANCE", "FILE_ORDER"})),
    7: Expected("UNIFORM", 1.2, 24, frozenset({"SPACING_TAG_MISMATCH"})),
    8: Expected("UNKNOWN", None, 0, frozenset({"NO_SPACING"})),
}


def scenario(number: int, folder: Path, **changes: Any) -> list[Path]:
    """Write one of the eight series of ``EXPECTED``; ``changes`` are parameters of :func:`write_series`."""
    along, options = SCENARIOS[number]()
    return write_series(folder, along, **{"series": f"scenario {number}", **options, **changes})


def blocks_in_wrong_order() -> tuple[np.ndarray, dict[str, Any]]:
    """1: 306 slices, files in blocks of 6, 100, 100, 100 that are named in wrong order, positions to 0.1."""
    edges, letters = (0, 6, 106, 206, 306), "BDAC"
    blocks = enumerate(itertools.pairwise(edges))
    names = [f"{letters[b]}_{i + 1}.dcm" for b, (first, stop) in blocks for i in range(stop - first)]
    return np.arange(306) * 7 / 12, {"decimals": 1, "names": names}


def three_runs() -> tuple[np.ndarray, dict[str, Any]]:
    """2: three times 100 slices at 0.6, with gaps of 61 and 116 between."""
    run = np.arange(100) * 0.6
    return np.concatenate([run, run + 59.4 + 61, run + 2 * 59.4 + 61 + 116]), {}


def two_removed() -> tuple[np.ndarray, dict[str, Any]]:
    """3: 30 slices at 1.5, of which two files were lost."""
    kept = np.delete(np.arange(30), [9, 20])
    return kept * 1.5, {"numbers": (kept + 1).tolist()}


def tilted() -> tuple[np.ndarray, dict[str, Any]]:
    """4: 20 slices at 5 along the bed (z), gantry tilted by 20 degrees."""
    angle = np.radians(20)
    directions = ((1.0, 0.0, 0.0), (0.0, float(np.cos(angle)), float(-np.sin(angle))))
    return np.arange(20) * 5 * np.cos(angle), {"directions": directions, "shear": (-float(np.tan(angle)), 0.0)}


def two_spacings() -> tuple[np.ndarray, dict[str, Any]]:
    """5: 20 slices at 2.5, then 12 at 7.5."""
    return np.concatenate([np.arange(20) * 2.5, 19 * 2.5 + np.arange(1, 13) * 7.5]), {}


def one_duplicate() -> tuple[np.ndarray, dict[str, Any]]:
    """6: 20 slices at 2.5 and a copy of one, names shuffled."""
    order = np.random.default_rng(6).permutation(21)
    return np.arange(20) * 2.5, {"duplicates": [7], "names": [f"IM{i}.dcm" for i in order]}


def oblique_sagittal() -> tuple[np.ndarray, dict[str, Any]]:
    """7: 24 slices at 1.2, oblique sagittal; SpacingBetweenSlices says 1.0."""
    row = np.array([0.2, 0.9, 0.1]) / np.linalg.norm([0.2, 0.9, 0.1])
    column = np.array([0.1, 0.05, -1.0])
    column -= (column @ row) * row
    column /= np.linalg.norm(column)
    return np.arange(24) * 1.2, {"directions": (row.tolist(), column.tolist()), "spacing_between": 1.0}


def no_positions() -> tuple[np.ndarray, dict[str, Any]]:
    """8: neither position nor orientation, thickness 5."""
    return np.arange(10) * 5.0, {"directions": None, "origin_mm": None, "thickness": 5.0}


SCENARIOS = dict(
    enumerate(
        (
            blocks_in_wrong_order,
            three_runs,
            two_removed,
            tilted,
            two_spacings,
            one_duplicate,
            oblique_sagittal,
            no_positions,
        ),
        start=1,
    )
)
