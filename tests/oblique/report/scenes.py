"""Upright tiles cut out of one random texture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from gpustitch.model import Box, Coverage, PlacedVolume, Spacing
from gpustitch.ops.padded import padded

SPACING = Spacing(1.2, 1.8, 1.3)


@dataclass(frozen=True)
class ArrayTile:
    """An array (z, y, x) as a volume."""

    voxels: npt.NDArray[np.float32]
    spacing: Spacing = SPACING

    @property
    def dtype(self) -> np.dtype[np.float32]:
        return self.voxels.dtype

    @property
    def coverage(self) -> Coverage:
        z, y, x = self.voxels.shape
        return Coverage(x, y, z)

    def read(self, box: Box) -> npt.NDArray[np.float32]:
        shape = self.voxels.shape
        return padded(box, (shape[0], shape[1], shape[2]), self.dtype, lambda inside: self.voxels[inside.slices()])


def texture(shape: tuple[int, int, int], seed: int, light: float = 600.0) -> npt.NDArray[np.float32]:
    """Structures of a few voxels upon an even level."""
    rough = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), 2.0)
    return np.asarray(light + 120 * rough / rough.std(), np.float32)


def row_of_tiles(
    seed: int, n: int = 2, size: tuple[int, int, int] = (40, 80, 90), step: int = 50, noise: float = 8.0
) -> dict[str, PlacedVolume]:
    """Tiles one after the other along y, where they truly are; their noise is their own."""
    whole = texture((size[0], size[1] + step * (n - 1), size[2]), seed)
    rng = np.random.default_rng([seed, 1])
    tiles = {}
    for k in range(n):
        cut = whole[:, k * step : k * step + size[1]]
        voxels = (cut + rng.normal(0, noise, cut.shape)).astype(np.float32)
        name = f"0_{k * step * 18}_0"
        tiles[name] = PlacedVolume(name, ArrayTile(voxels), (0.0, float(k * step), 0.0))
    return tiles
