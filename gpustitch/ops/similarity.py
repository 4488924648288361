"""Similarity of neighbouring planes of a stack: banded normalised cross-correlation (Pearson), as matrix products.

A plane becomes a row of centred pixels; coefficients come from the products of rows. Rows are kept in tiles of
pixels, ``rows[t, i, k]`` = pixel ``t * TILE + k`` of plane i, so that every product is one of contiguous matrices short
enough to be summed in float32; tiles are put together in float64.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gpustitch.array import Array, kernel, namespace, to_host
from gpustitch.errors import ParameterError
from gpustitch.ops.similarity_parts import (
    BAND,
    Moments,
    clear_end,
    combined_moments,
    mask_of,
    masked_correlation,
    plain_correlation,
    run_moments,
    scaling_of,
    tiled,
    used_pixels,
)

TILE = 4096
SEGMENT = 16384
_TYPES = ("uint8", "uint16", "float32")
_SIGNATURE = "planes: uint8 uint16 float32"


@kernel("similarity.cu", T=_SIGNATURE, tile=(1, 1, None))
def plane_moments(planes: Array, mask: Array, out: Array) -> None:
    """Number, mean and sum of squared deviations from it of the used pixels in each segment of each plane.

    Parameters
    ----------
    planes
        (n, rows, columns) of uint8, uint16 or float32.
    mask
        uint8, not 0 where a pixel is used: (1 or n, rows, columns), or (1, 1, 1) for one value everywhere. Pixels
        that are NaN or infinite are never used.
    out
        float64 (n, segments, 3): a segment is :data:`SEGMENT` pixels in reading order, the last may be shorter. A
        segment without a used pixel is 0, 0, 0. Exactly 0 squares are given where, and only where, all values are
        equal, if contrasts in float32 planes are between 1e-15 and 1e15.
    """
    n_pixels = math.prod(planes.shape[1:])
    for i in range(planes.shape[0]):
        plane, used = planes[i].reshape(-1), mask_of(mask, i)
        for start in range(0, n_pixels, BAND):
            pixels = slice(start, min(start + BAND, n_pixels))
            first = start // SEGMENT
            runs = run_moments(plane[pixels], used if used.size == 1 else used[pixels], SEGMENT)
            out[i, first : first + len(runs)] = combined_moments(runs)


@kernel("similarity.cu", T=_SIGNATURE, tile=(1, 1, TILE))
def centred_rows(planes: Array, mask: Array, scaling: Array, out: Array, first: int) -> None:
    """Rows ``first`` to ``first + n`` of every tile: ``((plane - high) - low) * factor`` in float32.

    Parameters
    ----------
    planes, mask
        As of :func:`plane_moments`.
    scaling
        float32 (n, 4): the mean in two parts, high and low, the factor, and 1 where all the plane's pixels are used
        (0 has every pixel looked up).
    out
        float32 (tiles, rows, width), pixel ``t * width + k`` at ``[t, :, k]``; 0 where a pixel is not used and beyond
        the last one. Other rows are left as they are.
    """
    for i in range(planes.shape[0]):
        plane, used = planes[i].reshape(-1), mask_of(mask, i)
        high, low, factor, is_whole = scaling[i]
        for pixels, into in tiled(out[:, first + i], plane.size):
            values = plane[pixels].reshape(into.shape)
            with np.errstate(invalid="ignore"):
                np.subtract(values, high, out=into, dtype=np.float32)
                np.subtract(into, low, out=into)
                np.multiply(into, factor, out=into)
            if not is_whole:
                into[~used_pixels(values, used, pixels)] = 0
        clear_end(out[:, first + i], plane.size)


@kernel("similarity.cu", T=_SIGNATURE, tile=(1, 1, TILE))
def used_rows(planes: Array, mask: Array, out: Array, first: int) -> None:
    """Rows ``first`` to ``first + n`` of every tile: 1 where a pixel is used, 0 elsewhere and beyond the last one.

    ``planes`` and ``mask`` are as of :func:`plane_moments`, ``out`` is uint8, laid out as of :func:`centred_rows`.
    """
    for i in range(planes.shape[0]):
        plane, used = planes[i].reshape(-1), mask_of(mask, i)
        for pixels, into in tiled(out[:, first + i], plane.size):
            into[...] = used_pixels(plane[pixels].reshape(into.shape), used, pixels)
        clear_end(out[:, first + i], plane.size)


@dataclass(frozen=True)
class _Rows:
    """Prepared planes in a ring: which plane each row holds (-1 none), whether it varies, whether it is whole.

    ``mean`` is what is left of the mean, ``squares`` the squared deviations as a matrix product rounds them.
    """

    centred: Array
    plane: npt.NDArray[np.int64]
    varies: npt.NDArray[np.bool_]
    is_whole: npt.NDArray[np.bool_]
    mean: Moments
    squares: Moments


class BandedCorrelation:
    """Correlation of each plane with the ``reach`` planes after it, of planes that come in order, some at a time.

    It keeps ``reach`` planes and a block as float32, whatever the length of the stack: :func:`peak_bytes`. How the
    planes are cut into chunks does not change the result.

    Parameters
    ----------
    shape
        (rows, columns) of a plane.
    reach
        Greatest distance of two planes, at least 1.
    mask
        uint8 or bool (rows, columns): pixels used in all planes; None for all pixels. On the device of the planes.
    block
        Planes correlated at once; a good one is chosen by default.

    Attributes
    ----------
    undefined
        Planes, counted from the first one, that have no coefficients: constant, or with fewer than two used pixels.

    Raises
    ------
    ParameterError
        If a parameter is out of range.
    """

    def __init__(
        self, shape: tuple[int, int], reach: int, *, mask: Array | None = None, block: int | None = None
    ) -> None:
        if len(shape) != 2 or min(shape) < 1:
            raise ParameterError(f"planes must be (rows, columns) of at least one pixel, not {tuple(shape)}")
        if reach < 1 or (block is not None and block < 1):
            raise ParameterError(f"reach and block must be at least 1, not {reach} and {block}")
        if mask is not None and mask.shape != tuple(shape):
            raise ParameterError(f"the mask is of shape {tuple(mask.shape)}, the planes of {tuple(shape)}")
        self.undefined: list[int] = []
        self._shape, self._reach, self._mask = (shape[0], shape[1]), reach, mask
        self._n_in_common = math.prod(shape) if mask is None else int((mask != 0).sum())
        self._block = block or default_block(reach)
        self._rows: _Rows | None = None
        self._used: Array | None = None
        self._strip = np.empty((0, reach + 1))
        self._n = self._n_done = self._n_correlated = 0

    def push(self, planes: Array, mask: Array | None = None) -> Moments:
        """Take the next planes; the rows of the half strip that are finished, often none.

        Parameters
        ----------
        planes
            (m, rows, columns) of uint8, uint16 or float32; NaN and infinite pixels are not used.
        mask
            uint8 or bool, the same shape: pixels used of these planes.

        Returns
        -------
        float64 (finished, reach + 1) in host memory: [i, d] is the coefficient of a plane and the d-th after it,
        from the first plane that was not returned yet.
        """
        if planes.ndim != 3 or planes.shape[1:] != self._shape:
            raise ParameterError(f"planes must be of shape (n, *{self._shape}), not {tuple(planes.shape)}")
        if planes.dtype.name not in _TYPES:
            raise ParameterError(f"planes must be of {', '.join(_TYPES)}, not {planes.dtype}")
        if mask is not None and mask.shape != planes.shape:
            raise ParameterError(f"the mask is of shape {tuple(mask.shape)}, the planes of {tuple(planes.shape)}")
        start = 0
        while start < planes.shape[0]:
            stop = min(planes.shape[0], start + self._block - self._n % self._block)
            self._prepare(planes[start:stop], None if mask is None else mask[start:stop])
            start = stop
            if self._n % self._block == 0:
                self._correlate()
        return self._finished(self._n_correlated - self._reach)

    def finish(self) -> Moments:
        """The rows of the half strip that are left, NaN beyond the last plane."""
        if self._n > self._n_correlated:
            self._correlate()
        return self._finished(self._n)

    def _prepare(self, planes: Array, mask: Array | None) -> None:
        """Planes as rows of the ring, all within its current block."""
        xp = namespace(planes)
        rows, used = self._ring(planes), self._used_pixels(planes, mask)
        n, n_pixels = planes.shape[0], math.prod(self._shape)
        parts = xp.empty((n, -(-n_pixels // SEGMENT), 3), np.float64)
        plane_moments(planes, used, parts)
        count, mean, squares = combined_moments(to_host(parts)).T
        at = self._n % len(rows.plane)
        here = slice(at, at + n)
        rows.plane[here] = np.arange(self._n, self._n + n)
        rows.varies[here] = squares > 0
        scaling, rows.mean[here] = scaling_of(count, mean, squares, n_pixels)
        rows.squares[here] = squares * scaling[:, 2].astype(np.float64) ** 2 + (squares == 0)
        rows.is_whole[here] = count == self._n_in_common
        self.undefined += [int(i) for i in rows.plane[here][~rows.varies[here]]]
        centred_rows(planes, used, xp.asarray(scaling), rows.centred, at)
        if self._used is None and not rows.is_whole[here].all():
            self._used = self._used_in_common(rows.centred)
        if self._used is not None:
            used_rows(planes, used, self._used, at)
        self._n += n

    def _ring(self, like: Array) -> _Rows:
        if self._rows is None:
            n_rows = _ring_rows(self._reach, self._block)
            tiles, width = _tiles(self._shape)
            centred = namespace(like).zeros((tiles, n_rows, width), np.float32)
            self._rows = _Rows(
                centred,
                np.full(n_rows, -1),
                np.zeros(n_rows, bool),
                np.ones(n_rows, bool),
                np.zeros(n_rows),
                np.ones(n_rows),
            )
        return self._rows

    def _used_pixels(self, planes: Array, mask: Array | None) -> Array:
        """The mask as the twins take it: (1, 1, 1), (1, rows, columns) or that of each plane."""
        xp = namespace(planes)
        if mask is None and self._mask is None:
            return xp.ones((1, 1, 1), np.uint8)  # type: ignore[no-any-return]
        used = mask != 0 if mask is not None else (self._mask != 0)[None]  # type: ignore[index]
        if mask is not None and self._mask is not None:
            used &= self._mask != 0
        return used.astype(np.uint8)  # type: ignore[no-any-return]

    def _used_in_common(self, centred: Array) -> Array:
        """Used pixels of every row of the ring, as long as all planes are whole."""
        xp = namespace(centred)
        tiles, n_rows, width = centred.shape
        one = xp.empty((tiles, 1, width), np.uint8)
        plane = xp.zeros((1, *self._shape), np.uint8)
        used_rows(plane, self._used_pixels(plane, None), one, 0)
        return xp.repeat(one, n_rows, axis=1)  # type: ignore[no-any-return]

    def _correlate(self) -> None:
        """Coefficients of the planes prepared last with all those of the ring within reach."""
        rows = self._rows
        assert rows is not None
        n_new = self._n - self._n_correlated
        at = self._n_correlated % len(rows.plane)
        new = slice(at, at + n_new)
        distance = rows.plane[new, None] - rows.plane[None, :]
        inside = (distance >= 0) & (distance <= self._reach) & (rows.plane >= 0)
        wanted = inside & rows.varies[new, None] & rows.varies
        if rows.is_whole[inside.any(axis=0)].all():
            found = plain_correlation(rows.centred, new, self._n_in_common, rows.mean, rows.squares)
        else:
            assert self._used is not None
            found = masked_correlation(rows.centred, self._used, new, wanted & (distance > 0))
        found[distance == 0] = 1
        self._strip = np.concatenate([self._strip, np.full((n_new, self._reach + 1), np.nan)])
        earlier = np.broadcast_to(rows.plane, distance.shape)[wanted] - self._n_done
        self._strip[earlier, distance[wanted]] = found[wanted]
        self._n_correlated = self._n

    def _finished(self, stop: int) -> Moments:
        n_rows = max(0, stop - self._n_done)
        finished, self._strip = self._strip[:n_rows], self._strip[n_rows:].copy()
        self._n_done += n_rows
        return finished


def banded_correlation(planes: Array, reach: int, mask: Array | None = None) -> Moments:
    """Pearson's coefficient of each plane of a stack and each of the ``reach`` planes after it.

    Parameters
    ----------
    planes
        (n, rows, columns) of uint8, uint16 or float32, at least two. Pixels that are NaN or infinite are not used.
    reach
        Greatest distance of two planes, 1 to n - 1.
    mask
        uint8 or bool, not 0 where a pixel is used: (rows, columns), (1, rows, columns) or (n, rows, columns).

    Returns
    -------
    float64 (n, reach + 1) in host memory: [i, d] is the coefficient of planes i and i + d over the pixels used in
    both, 1 for d = 0, NaN beyond the last plane and where there is none: constant pixels, or fewer than two.

    Raises
    ------
    ParameterError
        If a shape or dtype does not fit, or the reach is out of range.

    Notes
    -----
    Errors against float64 are below 1e-6 on a CPU and 1e-5 on a GPU, also for a small contrast on a high background.
    Where pixels are excluded in one plane only, this holds if those that two planes have in common lie within 1000
    times their own contrast of the mean of their plane. Planes of two or three values that are no small whole numbers
    apart, whose float32 products are all rounded the same way, are right to 3e-6.
    """
    if planes.ndim != 3 or planes.size == 0:
        raise ParameterError(f"correlation takes planes (n, rows, columns), not an array of shape {planes.shape}")
    n = planes.shape[0]
    if not 1 <= reach < n:
        raise ParameterError(f"reach must be 1 to {n - 1} for {n} planes (at least two are needed), not {reach}")
    common, own = mask, None
    if mask is not None and mask.ndim == 3:
        common, own = (mask[0], None) if mask.shape[0] == 1 else (None, mask)
    stream = BandedCorrelation(planes.shape[1:], reach, mask=common, block=min(n, default_block(reach)))
    return np.concatenate([stream.push(planes, own), stream.finish()])


def default_block(reach: int) -> int:
    """Planes correlated at once: enough for quick matrix products, few enough to waste little beyond the band."""
    return 32 if reach <= 32 else 64


def peak_bytes(shape: tuple[int, int], reach: int, *, block: int | None = None, some_excluded: bool = False) -> int:
    """Most memory that :class:`BandedCorrelation` holds, in bytes, besides the planes pushed and their masks.

    Parameters
    ----------
    shape, reach, block
        As of :class:`BandedCorrelation`.
    some_excluded
        Whether pixels are excluded in some planes and not in others.

    Notes
    -----
    Rows of whole planes take (reach + block) * pixels * 4 bytes, reach rounded up to whole blocks, and one byte more
    a pixel where pixels are excluded.
    """
    block = block or default_block(reach)
    n_rows = _ring_rows(reach, block)
    tiles, width = _tiles(shape)
    rows = n_rows * tiles * width * (5 if some_excluded else 4)
    sums = (7 * 12 if some_excluded else 3 * 12) * block * n_rows + 80 * block * n_rows
    copies = 6 * n_rows * width * 4 + 40 * tiles * width if some_excluded else 0
    return rows + sums + copies + 200 * block * -(-math.prod(shape) // SEGMENT) + 24 * BAND


def undefined_planes(half_strip: Moments) -> list[int]:
    """Planes that have no coefficient with themselves: constant ones, or such with fewer than two used pixels."""
    return [int(i) for i in np.flatnonzero(np.isnan(half_strip[:, 0]))]


def full_matrix(half_strip: Moments) -> Moments:
    """The symmetric matrix (n, n) of a half strip (n, reach + 1), NaN outside the band."""
    n, width = half_strip.shape
    matrix = np.full((n, n), np.nan)
    for d in range(min(n, width)):
        i = np.arange(n - d)
        matrix[i, i + d] = matrix[i + d, i] = half_strip[: n - d, d]
    return matrix


def half_strip_of(matrix: Moments, reach: int) -> Moments:
    """The half strip (n, reach + 1) of a symmetric matrix (n, n), whose upper triangle is read; NaN beyond its end.

    Raises
    ------
    ParameterError
        If the matrix is not square or the reach is not 1 to n - 1.
    """
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ParameterError(f"a similarity matrix is square, not of shape {matrix.shape}")
    n = matrix.shape[0]
    if not 1 <= reach < n:
        raise ParameterError(f"reach must be 1 to {n - 1} for {n} planes (at least two are needed), not {reach}")
    strip = np.full((n, reach + 1), np.nan)
    for d in range(reach + 1):
        strip[: n - d, d] = np.diagonal(matrix, d)
    return strip


def _ring_rows(reach: int, block: int) -> int:
    return block * (1 + -(-reach // block))


def _tiles(shape: tuple[int, int]) -> tuple[int, int]:
    """Number of tiles of a plane, and their width in pixels: a multiple of four, for wide reads and writes."""
    n_pixels = math.prod(shape)
    width = min(TILE, -(-n_pixels // 4) * 4)
    return -(-n_pixels // width), width
