"""Similarity of neighbouring planes of a stack: banded normalised cross-correlation (Pearson), as matrix products.

How :class:`BandedCorrelation` works. Planes come in order, a few at a time. Each one becomes a row of numbers: its
pixels less about their mean. The product of two rows is a covariance, and a few corrections make it Pearson's
coefficient. A plane meets only the ``max_lag`` planes before it, so older rows may be forgotten.

Blocks. Rows are multiplied when a block of them is complete, for large products are quick ones. A block begins at a
multiple of its length, counted from the first plane. So it does not matter in what chunks the planes were pushed.

The ring of rows. Memory holds ``max_lag + block`` rows: those of the last planes before the block, then its own. When
the next block begins, the last ``max_lag`` rows move to the front, and the new ones overwrite the others::

    max_lag = 3, block = 4         before  |   block
    rows while planes 3-6 come     0  1  2 | 3  4  5  6
    rows while planes 7-10 come    4  5  6 | 7  8  9  10

The half strip. Each row of a block is multiplied with the ``max_lag`` rows before it and with itself::

            0  1  2  3  4  5  6             half strip: row i, column d
    3       x  x  x  1                      0 | 1 (0,1) (0,2) (0,3)   finished by plane 3
    4          x  x  x  1                   3 | 1 (3,4) (3,5) (3,6)   finished by plane 6
    5             x  x  x  1                4 | 1 (4,5) (4,6)  ...    waits for plane 7
    6                x  x  x  1

Entry (i, i + d) is found with the later plane, and kept in row i of the half strip. So row i is finished once plane
i + max_lag has been correlated. :meth:`~BandedCorrelation.push` returns the finished rows and forgets them;
:meth:`~BandedCorrelation.finish` returns the others, which are NaN beyond the last plane.

Precision. Rows lie in tiles of pixels: ``rows[t, i, k]`` is pixel ``t * TILE + k`` of plane i. Products of tiles are
short enough to be summed in float32, and tiles are added in float64. What a row's mean is off 0 is taken out of the
products afterwards.

One pass or two. Whole planes on the host are centred by the mean of a sample. The threads that write a tile also
multiply it while it is in their cache. All other planes, and those that their sample misjudged, are centred by the
moments of all their used pixels. Once planes differ in which pixels are used, a second ring holds these, one byte each.

Whole planes of uint8 on the host stay as they are in the ring, and their sums are exact:
:mod:`gpustitch.sections.similarity.exact`. With the first other plane the ring becomes one of float32.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from gpustitch.array import Array, cpu_count, library_of, namespace, to_host
from gpustitch.errors import ParameterError
from gpustitch.model.arrays import Floats
from gpustitch.sections.similarity.bands import (
    LONGEST_OF_VECTORS,
    band_products,
    each_of,
    entries_before,
    masked_correlation,
    plain_correlation,
)
from gpustitch.sections.similarity.blocks import default_block, groups_of
from gpustitch.sections.similarity.exact import ExactRows
from gpustitch.sections.similarity.parts import (
    combined_moments,
    confirmed,
    row_sums,
    sampled_scaling,
    scaling_of,
)
from gpustitch.sections.similarity.similarity_rows import (
    SEGMENT,
    Rows,
    centred_rows,
    move_rows,
    plane_moments,
    used_in_common,
    used_rows,
)

# Pixels from which threads are worth starting.
_LEAST_OF_THREADS = 1 << 22
PIXEL_TYPES = ("uint8", "uint16", "float32")


class BandedCorrelation:
    """Correlation of each plane with the ``max_lag`` planes after it, of planes that come in order, some at a time.

    It keeps ``max_lag`` planes and a block, as float32 if they are not of uint8 and whole, whatever the length of the
    stack: :func:`gpustitch.sections.similarity.blocks.peak_bytes`. How the planes are cut into chunks does not change
    the result.

    Parameters
    ----------
    shape
        (rows, columns) of a plane.
    max_lag
        Greatest distance of two planes, at least 1.
    mask
        uint8 or bool (rows, columns): pixels used in all planes; None for all pixels. On the device of the planes.
    block
        Planes correlated at once; a good one is chosen by default.
    n_threads
        Threads that prepare and multiply large planes on the host, one for each CPU by default; the result is the same.

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
        self,
        shape: tuple[int, int],
        max_lag: int,
        *,
        mask: Array | None = None,
        block: int | None = None,
        n_threads: int | None = None,
    ) -> None:
        if len(shape) != 2 or min(shape) < 1:
            raise ParameterError(f"planes must be (rows, columns) of at least one pixel, not {tuple(shape)}")
        if max_lag < 1 or (block is not None and block < 1):
            raise ParameterError(f"`max_lag` and `block` must be at least 1, not {max_lag} and {block}")
        if n_threads is not None and n_threads < 1:
            raise ParameterError(f"`n_threads` must be at least 1, not {n_threads}")
        if mask is not None and mask.shape != tuple(shape):
            raise ParameterError(f"the mask is of shape {tuple(mask.shape)}, the planes of {tuple(shape)}")
        self.undefined: list[int] = []
        self._shape, self._max_lag, self._mask = (shape[0], shape[1]), max_lag, mask
        self._n_in_common = math.prod(shape) if mask is None else int((mask != 0).sum())
        self._block = block or default_block(max_lag)
        self._n_threads = n_threads or cpu_count()
        self._rows: Rows | None = None
        self._exact: ExactRows | None = None  # in place of these rows, as long as all planes are whole and of uint8
        self._products_of_parts: list[Floats | None] = []  # of the current block; None where they are not made yet
        self._used: Array | None = None  # laid out as the rows; None as long as all planes use the same pixels
        self._strip = np.empty((0, max_lag + 1))  # rows of the half strip that are begun and not returned
        self._n = self._n_correlated = self._n_done = 0  # planes taken, correlated with those before, returned

    def push(self, planes: Array, mask: Array | None = None) -> Floats:
        """Take the next planes; the rows of the half strip that are finished, often none.

        Parameters
        ----------
        planes
            (m, rows, columns) of uint8, uint16 or float32; NaN and infinite pixels are not used.
        mask
            uint8 or bool, the same shape: pixels used of these planes.

        Returns
        -------
        float64 (finished, max_lag + 1) in host memory: [i, d] is the coefficient of a plane and the d-th after it.
        Row 0 is the first plane that was not returned yet.
        """
        if planes.ndim != 3 or planes.shape[1:] != self._shape:
            raise ParameterError(f"planes must be of shape (n, *{self._shape}), not {tuple(planes.shape)}")
        if planes.dtype.name not in PIXEL_TYPES:
            raise ParameterError(f"planes must be of {', '.join(PIXEL_TYPES)}, not {planes.dtype}")
        if mask is not None and mask.shape != planes.shape:
            raise ParameterError(f"the mask is of shape {tuple(mask.shape)}, the planes of {tuple(planes.shape)}")
        start = 0
        while start < planes.shape[0]:
            stop = min(planes.shape[0], start + self._block - self._n % self._block)
            self._take(planes[start:stop], None if mask is None else mask[start:stop])
            start = stop
            if self._n % self._block == 0:
                self._correlate()
        return self._finished(self._n_correlated - self._max_lag)

    def finish(self) -> Floats:
        """The rows of the half strip that are left, NaN beyond the last plane."""
        if self._n > self._n_correlated:
            self._correlate()
        return self._finished(self._n)

    def _take(self, planes: Array, mask: Array | None) -> None:
        """Planes into the ring, all of the current block."""
        is_exact = planes.dtype == np.uint8 and library_of(planes) == "numpy" and mask is None and self._mask is None
        if is_exact and self._rows is None:
            self._exact = self._exact or ExactRows(self._shape, self._max_lag, self._block)
            self._exact.take(planes, self._row_of(self._n))
            self._n += len(planes)
            return
        if self._exact is not None:
            self._leave_exact(self._exact)
        self._products_of_parts.append(self._prepare(planes, mask))

    def _leave_exact(self, exact: ExactRows) -> None:
        """The ring of whole uint8 planes as float32 rows: other planes come."""
        n = self._n - self._n_correlated
        # A complete block is behind its planes, a begun one among them.
        end = self._max_lag + (n or self._block)
        first = max(0, end - self._n)
        squares, planes = exact.squared_deviations(), exact.given_back()[first:end].reshape(-1, *self._shape)
        rows = self._rows_like(planes)
        rows.plane[first:end] = np.arange(self._n - len(planes), self._n)
        self._from_moments(planes, None, first)
        rows.squares[:] = np.maximum(squares, 1)
        self._exact, begun = None, slice(self._max_lag, self._max_lag + n)
        self.undefined += [int(i) for i in rows.plane[begun][~rows.varies[begun]]]
        self._products_of_parts += [None] * min(n, 1)

    def _prepare(self, planes: Array, mask: Array | None) -> Floats | None:
        """Planes as rows, all of the current block; their products if they were made at once, and are right."""
        rows, n = self._rows_like(planes), planes.shape[0]
        at = self._row_of(self._n)
        if at == self._max_lag:
            rows.begin_block(self._max_lag)
        rows.plane[at : at + n] = np.arange(self._n, self._n + n)
        rows.varies[at : at + n] = rows.is_whole[at : at + n] = True
        products, is_sure = None, np.zeros(n, bool)
        if mask is None and self._mask is None and library_of(planes) == "numpy":
            products, is_sure = self._from_samples(planes, at)
        elif at == self._max_lag:
            move_rows(rows.centred, self._max_lag, 1)
        doubtful = [slice(0, n)] if not is_sure.any() else [slice(i, i + 1) for i in range(n) if not is_sure[i]]
        for some in doubtful:
            self._from_moments(planes[some], None if mask is None else mask[some], at + some.start)
        self.undefined += [int(i) for i in rows.plane[at : at + n][~rows.varies[at : at + n]]]
        self._note_used(planes, mask, at)
        self._n += n
        return products if is_sure.all() else None

    def _from_samples(self, planes: npt.NDArray[Any], at: int) -> tuple[Floats | None, npt.NDArray[np.bool_]]:
        """Rows about centred by samples of whole planes, with products if that can be; which planes that is sure for.

        One pass: what a thread has written it also sums and multiplies, while it is in its cache.
        """
        rows, n, n_pixels = self._rows, len(planes), math.prod(self._shape)
        assert rows is not None
        sampled, flat, every = sampled_scaling(planes), planes.reshape(n, 1, -1), np.ones((1, 1, 1), np.uint8)
        width = rows.centred.shape[2]
        # Matrices are of whole blocks, so that results do not depend on how planes come.
        at_once = n == self._block or self._max_lag <= LONGEST_OF_VECTORS

        def prepare(tiles: slice) -> tuple[Floats, Floats | None]:
            part = rows.centred[tiles]
            if at == self._max_lag:
                move_rows(part, self._max_lag, 1)
            centred_rows(flat[..., tiles.start * width : tiles.stop * width], every, sampled.scaling, part, at)
            with np.errstate(invalid="ignore", over="ignore"):
                products = band_products(part[:, at - self._max_lag : at + n], self._max_lag) if at_once else None
                return row_sums(part[:, at : at + n]), products

        found = each_of(prepare, groups_of(self._shape, planes), self._threads(n))
        mean = np.sum([sums for sums, _ in found], axis=0) / n_pixels
        rows.mean[at : at + n] = mean
        is_sure = confirmed(sampled, mean, n_pixels, rows.centred[:, at : at + n] if planes.dtype.kind == "f" else None)
        of_groups = [products for _, products in found if products is not None]
        return (np.sum(of_groups, axis=0) if of_groups else None), is_sure

    def _from_moments(self, planes: Array, mask: Array | None, at: int) -> None:
        """Rows of planes from the moments of all their used pixels."""
        rows, xp = self._rows_like(planes), namespace(planes)
        used, n, n_pixels = self._used_pixels(planes, mask), planes.shape[0], math.prod(self._shape)
        here = slice(at, at + n)
        parts = xp.empty((n, -(-n_pixels // SEGMENT), 3), np.float64)
        plane_moments(planes, used, parts)
        count, mean, squares = combined_moments(to_host(parts)).T
        rows.varies[here] = squares > 0
        rows.is_whole[here] = count == self._n_in_common
        scaling, rows.mean[here] = scaling_of(count, mean, squares / np.maximum(count, 1), n_pixels)
        centred_rows(planes, used, xp.asarray(scaling), rows.centred, at)

    def _note_used(self, planes: Array, mask: Array | None, at: int) -> None:
        """Which pixels are used, once planes differ in that."""
        assert self._rows is not None
        if self._used is None and not self._rows.is_whole[at : at + len(planes)].all():
            common = self._used_pixels(self._rows.centred, None)
            self._used = used_in_common(self._shape, common, self._rows.centred)
        if self._used is not None:
            if at == self._max_lag:
                move_rows(self._used, self._max_lag, 1)
            used_rows(planes, self._used_pixels(planes, mask), self._used, at)

    def _threads(self, n: int) -> int:
        """Threads for n planes: one where a thread's start would take longer than its work."""
        return self._n_threads if n * math.prod(self._shape) >= _LEAST_OF_THREADS else 1

    def _rows_like(self, like: Array) -> Rows:
        """The rows, made with the first planes in the library that these are of."""
        if self._rows is None:
            self._rows = Rows.none(self._shape, self._max_lag, self._block, like)
        return self._rows

    def _row_of(self, plane: int) -> int:
        """Row of a plane of the current block: those of the planes before it come first."""
        return self._max_lag + plane % self._block

    def _used_pixels(self, planes: Array, mask: Array | None) -> Array:
        """The mask as the twins take it: (1, 1, 1), (1, rows, columns) or that of each plane."""
        xp = namespace(planes)
        if mask is None and self._mask is None:
            return xp.ones((1, 1, 1), np.uint8)  # type: ignore[no-any-return]
        used = mask != 0 if mask is not None else (self._mask != 0)[None]  # type: ignore[index]
        if mask is not None and self._mask is not None:
            used &= self._mask != 0
        return used.astype(np.uint8)  # type: ignore[no-any-return]

    def _correlate(self) -> None:
        """Coefficients of the planes prepared last with those before them."""
        n_new, distance = self._n - self._n_correlated, np.arange(self._max_lag + 1)
        plane = self._n_correlated + np.arange(n_new)[:, None] - distance
        if self._exact is not None:
            found = self._exact.correlate(n_new, self._threads(n_new))
            wanted = np.isfinite(found)
            self.undefined += [int(i) for i in plane[~wanted[:, 0], 0]]
        else:
            found, wanted = self._from_rows(n_new)
        found[:, 0] = 1
        self._strip = np.concatenate([self._strip, np.full((n_new, self._max_lag + 1), np.nan)])
        self._strip[plane[wanted] - self._n_done, np.broadcast_to(distance, plane.shape)[wanted]] = found[wanted]
        self._n_correlated = self._n

    def _from_rows(self, n_new: int) -> tuple[Floats, npt.NDArray[np.bool_]]:
        """Coefficients (n_new, max_lag + 1) of the last planes with those before them, and which of them there are."""
        rows, max_lag = self._rows, self._max_lag
        assert rows is not None
        at = self._row_of(self._n_correlated)
        window = slice(at - max_lag, at + n_new)
        shape = (n_new, max_lag + n_new)
        plane = entries_before(np.broadcast_to(rows.plane[window], shape), max_lag)
        varies = entries_before(np.broadcast_to(rows.varies[window], shape), max_lag)
        wanted = (plane >= 0) & varies & varies[:, :1]
        if rows.is_whole[window][rows.plane[window] >= 0].all():
            known = [products for products in self._products_of_parts if products is not None]
            products = np.concatenate(known) if len(known) == len(self._products_of_parts) else self._products(window)
            found = plain_correlation(products, self._n_in_common, rows.mean[window], rows.squares[window])
        else:
            assert self._used is not None
            far = wanted & (np.arange(max_lag + 1) > 0)
            pixels = rows.centred[:, window], self._used[:, window]
            found, rows.squares[at : at + n_new] = masked_correlation(*pixels, max_lag, far)
        self._products_of_parts = []
        return found, wanted

    def _products(self, window: slice) -> Floats:
        """Products of the planes in a window with those before them."""
        assert self._rows is not None
        centred, n = self._rows.centred, window.stop - window.start - self._max_lag

        def multiply(tiles: slice) -> Floats:
            return band_products(centred[tiles, window], self._max_lag)

        products: Floats = np.sum(each_of(multiply, groups_of(self._shape, centred), self._threads(n)), axis=0)
        return products

    def _finished(self, stop: int) -> Floats:
        """Rows of the half strip up to the plane ``stop`` that were not returned yet; they are forgotten."""
        n_rows = max(0, stop - self._n_done)
        finished, self._strip = self._strip[:n_rows], self._strip[n_rows:].copy()
        self._n_done += n_rows
        return finished


def banded_correlation(planes: Array, max_lag: int, mask: Array | None = None) -> Floats:
    """Pearson's coefficient of each plane of a stack and each of the ``max_lag`` planes after it.

    Parameters
    ----------
    planes
        (n, rows, columns) of uint8, uint16 or float32, at least two. Pixels that are NaN or infinite are not used.
    max_lag
        Greatest distance of two planes, 1 to n - 1.
    mask
        uint8 or bool, not 0 where a pixel is used: (rows, columns), (1, rows, columns) or (n, rows, columns).

    Returns
    -------
    float64 (n, max_lag + 1) in host memory: [i, d] is the coefficient of planes i and i + d over the pixels used in
    both, 1 for d = 0, NaN beyond the last plane and where there is none: constant pixels, or fewer than two.

    Raises
    ------
    ParameterError
        If a shape or dtype does not fit, or the max_lag is out of range.

    Notes
    -----
    Whole planes of uint8 on a CPU have no error but that of the last division. Others have errors against float64
    below 1e-6 on a CPU and 1e-5 on a GPU, even of small contrasts on a high background.
    Where one plane alone excludes pixels, that needs one thing of the pixels in common. They must lie within 1000
    times their own contrast of their plane's mean. Planes of two or three values are right to 3e-6, unless these are
    small whole numbers apart: float32 rounds all their products the same way.
    """
    if planes.ndim != 3 or planes.size == 0:
        raise ParameterError(f"correlation takes planes (n, rows, columns), not an array of shape {planes.shape}")
    n = planes.shape[0]
    if not 1 <= max_lag < n:
        raise ParameterError(f"`max_lag` must be 1 to {n - 1} for {n} planes (at least two are needed), not {max_lag}")
    common, own = mask, None
    if mask is not None and mask.ndim == 3:
        common, own = (mask[0], None) if mask.shape[0] == 1 else (None, mask)
    stream = BandedCorrelation(planes.shape[1:], max_lag, mask=common, block=min(n, default_block(max_lag)))
    return np.concatenate([stream.push(planes, own), stream.finish()])
