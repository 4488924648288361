"""Building blocks of a separable wavelet transform as small matrix products.

A transform along an axis is the same everywhere, so a block of outputs is one matrix times a window of inputs, and
all blocks are one product over overlapping views. The matrices are small enough for BLAS to keep to one thread.
Boundaries are half-sample symmetric, numbers of coefficients those of PyWavelets' mode ``symmetric``.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
import pywt

from gpustitch.array import Array, namespace

BLOCK = 16
# OpenBLAS keeps products of fewer multiplications to the calling thread. Threads are for whole frames: those of BLAS
# would spin while they wait.
_MAX_MULTIPLICATIONS = 1 << 18
# Terms that one product sums up in `product`; more would leave it few columns below that number.
_SUMMED_AT_ONCE = 128


@dataclass(frozen=True, eq=False)
class WaveletMatrices:
    """Matrices that turn a window into a block of outputs; ``length`` is that of the wavelet's filters.

    With F the filter length and B = BLOCK: ``down_columns`` (2B+F-2, B) low-passes and halves a row; ``down_rows``
    (2B, 2B+F-2) halves columns into low and high pass, interleaved; ``up_rows`` (2B, 2B+F-2) undoes it;
    ``up_columns`` (B+F/2-1, 2B) doubles a row from its low pass.
    """

    length: int
    down_columns: Array
    down_rows: Array
    up_rows: Array
    up_columns: Array


@functools.lru_cache(maxsize=16)
def wavelet_matrices(name: str, xp: Any) -> WaveletMatrices:
    """The matrices of PyWavelets' wavelet ``name`` as arrays of the module ``xp``."""
    wavelet = pywt.Wavelet(name)
    length = wavelet.dec_len
    low, high = _down(wavelet.dec_lo), _down(wavelet.dec_hi)
    up_low, up_high = _up(wavelet.rec_lo), _up(wavelet.rec_hi)
    return WaveletMatrices(
        length,
        xp.asarray(np.ascontiguousarray(low.T)),
        xp.asarray(np.stack([low, high], axis=1).reshape(2 * BLOCK, -1)),
        xp.asarray(np.stack([up_low, up_high], axis=2).reshape(2 * BLOCK, -1)),
        xp.asarray(np.ascontiguousarray(up_low.T)),
    )


@dataclass(frozen=True, eq=False)
class Level:
    """One level of a transform: ``shape`` in, ``coefficients`` out (each rows, columns).

    The input is extended at both ends: it begins ``length - 2`` places early and ends where whole blocks end. ``rows``
    and ``columns`` are the indices of the input's rows and columns at all places of the extended input.
    """

    shape: tuple[int, int]
    coefficients: tuple[int, int]
    rows: Array
    columns: Array

    @classmethod
    def of(cls, shape: tuple[int, int], length: int, stored: tuple[int, int] | None = None) -> Level:
        """The level that transforms ``shape``; ``stored`` is smaller where the last row or column is counted twice."""
        rows, columns = stored or shape
        coefficients = ((shape[0] + length - 1) // 2, (shape[1] + length - 1) // 2)
        return cls(shape, coefficients, _extended(shape[0], rows, length), _extended(shape[1], columns, length))

    def buffer(self, xp: Any, length: int) -> Array:
        """Zeros (rows, 2, columns) that hold low and high pass with the room that whole blocks need."""
        rows, columns = (
            _ceil(max(c, _ceil(n, 2 * BLOCK) // 2 + length // 2 - 1), 2 * BLOCK)
            for n, c in zip(self.shape, self.coefficients, strict=True)
        )
        return xp.zeros((rows, 2, columns), np.float32)  # type: ignore[no-any-return]


def max_level(shape: tuple[int, int], name: str) -> int:
    """Number of levels until the filter is longer than the image."""
    return int(pywt.dwt_max_level(min(shape), pywt.Wavelet(name).dec_len)) if min(shape) > 1 else 0


def levels_of(shape: tuple[int, int], length: int, count: int) -> list[Level]:
    """``count`` levels of an image of ``shape``, odd sizes first made even by repeating the last row or column."""
    size = (shape[0] + shape[0] % 2, shape[1] + shape[1] % 2)
    levels: list[Level] = []
    for number in range(count):
        levels.append(Level.of(size, length, None if number else shape))
        size = levels[-1].coefficients
    return levels


def product_along_rows(matrix: Array, x: Array, out: Array, step: int) -> None:
    """``out[b*B + i, c] = sum_k matrix[i, k] * x[b*step + k, c]`` for all blocks b that fit in ``out``.

    ``matrix`` is (B, K), ``x`` and ``out`` are (rows, columns); surplus columns of ``x`` are left out.
    """
    block, window = matrix.shape
    count, columns = out.shape[0] // block, out.shape[1]
    most = max(1, _MAX_MULTIPLICATIONS // (block * window) - 1)
    parts = columns // -(-columns // most)
    whole = columns // parts * parts
    for first, stop, width in ((0, whole, parts), (whole, columns, columns - whole)):
        if width:
            shape = (count, (stop - first) // width)
            source = _view(x[:, first:], (*shape, window, width), (step, 0), (0, width))
            target = _view(out[:, first:], (*shape, block, width), (block, 0), (0, width))
            namespace(x).matmul(matrix, source, out=target)


def product(x: Array, matrix: Array) -> Array:
    """``x @ matrix`` of two float32 matrices, in pieces."""
    xp = namespace(x)
    total: Array = xp.zeros((x.shape[0], matrix.shape[1]), np.float32)
    part = xp.empty_like(total)
    for start in range(0, x.shape[1], _SUMMED_AT_ONCE):
        summed = slice(start, start + _SUMMED_AT_ONCE)
        product_along_rows(x[:, summed], matrix[summed], part, 0)
        total += part
    return total


def product_along_columns(x: Array, matrix: Array, out: Array, step: int) -> None:
    """``out[r, b*B + i] = sum_k x[r, b*step + k] * matrix[k, i]`` for all blocks b that fit in ``out``."""
    window, block = matrix.shape
    rows, count = out.shape[0], out.shape[1] // block
    most = max(1, _MAX_MULTIPLICATIONS // (block * window) - 1)
    for first in range(0, rows, most):
        height = min(most, rows - first)
        source = _view(x[first:], (1, count, height, window), (0, 0), (0, step))
        target = _view(out[first:], (1, count, height, block), (0, 0), (0, block))
        namespace(x).matmul(source, matrix, out=target)


def _view(x: Array, shape: tuple[int, int, int, int], rows: tuple[int, int], columns: tuple[int, int]) -> Array:
    """Windows of a 2-D array: ``rows`` and ``columns`` are how far the first two axes step along either."""
    down, right = x.strides
    strides = (rows[0] * down + columns[0] * right, rows[1] * down + columns[1] * right, down, right)
    return namespace(x).lib.stride_tricks.as_strided(x, shape, strides)  # type: ignore[no-any-return]


def _down(taps: list[float]) -> Array:
    """(B, 2B+F-2): output i is the sum over m of ``taps[m] * x[2i + 1 - m]``, x beginning F-2 places early."""
    length = len(taps)
    matrix = np.zeros((BLOCK, 2 * BLOCK + length - 2), np.float32)
    for i in range(BLOCK):
        matrix[i, 2 * i : 2 * i + length] = taps[::-1]
    return matrix


def _up(taps: list[float]) -> Array:
    """(2B, B+F/2-1): output i is the sum over k of ``taps[i - 2k + F - 2] * c[k]``."""
    length = len(taps)
    matrix = np.zeros((2 * BLOCK, BLOCK + length // 2 - 1), np.float32)
    for i in range(2 * BLOCK):
        for k in range(matrix.shape[1]):
            if 0 <= i - 2 * k + length - 2 < length:
                matrix[i, k] = taps[i - 2 * k + length - 2]
    return matrix


def _extended(size: int, stored: int, length: int) -> Array:
    needed = 2 * _ceil((size + length - 1) // 2, 2 * BLOCK) + length - 2
    index = np.pad(np.arange(size), (length - 2, length - 1), mode="symmetric")
    index = np.pad(index, (0, max(0, needed - len(index))), mode="edge")[:needed]
    return np.minimum(index, stored - 1)


def _ceil(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple
