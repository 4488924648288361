"""Device memory of operations of no mission: :mod:`gpustitch.array.stated`."""

from __future__ import annotations

import math
from collections.abc import Sequence

from gpustitch.array.stated import Shaped, states
from gpustitch.model import ZYX
from gpustitch.ops.pyramid import downsample
from gpustitch.ops.smooth import gaussian, smooth


@states(smooth)
def smooth_bytes(volume: Shaped, sigma_px: Sequence[float], keep: Sequence[slice] = (slice(None),) * 3) -> int:
    """Two of the products, and the copies in which a library of matrices lays out what it multiplies."""
    depth, height, width = volume.shape
    kept = [len(range(n)[k]) for n, k in zip(volume.shape, keep, strict=True)]
    as_float = 0 if volume.dtype == "float32" else volume.size
    first, second = height * kept[0] * width, kept[0] * kept[1] * width
    matrices = kept[0] * depth + kept[1] * height + kept[2] * width
    return 4 * (as_float + volume.size + 2 * first + max(second, 2 * math.prod(kept)) + matrices)


@states(gaussian)
def gaussian_bytes(image: Shaped, sigma_px: float) -> int:
    """The result, and one array for each of two axes on the way to it."""
    return 3 * image.size * max(4, image.dtype.itemsize)


@states(downsample)
def downsample_bytes(volume: Shaped, method: str = "mean", factors: ZYX = (2, 2, 2)) -> int:
    """The result."""
    return math.prod(-(-n // of_cell) for n, of_cell in zip(volume.shape, factors, strict=True)) * volume.dtype.itemsize
