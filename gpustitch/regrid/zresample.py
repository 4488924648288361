"""Resampling a series of sections, each somewhere along z, to evenly spaced planes.

A plane is one section, or is interpolated between two neighbours; :mod:`gpustitch.regrid.plan` decides. Sections are a
list of planes, which need not lie in one array or in any order.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from gpustitch.array import Array, kernel, namespace
from gpustitch.errors import ParameterError
from gpustitch.regrid.plan import AT_SECTION, LEAST_INTERVAL, Deformation, ZGrid

_TYPES = ("uint8", "uint16", "int16", "float32")
_SIGNED: dict[str, Any] = {"uint8": np.int8, "uint16": np.int16}
# Pixels of a plane that are computed together: four float32 arrays of so many pixels fit into the second-level cache.
_PIXELS = 1 << 15
# Rows and columns of a piece of a local deformation: positions differ little there, so most planes meet one interval.
_ROWS, _COLUMNS = 32, 256


@kernel("zresample.cu", T="out: uint8 uint16 float32", tile=(16, 2048))
def resample_z(
    sections: Sequence[Array], lower: Array, upper: Array, weight: Array, is_signed: bool, out: Array
) -> None:
    """Interpolate planes between sections.

    With ``a = sections[lower[k]]``, ``b = sections[upper[k]]`` and ``w = weight[k]``::

        out[k] = 0                where lower[k] < 0
        out[k] = a                where w = 0
        out[k] = a + w * (b - a)  elsewhere

    Parameters
    ----------
    sections
        Arrays (pixels,), all of one length and of the dtype of ``out``.
    lower, upper
        int64 (planes,): numbers of sections, or -1 for a plane without data.
    weight
        float32 (planes,), 0 <= weight <= 1.
    is_signed
        Unsigned types stand for signed types of the same size: uint16 for int16.
    out
        (planes, pixels) of uint8, uint16 or float32. Every element is written.

    Notes
    -----
    Arithmetic is in float32. Whole numbers are rounded, halves to even. A result cannot leave the range of its two
    sections' values. A NaN reaches only planes in which its section has a weight above 0.
    """
    if is_signed:
        dtype = _SIGNED[out.dtype.name]
        sections, out = [section.view(dtype) for section in sections], out.view(dtype)
    plan = list(zip(lower.tolist(), upper.tolist(), weight, strict=True))
    for start in range(0, out.shape[1], _PIXELS):
        pixels = slice(start, start + _PIXELS)
        with np.errstate(invalid="ignore"):
            _fill_pixels([section[pixels] for section in sections], plan, out[:, pixels])


def _fill_pixels(sections: Sequence[Array], plan: Sequence[tuple[int, int, np.float32]], out: Array) -> None:
    """:func:`resample_z` for few pixels. Consecutive planes mostly lie between the same two sections or the next."""
    is_whole, n_pixels = out.dtype.kind != "f", out.shape[1]
    spare = [np.empty(n_pixels, np.float32) for _ in range(2)]
    floats: dict[int, Array] = {}
    difference, value = np.empty(n_pixels, np.float32), np.empty(n_pixels, np.float32)
    between = (-1, -1)
    for k, (low, high, w) in enumerate(plan):
        if low < 0 or w == 0:
            out[k] = 0 if low < 0 else sections[low]
            continue
        if between != (low, high):
            between = low, high
            floats = _floats(sections, between, floats, spare)
            np.subtract(floats[high], floats[low], out=difference)
        np.multiply(difference, w, out=value)
        if is_whole:
            value += floats[low]
            np.rint(value, out=value)
            out[k] = value
        else:
            np.add(value, floats[low], out=out[k])


def _floats(
    sections: Sequence[Array], wanted: tuple[int, int], before: dict[int, Array], spare: Sequence[Array]
) -> dict[int, Array]:
    """The sections ``wanted`` as float32: taken over from ``before``, or converted into an array of ``spare``."""
    if sections[wanted[0]].dtype == np.float32:
        return {number: sections[number] for number in wanted}
    floats = {number: before[number] for number in wanted if number in before}
    for number in wanted:
        if number not in floats:
            taken = {id(array) for array in floats.values()}
            floats[number] = next(array for array in spare if id(array) not in taken)
            np.copyto(floats[number], sections[number])
    return floats


@kernel("zresample.cu", T="out: uint8 uint16 float32", tile=(32, 4, 64))
def resample_local(
    sections: Sequence[Array],
    positions: Array,
    limits: Array,
    row_node: Array,
    row_weight: Array,
    column_node: Array,
    column_weight: Array,
    first: float,
    step: float,
    start: int,
    nearest: bool,
    is_signed: bool,
    out: Array,
) -> None:
    """Interpolate planes between sections whose positions differ from pixel to pixel.

    The position of section i at a pixel is bilinear in ``positions[i]``. Row y lies between the grid's rows
    ``j = row_node[y]`` and ``j + 1`` (at most the last row). ``row_weight[y]`` is the weight of row ``j + 1``. Columns
    follow the same rule. Plane k lies at ``z = first + step * (start + k)``. Let ``position[i] <= z < position[i + 1]``
    and ``w = (z - position[i]) / (position[i + 1] - position[i])``. The plane's value at the pixel is, in this order,

    - section i or section i + 1, if w is within 1e-6 of 0 or 1;
    - 0 in an interval wider than its limit, and before the first and after the last section;
    - with ``nearest`` the nearer section, section i + 1 half way;
    - the interpolation of both sections as in :func:`resample_z`, with w rounded to float32.

    Parameters
    ----------
    sections
        At least two arrays (rows, columns), of the dtype of ``out``.
    positions
        float64 (sections, gy, gx), nowhere descending along the first axis.
    limits
        float64 (sections - 1,): widest interval that is interpolated.
    row_node, row_weight, column_node, column_weight
        int64 and float64 arrays, one value per row or column: :func:`gpustitch.regrid.plan.node_weights`.
    first, step, start
        Positions of the planes, as above; the step is positive.
    nearest
        Take the nearer section, as above.
    is_signed
        Unsigned types stand for signed types of the same size.
    out
        (planes, rows, columns) of uint8, uint16 or float32. Every element is written.
    """
    if is_signed:
        dtype = _SIGNED[out.dtype.name]
        sections, out = [section.view(dtype) for section in sections], out.view(dtype)
    z = first + step * (start + np.arange(out.shape[0], dtype=np.float64))
    out[...] = 0
    for y in range(0, out.shape[1], _ROWS):
        rows = slice(y, y + _ROWS)
        along_y = _between_nodes(positions, 1, row_node[rows], row_weight[rows])
        for x in range(0, out.shape[2], _COLUMNS):
            columns = slice(x, x + _COLUMNS)
            at = _Positions(along_y, column_node[columns], column_weight[columns])
            cut = [section[rows, columns] for section in sections]
            with np.errstate(invalid="ignore", over="ignore"):
                _fill_local(cut, at, limits.tolist(), z, nearest, out[:, rows, columns])


class _Positions:
    """Positions of the sections over some rows and columns, computed on demand; the last few are kept."""

    def __init__(self, along_y: Array, column_node: Array, column_weight: Array) -> None:
        self._along_y, self._node, self._weight = along_y, column_node, column_weight
        self._kept: dict[int, Array] = {}

    def __getitem__(self, i: int) -> Array:
        if i not in self._kept:
            self._kept = {k: at for k, at in self._kept.items() if k == i - 1}
            self._kept[i] = _between_nodes(self._along_y[i], 1, self._node, self._weight)
        return self._kept[i]


def _between_nodes(grid: Array, axis: int, node: Array, weight: Array) -> Array:
    """``grid`` interpolated along an axis: pixels replace the nodes."""
    after = np.take(grid, np.minimum(np.arange(grid.shape[axis]) + 1, grid.shape[axis] - 1), axis)
    shape = [1] * grid.ndim
    shape[axis] = -1
    at: Array = np.take(after - grid, node, axis, mode="clip")
    at *= weight.reshape(shape)
    at += np.take(grid, node, axis, mode="clip")
    return at


def _fill_local(
    sections: Sequence[Array], at: _Positions, limits: Sequence[float], z: Array, nearest: bool, out: Array
) -> None:
    """Fill in ``out``, so far 0, the voxels between each two neighbouring sections."""
    last = len(sections) - 2
    for i in range(last + 1):
        lower, upper = at[i], at[i + 1]
        interval = np.maximum(upper - lower, LEAST_INTERVAL)
        widest = float(interval.max())
        low = float(lower.min()) - (AT_SECTION * widest if i == 0 else 0)
        high = float(upper.max()) + (AT_SECTION * widest if i == last else 0)
        for k in range(int(np.searchsorted(z, low, side="left")), int(np.searchsorted(z, high, side="right"))):
            fraction = z[k] - lower
            fraction /= interval
            here = fraction >= -AT_SECTION if i == 0 else lower <= z[k]
            here &= fraction <= 1 + AT_SECTION if i == last else z[k] < upper
            if widest > limits[i]:
                here &= (interval <= limits[i]) | (fraction <= AT_SECTION) | (fraction >= 1 - AT_SECTION)
            value = _between(sections[i], sections[i + 1], fraction, nearest)
            if here.all():
                out[k] = value
            else:
                np.copyto(out[k], value, where=here, casting="unsafe")


def _between(lower: Array, upper: Array, fraction: Array, nearest: bool) -> Array:
    """Voxels between two sections, whole numbers as float32; meaningless where the fraction is not from 0 to 1."""
    if nearest:
        return np.where(fraction >= 0.5, upper, lower)
    is_lower, is_upper = fraction <= AT_SECTION, fraction >= 1 - AT_SECTION
    weight, near = fraction.astype(np.float32), lower.astype(np.float32)
    value = upper.astype(np.float32)
    value -= near
    if lower.dtype.kind != "f":
        np.copyto(weight, 0, where=is_lower)
        np.copyto(weight, 1, where=is_upper)
    value *= weight
    value += near
    if lower.dtype.kind != "f":
        np.rint(value, out=value)
    else:
        # Copied instead of weighted: the section stays unchanged, and a NaN in the other section does not matter.
        np.copyto(value, lower, where=is_lower)
        np.copyto(value, upper, where=is_upper)
    return value


def planes_between(
    sections: Sequence[Array], lower: npt.ArrayLike, upper: npt.ArrayLike, weight: npt.ArrayLike
) -> Array:
    """Evenly spaced planes from the sections around them.

    Parameters
    ----------
    sections
        Arrays (rows, columns) of one shape, of uint8, uint16, int16 or float32.
    lower, upper, weight
        One value of each per plane, as in :class:`gpustitch.regrid.plan.ZPlan`; ``lower`` and ``upper`` index
        ``sections``.

    Returns
    -------
    A new array (planes, rows, columns) of the dtype of the sections.

    Raises
    ------
    ParameterError
        If sections differ in shape or have another dtype, or a plane needs a section that is not there.
    """
    flat, shape, signed = _checked(sections)
    xp = namespace(*sections)
    numbers = [np.asarray(lower, np.int64), np.asarray(upper, np.int64)]
    if any(n.size and (n.min() < -1 or n.max() >= len(sections)) for n in numbers):
        raise ParameterError(f"planes lie between sections 0 to {len(sections) - 1}, or have the number -1")
    out: Array = xp.empty((len(numbers[0]), *shape), flat[0].dtype)
    below, above, weights = (xp.asarray(array) for array in (*numbers, np.asarray(weight, np.float32)))
    pixels = [section.reshape(-1) for section in flat]
    resample_z(pixels, below, above, weights, signed, out.reshape(len(out), math.prod(shape)))
    return out.view(np.int16) if signed else out


def deformed_planes(
    sections: Sequence[Array],
    deformation: Deformation,
    grid: ZGrid,
    *,
    first_section: int = 0,
    planes: slice = slice(None),
    rows: slice = slice(None),
    columns: slice = slice(None),
    nearest: bool = False,
) -> Array:
    """A block of evenly spaced planes from sections whose positions differ from pixel to pixel.

    Parameters
    ----------
    sections
        The sections that the planes need (:meth:`Deformation.needed`), cut to ``rows`` and ``columns``. The arrays have
        one shape and hold uint8, uint16, int16 or float32.
    deformation, grid
        Positions and planes of the whole volume.
    first_section
        Place of the first of ``sections`` in the series' order.
    planes, rows, columns
        The block.
    nearest
        Take the nearer of two sections in place of their interpolation.

    Returns
    -------
    A new array (planes, rows, columns) of the dtype of the sections; 0 without data. Sections of ones (uint8) give a
    mask of the voxels with data.

    Raises
    ------
    ParameterError
        If the sections do not fit the block.
    """
    flat, shape, signed = _checked(sections)
    xp = namespace(*sections)
    used = slice(first_section, first_section + len(sections))
    at, limits = deformation.series.positions[used], deformation.limits[used.start : used.stop - 1]
    nodes = [table[rows] for table in deformation.rows] + [table[columns] for table in deformation.columns]
    if len(sections) < 2 or len(at) != len(sections) or shape != (len(nodes[0]), len(nodes[2])):
        raise ParameterError(
            f"the block needs two sections or more of {len(deformation.series.positions)}, not {len(sections)} of "
            f"{shape} from {first_section} on; the block has {len(nodes[0])} rows and {len(nodes[2])} columns"
        )
    start, stop, _ = planes.indices(grid.n_planes)
    out: Array = xp.empty((stop - start, *shape), flat[0].dtype)
    y_node, y_weight, x_node, x_weight = (xp.asarray(np.ascontiguousarray(table)) for table in nodes)
    positions, widest = xp.asarray(np.ascontiguousarray(at)), xp.asarray(np.ascontiguousarray(limits))
    resample_local(
        flat, positions, widest, y_node, y_weight, x_node, x_weight, grid.first, grid.step, start, nearest, signed, out
    )
    return out.view(np.int16) if signed else out


def _checked(sections: Sequence[Array]) -> tuple[list[Array], tuple[int, int], bool]:
    """The sections, with unsigned views of signed types, their shape, and whether they are signed."""
    if not sections:
        raise ParameterError("there are no sections to resample")
    shapes, dtypes = {section.shape for section in sections}, {section.dtype for section in sections}
    if len(shapes) > 1 or len(dtypes) > 1 or sections[0].ndim != 2:
        raise ParameterError(f"sections are planes of one shape and type, not of {shapes} and {set(map(str, dtypes))}")
    dtype = dtypes.pop()
    if dtype.name not in _TYPES:
        raise ParameterError(f"sections hold one of {', '.join(_TYPES)}, not {dtype}")
    signed = dtype.name == "int16"
    rows, columns = shapes.pop()
    return [section.view(np.uint16) if signed else section for section in sections], (rows, columns), signed
