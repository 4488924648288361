"""Stripes along the rows removed by a notch in the wavelet domain: pystripe's dual-band wavelet-FFT filter.

With I the image, L = log(1 + I) and a two-dimensional wavelet transform of L, the horizontal detail of every level
(high pass down the columns, low pass along the rows) loses its low frequencies along the rows. Everything else stays,
so only what is taken away is transformed back. With d this part, negated, the result is (1 + I) exp(d) - 1.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pywt

from gpustitch.array import Array, namespace, skimage_of
from gpustitch.errors import DamagedInputError, ParameterError
from gpustitch.ops.dwt import (
    BLOCK,
    Level,
    WaveletMatrices,
    levels_of,
    max_level,
    product_along_columns,
    product_along_rows,
    wavelet_matrices,
)
from gpustitch.ops.notch import RowLowPass

OTSU = -1.0
# No camera's frame can be halved more often than this.
_MOST_LEVELS = 20
# Rows of coefficients, and of the image, worked on at once: what they need stays in a core's cache.
_BAND = 2 * BLOCK
# pystripe smooths the share of the foreground by one pixel; SciPy cuts a Gaussian off at four sigmas.
_SMOOTHING_PX = 1.0
_SMOOTHING_REACH = 4
# Pixels counted at a time: their copy as integers for bincount stays in a core's cache.
_HISTOGRAM_CHUNK = 1 << 17


@dataclass(frozen=True)
class WaveletOptions:
    """How stripes along the rows are removed.

    Parameters
    ----------
    sigma1, sigma2
        Bandwidth of the notch for foreground and background, in pixels of the frame; larger removes more, 0 leaves
        the band as it is. Equal ones filter the image without splitting it.
    level
        Number of wavelet levels, 0 for as many as the image allows.
    wavelet
        Name of a discrete wavelet of PyWavelets.
    crossover
        Counts over which background passes into foreground.
    threshold
        Counts that separate background from foreground; -1 for Otsu's.
    compat
        Notch real and imaginary parts of a frequency differently, as pystripe does; stages also truncate its result.

    Raises
    ------
    ParameterError
        If one is out of range.
    """

    sigma1: float = 0.0
    sigma2: float = 0.0
    level: int = 0
    wavelet: str = "db3"
    crossover: float = 10.0
    threshold: float = OTSU
    compat: bool = False

    def __post_init__(self) -> None:
        for name, sigma in (("--sigma1", self.sigma1), ("--sigma2", self.sigma2)):
            if not (math.isfinite(sigma) and sigma >= 0):
                raise ParameterError(f"{name} must be 0 or a positive number of pixels, not {sigma}")
        if not 0 <= self.level <= _MOST_LEVELS:
            raise ParameterError(f"--level must be from 0 (as many as possible) to {_MOST_LEVELS}, not {self.level}")
        if self.wavelet not in pywt.wavelist(kind="discrete"):
            raise ParameterError(f"--wavelet {self.wavelet!r} is not a discrete wavelet such as db3, sym4 or haar")
        if not (math.isfinite(self.crossover) and self.crossover > 0):
            raise ParameterError(f"--crossover must be a positive number of counts, not {self.crossover}")
        if not (self.threshold == OTSU or (math.isfinite(self.threshold) and self.threshold >= 0)):
            raise ParameterError(f"--threshold must be -1 (Otsu's) or a number of counts, not {self.threshold}")


def destripe_wavelet(image: Array, options: WaveletOptions) -> Array:
    """The image without its stripes along the rows.

    With different sigmas the image is split at the threshold t: the foreground max(I, t) is filtered with ``sigma1``,
    the background min(I, t) with ``sigma2``. The share of the foreground in the result is the logistic function of
    (I - t) / crossover, smoothed by a Gaussian of one pixel. Levels are extended symmetrically at the borders, odd
    sizes by their last row or column; the notch takes a row of coefficients as periodic (`passed_by_notch`).

    Parameters
    ----------
    image
        Counts (rows, columns), any real dtype; values below 0 count as 0.

    Returns
    -------
    float32 image of the same shape, not clipped.

    Raises
    ------
    ParameterError
        If the image is not 2-D and real.
    DamagedInputError
        If it holds NaN or infinity.
    """
    xp = namespace(image)
    _check(image)
    filters = _filters(tuple(image.shape), options, xp)
    if not filters:
        return image.astype(np.float32)
    threshold = 0.0
    if len(filters) == 2:
        threshold = otsu(image) if options.threshold == OTSU else options.threshold
    return _blended(image, threshold, filters, options)


def otsu(image: Array) -> float:
    """Otsu's threshold of the image; the value itself where there is only one.

    It separates single counts of uint8 and uint16 images, and 256 bins of any other.
    """
    xp = namespace(image)
    threshold_otsu = skimage_of(image).filters.threshold_otsu
    if image.dtype not in (np.uint8, np.uint16):
        return float(threshold_otsu(image.astype(np.float32)))
    flat = image.reshape(-1)
    counts = xp.zeros(np.iinfo(image.dtype).max + 1, np.int64)
    for start in range(0, flat.size, _HISTOGRAM_CHUNK):
        part = xp.bincount(flat[start : start + _HISTOGRAM_CHUNK])
        counts[: part.size] += part
    values = xp.flatnonzero(counts)
    first, last = int(values[0]), int(values[-1])
    if first == last:
        return float(first)
    return float(threshold_otsu(hist=(counts[first : last + 1], xp.arange(first, last + 1))))


class _BandFilter:
    """The notch of one bandwidth for images of one shape; used by any number of threads at once."""

    def __init__(self, shape: tuple[int, int], sigma: float, options: WaveletOptions, xp: Any) -> None:
        self.xp = xp
        self.matrices: WaveletMatrices = wavelet_matrices(options.wavelet, xp)
        padded = (shape[0] + shape[0] % 2, shape[1] + shape[1] % 2)
        self.levels = levels_of(shape, self.matrices.length, options.level or max_level(padded, options.wavelet))
        self.notches = [
            RowLowPass.of(level.coefficients[1], sigma * level.coefficients[0] / padded[0], xp, compat=options.compat)
            for level in self.levels
        ]

    def removed(self, image: Array, least: float, most: float) -> list[Array]:
        """What the notches take away from the logarithm of the image clipped to ``least`` .. ``most``, negated.

        These are wavelet coefficients, one array (rows, 2, columns) per level: ``[:, 0]`` is the low pass (what
        deeper levels take away), ``[:, 1]`` the horizontal detail.
        """
        arrays: list[Array] = []
        for level, notch in zip(self.levels, self.notches, strict=True):
            if arrays:
                self._analyse(arrays[-1][:, 0], None, level, notch, arrays)
            else:
                self._analyse(image, (least, most), level, notch, arrays)
        if arrays:
            arrays[-1][:, 0] = 0
        for number in range(len(arrays) - 1, 0, -1):
            rows, columns = self.levels[number].shape
            for start in range(0, rows, _BAND):
                target = arrays[number - 1][start : min(start + _BAND, rows), 0, :columns]
                target[...] = self.difference(arrays, number, start)[: len(target), :columns]
        return arrays

    def difference(self, arrays: list[Array], number: int, start: int) -> Array:
        """What levels ``number`` and deeper take away in a band of rows from ``start``; it has surplus columns."""
        matrices, coefficients = self.matrices, arrays[number]
        rows = coefficients.reshape(-1, coefficients.shape[2])[start:]
        columns = self.levels[number].shape[1]
        half = self.xp.empty((_BAND, coefficients.shape[2]), np.float32)
        product_along_rows(matrices.up_rows, rows, half, 2 * BLOCK)
        out: Array = self.xp.empty((_BAND, -(-columns // (2 * BLOCK)) * 2 * BLOCK), np.float32)
        product_along_columns(half, matrices.up_columns, out, BLOCK)
        return out

    def _analyse(
        self, image: Array, limits: tuple[float, float] | None, level: Level, notch: RowLowPass, arrays: list[Array]
    ) -> None:
        """Append the coefficients of one level, the horizontal detail notched.

        With ``limits`` the input is the image itself, of which the clipped values' logarithm is taken first.
        """
        xp, matrices = self.xp, self.matrices
        early = matrices.length - 2
        out = level.buffer(xp, matrices.length)
        wide = xp.zeros((2 * _BAND + early, len(level.columns)), np.float32)
        half = xp.zeros((2 * _BAND + early, out.shape[2]), np.float32)
        low = half[:, : (len(level.columns) - early) // 2]
        for start in range(0, level.coefficients[0], _BAND):
            _fill(image, level.rows[2 * start : 2 * (start + _BAND) + early], level.columns, early, wide)
            if limits is not None:
                xp.clip(wide, *limits, out=wide)
                wide += 1
                xp.log(wide, out=wide)
            product_along_columns(wide, matrices.down_columns, low, 2 * BLOCK)
            band = out[start : start + _BAND]
            product_along_rows(matrices.down_rows, half, band.reshape(-1, out.shape[2]), 2 * BLOCK)
            notch.apply(band[:, 1])
        arrays.append(out)


def _fill(image: Array, rows: Array, columns: Array, early: int, out: Array) -> None:
    """``out[i, j] = image[rows[i], columns[j]]``; from entry ``early`` on ``columns`` counts up from 0."""
    xp = namespace(image)
    first, last = int(rows[0]), int(rows[-1])
    consecutive = last - first + 1 == len(rows) and bool((np.diff(rows) == 1).all())
    stored = int(columns.max()) + 1
    centre = out[:, early : early + stored]
    centre[...] = (image[first : last + 1] if consecutive else image[xp.asarray(rows)])[:, :stored]
    out[:, :early] = centre[:, xp.asarray(columns[:early])]
    out[:, early + stored : len(columns)] = centre[:, xp.asarray(columns[early + stored :])]


@functools.lru_cache(maxsize=8)
def _filters(shape: tuple[int, int], options: WaveletOptions, xp: Any) -> tuple[_BandFilter | None, ...]:
    """Filters of foreground and background (None: left as it is); one if they are the same, none if both stay."""
    sigmas = (options.sigma1, options.sigma2)
    if sigmas == (0, 0):
        return ()
    if sigmas[0] == sigmas[1]:
        return (_BandFilter(shape, sigmas[0], options, xp),)
    return tuple(_BandFilter(shape, sigma, options, xp) if sigma else None for sigma in sigmas)


def _blended(image: Array, threshold: float, filters: tuple[_BandFilter | None, ...], options: WaveletOptions) -> Array:
    xp = namespace(image)
    rows, columns = image.shape
    limits = [(0.0, math.inf)] if len(filters) == 1 else [(threshold, math.inf), (0.0, threshold)]
    removed = [
        [] if chosen is None else chosen.removed(image, *limit) for chosen, limit in zip(filters, limits, strict=True)
    ]
    fraction = _Fraction((rows, columns), threshold, options.crossover, xp) if len(filters) == 2 else None
    out = xp.empty((rows, columns), np.float32)
    for start in range(0, rows, _BAND):
        target = out[start : start + _BAND]
        part = image[start : start + _BAND].astype(np.float32)
        bands = []
        for chosen, limit, arrays in zip(filters, limits, removed, strict=True):
            bands.append(part if chosen is None else _restored(part, limit, chosen, arrays, start))
        if fraction is None:
            target[...] = bands[0]
            continue
        foreground, background = bands
        xp.subtract(foreground, background, out=target)
        target *= fraction.rows(image, start)
        target += background
    return out  # type: ignore[no-any-return]


def _restored(part: Array, limits: tuple[float, float], chosen: _BandFilter, arrays: list[Array], start: int) -> Array:
    """``(1 + I) exp(d) - 1`` of the clipped rows."""
    xp = namespace(part)
    clipped: Array = xp.clip(part, *limits)
    if not arrays:
        return clipped
    difference = chosen.difference(arrays, 0, start)[: part.shape[0], : part.shape[1]]
    xp.exp(difference, out=difference)
    clipped += 1
    clipped *= difference
    clipped -= 1
    return clipped


class _Fraction:
    """The share of the foreground: a logistic of the counts smoothed by a Gaussian, symmetric at the borders."""

    def __init__(self, shape: tuple[int, int], threshold: float, crossover: float, xp: Any) -> None:
        rows, columns = (n + n % 2 for n in shape)
        reach, block = _SMOOTHING_REACH, BLOCK
        self.scale = 0.5 / crossover
        self.threshold = threshold
        self.index = [
            np.minimum(np.pad(np.arange(n), (reach, reach + _BAND), mode="symmetric"), stored - 1)
            for n, stored in zip((rows, columns), shape, strict=True)
        ]
        self.width = -(-columns // block) * block
        taps = np.exp(-0.5 * (np.arange(-reach, reach + 1) / _SMOOTHING_PX) ** 2)
        matrix = np.zeros((block, block + 2 * reach), np.float32)
        for i in range(block):
            matrix[i, i : i + 2 * reach + 1] = taps / taps.sum()
        self.down, self.across = xp.asarray(matrix), xp.asarray(np.ascontiguousarray(matrix.T))

    def rows(self, image: Array, start: int) -> Array:
        """The share in the image's rows from ``start``, 32 of them or those that are left."""
        xp = namespace(image)
        reach = _SMOOTHING_REACH
        wide = xp.zeros((_BAND + 2 * reach, self.width + 2 * reach), np.float32)
        rows = self.index[0][start : start + len(wide)]
        _fill(image, rows, self.index[1][: wide.shape[1]], reach, wide)
        wide -= np.float32(self.threshold)
        wide *= np.float32(self.scale)
        # The logistic of z is (1 + tanh(z / 2)) / 2.
        xp.tanh(wide, out=wide)
        smooth = xp.empty((_BAND, wide.shape[1]), np.float32)
        product_along_rows(self.down, wide, smooth, BLOCK)
        share = xp.empty((_BAND, self.width), np.float32)
        product_along_columns(smooth, self.across, share, BLOCK)
        share *= np.float32(0.5)
        share += np.float32(0.5)
        return share[: min(_BAND, image.shape[0] - start), : image.shape[1]]  # type: ignore[no-any-return]


def _check(image: Array) -> None:
    if image.ndim != 2 or image.dtype.kind not in "uif" or image.size == 0:
        raise ParameterError(
            f"one image (rows, columns) of real numbers is destriped, not shape {tuple(image.shape)} of {image.dtype}"
        )
    if image.dtype.kind == "f" and not bool(namespace(image).isfinite(image).all()):
        raise DamagedInputError("the image holds NaN or infinity; replace those pixels before destriping")
