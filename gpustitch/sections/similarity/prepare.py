"""What is done to planes before they are compared, and what a look at some of them says must be done."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gpustitch.array import Array, namespace
from gpustitch.sections.similarity.high_pass import Stripes, less_gaussian, less_stripes
from gpustitch.sections.similarity.look import LOOK_PIXELS, Looked, coarse_px, reach_px
from gpustitch.sections.similarity.no_data import constant_at_edge, pixels_of_value
from gpustitch.sections.similarity.register import MOST_PIXELS

# Float32 planes held at a time: by the registration, of the size that shifts are found on and of its own; by the high
# pass; by a look.
_SMALL_HELD, _LARGE_HELD, _EVEN_HELD, _LOOK_HELD = 30, 10, 6, 36
# Bytes a pixel of what finds areas of one value, and of the planes that are read for a look.
_FOUND_BYTES, _LOOK_READ = 16, 80
# Sizes of the greatest pixel of a plane that stay as they are. A contrast is at least 2^-24 of it, and float32 holds
# the square of that, and sums of squares of the greatest ones.
USUAL = (2.0**-20, 2.0**48)
# Rows whose greatest pixel is found at a time, so that a plane is not held twice.
_ROWS = 64


@dataclass(frozen=True)
class Preparation:
    """What is done to planes, in this order.

    Attributes
    ----------
    no_data
        Value of pixels that are not compared; "auto" for areas of one value that touch the edge, "off" for none.
    high_pass_px
        Gaussian whose mean is taken away, in pixels; 0 for none.
    stripes
        What stripes ran along that were taken away: "columns", "rows", "both" or "none".
    register_px
        Greatest shift between planes that is made good, in pixels; 0 for none.
    degree
        Degree of the displacement that is made good: 0 for shifts alone.
    """

    no_data: str | float = "off"
    high_pass_px: float = 0.0
    register_px: float = 0.0
    degree: int = 0
    stripes: Stripes = "none"

    @property
    def evens(self) -> bool:
        """Whether something that is no tissue is taken away."""
        return bool(self.high_pass_px) or self.stripes != "none"

    @property
    def keeps_parts(self) -> bool:
        """Whether parts of planes can be compared: what is left of a warp, or of light, differs between them."""
        return not (self.evens or self.degree)

    @property
    def computes(self) -> bool:
        """Whether pixels get other values or places, rather than are left out."""
        return self.evens or bool(self.register_px)


def is_looked_for(register: str | float, high_pass: str | float) -> bool:
    """Whether a look at some planes is needed: to decide, or to tell what sort of displacement there is."""
    return register != "off" or high_pass == "auto"


def settled_preparation(
    shape: tuple[int, int], no_data: str | float, high_pass: str | float, register: str | float, found: Looked
) -> Preparation:
    """What was asked for, or what is needed by what was found, of planes of a shape."""
    sigma = 0.0 if isinstance(high_pass, str) else float(high_pass)
    if high_pass == "auto" and found.light:
        sigma = round(max(1.0, coarse_px(shape)), 1)
    reach = 0.0 if isinstance(register, str) else float(register)
    if register == "auto" and found.is_off:
        reach = float(reach_px(shape, found.off_px))
    stripes = found.stripes if high_pass == "auto" else "none"
    return Preparation(no_data, sigma, reach, found.degree if reach else 0, stripes)


def preparation_lines(prepared: Preparation, found: Looked, high_pass: str | float, register: str | float) -> list[str]:
    """For people: what was decided by what was found."""
    lines = []
    if register == "auto" and prepared.register_px:
        how = {0: "", 1: ", turned too"}.get(prepared.degree, ", and warped")
        lines.append(
            f"neighbouring planes lie about {found.off_px:.1f} px apart across the plane{how}: compared in register, "
            f"shifts of up to {prepared.register_px:g} px made good (`register`)"
        )
    if high_pass == "auto" and prepared.high_pass_px:
        how = {"changes": "changes from plane to plane", "stays": "is much the same in all planes"}[found.light]
        lines.append(
            f"coarse brightness {how}, as light does and not tissue: compared less a Gaussian mean of "
            f"{prepared.high_pass_px:g} px (`high_pass`)"
        )
    if prepared.stripes != "none":
        along = "rows and columns" if prepared.stripes == "both" else prepared.stripes
        lines.append(
            f"stripes run through the planes along {along}, as curtains do and not tissue: compared less the mean of "
            "each (`high_pass`)"
        )
    return lines


def in_range(planes: npt.NDArray[Any], mask: npt.NDArray[Any] | None = None) -> npt.NDArray[Any]:
    """Planes (n, rows, columns), each times a power of two if its pixels are very small or very great.

    Correlations do not heed the factor of a plane, and a power of two does not round.

    Parameters
    ----------
    planes
        Real numbers; those that are NaN or infinite are not used.
    mask
        (rows, columns), not 0 where a pixel is used; None for all.

    Returns
    -------
    The planes as given if all are of a usual size (:data:`USUAL`); else float32.

    Notes
    -----
    Pixels beyond float32 are not used (infinite) if others of the plane are of a usual size or less. If none is, they
    are what the plane shows.
    """
    powers = [_power(plane, mask) for plane in planes]
    if not any(powers):
        return planes
    found = np.empty(planes.shape, np.float32)
    with np.errstate(over="ignore", under="ignore"):
        for plane, power, out in zip(planes, powers, found, strict=True):
            # float64 holds all powers but the last; so the factor comes in two parts.
            scaled = plane if not power else _wide(plane) * 2.0 ** (power // 2) * 2.0 ** (power - power // 2)
            out[...] = scaled
    return found


def without_no_data(planes: npt.NDArray[Any], no_data: str | float) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
    """Planes (n, rows, columns) with NaN where they hold no picture, and which have such pixels (n,).

    They stay as they are, of any type, if none has; else they become float32, of a size that it holds.
    """
    areas = [_area(plane, no_data) for plane in planes]
    has_some = np.array([area is not None for area in areas])
    if not has_some.any():
        return planes, has_some
    found = np.empty(planes.shape, np.float32)
    with np.errstate(over="ignore"):  # what float32 cannot hold is infinite, and not used
        for plane, area, out in zip(planes, areas, found, strict=True):
            # The value of an area tells nothing of the size of the picture's pixels.
            out[...] = in_range(plane[None], None if area is None else ~area)[0]
            if area is not None:
                out[area] = np.nan
    return found, has_some


def less_coarse(planes: Array, mask: Array | None, sigma_px: float, stripes: Stripes = "none") -> Array:
    """Planes (n, rows, columns), float32, NaN outside the mask, less stripes and, if ``sigma_px``, Gaussian means."""
    xp = namespace(planes)
    found: Array = xp.empty(planes.shape, np.float32)
    for plane, out in zip(planes, found, strict=True):  # one by one, so that only one is there twice
        out[...] = plane
        if mask is not None:
            out[mask == 0] = np.float32(np.nan)
        if stripes != "none":
            out[...] = less_stripes(out, stripes)
        if sigma_px:
            out[...] = less_gaussian(out, sigma_px)
    return found


def prepared_bytes(
    shape: tuple[int, int], n_pixels_read: int, chunk: int, *, no_data: bool, high_pass: bool, register: bool
) -> int:
    """Memory that preparing planes of a shape may take besides chunks of them; one thread at a time prepares."""
    n_pixels = math.prod(shape)
    needed = 0
    if no_data or high_pass:
        needed = max(_FOUND_BYTES * n_pixels_read if no_data else 0, 4 * (_EVEN_HELD + chunk) * n_pixels)
    if register:
        needed += 4 * (_SMALL_HELD * min(n_pixels, MOST_PIXELS) + (_LARGE_HELD + 2 * chunk) * n_pixels)
    return needed


def look_bytes(shape: tuple[int, int], n_pixels_read: int) -> int:
    """Memory that a look at one pair of planes takes; others are read with it."""
    return 4 * _LOOK_HELD * min(math.prod(shape), LOOK_PIXELS) + _LOOK_READ * n_pixels_read


def _area(plane: npt.NDArray[Any], no_data: str | float) -> Array | None:
    if no_data == "auto":
        return constant_at_edge(plane)
    area = pixels_of_value(plane, float(no_data))
    return area if bool(area.any()) else None


def _power(plane: npt.NDArray[Any], mask: npt.NDArray[Any] | None) -> int:
    """The power of two that brings the greatest used pixel near 1; 0 if it is of a usual size."""
    if plane.dtype.kind in "iub" and plane.dtype.itemsize < 8:
        return 0
    least, most = (abs(float(of.reduce(plane, axis=None))) for of in (np.fmin, np.fmax))
    if mask is None and USUAL[0] <= max(least, most) <= USUAL[1]:
        return 0
    within = beyond = 0.0
    for start in range(0, len(plane), _ROWS):
        size = np.abs(_wide(plane[start : start + _ROWS]))
        used = np.isfinite(size)
        if mask is not None:
            used &= mask[start : start + _ROWS] != 0
        beyond = max(beyond, float(size.max(where=used, initial=0)))
        within = max(within, float(size.max(where=used & (size <= np.finfo(np.float32).max), initial=0)))
    greatest = within if 0 < within <= USUAL[1] else beyond
    if greatest == 0 or USUAL[0] <= greatest <= USUAL[1]:
        return 0
    return -math.frexp(greatest)[1]


def _wide(values: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    return values.astype(np.float64)
