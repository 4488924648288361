"""Units of length, as image files name them."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from gpustitch.model import Spacing, is_voxel_um

# UDUNITS-2 names (OME-Zarr), symbols (OME-XML) and spellings of ImageJ's users. The micro sign is always U+00B5 here.
_UM = {
    1e-6: ("picometer", "pm"),
    1e-4: ("angstrom", "\u00c5"),
    1e-3: ("nanometer", "nm"),
    1.0: ("micrometer", "micron", "um", "\u00b5m", "\u00b5"),
    1e3: ("millimeter", "mm"),
    1e4: ("centimeter", "cm"),
    1e5: ("decimeter", "dm"),
    1e6: ("meter", "m"),
    25.4: ("thou", "mil"),
    25400.0 / 72: ("pt",),
    25400.0: ("inch", "inches", "in"),
    304800.0: ("foot", "feet", "ft"),
}
_UM_OF = {name: um for um, names in _UM.items() for name in names}
_ESCAPED = re.compile(r"\\u([0-9a-fA-F]{4})")
# Micro: UTF-8 read as Latin-1, the Greek letter, a Latin-1 byte read as UTF-8; then the sign of the angstrom.
_SAME = {
    "\u00c2\u00b5": "\u00b5",
    "\u00ce\u00bc": "\u00b5",
    "\u03bc": "\u00b5",
    "\ufffdm": "\u00b5m",
    "\u212b": "\u00c5",
}


def um_per(unit: object) -> float | None:
    """How many um one ``unit`` is; None if ``unit`` names no length (``pixel``, say).

    Surrounding spaces, capitals, a plural s, British spelling and Java's escapes (``\\u00B5m``) do not matter.
    """
    if not isinstance(unit, str):
        return None
    name = _ESCAPED.sub(lambda found: chr(int(found[1], 16)), unit).strip(" \t\r\n\0")
    for written, meant in _SAME.items():
        name = name.replace(written, meant)
    name = name.replace("metre", "meter").replace("METRE", "METER")
    if name in _UM_OF:
        return _UM_OF[name]
    name = name.lower().replace("metre", "meter")
    return _UM_OF.get(name, _UM_OF.get(name.removesuffix("s")))


def mm_per(unit: object) -> float | None:
    """How many mm one ``unit`` is; None if ``unit`` names no length."""
    um = um_per(unit)
    return None if um is None else um / 1e3


def length_of(text: object, unit: object) -> float | None:
    """The length in um of a number (or its text) with a unit; None unless the length is positive and finite."""
    um = um_per(unit)
    try:
        length = abs(float(text)) * um if um is not None else math.nan  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return None
    return length if math.isfinite(length) and length > 0 else None


def spacing_of(z_um: float | None, y_um: float | None, x_um: float | None) -> Spacing | None:
    """The spacing if all three distances are known, and such as voxels have; None otherwise."""
    known = [v for v in (z_um, y_um, x_um) if v is not None and is_voxel_um(v)]
    return Spacing(*known) if len(known) == 3 else None


_INCH_MM = 25.4
_METER_MM = 1000.0
# Resolutions that programs write unasked: Photoshop and cameras 72, Windows and Pillow's BMP 96.
_DEFAULT_DPI = (72.0, 96.0)
_DPI_TOLERANCE = 0.05  # for rounding to whole pixels per meter: 3780 are 96.012 dpi


@dataclass(frozen=True)
class Resolution:
    """The size of pixels within a plane that a file states outside of ImageJ's and OME's descriptions.

    Attributes
    ----------
    spacing_mm
        (y, x); None if there is no unit of length, or a number is not positive and finite.
    text
        The resolution as the file states it, for messages.
    is_default
        Whether programs write this value unasked: 1 for each unit, 72 or 96 dpi.
    """

    spacing_mm: tuple[float, float] | None
    text: str
    is_default: bool


def resolution(per_y: float, per_x: float, unit_mm: float | None, unit: str) -> Resolution:
    """The resolution of ``per_y`` pixels for each unit down and ``per_x`` across; ``unit_mm`` is None for no length."""
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
    """The resolution in a TIFF's tags: YResolution and XResolution (fractions) and ResolutionUnit.

    ``unit`` is 1 for none, 2 for inch and 3 for centimeter.
    """
    per_y, per_x = (value[0] / value[1] if value[1] else math.inf for value in (y, x))
    name, length = {2: ("inch", _INCH_MM), 3: ("cm", 10.0)}.get(unit, ("unit", None))
    return resolution(per_y, per_x, length, name)


def meter_resolution(per_y: float, per_x: float) -> Resolution:
    """The resolution of pixels for each meter (PNG, BMP)."""
    return resolution(per_y, per_x, _METER_MM, "m")
