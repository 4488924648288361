"""Two strips and mirror images of one, correlated at every shift on a device: one copy to it, and one wait.

On the host ``strip`` and ``whole``, beside this module, do the same.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
import scipy

from gpustitch.array import Array, namespace, scipy_of
from gpustitch.model import ZYX
from gpustitch.oblique.align.shifts.bins import bin_means, less_levels
from gpustitch.oblique.align.shifts.shared_sums import (
    MASKED_PAIRS,
    PAIRS,
    SUMS,
    mirrored_products,
    range_sums,
    shared_sums,
)
from gpustitch.oblique.align.shifts.strip import COVERED, LEAST_WEIGHT
from gpustitch.ops.smooth import smooth_all_axes


@dataclass(frozen=True)
class Layout:
    """Shapes of two arrays (z, y, x) of bins, first and last shift between them, and whether masks say what counts."""

    fixed: ZYX
    moving: ZYX
    low: ZYX
    high: ZYX
    is_masked: bool

    @property
    def counts(self) -> ZYX:
        """How many shifts there are on each axis."""
        z, y, x = (hi - lo + 1 for lo, hi in zip(self.low, self.high, strict=True))
        return z, y, x

    @property
    def padded(self) -> ZYX:
        """Shape of transforms, long enough that no product wraps round onto a shift in reach."""
        of_axes = zip(self.fixed, self.moving, self.low, self.high, strict=True)
        z, y, x = (int(scipy.fft.next_fast_len(max(b - lo, a + hi, b, a), True)) for a, b, lo, hi in of_axes)
        return z, y, x

    @property
    def room(self) -> int:
        """Bins of the larger array."""
        return max(math.prod(self.fixed), math.prod(self.moving))

    @property
    def pairs(self) -> tuple[tuple[int, int], ...]:
        """Which spectra are multiplied."""
        return MASKED_PAIRS if self.is_masked else PAIRS

    def summed(self, done: int) -> list[ZYX]:
        """Shapes of both arrays and of both squared, after sums over ranges along the first ``done`` axes."""
        shapes: list[ZYX] = []
        for own, times in ((self.fixed, 2), (self.moving, 1)):
            z, y, x = (times * k if i < done else n for i, (k, n) in enumerate(zip(self.counts, own, strict=True)))
            shapes.append((z, y, x))
        return 2 * shapes

    def tables(self, mirrors: Sequence[Sequence[int]]) -> Tables[npt.NDArray[Any]]:
        """Numbers that go along to a device, with the axes of each image that are turned round."""
        shapes = [self.fixed, self.moving]
        return Tables(
            np.array(2 * shapes, np.int64),
            np.array([math.prod(shape) for shape in shapes], np.int64),
            np.array([self.summed(done) for done in range(3)], np.int64),
            np.array([self.fixed, self.moving, self.low], np.int64).T.copy(),
            np.array(self.pairs, np.int64),
            np.array([[int(axis in axes) for axis in range(3)] for axes in mirrors], np.int64),
        )


A = TypeVar("A")


class Tables(NamedTuple, Generic[A]):
    """Of a layout, int64: shapes of both arrays and of their weights (4, 3), and how many bins both arrays have (2,).

    ``summed`` (3, 4, 3) are shapes before each pass of sums, ``reach`` (3, 3) of each axis both lengths and the first
    shift. ``pairs`` (p, 2) and ``mirrors`` (images, 3) are those of ``mirrored_products``.
    """

    shapes: A
    sizes: A
    summed: A
    reach: A
    pairs: A
    mirrors: A


def smoothed_strips(
    voxels: Array,
    places: Array,
    binning: ZYX,
    weights: Array,
    divisors: Array,
    gaussians: Sequence[Array],
    layout: Layout,
    tables: Tables[Array],
) -> tuple[Array, Array]:
    """Bin two boxes, and keep what is neither noise nor shading, as ``read_strip`` does.

    Parameters
    ----------
    voxels
        An array (z, y, x) at the beginning of each row, shape (2, ...), uint8, uint16 or float32.
    places
        Their shapes, shape (2, 3), int64.
    binning
        Voxels of a bin (z, y, x).
    weights
        The part of each bin that counts, shape (2, room), float32; without rows all do.
    divisors
        Sums of these weights, shape (2,), float64.
    gaussians
        Weights along z, y and x of the narrow Gaussian, and then of the wide one.
    layout, tables
        Of the bins.

    Returns
    -------
    values, masks
        The bins, 0 where they do not count, and 1 where they do, shape (2, room), float32. Masks have no rows where all
        count.
    """
    xp = namespace(voxels)
    bins, narrow, wide = (xp.empty((2 + len(weights), layout.room), xp.float32) for _ in range(3))
    bin_means(voxels, places, *binning, bins[:2])
    less_levels(bins[:2], tables.sizes, weights, divisors, bins[:2])
    if len(weights):
        bins[2:] = weights
    shapes, room = tables.shapes[: len(bins)], xp.empty_like(bins)
    for out, along in ((narrow, gaussians[:3]), (wide, gaussians[3:])):
        smooth_all_axes(bins, shapes, along, out, room)
    if not len(weights):
        narrow -= wide
        return narrow, weights
    masks = (weights > COVERED).astype(xp.float32)
    for smoothed in (narrow, wide):
        values = smoothed[:2]
        values /= xp.maximum(smoothed[2:], LEAST_WEIGHT)
    return xp.where(masks > 0, narrow[:2] - wide[:2], xp.float32(0)), masks


def images_shared(
    values: Array, masks: Array, divisors: Array, layout: Layout, tables: Tables[Array], at_once: int
) -> Array:
    """What two arrays share at each shift, of the first as it is and mirrored: what ``shared_sums`` writes.

    Parameters
    ----------
    values, masks
        What :func:`smoothed_strips` gives; masks of a layout that has none are left out.
    divisors
        How many bins both have, shape (2,), float64.
    layout, tables
        Of the bins.
    at_once
        How many images are transformed at a time.
    """
    xp, fft = namespace(values), scipy_of(values).fft
    levelled = xp.empty_like(values)
    # Sums of squares less the square of a sum: without a common level little is lost.
    less_levels(values, tables.sizes, masks, divisors, levelled)
    n = layout.padded
    spectra = [
        xp.ascontiguousarray(fft.rfftn(xp.stack(_parts(levelled, masks, row, shape)), n, (1, 2, 3))).view(xp.float32)
        for row, shape in enumerate((layout.fixed, layout.moving))
    ]
    sums = xp.empty((0, 0), xp.float64) if layout.is_masked else _over_boxes(levelled, layout, tables)
    del levelled
    images, n_pairs = len(tables.mirrors), len(layout.pairs)
    out: Array = xp.empty((images, SUMS, *layout.counts), xp.float64)
    for first in range(0, images, at_once):
        mirrors = tables.mirrors[first : first + at_once]
        products = xp.empty((len(mirrors) * n_pairs, *spectra[0].shape[1:]), xp.float32)
        mirrored_products(spectra[0], spectra[1], tables.pairs, mirrors, products)
        found = fft.irfftn(products.view(xp.complex64), n, (1, 2, 3), overwrite_x=True)
        del products
        shared_sums(found, sums, tables.reach, mirrors, out[first : first + at_once])
    return out


def _parts(values: Array, masks: Array, row: int, shape: ZYX) -> list[Array]:
    """What is transformed of an array: its values, and where masks are given also these and squares."""
    size = math.prod(shape)
    own = values[row, :size].reshape(shape)
    return [own, masks[row, :size].reshape(shape), own * own] if len(masks) else [own]


def _over_boxes(values: Array, layout: Layout, tables: Tables[Array]) -> Array:
    """Sums over what is shared at each shift, of both arrays and of their squares, with those of mirror images."""
    xp = namespace(values)
    for axis in range(3):
        room = max(math.prod(shape) for shape in layout.summed(axis + 1))
        out = xp.empty((4, room), xp.float64)
        range_sums(
            values, tables.summed[axis], axis, layout.fixed[axis], layout.moving[axis], layout.low[axis],
            layout.counts[axis], out,
        )  # fmt: skip
        values = out
    return values
