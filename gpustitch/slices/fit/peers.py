"""Which distance of slices common programs would have taken for a series.

SimpleITK (the reader of series of ITK, file names sorted by GDCM): distance of the first slice from the last, over the
number of intervals; 1 where that is nothing. 3D Slicer reads with the same reader. dcm2niix: distance of the two lowest
slices along the normal (where distances vary it also writes an interpolated volume). dicom2nifti: as
SimpleITK with one slice of each position. It refuses three slices or fewer, intervals that differ and slices that move
sideways. ImageJ (File > Import > Image Sequence): z of the first slice less z of the last, in the order of
InstanceNumber, over the number of intervals; where that is nothing the tag.

SimpleITK 2.5, dcm2niix 1.0.20260724 and dicom2nifti 2.6 were tried on the series of the tests. What 3D Slicer and
ImageJ do is known from their sources only.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gpustitch.model.arrays import Floats
from gpustitch.slices.model import SliceHeader

# dicom2nifti's tolerances: absolute and relative for intervals, absolute for directions.
_INTERVAL = (0.1, 0.05)
_DIRECTION = 0.05
_LEAST_SLICES = 4


def peers(headers: Sequence[SliceHeader], normal: Floats | None) -> dict[str, float | None]:
    """Distance of slices (mm) by program; None where it refuses the series.

    Parameters
    ----------
    headers
        All slices of the series, copies too, two at least.
    normal
        float64 (3,); None where directions are not stated.
    """
    positions = [header.position_mm for header in headers]
    if normal is None or any(place is None or not np.isfinite(place).all() for place in positions):
        taken: dict[str, float | None] = {
            "SimpleITK": 1.0, "3D Slicer": 1.0, "dcm2niix": _tag(headers), "dicom2nifti": None, "ImageJ": _tag(headers),
        }  # fmt: skip
    else:
        at = np.array(positions, np.float64)
        along = at[np.argsort(at @ normal, kind="stable")]
        taken = {
            "SimpleITK": _first_to_last(_as_gdcm(headers, at, normal)),
            "3D Slicer": _first_to_last(along),
            "dcm2niix": _first_interval(along, normal),
            "dicom2nifti": _dicom2nifti(np.unique(at, axis=0), normal),
            "ImageJ": _imagej(headers, at),
        }
    if headers[0].thickness_mm is not None:
        taken["SliceThickness"] = headers[0].thickness_mm
    return taken


def _tag(headers: Sequence[SliceHeader]) -> float:
    """SpacingBetweenSlices of the first slice, else SliceThickness, else 1."""
    first = headers[0]
    return next((abs(tag) for tag in (first.spacing_between_mm, first.thickness_mm) if tag), 1.0)


def _first_to_last(along: Floats) -> float:
    return float(np.linalg.norm(along[-1] - along[0])) / (len(along) - 1) or 1.0


def _as_gdcm(headers: Sequence[SliceHeader], at: Floats, normal: Floats) -> Floats:
    """Positions in GDCM's order: along the normal; where two are one by InstanceNumber; where two are one by name."""
    t = at @ normal
    if len(np.unique(t)) == len(t):
        return at[np.argsort(t)]
    numbers = [header.number for header in headers]
    if None not in numbers and len(set(numbers)) == len(numbers):
        return at[np.argsort(np.array(numbers))]
    return at[sorted(range(len(headers)), key=lambda i: str(headers[i].path))]


def _first_interval(along: Floats, normal: Floats) -> float:
    t = along @ normal
    wide = np.flatnonzero(t > t[0])
    return float(t[wide[0]] - t[0]) if len(wide) else 1.0


def _dicom2nifti(at: Floats, normal: Floats) -> float | None:
    """The distance that dicom2nifti takes; None if it refuses the slices."""
    axis = int(np.argmax(np.ptp(at, axis=0)))
    along = at[np.argsort(at[:, axis], kind="stable")]
    intervals = np.diff(along, axis=0)
    whole = along[-1] - along[0]
    length = float(np.linalg.norm(whole))
    if len(at) < _LEAST_SLICES or not length:
        return None
    absolute, relative = _INTERVAL
    even = bool((np.abs(intervals - intervals[0]) <= absolute + relative * np.abs(intervals)).all())
    direction = whole / length
    allowed = _DIRECTION * (1 + np.abs(direction))
    upright = any((np.abs(sign * normal - direction) <= allowed).all() for sign in (1, -1))
    return length / (len(at) - 1) if even and upright else None


def _imagej(headers: Sequence[SliceHeader], at: Floats) -> float:
    numbers = [header.number for header in headers]
    order = np.arange(len(at))
    if None not in numbers:
        order = np.argsort(np.array(numbers), kind="stable")
    depth = abs(float(at[order[-1], 2] - at[order[0], 2])) / (len(at) - 1)
    return depth or _tag(headers)
