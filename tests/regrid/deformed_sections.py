"""A volume whose sections are shifted along z by a smooth function of place."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter

FINE = 4


@dataclass(frozen=True)
class Deformed:
    """``planes`` (n, size, size) of uint16, and the position (n, size, size) along z that each pixel shows."""

    planes: np.ndarray
    positions: np.ndarray

    def at(self, rows, columns):
        """Positions (n, gy, gx) at the pixels nearest to centres, without what similarities cannot tell.

        That is an offset and a scale at each place: those nearest to the means over the sections are taken.
        """
        n = len(self.positions)
        picked = self.positions[:, np.rint(rows).astype(int)[:, None], np.rint(columns).astype(int)].reshape(n, -1)
        middle = self.positions.reshape(n, -1).mean(axis=1)
        middle = (middle - middle[0]) / (middle[-1] - middle[0]) * (n - 1)
        fitted = [np.polyval(np.polyfit(one, middle, 1), one) for one in picked.T]
        return np.stack(fitted, axis=1).reshape(n, len(rows), len(columns))


def deformed_sections(n=96, size=128, amplitude=2.0, seed=0, length=5.0):
    """Sections at uneven positions, lifted by up to ``amplitude`` sections on one side and sunk on the other."""
    rng = np.random.default_rng(seed)
    depth = int((n + 2 * amplitude + 12) * FINE)
    texture = rng.normal(size=(depth, size, size)).astype(np.float32)
    texture = gaussian_filter(texture, (length * FINE / 2, 1, 1))
    texture /= texture.std()
    z = np.cumsum(np.clip(rng.normal(1, 0.2, n), 0.4, 2))
    z = (z - z[0]) / (z[-1] - z[0]) * (n - 1)
    rows, columns = np.mgrid[:size, :size]
    place = np.sin(np.pi * (columns / size - 0.5)) * np.cos(np.pi * (rows / size - 0.5) / 2)
    along = np.sin(4 * np.pi * np.arange(n) / n)
    positions = z[:, None, None] + amplitude * along[:, None, None] * place
    planes = np.empty((n, size, size), np.uint16)
    for plane, position in zip(planes, (positions + amplitude + 4) * FINE, strict=True):
        low = position.astype(int)
        part = position - low
        value = (1 - part) * texture[low, rows, columns] + part * texture[low + 1, rows, columns]
        plane[...] = 600 + 100 * value + rng.normal(0, 10, value.shape)
    return Deformed(planes, positions)
