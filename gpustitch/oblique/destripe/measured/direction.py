"""The direction of stripes: the angle at which the spectrum of the picture has a ridge.

Parallel lines have their power on a straight ray through the origin of the spectrum, across the lines. Tissue spreads
its power over many angles, also where its fibres have a direction. A ray that rises alone is lines.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import scipy

from gpustitch.ops.robust import median_and_scatter

Floats = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

# Sides of windows, and their number.
_LEAST_PX, _MOST_PX, _MOST_WINDOWS = 32, 256, 12
# Sides of the blocks in which the picture is looked at: narrow lines show in small ones, wide lines in large ones.
_BLOCKS_PX = (1, 2, 4)
# Structures larger than so many blocks are not lines; what is brighter or darker is cut to this share of their mean.
_LOCAL, _CUT = 31, 0.4
_LEAST_LIT = 0.5
_STEP_DEG = 0.5
# Bands of frequencies, cycles per block.
_BANDS = ((0.08, 0.2), (0.15, 0.4))
# A ray is compared with those up to this far, and must rise by so much (logarithm) and so many standard deviations.
_NEIGHBOURS_DEG, _RISE, _SIGMAS = 20.0, 0.7, 6.0
# A ridge of lines is no wider than so many times the angle between frequencies; fibres of tissue are. Where that angle
# is larger than the other number, the two cannot be told apart.
_WIDTH, _COARSEST_DEG = 3.2, 4.0


def direction_of(light: Floats, lit: Mask) -> float | None:
    """Angle of the strongest lines against the rows; None if nothing is like a line.

    Parameters
    ----------
    light
        Frame (rows, columns) in counts above the dark offset.
    lit
        Pixels with tissue.

    Returns
    -------
    Degrees, above -90 to 90; positive where lines run down to the right.
    """
    angles = np.arange(-90 + _STEP_DEG, 90 + _STEP_DEG / 2, _STEP_DEG)
    best, found = 0.0, None
    for side in _BLOCKS_PX:
        spectra = _spectra(in_blocks(light, side), in_blocks(lit.astype(np.float32), side) > _LEAST_LIT)
        for low, high in _BANDS if len(spectra) else ():
            resolution = float(np.rad2deg(1 / (np.sqrt(low * high) * spectra.shape[1])))
            if resolution > _COARSEST_DEG:
                continue
            # An edge of the tissue is in few windows, stripes are in most.
            profile = np.median([_rays(spectrum, angles, low, high) for spectrum in spectra], axis=0)
            rise = profile - scipy.ndimage.median_filter(profile, 2 * int(_NEIGHBOURS_DEG / _STEP_DEG) + 1, mode="wrap")
            peak, least = int(rise.argmax()), max(_RISE, _SIGMAS * float(median_and_scatter(rise)[1]))
            if rise[peak] > max(least, best) and _width(rise, peak) <= _WIDTH * resolution:
                best, found = float(rise[peak]), _refined(angles, rise, peak)
    return found


def _width(rise: npt.NDArray[np.float64], peak: int) -> float:
    """Width of the peak at half its height, degrees."""
    low = np.roll(rise, len(rise) // 2 - peak) < rise[peak] / 2
    middle = len(rise) // 2
    return _STEP_DEG * float(np.argmax(low[middle:]) + np.argmax(low[middle::-1]))


def _refined(angles: npt.NDArray[np.float64], rise: npt.NDArray[np.float64], peak: int) -> float:
    """Centre of the peak: the mean angle of what rises above its half."""
    around = np.arange(peak - 6, peak + 7)
    weight = np.maximum(rise[around % len(rise)] - rise[peak] / 2, 0)
    angle = angles[peak] + _STEP_DEG * float((weight * (around - peak)).sum() / weight.sum())
    return float(angle - 180 * np.ceil(angle / 180 - 0.5))


def _spectra(light: Floats, lit: Mask) -> Floats:
    """Logarithm of the power of windows of the picture, origin in the middle; each frequency less its ring's median."""
    size = min(_MOST_PX, min(light.shape) // 2 & ~1)
    corners = [
        (y, x)
        for y in range(0, light.shape[0] - size + 1, max(1, size // 2))
        for x in range(0, light.shape[1] - size + 1, max(1, size // 2))
        if lit[y : y + size, x : x + size].any() and lit[y : y + size, x : x + size].mean() > _LEAST_LIT
    ]
    if size < _LEAST_PX or not corners:
        return np.zeros((0, size, size), np.float32)
    taper = np.hanning(size).astype(np.float32)
    some = [np.s_[y : y + size, x : x + size] for y, x in corners[:: -(-len(corners) // _MOST_WINDOWS)]]
    windows = np.stack([_detail(light[part], lit[part]) for part in some]) * taper[:, None] * taper
    power = np.abs(np.fft.fftshift(np.fft.fft2(windows), axes=(1, 2))) ** 2
    spectra = np.log(power + 1e-12).astype(np.float32).reshape(len(some), -1)
    ky, kx = np.indices((size, size)) - size // 2
    ring = np.rint(np.hypot(ky, kx)).astype(int).ravel()
    for radius in range(1, size // 2):
        at = np.flatnonzero(ring == radius)
        spectra[:, at] -= np.median(spectra[:, at], axis=1, keepdims=True)
    return spectra.reshape(windows.shape)


def _detail(light: Floats, lit: Mask) -> Floats:
    """Difference from the local mean, as a share of it, cut off; 0 where nothing is lit."""
    share = scipy.ndimage.uniform_filter(lit.astype(np.float32), _LOCAL, mode="nearest")
    mean = scipy.ndimage.uniform_filter(np.where(lit, light, 0), _LOCAL, mode="nearest")
    ratio = np.divide(light * share, mean, out=np.ones_like(light), where=lit & (mean > 0))
    return np.asarray(np.clip(ratio - 1, -_CUT, _CUT), np.float32)


def _rays(spectrum: Floats, angles: npt.NDArray[np.float64], low: float, high: float) -> npt.NDArray[np.float64]:
    """Mean of a spectrum along the rays across lines at these angles, in a band of frequencies."""
    size = len(spectrum)
    radius = np.arange(int(low * size), int(high * size))
    turned = np.deg2rad(angles)[:, None]
    at = size // 2 + np.stack([radius * np.cos(turned), -radius * np.sin(turned)])
    return np.asarray(scipy.ndimage.map_coordinates(spectrum, at, order=1, mode="grid-wrap").mean(axis=1), np.float64)


def in_blocks(values: Floats, side: int) -> Floats:
    """Means of square blocks; rows and columns that fill none are left out."""
    rows, columns = (n // side * side for n in values.shape)
    down = values[:rows, :columns].reshape(rows // side, side, columns).mean(axis=1)
    return np.asarray(sum(down[:, i::side] for i in range(side)) / side, np.float32)
