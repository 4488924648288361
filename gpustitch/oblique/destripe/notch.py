"""The part that a Gaussian notch at frequency 0 takes away from rows of coefficients."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence
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
# A wider notch takes all of each frequency, one narrower than its inverse the mean alone; squares of these are finite.
_ALL = 1e100
# Taps on either side for which the CUDA body has room.
_MOST_REACH = 512
# On a device, taps take one launch and factors two, with a read and a write of all rows between them: taps may cost so
# many times more.
_OF_ONE_LAUNCH = 4


def taken_by_notch(width: int, sigma: float, *, compat: bool) -> tuple[Array, Array]:
    """The fraction of each frequency's real and imaginary part that the notch takes away, float64 (width // 2 + 1,).

    The fraction is ``exp(-i**2 / (2 sigma**2))`` with i = 2k for frequency k: the place of its imaginary part in a
    packed real spectrum (DC, Re 1, Im 1, Re 2, ...). ``compat`` takes i = 2k - 1 for the real part, its own place.
    """
    k = np.arange(width // 2 + 1)
    sigma = min(max(sigma, 1 / _ALL), _ALL)
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

    All are float32 arrays on the host. Where factors are cheapest, ``as_taps`` is what they do as taps, None if that
    takes too many.
    """

    width: int
    taps: Array | None = None
    factors: tuple[Array, ...] = ()
    as_taps: Array | None = None

    @classmethod
    def of(cls, width: int, sigma: float, *, compat: bool = False) -> RowLowPass:
        """The operator for rows of ``width`` samples and a notch of bandwidth ``sigma``."""
        real, imaginary = taken_by_notch(width, sigma, compat=compat)
        basis, weights = _spectrum(width, real, imaginary)
        costs = {"spectrum": 2 * len(weights), "dense": width}
        taps = None if compat else _taps(real, width, _TAIL)
        if taps is not None:
            costs["taps"] = len(taps) - 1 + _BLOCK
        best = min(costs, key=lambda name: costs[name])
        if best == "taps":
            return cls(width, taps)
        inverse = -weights[:, None] * basis.T
        factors = (basis @ inverse,) if best == "dense" else (basis, inverse)
        exact = None if compat else _taps(real, width, _NEGLIGIBLE)
        if exact is not None and len(exact) > _OF_ONE_LAUNCH * costs[best]:
            exact = None
        return cls(width, None, tuple(np.ascontiguousarray(f, np.float32) for f in factors), exact)

    def apply(self, coefficients: Array) -> None:
        """Replace the rows ``[:, :, 1, :width]`` of coefficients (frames, rows, 2, columns) in place.

        The number of columns is a multiple of 32; columns beyond ``width`` stay 0.
        """
        taps, factors = self._as_one_band
        if taps is not None:
            low_pass_rows(resident(taps, coefficients), coefficients, self.width)
        else:
            _multiply(coefficients, self.width, factors)

    @functools.cached_property
    def _as_one_band(self) -> tuple[Array | None, list[Array]]:
        """Taps and factors as those of one band, kept so that a device gets them once."""
        return None if self.taps is None else self.taps[None], [factor[None] for factor in self.factors]


class RowLowPasses:
    """The operators of several bands, for coefficients in which the frames of a band follow one another.

    On the host each band takes its cheapest form. On a device all are applied together, in one form if they have one.
    """

    def __init__(self, operators: Sequence[RowLowPass]) -> None:
        self._operators = operators
        each = (operator.as_taps if operator.taps is None else operator.taps for operator in operators)
        taps = [found for found in each if found is not None]
        self._taps = _centred(taps) if len(taps) == len(operators) else None
        alike = self._taps is None and len({len(operator.factors) for operator in operators}) == 1
        self._factors = [*_filled(operators)] if alike else []

    def apply(self, coefficients: Array) -> None:
        """Replace rows in place, as `RowLowPass.apply` does."""
        width, is_device = self._operators[0].width, namespace(coefficients) is not np
        if is_device and self._taps is not None:
            low_pass_rows(resident(self._taps, coefficients), coefficients, width)
        elif is_device and self._factors:
            _multiply(coefficients, width, self._factors)
        else:
            n = len(coefficients) // len(self._operators)
            for number, operator in enumerate(self._operators):
                operator.apply(coefficients[number * n : (number + 1) * n])


def _centred(taps: Sequence[Array]) -> Array:
    """Taps of all bands (bands, n): zeros on either side make them as many and change no sum."""
    most = max(map(len, taps))
    return np.stack([np.pad(t, (most - len(t)) // 2) for t in taps])


def _filled(operators: Sequence[RowLowPass]) -> Iterator[Array]:
    """First, then second factors of all operators, (bands, n, m): zeros make them as large and change no sum."""
    for factors in zip(*(operator.factors for operator in operators), strict=True):
        shape = np.max([factor.shape for factor in factors], axis=0)
        sides = ([(0, more) for more in shape - factor.shape] for factor in factors)
        yield np.stack([np.pad(factor, side) for factor, side in zip(factors, sides, strict=True)])


def _multiply(coefficients: Array, width: int, factors: Sequence[Array]) -> None:
    """Multiply the rows of the detail by one factor or two, each (bands, n, m)."""
    columns = coefficients.shape[3]
    rows = coefficients.reshape(len(factors[0]), -1, 2 * columns)
    xp, first, *others = namespace(coefficients), *(resident(factor, coefficients) for factor in factors)
    product = xp.empty((*rows.shape[:2], first.shape[2]), np.float32)
    multiply_rows(rows, first, product, columns, 0)
    if others:
        multiply_rows(product, others[0], rows, 0, columns)
    else:
        rows[:, :, columns : columns + width] = product


@kernel("notch.cu", tile=(1, 1, None, None), threads=(128,))
def low_pass_rows(taps: Array, out: Array, width: int) -> None:
    """Convolve the rows ``[:, :, 1, :width]`` of coefficients in place; rows are taken as periodic.

    Parameters
    ----------
    taps
        Those of each band, float32 (bands, 2*reach + 1), symmetric; ``reach`` is at most 512 and ``width``.
    out
        Coefficients, float32 (frames, rows, 2, columns); columns are a multiple of 32, and 0 from ``width`` on. As many
        frames are of each band, one band after another.
    """
    reach = taps.shape[1] // 2
    size, stop = -(-width // _BLOCK) * _BLOCK, reach + width
    extended = np.zeros((_BAND, size + 2 * reach), np.float32)
    for number, frame in enumerate(out):
        matrix = _convolution_matrix(taps[number * len(taps) // len(out)].tobytes())
        for start in range(0, len(frame), _BAND):
            rows = frame[start : start + _BAND, 1]
            signal, part = rows[:, :width], extended[: len(rows)]
            part[:, reach:stop] = signal
            part[:, :reach] = signal[:, width - reach :]
            part[:, stop : stop + reach] = signal[:, :reach]
            product_along_columns(part, matrix, rows[:, :size], _BLOCK)
            rows[:, width:size] = 0


@kernel("notch.cu", tile=(1, 64, 64), threads=(256,))
def multiply_rows(x: Array, matrix: Array, out: Array, from_column: int, to_column: int) -> None:
    """``out[..., to_column : to_column + m] = x[..., from_column : from_column + n] @ matrix`` for each band.

    A row's result does not depend on the number of rows; a row's result from a device's BLAS does.

    Parameters
    ----------
    x, out
        float32 (bands, rows, columns), not the same array.
    matrix
        float32 (bands, n, m).
    """
    n, m = matrix.shape[1:]
    for rows, factor, target in zip(x, matrix, out, strict=True):
        target[:, to_column : to_column + m] = matmul_rows(rows[:, from_column : from_column + n], factor)


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


def _taps(real: Array, width: int, tail: float) -> Array | None:
    """The operator as taps, without outer ones whose absolute sum is below ``tail``; None if there are too many."""
    taps = np.fft.irfft(real, width) if width > 1 else real
    half = np.abs(taps[: len(taps) // 2 + 1])
    beyond = 2 * np.cumsum(half[::-1])[::-1]
    small = np.flatnonzero(beyond < tail)
    reach = int(small[0]) if small.size else len(taps) // 2
    if reach > _MOST_REACH:
        return None
    found = -taps[np.arange(-reach, reach + 1) % len(taps)]
    if 2 * reach == len(taps):
        found[[0, -1]] /= 2  # one sample lies at both ends
    return found.astype(np.float32)


@functools.lru_cache(maxsize=64)
def _convolution_matrix(taps: bytes) -> Array:
    """Matrix (2*reach + 32, 32): a window times this matrix is the convolution at 32 columns."""
    values = np.frombuffer(taps, np.float32)
    matrix = np.zeros((_BLOCK + len(values) - 1, _BLOCK), np.float32)
    for i in range(_BLOCK):
        matrix[i : i + len(values), i] = values
    return matrix
