"""Pixels for each inch or centimeter, as plain image files state them, and which of these nobody meant."""

from __future__ import annotations

import math
from dataclasses import dataclass

_INCH_MM = 25.4
_METER_MM = 1000.0
# What programs and cameras write unasked (Photoshop and cameras 72, Windows and Pillow's BMP 96).
_DEFAULT_DPI = (72.0, 96.0)
_DPI_TOLERANCE = 0.05  # whole pixels for each meter: 3780 are 96.012 dpi


@dataclass(frozen=True)
class Resolution:
    """What a file says of its pixels in plane, outside of ImageJ's and OME's descriptions.

    Attributes
    ----------
    spacing_mm
        (y, x); None if there is no unit of length, or a number is not positive and finite.
    text
        As the file has it, for messages.
    is_default
        A value that is written unasked: 1 for each unit, 72 or 96 dpi.
    """

    spacing_mm: tuple[float, float] | None
    text: str
    is_default: bool


def resolution(per_y: float, per_x: float, unit_mm: float | None, unit: str) -> Resolution:
    """Of pixels for each unit, down and across; ``unit_mm`` is None if the unit is no length."""
    number = f"{per_x:.6g}" if per_x == per_y else f"{per_x:.6g} x {per_y:.6g}"
    text = f"{number} pixels/{unit}" if unit != "inch" else f"{number} dpi"
    if not all(math.isfinite(per) and per > 0 for per in (per_y, per_x)):
        return Resolution(None, text, is_default=False)
    if unit_mm is None:
        return Resolution(None, text, is_default=per_y == per_x == 1)
    dpi = [per * _INCH_MM / unit_mm for per in (per_y, per_x)]
    usual = any(all(abs(value - default) <= _DPI_TOLERANCE for value in dpi) for default in _DEFAULT_DPI)
    return Resolution((unit_mm / per_y, unit_mm / per_x), text, is_default=usual or per_y == per_x == 1)


def tiff_resolution(y: tuple[int, int], x: tuple[int, int], unit: int) -> Resolution:
    """Of the tags YResolution and XResolution (fractions) and ResolutionUnit (1 none, 2 inch, 3 centimeter)."""
    per_y, per_x = (value[0] / value[1] if value[1] else math.inf for value in (y, x))
    name, length = {2: ("inch", _INCH_MM), 3: ("cm", 10.0)}.get(unit, ("unit", None))
    return resolution(per_y, per_x, length, name)


def meter_resolution(per_y: float, per_x: float) -> Resolution:
    """Of pixels for each meter (PNG, BMP)."""
    return resolution(per_y, per_x, _METER_MM, "m")
