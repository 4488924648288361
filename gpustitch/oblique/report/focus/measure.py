"""How much less sharply one of two tiles shows the same place, along the rows' direction of the camera."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import scipy

from gpustitch.model.arrays import Bools, Floats, HostArray

# Interpolation makes nearer voxels (x) alike in noise; farther ones are alike in tissue alone.
_LAG_PX = 2
# Parts (x) of a box whose differences tell the error.
_PARTS = 6
# Power so many times its noise is seen; less is taken for so much.
_SEEN, _LEAST = 6.0, 2.0
# Less of the greatest power is what gains of rows (stripes) make of it; what is taken for the least.
_TISSUE, _FLOOR = 2e-2, 5e-3
# Natural logarithm by which spectra of one place differ for other reasons than focus and noise.
_OTHER = 0.3
# Times that a blur is tried and mended; one that needs no trial, and the greatest.
_ROUNDS, _SLIGHT_PX2, _MOST_PX2 = 6, 1.0, 400.0
# Fewer lines, or frequencies with power, tell nothing.
_LEAST_LINES, _LEAST_BINS = 16, 3


@dataclass(frozen=True)
class Blur:
    """How much blur the moving tile has beyond the fixed one, as variances along y, voxels squared.

    Attributes
    ----------
    px2
        Variance of the Gaussian by which the moving tile is blurred more; negative if the fixed one is.
    sigma_px2
        Standard error of that.
    """

    px2: float
    sigma_px2: float


@dataclass(frozen=True)
class _Spectrum:
    """Power of tissue along y, shape (parts, frequencies), the standard deviation of its noise, and frequencies."""

    omega: Floats
    power: Floats
    noise: Floats


def blur_between(fixed: HostArray, moving: HostArray) -> Blur | None:
    """Compare two boxes (z, y, x) of one place; None if they show too little, or are too small.

    Along y lie rows of the camera, which nothing interpolates. Power is that of pairs of voxels along x: noise is
    another in each frame, and what all frames show (offset, flat, stripes, hot pixels) is taken off. Brightness changes
    all frequencies alike, blur the higher ones more.
    """
    if fixed.shape[1] < _LEAST_LINES or fixed.shape[2] < _PARTS + _LAG_PX:
        return None
    a, b = _spectrum(fixed), _spectrum(moving)
    told = _telling(a, b)
    if np.count_nonzero(told) < _LEAST_BINS:
        return None
    found = _compared(a, b, told)
    if found.px2 < -_SLIGHT_PX2:
        px2, sigma = _mended(moving, a, told, -found.px2)
        return Blur(-px2, max(sigma, found.sigma_px2))
    if found.px2 > _SLIGHT_PX2:
        px2, sigma = _mended(fixed, b, told, found.px2)
        return Blur(px2, max(sigma, found.sigma_px2))
    return found


def _mended(sharp: HostArray, soft: _Spectrum, told: Bools, px2: float) -> tuple[float, float]:
    """The blur by which the sharper box shows what the other one does: the window makes steep spectra less steep."""
    box = sharp.astype(np.float64)
    for _ in range(_ROUNDS):
        blurred = scipy.ndimage.gaussian_filter1d(box, math.sqrt(px2), axis=1)
        rest = _compared(_spectrum(blurred), soft, told)
        px2 = min(max(px2 + rest.px2, _SLIGHT_PX2), _MOST_PX2)
    return px2, rest.sigma_px2


def _compared(a: _Spectrum, b: _Spectrum, told: Bools) -> Blur:
    """The blur that two spectra tell by their power at some frequencies."""
    px2, sigma = _slope(a, b, told, np.ones(_PARTS, bool))
    without = np.array([_slope(a, b, told, np.arange(_PARTS) != n)[0] for n in range(_PARTS)])
    jackknife = np.sqrt((_PARTS - 1) * np.mean((without - without.mean()) ** 2))
    return Blur(px2, float(np.hypot(sigma, jackknife)))


def _spectrum(box: HostArray) -> _Spectrum:
    """Power along y, without its mean."""
    lines = box.astype(np.float64)
    lines -= lines.mean(axis=2, keepdims=True)
    n = lines.shape[1]
    window = 0.5 - 0.5 * np.cos(2 * np.pi * (np.arange(n) + 0.5) / n)
    waves = np.fft.rfft(lines * window[:, None], axis=1)[:, 1:]
    both = (waves[:, :, _LAG_PX:] * waves[:, :, :-_LAG_PX].conj()).real.sum(axis=0)
    own = (np.abs(waves[:, :, _LAG_PX:]) ** 2).sum(axis=0)
    parts = np.array_split(np.arange(both.shape[1]), _PARTS)
    power = np.stack([both[:, at].sum(axis=1) for at in parts])
    total = np.stack([own[:, at].sum(axis=1) for at in parts])
    count = np.array([len(at) * lines.shape[0] for at in parts])[:, None]
    noise = np.maximum(total - power, 0) / count
    noise = np.maximum(noise, np.median(noise, axis=1, keepdims=True))
    return _Spectrum(2 * np.pi * np.arange(1, n // 2 + 1) / n, power, noise * np.sqrt(count))


def _summed(each: _Spectrum, parts: Bools) -> tuple[Floats, Floats, Floats]:
    """Power of some parts, its noise, and the least that is taken for power."""
    power = each.power[parts].sum(axis=0)
    noise = np.sqrt((each.noise[parts] ** 2).sum(axis=0)) + 1e-12
    return power, noise, np.maximum(_LEAST * noise, _FLOOR * power.max())


def _telling(a: _Spectrum, b: _Spectrum) -> Bools:
    """Frequencies at which one of two spectra shows tissue, up to the first that the other one has lost."""
    both = [_summed(each, np.ones(_PARTS, bool)) for each in (a, b)]
    seen = np.any([(p > _SEEN * s) & (p > _TISSUE * p.max()) for p, s, _ in both], axis=0)
    gone = np.any([p < least for p, _, least in both], axis=0) & seen
    if gone.any():
        seen[np.argmax(gone) + 1 :] = False
    return np.asarray(seen)


def _slope(a: _Spectrum, b: _Spectrum, told: Bools, parts: Bools) -> tuple[float, float]:
    """The blur that two spectra tell, and its error: power falls as exp(-omega^2 blur)."""
    logs, variance = [], np.full(np.count_nonzero(told), _OTHER**2)
    for each in (a, b):
        power, noise, least = _summed(each, parts)
        there = np.maximum(power, least)[told]
        logs.append(np.log(there))
        variance += (noise[told] / there) ** 2
    off, x, weight = logs[1] - logs[0], a.omega[told] ** 2, 1 / variance
    least_error = 1 / weight.sum()
    weight /= weight.sum()
    x0, y0 = (weight * x).sum(), (weight * off).sum()
    spread = (weight * (x - x0) ** 2).sum()
    slope = (weight * (x - x0) * (off - y0)).sum() / spread
    rest = off - y0 - slope * (x - x0)
    error = math.sqrt(max((weight * rest**2).sum() / max(1, len(x) - 2), least_error) / spread)
    return float(-slope), error
