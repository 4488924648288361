"""Series of slice headers in memory, as a scanner would write them, and what verdicts say of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from gpustitch.slices.model import SliceHeader, SliceSeries, SliceStack

AXIAL = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0))


def series_of(
    along_mm: Sequence[float] | np.ndarray,
    *,
    directions: Sequence[Sequence[float]] = AXIAL,
    origin_mm: Sequence[float] = (-100.0, -120.0, 30.0),
    shear: tuple[float, float] = (0.0, 0.0),
    decimals: int = 6,
    numbers: Sequence[int | None] | None = None,
    names: Sequence[int] | None = None,
    **tags: object,
) -> SliceSeries:
    """A series with positions written to ``decimals``; file k is called by ``names[k]``, slices are in that order."""
    row, column = (np.asarray(v, np.float64) for v in directions)
    normal = np.cross(row, column)
    n = len(along_mm)
    numbers = range(1, n + 1) if numbers is None else numbers
    names = range(n) if names is None else names
    headers = []
    along = np.asarray(along_mm, np.float64)[:, None]
    places = np.round(np.asarray(origin_mm) + along * (normal + shear[0] * column + shear[1] * row), decimals)
    for k, place in enumerate(places.tolist()):
        header = {
            "position_mm": tuple(place),
            "quantum_mm": (10.0**-decimals,) * 3,
            "row_direction": tuple(row.tolist()),
            "column_direction": tuple(column.tolist()),
            "pixel_spacing_mm": (0.7, 0.5),
            "number": numbers[k],
            "instance": f"1.2.{k}",
        }
        headers.append(SliceHeader(Path(f"f{names[k]:05d}.dcm"), 0, (64, 48), **(header | tags)))
    order = np.argsort(np.asarray(names), kind="stable")
    return SliceSeries("memory", "dicom", tuple(headers[i] for i in order), key={"SeriesInstanceUID": "1.2.3"})


def codes(stack: SliceStack) -> set[str]:
    """Codes of the warnings."""
    return {str(note.code) for note in stack.notes}


def text(stack: SliceStack, code: str) -> str:
    """Sentence of the first warning with a code."""
    return next(note.text for note in stack.notes if note.code == code)
