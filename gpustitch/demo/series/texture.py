"""A random texture that can be evaluated at any depth, so that its sections need no stored volume."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import scipy

from gpustitch.errors import ParameterError
from gpustitch.model.arrays import Floats, Floats32

# Standard deviation of the kernel along z, in layers: correlation then ripples by 2 exp(-(pi * 1.2)**2) = 1e-6.
_KERNEL_LAYERS = 1.2
# Layers on either side that make a depth; the next layer would weigh exp(-(6 / 1.2)**2 / 2) = 4e-6.
_SIDE_LAYERS = 6


class LayeredTexture:
    """Gaussian random field of mean 0 and standard deviation 1 on a periodic plane, at any depth along z.

    Smoothed white noise lies in layers at equal distances. A plane at depth z is the sum of nearby layers, weighted by
    a Gaussian of their distance. Weights are scaled to a variance of 1. Planes ``d`` apart therefore have the expected
    correlation ``exp(-(d / length)**2)`` everywhere. Chance adds to it, as a plane has few independent patches.
    Several components of different length add up to a curve with a longer tail.

    Parameters
    ----------
    shape
        (rows, columns).
    seed
        Seed of all layers; each layer depends on its number alone, so depths may be asked for in any order.
    length_px
        Distance within the plane at which correlation has fallen to 1/e, in pixels.
    components
        For each component, its share of the variance and its length along z: the correlation falls to 1/e over this
        length. Shares are divided by their sum.

    Notes
    -----
    The last used layers are kept: 13 for each component, float32.
    """

    def __init__(
        self, shape: tuple[int, int], seed: int, length_px: float, components: tuple[tuple[float, float], ...]
    ) -> None:
        if length_px < 0 or not components or min(min(c) for c in components) <= 0:
            raise ParameterError("a texture takes lengths and shares above 0")
        self._shape, self._seed, self._sigma_px = shape, seed, length_px / 2
        total = sum(share for share, _ in components)
        self._amplitudes = [math.sqrt(share / total) for share, _ in components]
        self._layers_per_z = [2 * _KERNEL_LAYERS / length for _, length in components]
        self._kept: list[dict[int, Floats32]] = [{} for _ in components]

    def at(self, z: float) -> Floats32:
        """The plane at depth z, float32 (rows, columns)."""
        image: Floats32 = np.zeros(self._shape, np.float32)
        for component, (amplitude, per_z) in enumerate(zip(self._amplitudes, self._layers_per_z, strict=True)):
            numbers, weights = layer_weights(z * per_z)
            kept = self._kept[component]
            self._kept[component] = {n: kept[n] if n in kept else self._layer(component, n) for n in map(int, numbers)}
            for layer, weight in zip(self._kept[component].values(), weights, strict=True):
                image += layer * np.float32(amplitude * weight)
        return image

    def correlation(self, distance: npt.ArrayLike) -> Floats:
        """Expected correlation of two planes at a distance along z."""
        d = np.asarray(distance, dtype=np.float64)
        curve = np.zeros(d.shape)
        for amplitude, per_z in zip(self._amplitudes, self._layers_per_z, strict=True):
            curve += amplitude**2 * np.exp(-((d * per_z / (2 * _KERNEL_LAYERS)) ** 2))
        return curve

    def _layer(self, component: int, number: int) -> Floats32:
        """Smoothed noise of mean 0 and standard deviation 1; negative numbers are layers too."""
        rng = np.random.default_rng([self._seed, 31, component, abs(number), int(number < 0)])
        noise = rng.standard_normal(self._shape, dtype=np.float32)
        if self._sigma_px > 0:
            noise = scipy.ndimage.gaussian_filter(noise, self._sigma_px, mode="wrap")
        noise -= noise.mean(dtype=np.float64)
        scatter = noise.std(dtype=np.float64)
        return np.asarray(noise / (scatter or 1), dtype=np.float32)


def layer_weights(at: float) -> tuple[npt.NDArray[np.int64], Floats]:
    """Numbers of the layers that make a depth (in layers), and their weights; squares of weights add up to 1."""
    first = math.floor(at) - _SIDE_LAYERS
    numbers = np.arange(first, first + 2 * _SIDE_LAYERS + 1)
    weights = np.exp(-0.5 * ((numbers - at) / _KERNEL_LAYERS) ** 2)
    return numbers, weights / np.sqrt(np.square(weights).sum())
