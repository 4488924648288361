"""Stripes removed by notching the horizontal details of a wavelet transform (pystripe's dual-band filter)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pywt

from gpustitch.array import Array, namespace, scipy_of, skimage_of
from gpustitch.errors import ParameterError

OTSU = -1.0


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
        Notch real and imaginary parts of a frequency differently and truncate to integers, as pystripe does.
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
        if not 0 <= self.level <= 20:
            raise ParameterError(f"--level must be from 0 (as many as possible) to 20, not {self.level}")
        if self.wavelet not in pywt.wavelist(kind="discrete"):
            raise ParameterError(f"--wavelet {self.wavelet!r} is not a discrete wavelet such as db3, sym4 or haar")
        if not (math.isfinite(self.crossover) and self.crossover > 0):
            raise ParameterError(f"--crossover must be a positive number of counts, not {self.crossover}")
        if not (self.threshold == OTSU or (math.isfinite(self.threshold) and self.threshold >= 0)):
            raise ParameterError(f"--threshold must be -1 (Otsu) or a number of counts, not {self.threshold}")


def destripe_wavelet(image: Array, options: WaveletOptions) -> Array:
    """Float32 image without its stripes along the rows."""
    xp = namespace(image)
    threshold = options.threshold if options.threshold != OTSU else otsu(image)
    rows, columns = image.shape
    full = xp.pad(image.astype(np.float64), ((0, rows % 2), (0, columns % 2)), mode="edge")
    result = _filtered(full, threshold, options)
    return result[:rows, :columns].astype(np.float32)  # type: ignore[no-any-return]


def otsu(image: Array) -> float:
    """Otsu's threshold; the only value of a constant image."""
    return float(skimage_of(image).filters.threshold_otsu(image))


def _filtered(image: Array, threshold: float, options: WaveletOptions) -> Array:
    xp = namespace(image)
    if options.sigma1 == options.sigma2:
        return _band(image, options.sigma1, options)
    foreground = xp.maximum(image, threshold) if options.sigma1 else image
    background = xp.minimum(image, threshold) if options.sigma2 else image
    fraction = 1 / (1 + xp.exp(-(image - threshold) / options.crossover))
    fraction = scipy_of(image).ndimage.gaussian_filter(fraction, 1)
    return fraction * _band(foreground, options.sigma1, options) + (1 - fraction) * _band(  # type: ignore[no-any-return]
        background, options.sigma2, options
    )


def _band(image: Array, sigma: float, options: WaveletOptions) -> Array:
    xp = namespace(image)
    if sigma == 0:
        return image
    approx, *details = pywt.wavedec2(xp.log1p(image), options.wavelet, "symmetric", options.level or None)
    notched = []
    for horizontal, vertical, diagonal in details:
        bandwidth = sigma * horizontal.shape[0] / image.shape[0]
        spectrum = xp.fft.rfft(horizontal)
        k = xp.arange(spectrum.shape[1])
        real = 1 - xp.exp(-((xp.maximum(2 * k - 1, 0) if options.compat else 2 * k) ** 2) / (2 * bandwidth**2))
        imaginary = 1 - xp.exp(-((2 * k) ** 2) / (2 * bandwidth**2))
        spectrum = spectrum.real * real + 1j * spectrum.imag * imaginary
        notched.append((xp.fft.irfft(spectrum, horizontal.shape[1]), vertical, diagonal))
    return xp.expm1(pywt.waverec2([approx, *notched], options.wavelet, "symmetric"))  # type: ignore[no-any-return]
