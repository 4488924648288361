"""Whether lengths may be in another unit than they say: held against each other, and against what there is."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from gpustitch.model.arrays import Floats, LengthsZYX
from gpustitch.slices.model import Code, Note, SliceHeader
from gpustitch.slices.verdict.text import mm

# Slices further apart than so many pixels or thicknesses, or nearer than one part of so many, are in doubt.
MOST_PIXELS = 50.0
MOST_THICKNESSES = 20.0
# Lengths of voxels, and edges of images, that no scanner and no microscope has, mm.
_LEAST_MM, _MOST_MM, _MOST_EDGE_MM = 1e-6, 1e3, 3e3
# Units that are taken for each other, by their ratio.
_MIXED = {1e3: "um and mm", 25.4e3: "um and inches", 1e6: "nm and mm"}
# A factor is named if what is left is between its inverse and itself.
_LEFT = 5.0
# Positions that are the numbers of slices look like mm where pixels are about as large.
_MOST_AS_NUMBERS = 5.0


def scale_notes(
    spacing_mm: LengthsZYX, headers: Sequence[SliceHeader], along_mm: Floats, source: str = ""
) -> list[Note]:
    """A warning of lengths that are hardly in the unit that they are given in; they are never converted.

    Parameters
    ----------
    spacing_mm
        (z, y, x); None for what is not known.
    headers
        Slices in order along the normal.
    along_mm
        float64 (n,): their positions.
    source
        Tag that positions are from; empty if they are counted.
    """
    z, y, x = spacing_mm
    doubts = [*_absurd(spacing_mm, headers[0].shape)]
    factor = None
    if z is not None and y is not None and x is not None:
        text, factor = _against_pixels(z, y, x)
        doubts += text
        if source and _are_numbers(z, max(y, x), along_mm):
            doubts.append(f"positions are the numbers of the slices, {along_mm[0]:g} to {along_mm[-1]:g}")
    thickness = headers[0].thickness_mm
    if z is not None and thickness is not None and thickness > 0 and _is_far(z / thickness, MOST_THICKNESSES):
        doubts.append(f"slices are {_times(z / thickness)} SliceThickness ({mm(thickness)} mm) apart")
        factor = factor or _mixed(z / thickness)
    if not doubts:
        return []
    why = f"; {_MIXED[factor]} taken for each other would explain a factor of {factor:g}" if factor else ""
    return [Note(Code.SCALE_DOUBTFUL, f"{'; '.join(doubts)}{why}: check the unit, nothing was converted")]


def _absurd(spacing_mm: LengthsZYX, shape: tuple[int, int]) -> list[str]:
    """Lengths that no image has."""
    named = [(axis, length) for axis, length in zip("zyx", spacing_mm, strict=True) if length is not None]
    small = [f"{axis} {length:.3g} mm" for axis, length in named if length < _LEAST_MM]
    large = [f"{axis} {length:.6g} mm" for axis, length in named if length > _MOST_MM]
    edges = [n * length for n, length in zip(shape, spacing_mm[1:], strict=True) if length is not None]
    doubts = [f"voxels are smaller than 1 nm ({', '.join(small)})"] if small else []
    doubts += [f"voxels are larger than 1 m ({', '.join(large)})"] if large else []
    if not large and max(edges, default=0.0) > _MOST_EDGE_MM:
        doubts.append(f"images are {max(edges) / 1e3:.3g} m wide")
    return doubts


def _against_pixels(z: float, y: float, x: float) -> tuple[list[str], float | None]:
    """A sentence if slices are too far apart, or too near, for their pixels; and the factor that may be why."""
    ratio = z / max(y, x) if z > max(y, x) else z / min(y, x)
    if not _is_far(ratio, MOST_PIXELS):
        return [], None
    pixel = max(y, x) if ratio > 1 else min(y, x)
    return [f"slices are {_times(ratio)} the size of a pixel ({mm(pixel)} mm) apart"], _mixed(ratio)


def _is_far(ratio: float, most: float) -> bool:
    """Whether a ratio, or its inverse, is more than ``most``, errors of arithmetic left out."""
    return max(ratio, 1 / ratio) > most * (1 + 1e-9)


def _times(ratio: float) -> str:
    return f"{ratio:.4g} times" if ratio > 1 else f"1/{1 / ratio:.4g} of"


def _mixed(ratio: float) -> float | None:
    """The factor between two units that makes a ratio, or its inverse, an ordinary one; None if none does."""
    size = max(ratio, 1 / ratio)
    best = min(_MIXED, key=lambda factor: abs(math.log(size / factor)))
    return best if 1 / _LEFT <= size / best <= _LEFT else None


def _are_numbers(z: float, pixel: float, along_mm: Floats) -> bool:
    """Whether positions count slices from 0 or 1, up or down, where pixels are of quite another size."""
    if abs(z - 1) > 1e-9 or not _is_far(1 / pixel, _MOST_AS_NUMBERS):
        return False
    whole = np.rint(along_mm)
    starts = {abs(whole[0]), abs(whole[-1])}
    return bool((np.abs(along_mm - whole) < 1e-9).all()) and bool(starts & {0.0, 1.0})
