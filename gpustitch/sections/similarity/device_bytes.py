"""Device memory of preparing and comparing planes: :mod:`gpustitch.array.stated`."""

from __future__ import annotations

import math

import numpy as np

from gpustitch.array.stated import Shaped, states
from gpustitch.ops.device_bytes import gaussian_bytes
from gpustitch.sections.similarity.banded import banded_correlation
from gpustitch.sections.similarity.binning import bin_planes
from gpustitch.sections.similarity.blocks import default_block
from gpustitch.sections.similarity.high_pass import less_gaussian
from gpustitch.sections.similarity.laid import texture_of
from gpustitch.sections.similarity.register import MOST_PIXELS, Registration
from gpustitch.sections.similarity.similarity_rows import SEGMENT, tiles_of

# Its mean, its scale and the like.
_OF_PLANE_BYTES = 256


@states(bin_planes)
def bin_planes_bytes(planes: Shaped, factors: tuple[int, int], mask: Shaped | None = None) -> int:
    """Sums along the rows of blocks and along both axes; where pixels may be unused also these, and the others as 0."""
    down, across = factors
    binned = planes.size // (down * across)
    if mask is None and planes.dtype.kind != "f":
        fits = planes.dtype.kind == "u" and (down * across) << (8 * planes.dtype.itemsize) < 1 << 32
        wide = 4 if fits else 8
        return max(wide * (planes.size // down + 2 * binned), (wide + 12) * binned)
    return (1 + planes.dtype.itemsize) * planes.size + 8 * (planes.size // down + 4 * binned)


@states(less_gaussian)
def less_gaussian_bytes(plane: Shaped, sigma_px: float) -> int:
    """Seven planes of float32 and which pixels are used, and what the Gaussian takes inside."""
    return (7 * 4 + 1) * plane.size + gaussian_bytes(plane, sigma_px)


@states(texture_of)
def texture_of_bytes(plane: Shaped) -> int:
    """Seven planes of float32 and which pixels are used, and what the Gaussian takes inside."""
    return (7 * 4 + 1) * plane.size + gaussian_bytes(plane, 1.0)


@states(banded_correlation)
def banded_correlation_bytes(planes: Shaped, max_lag: int, mask: Shaped | None = None) -> int:
    """The rows of a block and of the planes before it, and their products."""
    n, rows, columns = planes.shape
    excluded = planes.dtype.kind == "f" or (mask is not None and mask.ndim == 3)
    return _ring_bytes((rows, columns), max_lag, min(default_block(max_lag), n), some_excluded=excluded)


@states(Registration)
def registration_bytes(
    shape: tuple[int, int], reach_px: float, degree: int, max_lag: int, *, follows: bool = True
) -> int:
    """Of the registration and of what it does with a plane, which is of float32.

    Shifts are found on a small plane, whose texture, spectra and displacement take 18 of its size and what the Gaussian
    takes inside. Four stay while the plane itself is moved, which takes ten of its own.
    """
    factor = max(1, math.ceil(math.sqrt(math.prod(shape) / MOST_PIXELS)))
    small = Shaped((shape[0] // factor, shape[1] // factor), np.dtype(np.float32))
    whole = 4 * math.prod(shape)
    return max(whole + 18 * small.nbytes + gaussian_bytes(small, 1.0), 4 * small.nbytes + 10 * whole)


def comparison_bytes(planes: Shaped, max_lag: int, block: int, *, some_excluded: bool) -> int:
    """Most bytes of a device that comparing a stack takes.

    Parameters
    ----------
    planes
        The planes that are there at the same time, as they are compared but for their type.
    max_lag, block
        As of :class:`gpustitch.sections.similarity.banded.BandedCorrelation`.
    some_excluded
        Whether pixels are excluded in some planes: then planes are float32, and prepared one by one.
    """
    rows, columns = planes.shape[1:]
    plane = Shaped((rows, columns), np.dtype(np.float32))
    prepared = 4 * planes.size + max(less_gaussian_bytes(plane, 1.0), texture_of_bytes(plane)) if some_excluded else 0
    return planes.nbytes + prepared + _ring_bytes((rows, columns), max_lag, block, some_excluded=some_excluded)


def _ring_bytes(shape: tuple[int, int], max_lag: int, block: int, *, some_excluded: bool) -> int:
    n_rows = max_lag + block
    tiles, width = tiles_of(shape)
    moments = block * (24 * -(-math.prod(shape) // SEGMENT) + _OF_PLANE_BYTES)
    return n_rows * tiles * width * (5 if some_excluded else 4) + 4 * tiles * n_rows * n_rows + moments
