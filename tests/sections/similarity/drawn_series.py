"""Series of sections whose texture is known at any place, and what spoils them."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

# Texture repeats after so many pixels: (smoothing along z, within a plane, weight) of its parts.
_PARTS = ((6.0, 1.5, 0.8), (14.0, 3.0, 1.0))


def texture(seed, shape=(64, 64), sigma=2.0):
    """Smoothed noise of contrast 1, float32, which goes on over the edges."""
    drawn = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(shape), sigma, mode="wrap")
    return (drawn / drawn.std()).astype(np.float32)


def series(seed, number=40, shape=(64, 64)):
    """Planes (n, rows, columns), float32 with noise, and their positions in mean spacings of 1."""
    rng = np.random.default_rng(seed)
    z = np.concatenate([[0], np.cumsum(rng.uniform(0.5, 1.5, number - 1))])
    planes = _tissue(rng, z, shape)
    return (planes + 0.2 * rng.standard_normal(planes.shape)).astype(np.float32), z


def moving_border(seed, number, shape, finer):
    """The same of two tissues: one that is so much finer along z, only there, grows over the planes from one side."""
    rng = np.random.default_rng(seed)
    z = np.concatenate([[0], np.cumsum(rng.uniform(0.5, 1.5, number - 1))])
    first, second = _tissue(rng, z, shape), _tissue(rng, z, shape, finer)
    covered = shape[1] * (0.1 + 0.8 * np.arange(number) / number)
    planes = np.where(np.arange(shape[1]) < covered[:, None, None], second, first)
    return (planes + 0.2 * rng.standard_normal(planes.shape)).astype(np.float32), z


def _tissue(rng, z, shape, finer=1.0):
    """Planes (n, rows, columns) of a texture at positions z, without noise."""
    volume = np.zeros((int(z[-1] * 3) + 60, *shape), np.float32)
    for along, within, weight in _PARTS:
        part = rng.standard_normal(volume.shape, dtype=np.float32)
        part = ndimage.gaussian_filter(part, (along / finer, within, within), mode="wrap", truncate=3)
        volume += weight * part / part.std()
    below = (z * 3).astype(int)
    share = (z * 3 - below)[:, None, None].astype(np.float32)
    return volume[below] * (1 - share) + volume[below + 1] * share


def rms(found, z):
    """Error of positions after the best affine map, in mean spacings."""
    terms = np.stack([found, np.ones_like(found)], axis=1)
    return float(np.sqrt(np.mean((terms @ np.linalg.lstsq(terms, z, rcond=None)[0] - z) ** 2)))


def jittered(planes, seed, px):
    """Each plane at a place of its own, ``px`` pixels RMS along each axis off."""
    rng = np.random.default_rng(seed)
    return np.stack([ndimage.shift(p, rng.normal(0, px, 2), order=1, mode="wrap") for p in planes])


def turned(planes, seed, degrees):
    """Each plane turned by an angle of its own."""
    rng = np.random.default_rng(seed)
    return np.stack([ndimage.rotate(p, rng.normal(0, degrees), reshape=False, order=1, mode="wrap") for p in planes])


def bordered(planes, seed, most, value=-3.0):
    """Each plane with borders of one value, 1 to ``most`` pixels wide."""
    out, rng = planes.copy(), np.random.default_rng(seed)
    for plane in out:
        top, bottom, left, right = rng.integers(1, most + 1, 4)
        plane[:top] = plane[-bottom:] = value
        plane[:, :left] = plane[:, -right:] = value
    return out


def shaded(planes, seed, strength):
    """Each plane with gradients of brightness of its own."""
    rng = np.random.default_rng(seed)
    rows, columns = (np.linspace(-1.7, 1.7, n) for n in planes.shape[1:])
    light = rng.normal(0, strength, (2, len(planes), 1, 1))
    return (planes + light[0] * rows[:, None] + light[1] * columns).astype(np.float32)


def curtained(planes, seed, strength, along=1):
    """Each plane with stripes along its columns (1) or rows (0), which change slowly from plane to plane."""
    drawn = np.random.default_rng(seed).standard_normal((len(planes), planes.shape[along + 1]))
    stripes = ndimage.gaussian_filter1d(drawn, 4, axis=0)
    stripes = strength * stripes / stripes.std()
    return (planes + np.expand_dims(stripes, 2 - along)).astype(np.float32)
