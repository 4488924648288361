"""One level of a separable wavelet transform of frames: two of its four subbands.

One is the low pass along both axes. The other is the horizontal detail: high pass down the columns, low pass along the
rows. Boundaries are half-sample symmetric. The numbers of coefficients are those of PyWavelets' mode ``symmetric``.

Coefficients of a level lie in one array (frames, rows, 2, columns): ``[:, :, 0]`` the low pass, ``[:, :, 1]`` the
detail. The array has more rows and columns than there are coefficients (`Level.buffer`); the surplus is 0.

On the host, the transform along an axis is the same everywhere. So a block of outputs is one matrix times a window of
inputs. All blocks are one product over overlapping views. The matrices are so small that BLAS keeps to one
thread, and the bands of rows fit a core's cache. In matrix shapes B is ``BLOCK`` and F the number of taps of a filter.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
import pywt

from gpustitch.array import Array, kernel
from gpustitch.array.product import product_along_columns, product_along_rows

BLOCK = 16
# Rows of coefficients, and of the image, worked on at once on the host: their arrays stay in a core's cache.
BAND = 2 * BLOCK
# Taps of the longest filters of PyWavelets, those of coif17; the CUDA bodies have room for as many.
MOST_TAPS = 102


@dataclass(frozen=True)
class Level:
    """One level of a transform: an image of ``shape`` in, ``coefficients`` out, each (rows, columns)."""

    shape: tuple[int, int]
    coefficients: tuple[int, int]

    def buffer(self, frames: int, length: int, xp: Any) -> Array:
        """An array (frames, rows, 2, columns) of arbitrary content, with room for whole blocks."""
        rows, columns = (
            _ceil(max(c, _ceil(n, 2 * BLOCK) // 2 + length // 2 - 1), 2 * BLOCK)
            for n, c in zip(self.shape, self.coefficients, strict=True)
        )
        return xp.empty((frames, rows, 2, columns), np.float32)  # type: ignore[no-any-return]


@functools.lru_cache(maxsize=16)
def wavelet_taps(name: str) -> tuple[Array, Array]:
    """Filters of PyWavelets' wavelet ``name`` for analysis and synthesis, each float32 (2, F): low and high pass."""
    wavelet = pywt.Wavelet(name)
    return (
        np.array([wavelet.dec_lo, wavelet.dec_hi], np.float32),
        np.array([wavelet.rec_lo, wavelet.rec_hi], np.float32),
    )


def max_level(shape: tuple[int, int], name: str) -> int:
    """Number of levels until the filter is longer than the image."""
    return int(pywt.dwt_max_level(min(shape), pywt.Wavelet(name).dec_len)) if min(shape) > 1 else 0


def levels_of(shape: tuple[int, int], length: int, count: int) -> list[Level]:
    """``count`` levels of an image of ``shape``; odd sizes are first made even by repeating the last row or column."""
    size = _even(shape)
    levels: list[Level] = []
    for _ in range(count):
        levels.append(Level(size, _halved(size, length)))
        size = levels[-1].coefficients
    return levels


@kernel("dwt.cu", tile=(1, 32, None, 32), threads=(256,), T="images: uint8 uint16 uint32 float32")
def analyse_image(images: Array, limits: Array, taps: Array, out: Array, has_low: bool) -> None:
    """Low pass and horizontal detail of log(1 + I) of images, once or several times with other limits.

    Coefficient k along an axis is the sum over m of ``taps[m] * x[2k + 1 - m]``. Odd sizes are first made even by
    repeating the last row or column.

    Parameters
    ----------
    images
        Counts (frames, rows, columns), finite.
    limits
        Least and greatest count of each frame, float32 (bands, frames, 2), of one band or two; counts are clipped.
    taps
        Low and high pass of the analysis, float32 (2, F).
    out
        Coefficients, float32 (bands * frames, rows, 2, columns), the frames of a band one after another.
    has_low
        Whether the low pass is made, or 0.
    """
    for number, (limit, target) in enumerate(zip(limits.reshape(-1, 2), out, strict=True)):
        image = images[number % len(images)]
        _analyse(image, _even((image.shape[0], image.shape[1])), limit, taps, target, has_low)


@kernel("dwt.cu", tile=(1, 32, None, 32), threads=(256,), T="coefficients: float32")
def analyse_low_pass(coefficients: Array, taps: Array, out: Array, rows: int, columns: int, has_low: bool) -> None:
    """Low pass and horizontal detail of the low pass (``rows``, ``columns``) of the next finer level.

    Parameters
    ----------
    coefficients
        Coefficients of the finer level, float32 (frames, at least ``rows``, 2, at least ``columns``).
    taps, out, has_low
        As for `analyse_image`.
    """
    for finer, target in zip(coefficients, out, strict=True):
        _analyse(finer[:rows, 0, :columns], (rows, columns), None, taps, target, has_low)


@kernel("dwt.cu", tile=(1, 32, None, 64), threads=(256,), T="coefficients: float32")
def synthesise(coefficients: Array, taps: Array, out: Array, rows: int, columns: int) -> None:
    """The low pass (``rows``, ``columns``) of the next finer level, from the two subbands alone.

    Sample i along an axis is the sum over k of ``taps[i - 2k + F - 2] * c[k]``.

    Parameters
    ----------
    coefficients
        Coefficients of this level, float32 (frames, rows, 2, columns).
    taps
        Low and high pass of the synthesis, float32 (2, F).
    out
        Coefficients of the finer level, float32 (frames, rows, 2, columns); ``[:, :rows, 0, :columns]`` is written.
    """
    matrices = synthesis_matrices(taps)
    for deeper, finer in zip(coefficients, out, strict=True):
        for start in range(0, rows, BAND):
            target = finer[start : min(start + BAND, rows), 0, :columns]
            target[...] = synthesised_band(deeper, matrices, start, columns)[: len(target), :columns]


def synthesis_matrices(taps: Array) -> tuple[Array, Array]:
    """The matrices (2B, 2B+F-2) that double columns from interleaved low and high pass, and (B+F/2-1, 2B) for rows."""
    return _up_matrices(taps.tobytes())


def synthesised_band(coefficients: Array, matrices: tuple[Array, Array], start: int, columns: int) -> Array:
    """``BAND`` rows from ``start`` of the finer low pass, with surplus columns; ``coefficients`` (rows, 2, columns)."""
    up_rows, up_columns = matrices
    rows = coefficients.reshape(-1, coefficients.shape[2])[start:]
    half = np.empty((BAND, coefficients.shape[2]), np.float32)
    product_along_rows(up_rows, rows, half, 2 * BLOCK)
    out = np.empty((BAND, _ceil(columns, 2 * BLOCK)), np.float32)
    product_along_columns(half, up_columns, out, BLOCK)
    return out


def fill_extended(image: Array, rows: Array, columns: Array, early: int, out: Array) -> None:
    """``out[i, j] = image[rows[i], columns[j]]``; from entry ``early`` on ``columns`` counts up from 0."""
    first, last = int(rows[0]), int(rows[-1])
    consecutive = last - first + 1 == len(rows) and bool((np.diff(rows) == 1).all())
    stored = int(columns.max()) + 1
    centre = out[:, early : early + stored]
    centre[...] = (image[first : last + 1] if consecutive else image[rows])[:, :stored]
    out[:, :early] = centre[:, columns[:early]]
    out[:, early + stored : len(columns)] = centre[:, columns[early + stored :]]


def _analyse(image: Array, size: tuple[int, int], limits: Array | None, taps: Array, out: Array, has_low: bool) -> None:
    """Coefficients (rows, 2, columns) of an image of ``size``; ``image`` may lack the repeated last row or column.

    With ``limits`` the image is log(1 + I) of the clipped counts I.
    """
    length = taps.shape[1]
    early = length - 2
    down_columns, down_rows = _down_matrices(taps.tobytes())
    rows, columns = (_extended(n, stored, length) for n, stored in zip(size, image.shape, strict=True))
    n_rows, n_columns = _halved(size, length)
    wide = np.zeros((2 * BAND + early, len(columns)), np.float32)
    half = np.zeros((2 * BAND + early, out.shape[2]), np.float32)
    low = half[:, : (len(columns) - early) // 2]
    for start in range(0, n_rows, BAND):
        fill_extended(image, rows[2 * start : 2 * (start + BAND) + early], columns, early, wide)
        if limits is not None:
            np.clip(wide, limits[0], limits[1], out=wide)
            wide += 1
            np.log(wide, out=wide)
        product_along_columns(wide, down_columns, low, 2 * BLOCK)
        band = out[start : start + BAND]
        product_along_rows(down_rows, half, band.reshape(-1, out.shape[2]), 2 * BLOCK)
        band[:, :, n_columns:] = 0
        if not has_low:
            band[:, 0] = 0
    out[n_rows:] = 0


@functools.lru_cache(maxsize=16)
def _down_matrices(taps: bytes) -> tuple[Array, Array]:
    """The matrices (2B+F-2, B) that low-pass and halve a row, and (2B, 2B+F-2) that halve columns.

    The halved columns hold low and high pass, interleaved.
    """
    low, high = (_down(t) for t in np.frombuffer(taps, np.float32).reshape(2, -1))
    return np.ascontiguousarray(low.T), np.stack([low, high], axis=1).reshape(2 * BLOCK, -1)


@functools.lru_cache(maxsize=16)
def _up_matrices(taps: bytes) -> tuple[Array, Array]:
    low, high = (_up(t) for t in np.frombuffer(taps, np.float32).reshape(2, -1))
    return np.stack([low, high], axis=2).reshape(2 * BLOCK, -1), np.ascontiguousarray(low.T)


def _down(taps: Array) -> Array:
    """Matrix (B, 2B+F-2): output i is the sum over m of ``taps[m] * x[2i + 1 - m]``; x begins F-2 places early."""
    length = len(taps)
    matrix = np.zeros((BLOCK, 2 * BLOCK + length - 2), np.float32)
    for i in range(BLOCK):
        matrix[i, 2 * i : 2 * i + length] = taps[::-1]
    return matrix


def _up(taps: Array) -> Array:
    """Matrix (2B, B+F/2-1): output i is the sum over k of ``taps[i - 2k + F - 2] * c[k]``."""
    length = len(taps)
    matrix = np.zeros((2 * BLOCK, BLOCK + length // 2 - 1), np.float32)
    for i in range(2 * BLOCK):
        for k in range(matrix.shape[1]):
            if 0 <= i - 2 * k + length - 2 < length:
                matrix[i, k] = taps[i - 2 * k + length - 2]
    return matrix


@functools.lru_cache(maxsize=64)
def _extended(size: int, stored: int, length: int) -> Array:
    """Indices of the input at all places of the extended input: from F-2 places early to the end of whole blocks."""
    needed = 2 * _ceil((size + length - 1) // 2, 2 * BLOCK) + length - 2
    index = np.pad(np.arange(size), (length - 2, length - 1), mode="symmetric")
    index = np.pad(index, (0, max(0, needed - len(index))), mode="edge")[:needed]
    return np.minimum(index, stored - 1)


def _halved(size: tuple[int, int], length: int) -> tuple[int, int]:
    return (size[0] + length - 1) // 2, (size[1] + length - 1) // 2


def _even(shape: tuple[int, int]) -> tuple[int, int]:
    return shape[0] + shape[0] % 2, shape[1] + shape[1] % 2


def _ceil(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple
