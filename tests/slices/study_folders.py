"""Folders of a study: a series of slices, and what scanners and viewers put beside it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.uid import (
    GrayscaleSoftcopyPresentationStateStorage,
    MultiFrameTrueColorSecondaryCaptureImageStorage,
    SecondaryCaptureImageStorage,
    XRayRadiationDoseSRStorage,
)

from gpustitch.demo.series.dicom import data_set, save, write_series

SAGITTAL = ((0, 1, 0), (0, 0, -1))
CORONAL = ((1, 0, 0), (0, 0, -1))


def write_volume(folder: Path, rng: np.random.Generator, **options: Any) -> float:
    """A series of even slices; their distance."""
    spacing_mm = round(float(rng.uniform(0.5, 5)), 2)
    write_series(folder, np.arange(int(rng.integers(4, 12))) * spacing_mm, series="volume", **options)
    return spacing_mm


def write_scout(folder: Path, n: int, directions: Any = SAGITTAL, name: str = "scout") -> None:
    """Localizers in one direction."""

    def edit(data, _):
        data.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]

    write_series(folder, np.arange(n) * 20.0, series=f"{name} of {n}", row_and_column=directions, edit=edit)


def write_capture(folder: Path, n: int, kind: str = SecondaryCaptureImageStorage) -> None:
    """Pictures of a screen, in colors, without a position."""

    def edit(data, _):
        data.SOPClassUID, data.Modality, data.ImageType = kind, "OT", ["DERIVED", "SECONDARY"]
        data.SamplesPerPixel, data.PhotometricInterpretation, data.PlanarConfiguration = 3, "RGB", 0
        data.BitsAllocated, data.BitsStored, data.HighBit = 8, 8, 7
        data.PixelData = bytes(3 * data.Rows * data.Columns)
        data["PixelData"].VR = "OB"

    places = {"origin_mm": None, "row_and_column": None, "pixel_spacing_mm": None}
    write_series(folder, np.arange(n) * 1.0, series=f"dose of {n}", edit=edit, **places)


def write_object(folder: Path, kind: str) -> None:
    """A report or a presentation state: DICOM without pixels."""
    folder.mkdir(parents=True, exist_ok=True)
    data = data_set(f"object {kind}", kind)
    data.SOPClassUID, data.Modality = kind, "SR"
    save(data, folder / "object.dcm")


# What lies beside a volume, each with its number of series.
BESIDE: dict[str, tuple[int, Callable[[Path], None]]] = {
    "scout": (1, lambda folder: write_scout(folder, 1)),
    "two scouts": (
        1,
        lambda folder: [write_scout(folder / str(k), 1, v, "two") for k, v in enumerate((SAGITTAL, CORONAL))],
    ),
    "stack of scouts": (1, lambda folder: write_scout(folder, 3)),
    "dose picture": (1, lambda folder: write_capture(folder, 1)),
    "screenshots": (1, lambda folder: write_capture(folder, 4)),
    "true color": (1, lambda folder: write_capture(folder, 1, MultiFrameTrueColorSecondaryCaptureImageStorage)),
    "dose report": (0, lambda folder: write_object(folder, XRayRadiationDoseSRStorage)),
    "presentation state": (0, lambda folder: write_object(folder, GrayscaleSoftcopyPresentationStateStorage)),
}
