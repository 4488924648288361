"""Move the voxels of one tile by a fraction of a voxel, in parts that stay in a CPU's cache."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from gpustitch.array import Array
from gpustitch.model.arrays import Floats32

# Voxels interpolated at a time: two float32 buffers of this size are as large as a core's level-2 cache.
_VOXELS_IN_CACHE = 1 << 17
_PLANES_IN_CACHE = 16

Part = tuple[slice, slice, slice]


@dataclass(frozen=True)
class Place:
    """Where, in a tile's voxels, the first voxel of an output lies: a whole part and a fraction on each axis.

    ``start`` and ``fraction`` hold the place along z and y. A tile may be sheared, so along x each plane of the output
    has its own: ``start_x`` is int32, ``fraction_x`` float32, both of shape (planes,). 0 <= fraction < 1.
    """

    start: tuple[int, int]
    start_x: Array
    fraction: tuple[float, float]
    fraction_x: Array


def resample(source: Array, place: Place, columns: Array, out: Array) -> None:
    """``out[z, y, x]`` = ``source`` at a shifted place, by linear interpolation, 0 outside the covered columns.

    Parameters
    ----------
    source
        Voxels of one tile, 3-D.
    place
        Place of ``out``'s first voxel in ``source``.
    columns
        Whole numbers, shape (planes of ``out``, 2): on each plane the half-open range of the covered x of ``out``.
    out
        Written whole. Same dtype as ``source``; whole numbers are rounded (ties to even), not truncated.

    Notes
    -----
    An axis whose fraction is 0 needs no second neighbour. If all fractions are 0, the voxels are copied exactly. Every
    needed neighbour must lie in ``source``.
    """
    if not any(place.fraction) and not place.fraction_x.any():
        z, y = place.start
        for plane, ((first, stop), start_x) in enumerate(zip(columns.tolist(), place.start_x.tolist(), strict=True)):
            rows = source[z + plane, y : y + out.shape[1]]
            out[plane, :, first:stop] = rows[:, start_x + first : start_x + stop]
    else:
        for where, values in _interpolated(source, place, out.shape):
            _round_into(values, out[where])
    for plane, (first, stop) in enumerate(columns.tolist()):
        out[plane, :, :first] = 0
        out[plane, :, stop:] = 0


def add_weighted(source: Array, place: Place, weight: Array, total: Array, out: Array) -> None:
    """``total += weight * source`` at a shifted place, and ``out`` = ``total`` in ``out``'s dtype.

    Parameters
    ----------
    source, place
        As in :func:`resample`, but ``weight`` alone decides which voxels are covered.
    weight
        float32, 3-D: ``out``'s shape, or 1 along an axis on which the weight does not change. Never negative.
    total
        float32, ``out``'s shape: the weighted sum over the tiles so far; added to.
    out
        Same dtype as ``source``. Written whole: ``total``, rounded and clipped to the greatest value of the dtype. The
        result is right once every tile of the sum is added. Whole-number voxels are never negative.
    """
    for where, values in _interpolated(source, place, out.shape):
        np.multiply(values, weight[_where_it_changes(where, weight.shape)], out=values)
        np.add(total[where], values, out=values)
        total[where] = values
        if out.dtype.kind in "ui":
            np.minimum(values, np.float32(np.iinfo(out.dtype).max), out=values)
        _round_into(values, out[where])


def _where_it_changes(where: Part, shape: tuple[int, ...]) -> tuple[slice, ...]:
    return tuple(cut if n > 1 else slice(None) for cut, n in zip(where, shape, strict=True))


def _round_into(values: Floats32, out: Array) -> None:
    if out.dtype.kind in "ui":
        np.rint(values, out=values)
    np.copyto(out, values, casting="unsafe")


def _interpolated(source: Array, place: Place, shape: tuple[int, ...]) -> Iterator[tuple[Part, Floats32]]:
    """Parts of the output that stay in cache, each with its interpolated values (float32, free to change)."""
    n_planes, n_rows, n_columns = shape
    planes = min(n_planes, _PLANES_IN_CACHE)
    width = min(n_columns, _VOXELS_IN_CACHE // planes)
    rows = min(n_rows, max(1, _VOXELS_IN_CACHE // max(1, planes * width)))
    drift = int(np.ptp(place.start_x))
    buffers = np.empty((2, (planes + 1) * (rows + 1) * (width + 1 + drift)), np.float32)
    for z, y, x in itertools.product(range(0, n_planes, planes), range(0, n_rows, rows), range(0, n_columns, width)):
        where = (
            slice(z, min(z + planes, n_planes)),
            slice(y, min(y + rows, n_rows)),
            slice(x, min(x + width, n_columns)),
        )
        in_source = (place.start[0] + z, place.start[1] + y, place.start_x[where[0]] + x)
        size = tuple(cut.stop - cut.start for cut in where)
        yield where, _lerp_part(source, in_source, place.fraction_x[where[0]], size, place.fraction, buffers)


def _lerp_part(
    source: Array,
    start: tuple[int, int, Array],
    fraction_x: Array,
    size: tuple[int, ...],
    fractions: tuple[float, float],
    buffers: Floats32,
) -> Floats32:
    """Interpolate one part along z, then y, then x: each pass leaves fewer voxels to the next."""
    nz, ny, nx = size
    z, y, columns = start
    first_x, last_x = int(columns.min()), int(columns.max())
    span = int((columns + (fraction_x > 0)).max()) - first_x + nx
    here, spare = buffers
    gz, gy = nz + (fractions[0] > 0), ny + (fractions[1] > 0)
    values = _shaped(here, (gz, gy, span))
    np.copyto(values, source[z : z + gz, y : y + gy, first_x : first_x + span])
    if fractions[0] > 0:
        values = _lerp(values[:-1], values[1:], fractions[0], _shaped(spare, (nz, gy, span)))
        here, spare = spare, here
    if fractions[1] > 0:
        values = _lerp(values[:, :-1], values[:, 1:], fractions[1], _shaped(spare, (nz, ny, span)))
        here, spare = spare, here
    if not fraction_x.any() and first_x == last_x:
        return values
    if first_x == last_x and np.all(fraction_x == fraction_x[0]):
        # Shifting the flat array by one costs one pass over long runs. The last voxel of each row is never used.
        shifted, flat = _shaped(spare, (nz, ny, span)), values.reshape(-1)
        _lerp(flat[:-1], flat[1:], fraction_x[0], shifted.reshape(-1)[:-1])
        return shifted[:, :, :nx]
    shifted = _shaped(spare, (nz, ny, nx))
    for plane, (column, fraction) in enumerate(zip(columns.tolist(), fraction_x, strict=True)):
        lower = values[plane, :, column - first_x : column - first_x + nx]
        if fraction == 0:
            shifted[plane] = lower
        else:
            upper = values[plane, :, column - first_x + 1 : column - first_x + 1 + nx]
            _lerp(lower, upper, fraction, shifted[plane])
    return shifted


def _lerp(lower: Floats32, upper: Floats32, fraction: float, out: Floats32) -> Floats32:
    with np.errstate(invalid="ignore"):  # infinity less infinity: NaN, where an infinite voxel has a share
        np.subtract(upper, lower, out=out)
        np.multiply(out, np.float32(fraction), out=out)
        return np.add(out, lower, out=out)


def _shaped(buffer: Floats32, shape: tuple[int, int, int]) -> Floats32:
    return buffer[: shape[0] * shape[1] * shape[2]].reshape(shape)
