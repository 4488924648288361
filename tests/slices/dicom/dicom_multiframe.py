"""Synthetic DICOM files of many frames: Enhanced, dose grids, nuclear medicine, plain."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import (
    EnhancedMRImageStorage,
    ExplicitVRLittleEndian,
    MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
    NuclearMedicineImageStorage,
    RTDoseStorage,
)

from gpustitch.demo.series.dicom import AXIAL, ORIGIN, data_set, decimal_string, save, set_pixels

SHAPE = (6, 5)


def frames(count: int, dtype: str = "uint16") -> np.ndarray:
    """Frames that all differ."""
    return np.random.default_rng(5).integers(0, 200, (count, *SHAPE)).astype(dtype)


def write_enhanced(
    path: Path,
    along_mm: Sequence[float],
    *,
    directions: Sequence[Sequence[float]] = AXIAL,
    per_frame_rescale: Sequence[tuple[float, float]] | None = None,
    echoes: Sequence[float] | None = None,
    shared: bool = True,
    stack_numbers: bool = False,
    transfer_syntax: str = ExplicitVRLittleEndian,
    edit: Callable[[Dataset], None] | None = None,
) -> np.ndarray:
    """Write an Enhanced MR object; return its pixels.

    Orientation and pixel measures are shared by all frames or repeated in each; positions are always the frames' own.
    """
    pixels = frames(len(along_mm))
    data = data_set(path.stem, "enhanced", transfer_syntax)
    data.SOPClassUID, data.Modality = EnhancedMRImageStorage, "MR"
    row, column = np.asarray(directions[0]), np.asarray(directions[1])
    normal = np.cross(row, column)
    common = Dataset()
    common.PlaneOrientationSequence = [_item(ImageOrientationPatient=[decimal_string(v) for v in (*row, *column)])]
    common.PixelMeasuresSequence = [_item(PixelSpacing=["0.75", "0.5"], SliceThickness="2", SpacingBetweenSlices="2.5")]
    groups = []
    for i, t in enumerate(along_mm):
        group = Dataset()
        place = np.asarray(ORIGIN) + t * normal
        group.PlanePositionSequence = [_item(ImagePositionPatient=[decimal_string(v) for v in place])]
        content = _item(StackID="1", InStackPositionNumber=len(along_mm) - i) if stack_numbers else _item(StackID="1")
        group.FrameContentSequence = [content]
        if per_frame_rescale is not None:
            slope, intercept = per_frame_rescale[i]
            group.PixelValueTransformationSequence = [
                _item(RescaleSlope=decimal_string(slope), RescaleIntercept=decimal_string(intercept))
            ]
        if echoes is not None:
            group.MREchoSequence = [_item(EffectiveEchoTime=echoes[i])]
        if not shared:
            group.update(common)
        groups.append(group)
    data.SharedFunctionalGroupsSequence = [common if shared else Dataset()]
    data.PerFrameFunctionalGroupsSequence = groups
    return _finish(data, path, pixels, edit)


def write_dose(
    path: Path,
    offsets_mm: Sequence[float],
    *,
    directions: Sequence[Sequence[float]] = AXIAL,
    edit: Callable[[Dataset], None] | None = None,
) -> np.ndarray:
    """Write a dose grid of uint32 with the GridFrameOffsetVector given; return its stored pixels."""
    data = data_set(path.stem, "dose")
    data.SOPClassUID, data.Modality = RTDoseStorage, "RTDOSE"
    _place(data, directions)
    data.PixelSpacing = ["0.75", "0.5"]
    data.GridFrameOffsetVector = [decimal_string(v) for v in offsets_mm]
    data.DoseGridScaling = "0.001"
    return _finish(data, path, frames(len(offsets_mm), "uint32"), edit)


def write_nuclear(
    path: Path, count: int, spacing: float, kind: str = "RECON TOMO", edit: Callable[[Dataset], None] | None = None
) -> np.ndarray:
    """Write a nuclear study whose geometry is in DetectorInformationSequence; return its pixels."""
    data = data_set(path.stem, "nuclear")
    data.SOPClassUID, data.Modality = NuclearMedicineImageStorage, "NM"
    data.ImageType = ["ORIGINAL", "PRIMARY", kind, "EMISSION"]
    detector = Dataset()
    _place(detector, AXIAL)
    data.DetectorInformationSequence = [detector]
    data.PixelSpacing, data.SpacingBetweenSlices = ["0.75", "0.5"], decimal_string(spacing)
    return _finish(data, path, frames(count), edit)


def write_plain(path: Path, count: int, edit: Callable[[Dataset], None] | None = None) -> np.ndarray:
    """Write frames that nothing places; return them."""
    data = data_set(path.stem, "plain")
    data.SOPClassUID, data.Modality = MultiFrameGrayscaleWordSecondaryCaptureImageStorage, "OT"
    return _finish(data, path, frames(count), edit)


def _finish(data: Dataset, path: Path, pixels: np.ndarray, edit: Callable[[Dataset], None] | None) -> np.ndarray:
    set_pixels(data, pixels)
    if edit is not None:
        edit(data)
    path.parent.mkdir(parents=True, exist_ok=True)
    save(data, path)
    return pixels


def _place(data: Dataset, directions: Sequence[Sequence[float]]) -> None:
    data.ImagePositionPatient = [decimal_string(v) for v in ORIGIN]
    data.ImageOrientationPatient = [decimal_string(v) for v in (*directions[0], *directions[1])]


def _item(**tags: Any) -> Dataset:
    item = Dataset()
    for keyword, value in tags.items():
        setattr(item, keyword, value)
    return item
