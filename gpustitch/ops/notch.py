"""A Gaussian notch at frequency 0 of image rows: what it takes away, as matrix products."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from gpustitch.array import Array, namespace
from gpustitch.ops.dwt import product, product_along_columns

_BLOCK = 32
# Taps of a kernel may be left out whose sum is below this, and frequencies that pass by less than this.
_TAIL = 2e-5
_NEGLIGIBLE = 1e-7


def passed_by_notch(width: int, sigma: float, *, compat: bool) -> tuple[Array, Array]:
    """The fraction of each frequency's real and imaginary part that the notch takes away, float64 (width // 2 + 1,).

    It is ``exp(-i**2 / (2 sigma**2))`` with i = 2k for frequency k: the place of the frequency in a packed real
    spectrum (DC, Re 1, Im 1, Re 2, ...). ``compat`` takes i = 2k - 1 for the real part, as that spectrum has it.
    """
    k = np.arange(width // 2 + 1)
    imaginary = np.exp(-((2.0 * k) ** 2) / (2 * sigma**2))
    real = np.exp(-(np.maximum(2.0 * k - 1, 0) ** 2) / (2 * sigma**2)) if compat else imaginary
    return real, imaginary


@dataclass(frozen=True, eq=False)
class RowLowPass:
    """Minus the low frequencies that the notch takes away from each row; rows are taken as periodic.

    The cheapest of three forms is used: ``kernel`` (2*reach + 32, 32) convolves blocks of 32 columns; or the rows are
    multiplied by ``factors``, which are the whole operator (width, width), or a transform to a few frequencies
    (width, n) and back (n, width).
    """

    width: int
    reach: int = 0
    kernel: Array | None = None
    factors: tuple[Array, ...] = ()

    @classmethod
    def of(cls, width: int, sigma: float, xp: Any, *, compat: bool = False) -> RowLowPass:
        """The operator for rows of ``width`` samples and a notch of bandwidth ``sigma``."""
        real, imaginary = passed_by_notch(width, sigma, compat=compat)
        basis, weights = _spectrum(width, real, imaginary)
        costs = {"spectrum": 2 * len(weights), "dense": width}
        if not compat:
            taps = np.fft.irfft(real, width) if width > 1 else real
            reach = _reach(taps)
            costs["kernel"] = 2 * reach + _BLOCK
        best = min(costs, key=lambda name: costs[name])
        if best == "kernel":
            return cls(width, reach, xp.asarray(_blocked(-taps, reach)))
        inverse = -weights[:, None] * basis.T
        factors = (basis @ inverse,) if best == "dense" else (basis, inverse)
        return cls(width, factors=tuple(xp.asarray(np.ascontiguousarray(f, np.float32)) for f in factors))

    def apply(self, rows: Array) -> None:
        """Replace ``rows[:, :width]`` in place; the array must have at least the next multiple of 32 columns."""
        xp = namespace(rows)
        signal = rows[:, : self.width]
        if self.kernel is None:
            result = signal
            for factor in self.factors:
                result = product(result, factor)
            signal[...] = result
            return
        size = -(-self.width // _BLOCK) * _BLOCK
        extended = xp.zeros((rows.shape[0], size + 2 * self.reach), np.float32)
        stop = self.reach + self.width
        extended[:, self.reach : stop] = signal
        extended[:, : self.reach] = signal[:, self.width - self.reach :]
        extended[:, stop : stop + self.reach] = signal[:, : self.reach]
        product_along_columns(extended, self.kernel, rows[:, :size], _BLOCK)


def _spectrum(width: int, real: Array, imaginary: Array) -> tuple[Array, Array]:
    """The cosines and sines (width, n) of which more than a trace is taken away, and the weight of each."""
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


def _blocked(taps: Array, reach: int) -> Array:
    matrix = np.zeros((_BLOCK + 2 * reach, _BLOCK), np.float32)
    offsets = np.arange(-reach, reach + 1)
    for i in range(_BLOCK):
        matrix[i : i + 2 * reach + 1, i] = taps[offsets % len(taps)]
    return matrix
