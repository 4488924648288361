"""Moving each plane of a volume sideways, also by a fraction of a pixel."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from gpustitch.array import Array, namespace
from gpustitch.model import Box
from gpustitch.model.arrays import Floats

# A shift this near to a whole number of pixels, in pixels, counts as that number.
AT_PIXEL = 1e-6


@dataclass(frozen=True)
class PlaneShifts:
    """The places of a source's planes in wider planes.

    Attributes
    ----------
    rows, columns
        float64 (planes,), 0 or more: where source plane k's first row and first column lie in wide plane k, in px.
    shape
        Rows and columns of the wide planes; they hold every plane of the source whole.
    """

    rows: Floats
    columns: Floats
    shape: tuple[int, int]

    def window(self, box: tuple[slice, slice], shape: tuple[int, int]) -> tuple[slice, slice]:
        """Rows and columns of the source (of ``shape``) that ``box`` (rows, columns) of any wide plane may need."""
        y, x = (_window(part, along, n) for part, along, n in zip(box, (self.rows, self.columns), shape, strict=True))
        return y, x


def plane_shifts(along: Floats, slope_px: tuple[float, float], shape: tuple[int, int], *, nearest: bool) -> PlaneShifts:
    """Shifts that put the planes of a sheared stack upright.

    Parameters
    ----------
    along
        float64 (planes,): positions of the planes along their normal.
    slope_px
        (y, x): pixels that planes move along columns and along rows for each unit of ``along``.
    shape
        Rows and columns of a plane.
    nearest
        Take whole pixels only.

    Returns
    -------
    The shifts, counted from the least whole row and column that any plane reaches. Plane 0 then begins at
    ``rows[0]``, ``columns[0]`` of the wide planes.
    """
    shifts, lengths = [], []
    for slope, n in zip(slope_px, shape, strict=True):
        at = slope * (along - along[0])
        at = np.rint(at) if nearest else np.where(np.abs(at - np.rint(at)) <= AT_PIXEL, np.rint(at), at)
        first = math.floor(at.min())
        shifts.append(at - first)
        lengths.append(n + math.ceil(shifts[-1].max()))
    return PlaneShifts(shifts[0], shifts[1], (lengths[0], lengths[1]))


def shifted_planes(
    source: Array, window: tuple[slice, slice], shifts: PlaneShifts, box: Box, background: float, dtype: np.dtype[Any]
) -> Array:
    """A box of the wide planes.

    ``out[k, y, x]`` is ``source`` at ``(y - rows[k], x - columns[k])``, by linear interpolation. A place before the
    first or after the last pixel of the source gives ``background``. Whole numbers are rounded, halves to even.

    Parameters
    ----------
    source
        float32 (planes, rows, columns): the planes of the box, cut to ``window`` (:meth:`PlaneShifts.window`).
    shifts
        The shifts of the whole volume.
    box
        A box of the volume of wide planes.
    dtype
        Type of the result.

    Returns
    -------
    A new array of ``box.shape``.
    """
    xp = namespace(source)
    out: Array = xp.full(box.shape, background, np.float32)
    z, y, x = box.slices()
    for k in range(z.start, z.stop):
        rows, row_weight, to_rows = _along(float(shifts.rows[k]), y, window[0])
        columns, column_weight, to_columns = _along(float(shifts.columns[k]), x, window[1])
        part = _lerp(source[k - z.start][rows], row_weight, 0)
        out[k - z.start, to_rows, to_columns] = _lerp(part[:, columns], column_weight, 1)
    if dtype.kind == "f":
        return out.astype(dtype)
    xp.rint(out, out=out)
    return out.astype(dtype)


def _window(wanted: slice, shifts: Floats, n: int) -> slice:
    first = min(n, max(0, math.floor(wanted.start - shifts.max())))
    return slice(first, max(first, min(n, math.ceil(wanted.stop - shifts.min()))))


def _along(shift: float, wanted: slice, window: slice) -> tuple[slice, float, slice]:
    """Pixels of the window to take, weight of the pixel after each, and pixels of the box that they make."""
    whole = math.floor(-shift)
    weight = -shift - whole
    if weight > 1 - AT_PIXEL:
        whole, weight = whole + 1, 0.0
    more = int(weight > AT_PIXEL)
    # Pixel p of the box lies at pixel p + whole of the plane, or between that pixel and the next.
    first = max(wanted.start, window.start - whole)
    stop = max(first, min(wanted.stop, window.stop - whole - more))
    taken = slice(first + whole - window.start, stop + whole + more - window.start)
    if stop == first:
        taken, more = slice(0, 0), 0
    return taken, weight if more else 0.0, slice(first - wanted.start, stop - wanted.start)


def _lerp(pixels: Array, weight: float, axis: int) -> Array:
    if not weight:
        return pixels
    near, far = (pixels[:-1], pixels[1:]) if axis == 0 else (pixels[:, :-1], pixels[:, 1:])
    return near + np.float32(weight) * (far - near)
