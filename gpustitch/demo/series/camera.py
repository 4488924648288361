"""Changes of a section on its way to a file: damage, uneven staining, noise."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import scipy

from gpustitch.model.arrays import Floats32

# Counts beyond any camera of 16 bits, noise included.
_SATURATED = np.float32(2**17)

_Damage = Callable[[Floats32, np.random.Generator, float], Floats32]


def damage(image: Floats32, damage_type: str, rng: np.random.Generator, level: float) -> Floats32:
    """A damaged copy of an image, float32 of the same shape.

    Parameters
    ----------
    image
        float32 (rows, columns), expected counts.
    damage_type
        One of :data:`DAMAGES`; KeyError for others.
    rng
        Decides where the damage lies and how large it is.
    level
        Counts of the background without tissue.
    """
    return _DAMAGES[damage_type](image, rng, level)


def expose(
    image: Floats32, rng: np.random.Generator, counts_per_electron: float, read_noise: float, saturation: int = 65535
) -> npt.NDArray[np.uint16]:
    """Camera counts of expected counts: photon noise (as a normal distribution), read noise, rounding, clipping.

    Parameters
    ----------
    image
        float32 (rows, columns), expected counts; negative counts are taken as 0.
    rng
        Source of the noise.
    counts_per_electron
        Photon noise has the variance ``counts * counts_per_electron``.
    read_noise
        Standard deviation, in counts.
    saturation
        Greatest count.
    """
    noisy = np.maximum(image, 0)
    scatter = np.sqrt(noisy * np.float32(counts_per_electron) + np.float32(read_noise) ** 2)
    noisy += scatter * rng.standard_normal(image.shape, dtype=np.float32)
    np.clip(np.rint(noisy, out=noisy), 0, saturation, out=noisy)
    return noisy.astype(np.uint16)


def ellipse(shape: tuple[int, int], rng: np.random.Generator, share: tuple[float, float]) -> npt.NDArray[np.bool_]:
    """A random ellipse that covers a share (from, to) of the plane; across the plane's border it covers less."""
    rows, columns = shape
    area, aspect = rng.uniform(*share) / np.pi, np.exp(rng.uniform(-0.5, 0.5))
    row, column = rng.uniform(0.25, 0.75, 2)
    y = (np.arange(rows)[:, None] + 0.5) / rows - row
    x = (np.arange(columns)[None, :] + 0.5) / columns - column
    return np.asarray((y / aspect) ** 2 + (x * aspect) ** 2 <= area)


def _fold(image: Floats32, rng: np.random.Generator, level: float) -> Floats32:
    """A dark crease across the section; the tissue beyond is pulled towards the crease."""
    rows, columns = image.shape
    turned = rng.uniform() < 0.5
    plane = image.T if turned else image
    n = plane.shape[1]
    slope = rng.uniform(-0.3, 0.3) * n / plane.shape[0]
    crease = rng.uniform(0.35, 0.65) * n + slope * (np.arange(plane.shape[0]) - plane.shape[0] / 2)
    pull, width = rng.uniform(0.04, 0.1) * n + 4, rng.uniform(0.02, 0.05) * n + 1
    column = np.arange(n)[None, :] - crease[:, None]
    moved = scipy.ndimage.map_coordinates(
        plane,
        [np.broadcast_to(np.arange(plane.shape[0])[:, None], plane.shape), np.arange(n) + pull * (column > 0)],
        order=1,
        mode="grid-wrap",
    )
    moved[np.abs(column) < width] *= 0.35
    return np.ascontiguousarray(moved.T if turned else moved, dtype=np.float32).reshape(rows, columns)


def _scratch(image: Floats32, rng: np.random.Generator, level: float) -> Floats32:
    """Bright and dark straight lines."""
    rows, columns = image.shape
    out = image.copy()
    y, x = np.arange(rows)[:, None] - rows / 2, np.arange(columns)[None, :] - columns / 2
    for number in range(int(rng.integers(4, 9))):
        angle = rng.uniform(0, np.pi)
        offset = rng.uniform(-0.3, 0.3) * min(rows, columns)
        width = rng.uniform(0.005, 0.02) * min(rows, columns) + 0.5
        line = np.abs(y * np.cos(angle) + x * np.sin(angle) - offset) < width
        out[line] = level if number % 2 else out[line] * 3
    return out


def _blank(image: Floats32, rng: np.random.Generator, level: float) -> Floats32:
    """A part of the section is missing."""
    return np.where(ellipse(image.shape, rng, (0.3, 0.6)), np.float32(level), image)


def _blur(image: Floats32, rng: np.random.Generator, level: float) -> Floats32:
    """Far out of focus."""
    return np.asarray(scipy.ndimage.gaussian_filter(image, rng.uniform(6, 12), mode="wrap"), dtype=np.float32)


def _saturate(image: Floats32, rng: np.random.Generator, level: float) -> Floats32:
    """A part so bright that the camera clips."""
    return np.where(ellipse(image.shape, rng, (0.08, 0.3)), _SATURATED, image)


_DAMAGES: dict[str, _Damage] = {
    "fold": _fold,
    "scratch": _scratch,
    "blank": _blank,
    "blur": _blur,
    "saturated": _saturate,
}
DAMAGES = tuple(_DAMAGES)
