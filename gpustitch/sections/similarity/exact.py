"""Whole planes of uint8: sums of their products are whole numbers, which are found without any rounding."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from gpustitch.model.arrays import Floats, Integers
from gpustitch.sections.similarity.bands import LONGEST_OF_VECTORS, band_products, each_of, entries_before
from gpustitch.sections.similarity.similarity_rows import move_rows

# Pixels converted and multiplied at a time: few enough for a core's cache, with divisors of every size.
WIDTH = 1920
# Floats between rows of that width: rows a multiple of 1 kB apart would fall on the same lines of the cache.
_BETWEEN = 16
_WIDTH_STEP = 240
# Pixels are taken about the middle of their range, from -128 to 127. So many products stay within 2^24, below which
# float32 has all whole numbers.
_MIDDLE = 128
_MOST_SUMMED = 2**24 // _MIDDLE**2
# Parts of a plane for each thread: one that was held up leaves others to the rest.
_PARTS = 4
# OpenBLAS makes so many products with a vector at a time; the last two or three cost more than as many as these.
_AT_A_TIME, _MOST_ADDED = 4, 2


class ExactRows:
    """The ``max_lag`` planes before a block and its own, and their sums.

    Parameters
    ----------
    shape
        (rows, columns) of a plane.
    max_lag, block
        As of :class:`gpustitch.sections.similarity.banded.BandedCorrelation`.

    Attributes
    ----------
    pixels
        int8 (max_lag + block, pixels): values less 128, in the order of recording, those of the block last. 0 where no
        plane came yet.
    sums, squares
        int64 (max_lag + block,): of these and of their squares, once :meth:`correlate` has seen a plane.
    """

    def __init__(self, shape: tuple[int, int], max_lag: int, block: int) -> None:
        n_rows = max_lag + block
        self.pixels = np.zeros((n_rows, math.prod(shape)), np.int8)
        self.sums, self.squares = np.zeros(n_rows, np.int64), np.zeros(n_rows, np.int64)
        self._max_lag = max_lag

    def take(self, planes: npt.NDArray[np.uint8], at: int) -> None:
        """Planes (n, rows, columns) as rows from ``at``; a block that begins moves those before it to the front."""
        if at == self._max_lag:
            for known in (self.pixels, self.sums, self.squares):
                move_rows(known, self._max_lag, 0)
        into = self.pixels[at : at + len(planes)].view(np.uint8)
        # In two's complement a flipped top bit takes 128 from an unsigned number.
        np.bitwise_xor(planes.reshape(len(planes), -1), np.uint8(_MIDDLE), out=into)

    def given_back(self) -> npt.NDArray[np.uint8]:
        """The rows (max_lag + block, pixels) as they came, in the memory of these: they are none any more."""
        planes = self.pixels.view(np.uint8)
        return np.bitwise_xor(planes, np.uint8(_MIDDLE), out=planes)

    def correlate(self, n: int, n_threads: int) -> Floats:
        """Pearson's coefficients (n, max_lag + 1) of the first n planes of the block with those before them.

        NaN where a plane is constant or there is none. Nothing is rounded before the numerator and the variances are
        divided, so identical planes have 1, and no choice of blocks, threads or BLAS changes a bit.
        """
        lag, n_pixels = self._max_lag, self.pixels.shape[1]
        products, sums = exact_products(self.pixels[: lag + n], lag, n_threads)
        self.sums[lag : lag + n], self.squares[lag : lag + n] = sums, products[:, 0]
        variances = self._variances()[: lag + n]
        # Whole numbers of Python: products of sums are beyond 64 bits for large planes.
        totals = self.sums[: lag + n].astype(object)
        shape = (n, lag + n)
        numerators = n_pixels * products.astype(object)
        numerators -= totals[lag:, None] * entries_before(np.broadcast_to(totals, shape), lag)
        before = entries_before(np.broadcast_to(variances, shape), lag)
        with np.errstate(divide="ignore", invalid="ignore"):
            found = numerators.astype(np.float64) / np.sqrt(variances[lag:, None] * before)
        found[(before == 0) | (variances[lag:, None] == 0)] = np.nan
        return np.clip(found, -1, 1)

    def squared_deviations(self) -> Floats:
        """Sums (max_lag + block,) of squared deviations from the mean, of rows that were correlated; 0 of others."""
        return self._variances() / self.pixels.shape[1]

    def _variances(self) -> Floats:
        """Number of pixels times the sum of squared deviations: 0 of constant planes, and of no others."""
        totals = self.sums.astype(object)
        found: Floats = (self.pixels.shape[1] * self.squares.astype(object) - totals * totals).astype(np.float64)
        return found


def exact_products(pixels: npt.NDArray[np.int8], max_lag: int, n_threads: int) -> tuple[Integers, Integers]:
    """Sums of products of planes with themselves and the ``max_lag`` planes before them, and sums of planes.

    Parameters
    ----------
    pixels
        int8 (max_lag + n, pixels): the planes before, and n planes.
    n_threads
        Threads that work; the result is the same.

    Returns
    -------
    int64 (n, max_lag + 1), [i, d] = products of rows ``max_lag + i`` and ``max_lag + i - d``; int64 (n,).
    """
    n_pixels = pixels.shape[1]
    width = min(WIDTH, -(-n_pixels // _WIDTH_STEP) * _WIDTH_STEP)
    n_parts = _PARTS * n_threads if n_threads > 1 else 1
    step = -(-n_pixels // (n_parts * width)) * width
    parts = [slice(start, min(start + step, n_pixels)) for start in range(0, n_pixels, step)]
    found = each_of(lambda part: _of_part(pixels[:, part], max_lag, width), parts, n_threads)
    products, sums = (np.sum(of_parts, axis=0) for of_parts in zip(*found, strict=True))
    return products, sums


def _of_part(pixels: npt.NDArray[np.int8], max_lag: int, width: int) -> tuple[Integers, Integers]:
    """The same of some pixels, ``width`` at a time."""
    n_rows, n_pixels = pixels.shape
    n, added = n_rows - max_lag, _added(max_lag)
    rows = np.zeros((1, added + n_rows, width + _BETWEEN), np.float32)[..., :width]
    products, sums = np.zeros((n, max_lag + 1 + added)), np.zeros(n)
    ones = np.ones((width, 1), np.float32)
    for start in range(0, n_pixels, width):
        some = pixels[:, start : start + width]
        rows[0, added:, : some.shape[1]] = some
        rows[0, :, some.shape[1] :] = 0
        products += band_products(rows, max_lag + added, _MOST_SUMMED)
        sums += np.matmul(rows[0, added + max_lag :, None], ones)[:, 0, 0]
    return products[:, : max_lag + 1].astype(np.int64), sums.astype(np.int64)


def _added(max_lag: int) -> int:
    """Rows of zeros to put before the others, with which products take less time than without."""
    added = -(max_lag + 1) % _AT_A_TIME
    return added if added <= _MOST_ADDED and max_lag + added <= LONGEST_OF_VECTORS else 0
