"""Stripes removed by comparing local percentiles along the sheet and around a pixel (ClearMap's correction)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from gpustitch.array import Array, namespace
from gpustitch.errors import ParameterError

BACKGROUND_SPACING_PX = 25
BACKGROUND_STEP_PX = 2


@dataclass(frozen=True)
class LightsheetOptions:
    """How stripes along the rows are estimated.

    Parameters
    ----------
    artifact_length
        Length of the window along the rows, in pixels.
    background_window_size
        Side of the square window, in pixels.
    percentile
        Fraction of a window's pixels below its estimate, 0 to 1.
    lightsheet_vs_background
        The background counts this many times when it is compared with the estimate along the rows.
    """

    artifact_length: int = 150
    background_window_size: int = 200
    percentile: float = 0.25
    lightsheet_vs_background: float = 2.0

    def __post_init__(self) -> None:
        for name, length in (
            ("--artifact-length", self.artifact_length),
            ("--background-window-size", self.background_window_size),
        ):
            if length < 1:
                raise ParameterError(f"{name} must be at least 1 pixel, not {length}")
        if not 0 <= self.percentile <= 1:
            raise ParameterError(f"--percentile must be from 0 to 1, not {self.percentile}")
        if not (math.isfinite(self.lightsheet_vs_background) and self.lightsheet_vs_background >= 0):
            raise ParameterError(f"--lightsheet-vs-background must not be negative: {self.lightsheet_vs_background}")


def destripe_lightsheet(image: Array, options: LightsheetOptions) -> Array:
    """Float32 image less the stripes: ``I - min(I, line, weight * background)``."""
    xp = namespace(image)
    line, background = line_estimate(image, options), background_estimate(image, options)
    stripe = xp.minimum(line, options.lightsheet_vs_background * background)
    return (image - xp.minimum(image, stripe)).astype(np.float32)  # type: ignore[no-any-return]


def line_estimate(image: Array, options: LightsheetOptions) -> Array:
    """Percentile along the rows, float32, full size."""
    size = (1, options.artifact_length)
    return _local_percentile(image, size, size, (1, 1), options.percentile)


def background_estimate(image: Array, options: LightsheetOptions) -> Array:
    """Percentile in a square window, float32, full size."""
    size, spacing, step = options.background_window_size, BACKGROUND_SPACING_PX, BACKGROUND_STEP_PX
    return _local_percentile(image, (size, size), (spacing, spacing), (step, step), options.percentile)


def centres(length: int, spacing: int) -> Array:
    """Window centres along an axis: as many as fit at this spacing, at least one, in its middle."""
    count = max(1, length // spacing)
    first = (length - (count - 1) * spacing) // 2
    return np.arange(count) * spacing + first


def _local_percentile(
    image: Array, size: tuple[int, int], spacing: tuple[int, int], step: tuple[int, int], percentile: float
) -> Array:
    xp = namespace(image)
    rows, columns = (centres(n, s) for n, s in zip(image.shape, spacing, strict=True))
    values = np.empty((len(rows), len(columns)), np.float32)
    for i, r in enumerate(rows):
        for j, c in enumerate(columns):
            window = image[_window(r, size[0], step[0]), _window(c, size[1], step[1])]
            values[i, j] = np.percentile(window, 100 * percentile)
    at = [
        xp.linspace(0, len(found) - 1, n) if n > 1 else xp.zeros(1)
        for found, n in zip((rows, columns), image.shape, strict=True)
    ]
    from scipy.ndimage import map_coordinates

    return map_coordinates(values, np.meshgrid(*at, indexing="ij"), order=1)  # type: ignore[no-any-return]


def _window(centre: int, size: int, step: int) -> slice:
    first = centre - size // 2
    return slice(max(0, first), first + size, step)
