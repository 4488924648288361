"""The part that a Gaussian notch at frequency 0 takes away from rows of coefficients."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np

from gpustitch.array import Array, kernel, namespace, resident
from gpustitch.array.product import matmul_rows, product_along_columns

_BLOCK = 32
# Rows convolved at once on the host.
_BAND = 32
# Outer taps whose absolute sum is below this are left out.
_TAIL = 2e-5
# Frequencies that lose less than this fraction are left out.
_NEGLIGIBLE = 1e-7
# Taps on either side for which the CUDA body has room.
_MOST_REACH = 512


def taken_by_notch(width: int, sigma: float, *, compat: bool) -> tuple[Array, Array]:
    """The fraction of each frequency's real and imaginary part that the notch takes away, float64 (width // 2 + 1,).

    The fraction is ``exp(-i**2 / (2 sigma**2))`` with i = 2k for frequency k: the place of its imaginary part in a
    packed real spectrum (DC, Re 1, Im 1, Re 2, ...). ``compat`` takes i = 2k - 1 for the real part, its own place.
    """
    k = np.arange(width // 2 + 1)
    imaginary = np.exp(-((2.0 * k) ** 2) / (2 * sigma**2))
    real = np.exp(-(np.maximum(2.0 * k - 1, 0) ** 2) / (2 * sigma**2)) if compat else imaginary
    return real, imaginary


@dataclass(frozen=True, eq=False)
class RowLowPass:
    """Minus the low frequencies that the notch takes away from each row; rows are taken as periodic.

    The operator has the cheapest of three forms:

    - ``taps`` (2*reach + 1,), which convolve the rows;
    - one of ``factors``: the whole operator (width, width);
    - two of ``factors``: a transform to a few frequencies (width, n) and back (n, width).

    All are float32 arrays on the host.
    """

    width: int
    taps: Array | None = None
    factors: tuple[Array, ...] = ()

    @classmethod
    def of(cls, width: int, sigma: float, *, compat: bool = False) -> RowLowPass:
        """The operator for rows of ``width`` samples and a notch of bandwidth ``sigma``."""
        real, imaginary = taken_by_notch(width, sigma, compat=compat)
        basis, weights = _spectrum(width, real, imaginary)
        costs = {"spectrum": 2 * len(weights), "dense": width}
        if not compat:
            taps = np.fft.irfft(real, width) if width > 1 else real
            reach = _reach(taps)
            if reach <= _MOST_REACH:
                costs["taps"] = 2 * reach + _BLOCK
        best = min(costs, key=lambda name: costs[name])
        if best == "taps":
            return cls(width, (-taps[np.arange(-reach, reach + 1) % len(taps)]).astype(np.float32))
        inverse = -weights[:, None] * basis.T
        factors = (basis @ inverse,) if best == "dense" else (basis, inverse)
        return cls(width, factors=tuple(np.ascontiguousarray(f, np.float32) for f in factors))

    def apply(self, coefficients: Array) -> None:
        """Replace the rows ``[:, :, 1, :width]`` of coefficients (frames, rows, 2, columns) in place.

        The number of columns is a multiple of 32; columns beyond ``width`` stay 0.
        """
        if self.taps is not None:
            low_pass_rows(resident(self.taps, coefficients), coefficients, self.width)
            return
        columns = coefficients.shape[3]
        rows = coefficients.reshape(-1, 2 * columns)
        xp, first, *others = namespace(coefficients), *(resident(factor, coefficients) for factor in self.factors)
        product = xp.empty((len(rows), first.shape[1]), np.float32)
        multiply_rows(rows, first, product, columns, 0)
        if others:
            multiply_rows(product, others[0], rows, 0, columns)
        else:
            rows[:, columns : columns + self.width] = product


@kernel("notch.cu", tile=(1, 1, None, None), threads=(128,))
def low_pass_rows(taps: Array, out: Array, width: int) -> None:
    """Convolve the rows ``[:, :, 1, :width]`` of coefficients in place; rows are taken as periodic.

    Parameters
    ----------
    taps
        float32 (2*reach + 1,), symmetric; ``reach`` is at most 512 and ``width``.
    out
        Coefficients, float32 (frames, rows, 2, columns); columns are a multiple of 32, and 0 from ``width`` on.
    """
    reach = len(taps) // 2
    matrix = _convolution_matrix(taps.tobytes())
    size, stop = -(-width // _BLOCK) * _BLOCK, reach + width
    extended = np.zeros((_BAND, size + 2 * reach), np.float32)
    for frame in out:
        for start in range(0, len(frame), _BAND):
            rows = frame[start : start + _BAND, 1]
            signal, part = rows[:, :width], extended[: len(rows)]
            part[:, reach:stop] = signal
            part[:, :reach] = signal[:, width - reach :]
            part[:, stop : stop + reach] = signal[:, :reach]
            product_along_columns(part, matrix, rows[:, :size], _BLOCK)
            rows[:, width:size] = 0


@kernel("notch.cu", tile=(64, 64), threads=(256,))
def multiply_rows(x: Array, matrix: Array, out: Array, from_column: int, to_column: int) -> None:
    """``out[:, to_column : to_column + m] = x[:, from_column : from_column + n] @ matrix``.

    A row's result does not depend on the number of rows; a row's result from a device's BLAS does.

    Parameters
    ----------
    x, out
        float32 (rows, columns), not the same array.
    matrix
        float32 (n, m).
    """
    n, m = matrix.shape
    out[:, to_column : to_column + m] = matmul_rows(x[:, from_column : from_column + n], matrix)


def _spectrum(width: int, real: Array, imaginary: Array) -> tuple[Array, Array]:
    """The cosines and sines (width, n) of which the notch takes more than a trace, and the weight of each."""
    k = np.arange(width // 2 + 1)
    share = np.where((k == 0) | (2 * k == width), 1.0, 2.0) / width
    angle = 2 * math.pi * (np.outer(np.arange(width), k) % width) / width
    basis = np.concatenate([np.cos(angle), np.sin(angle)], axis=1)
    weights = np.concatenate([share * real, share * imaginary])
    sines = np.concatenate([np.ones(len(k), bool), (k > 0) & (2 * k < width)])
    kept = sines & (np.concatenate([real, imaginary]) > _NEGLIGIBLE)
    return basis[:, kept], weights[kept]


def _reach(taps: Array) -> int:
    """Number of taps on either side of the centre that matter."""
    half = np.abs(taps[: len(taps) // 2 + 1])
    beyond = 2 * np.cumsum(half[::-1])[::-1]
    small = np.flatnonzero(beyond < _TAIL)
    return int(small[0]) if small.size else len(taps) // 2


@functools.lru_cache(maxsize=64)
def _convolution_matrix(taps: bytes) -> Array:
    """Matrix (2*reach + 32, 32): a window times this matrix is the convolution at 32 columns."""
    values = np.frombuffer(taps, np.float32)
    matrix = np.zeros((_BLOCK + len(values) - 1, _BLOCK), np.float32)
    for i in range(_BLOCK):
        matrix[i : i + len(values), i] = values
    return matrix
