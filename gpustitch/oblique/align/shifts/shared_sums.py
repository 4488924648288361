"""Sums over what two arrays share at every shift in reach, for one of them and its mirror images, on a device.

They are those of :class:`~gpustitch.oblique.align.shifts.whole.Comparison`, of all images at once.
"""

from __future__ import annotations

import numpy as np

from gpustitch.array import Array, kernel
from gpustitch.oblique.align.shifts.whole import shared_ranges

# What there is of each image and shift: number of voxels, covariance, two variances, and two sums of squares.
SUMS = 6
# The first of these are kept.
KEPT = 4
# Spectra that masked arrays need, of values, masks and squares, and the products whose sums these are. Without masks
# there are values alone.
MASKED_PAIRS = ((0, 0), (1, 1), (0, 1), (2, 1), (1, 0), (1, 2))
PAIRS = ((0, 0),)


@kernel("shared_sums.cu", T="values: float32 float64")
def range_sums(
    values: Array,
    shapes: Array,
    axis: int,
    n_fixed: int,
    n_moving: int,
    low: int,
    n_shifts: int,
    out: Array,
) -> None:
    """Sum arrays along one axis over what each shares with the other at every shift.

    Parameters
    ----------
    values
        An array (z, y, x) at the beginning of each row: fixed and moving ones in turn. Shape (arrays, room), float32 or
        float64.
    shapes
        Of each row of ``out`` the shape of the array that is summed, shape (sums, 3), int64.
    axis
        0, 1 or 2.
    n_fixed, n_moving
        Lengths along it.
    low, n_shifts
        First shift, and how many follow one another.
    out
        The sums, each at the beginning of a row, shape (sums, room), float64; written where there are any. Fixed arrays
        have their own ranges, and behind them those of the mirror image. Rows beyond the number of arrays hold sums of
        squares.
    """
    shift = low + np.arange(n_shifts)
    start, stop = shared_ranges(n_fixed, n_moving, shift)
    meets = stop > start
    ranges = (
        list(zip(np.r_[start, n_fixed - stop].tolist(), np.r_[stop, n_fixed - start].tolist(), strict=True)),
        list(zip((start + shift * meets).tolist(), (stop + shift * meets).tolist(), strict=True)),
    )
    for i, (row, shape) in enumerate(zip(out, shapes, strict=True)):
        array = values[i % len(values), : shape.prod()].reshape(shape)
        if i >= len(values):
            array = array * array
        parts = [array.take(range(*ends), axis).sum(axis, dtype=np.float64) for ends in ranges[i % 2]]
        sums = np.stack(parts, axis)
        row[: sums.size] = sums.ravel()


@kernel("shared_sums.cu")
def mirrored_products(fixed: Array, moving: Array, pairs: Array, mirrors: Array, out: Array) -> None:
    """Products of spectra, of which the inverse transform is the correlation of two arrays.

    Parameters
    ----------
    fixed, moving
        Transforms of real numbers, pairs of float32, shapes (a, Z, Y, 2 X) and (b, Z, Y, 2 X).
    pairs
        Which of them are multiplied, shape (p, 2), int64.
    mirrors
        Of each image 1 for axes along which ``fixed`` is turned round about voxel 0, else 0; shape (images, 3), int64.
    out
        The products, of all pairs for each image in turn, shape (images p, Z, Y, 2 X), float32.
    """
    here, there, made = (a.view(np.complex64) for a in (fixed, moving, out))
    turned = [-np.arange(n) % n for n in here.shape[1:3]]
    for i, mirrored in enumerate(mirrors.astype(bool).tolist()):
        spectra = here if mirrored[2] else np.conj(here)
        for axis in (0, 1):
            if mirrored[axis] != mirrored[2]:
                spectra = spectra.take(turned[axis], axis + 1)
        for k, (a, b) in enumerate(pairs.tolist()):
            made[i * len(pairs) + k] = spectra[a] * there[b]


@kernel("shared_sums.cu")
def shared_sums(products: Array, sums: Array, reach: Array, mirrors: Array, out: Array) -> None:
    """What two arrays share at each shift, of each image.

    Parameters
    ----------
    products
        Correlations that go round, of one pair (or the six of masked arrays) for each image, shape (images p, Z, Y, X),
        float32.
    sums
        Of arrays without masks what :func:`range_sums` leaves: sums of fixed and moving, and of their squares, shape
        (4, room), float64. Of masked arrays without rows.
    reach
        Of each axis the lengths of fixed and moving, and the first shift, shape (3, 3), int64.
    mirrors
        As in :func:`mirrored_products`.
    out
        Shape (images, 6, z, y, x), float64: number of voxels, covariance, variances of fixed and moving, all times that
        number, and sums of squares.
    """
    counts = out.shape[2:]
    shifts = [low + np.arange(n) for low, n in zip(reach[:, 2].tolist(), counts, strict=True)]
    lengths = [tuple(row[:2]) for row in reach.tolist()]
    sizes = [
        np.diff(shared_ranges(a, b, s), axis=0)[0].astype(np.float64) for (a, b), s in zip(lengths, shifts, strict=True)
    ]
    n_shared = sizes[0][:, None, None] * sizes[1][:, None] * sizes[2]
    n_pairs = len(products) // len(mirrors)
    for i, mirrored in enumerate(mirrors.tolist()):
        at = [
            (s + a - 1 if turned else s) % n
            for s, (a, _), turned, n in zip(shifts, lengths, mirrored, products.shape[1:], strict=True)
        ]
        found = products[i * n_pairs : (i + 1) * n_pairs, *np.ix_(*at)].astype(np.float64) * (n_shared > 0)
        if len(sums):
            twice = tuple(2 * n for n in counts)
            own = tuple(slice(n * turned, n * turned + n) for n, turned in zip(counts, mirrored, strict=True))
            f, f_squares = (sums[k, : np.prod(twice)].reshape(twice)[own] for k in (0, 2))
            g, g_squares = (sums[k, : np.prod(counts)].reshape(counts) for k in (1, 3))
            count = n_shared
        else:
            count = np.maximum(np.rint(found[1]), 0)
            f, f_squares, g, g_squares = found[2:]
        safe = np.maximum(count, 1)
        covariance, of_fixed, of_moving = found[0] - f * g / safe, f_squares - f**2 / safe, g_squares - g**2 / safe
        for k, values in enumerate((count, covariance, of_fixed, of_moving, f_squares, g_squares)):
            out[i, k] = values


@kernel("shared_sums.cu")
def add_shared(sums: Array, most: Array, rounding: float, out: Array) -> None:
    """Add what one part of an overlap shares to what others do.

    Parameters
    ----------
    sums
        What :func:`shared_sums` writes, shape (images, 6, shifts), float64.
    most
        Its largest sums of squares of fixed and moving, shape (images, 2), float64.
    rounding
        Variances of less than this part of them are 0: they are the rounding of sums.
    out
        Shape (images, 4, shifts), float64.
    """
    out[:, :2] += sums[:, :2]
    variances = sums[:, 2:KEPT]
    out[:, 2:] += np.where((sums[:, :1] > 1) & (variances > rounding * most[:, :, None]), variances, 0)


@kernel("shared_sums.cu")
def correlations(sums: Array, most: Array, faint: float, out: Array) -> None:
    """Pearson's correlation of what is shared at each shift, and of how many voxels it is.

    Parameters
    ----------
    sums
        What :func:`add_shared` writes, shape (images, 4, shifts), float64.
    most
        Its largest variances of fixed and moving, shape (images, 2), float64.
    faint
        Where the product of variances is less than this part of the product of the largest, the correlation is 0.
    out
        Shape (images, 2, shifts), float64.
    """
    variances = sums[:, 2] * sums[:, 3]
    defined = variances > (faint * most[:, 0] * most[:, 1])[:, None]
    found = np.where(defined, sums[:, 1] / np.sqrt(np.where(defined, variances, 1)), 0)
    out[:, 0], out[:, 1] = np.clip(found, -1, 1), sums[:, 0]
