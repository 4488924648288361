"""Parts of an overlap compared one after the other: correlation at every shift, of all parts so far."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from gpustitch.array import Array, Device, fetched, namespace, on, sent
from gpustitch.array.packed import Packed
from gpustitch.array.stated import Shaped
from gpustitch.model import ZYX, Box
from gpustitch.model.arrays import Bools, Floats, Floats32
from gpustitch.oblique.align.points import Overlap
from gpustitch.oblique.align.shifts.device_bytes import images_shared_bytes
from gpustitch.oblique.align.shifts.images import Layout, Tables, images_shared, smoothed_strips
from gpustitch.oblique.align.shifts.parts import Part
from gpustitch.oblique.align.shifts.shared_sums import KEPT, SUMS, add_shared, correlations
from gpustitch.oblique.align.shifts.strip import COVERED, RawStrip, Strip, both_sigmas, raw_strip, read_strip
from gpustitch.oblique.align.shifts.whole import FAINT, ROUNDING, Comparison, Shared, pearson
from gpustitch.ops.smooth import gaussian_weights

# Of each image the correlation at every shift, and of how many voxels it is.
Maps = list[tuple[Floats, Floats]]


class PartsCompared:
    """Correlation of parts of an overlap in bins, for the fixed tile and for its mirror images.

    Parameters
    ----------
    overlap
        Tiles without shear, and the assumed offset.
    binning
        Voxels (z, y, x) of a bin.
    sigma
        Smoothing (z, y, x) in bins.
    images
        Axes along which each image is turned round.
    device
        Where it is computed.
    counts_products
        Whether :attr:`products` are summed up.
    """

    def __init__(
        self,
        overlap: Overlap,
        binning: ZYX,
        sigma: tuple[float, float, float],
        images: Sequence[tuple[int, ...]],
        device: Device,
        *,
        counts_products: bool = False,
    ) -> None:
        self._overlap, self._binning, self._sigma, self._images = overlap, binning, sigma, images
        self._device, self._counts_products = device, counts_products
        self._sums: list[list[Shared]] = [[] for _ in images]
        self._sums_there: Array | None = None
        # Sums of the products of bins at the assumed offset, and of their squares.
        self.products = (0.0, 0.0)

    def add(self, part: Part, low: ZYX, high: ZYX) -> Maps:
        """Compare one more part at shifts of ``low`` to ``high`` bins; what all parts so far give."""
        here, there = part.fixed, self._begun_alike(part)
        # Both strips begin on the same grid of bins, displaced by whole ones.
        base = [
            (a - b - o) // n
            for a, b, o, n in zip(here.start, there.start, self._overlap.offset, self._binning, strict=True)
        ]
        compared = self._on_device if self._device.is_cuda else self._on_host
        return compared(here, there, _add(base, low), _add(base, high))

    def _begun_alike(self, part: Part) -> Box:
        """The moving box without voxels before the first bin that matches one of the fixed box."""
        starts = zip(part.fixed.start, part.moving.start, self._overlap.offset, self._binning, strict=True)
        return Box(_add(part.moving.start, [(a - b - o) % n for a, b, o, n in starts]), part.moving.stop)

    def _on_host(self, here: Box, there: Box, low: ZYX, high: ZYX) -> Maps:
        fixed = read_strip(self._overlap.fixed, here, self._binning, self._sigma)
        moving = read_strip(self._overlap.moving, there, self._binning, self._sigma)
        if self._counts_products:
            self._count(*_products(fixed.voxels, moving.voxels))
        comparison = Comparison(fixed.voxels, moving.voxels, low, high, _masks(fixed, moving))
        for axes, of_image in zip(self._images, self._sums, strict=True):
            of_image.append(comparison.sums(axes))
        return [pearson(of_image) for of_image in self._sums]

    def _on_device(self, here: Box, there: Box, low: ZYX, high: ZYX) -> Maps:
        raw = [
            raw_strip(volume, box, self._binning)
            for volume, box in ((self._overlap.fixed, here), (self._overlap.moving, there))
        ]
        if raw[0].binning != raw[1].binning:
            # One tile makes means itself.
            raw = [strip.in_bins() for strip in raw]
        weights = _weights(raw)
        is_masked = any(strip.weight is not None and not (strip.weight > COVERED).all() for strip in raw)
        layout = Layout(raw[0].shape, raw[1].shape, low, high, is_masked)
        # What levels are divided by: of bins what counts, of what is left of them their number.
        sizes = [float(math.prod(strip.shape)) for strip in raw]
        counts = [n if s.weight is None else max(1.0, float(s.weight.sum())) for s, n in zip(raw, sizes, strict=True)]
        numbers = layout.tables(self._images)
        packed = Packed(
            [strip.voxels for strip in raw],
            [
                np.array([strip.voxels.shape for strip in raw], np.int64),
                np.array([counts, sizes]),
                *numbers,
                weights,
                *(gaussian_weights(s) for sigma in both_sigmas(self._sigma) for s in sigma),
            ],
        )
        with on(self._device):
            voxels, places, divisors, *rest = packed.parts(sent(packed.host, self._device))
            tables: Tables[Array] = Tables(*rest[: len(numbers)])
            weight, *gaussians = rest[len(numbers) :]
            values, masks = smoothed_strips(
                voxels, places, raw[0].binning, weight, divisors[0], gaussians, layout, tables
            )
            if not is_masked:
                masks = masks[:0]
            shapes = enumerate((layout.fixed, layout.moving))
            own = (values[i, : math.prod(shape)].reshape(shape) for i, shape in shapes)
            products = fetched(_products(*own)) if self._counts_products else np.zeros(2)
            shared = images_shared(values, masks, divisors[1], layout, tables, self._at_once(layout, masks, tables))
            maps = fetched(self._correlated(shared))
        self._count(*products)
        return [(r.reshape(layout.counts), n.reshape(layout.counts)) for r, n in maps]

    def _at_once(self, layout: Layout, masks: Array, tables: Tables[Array]) -> int:
        """How many images are transformed at a time: all, if half of the memory suffices."""
        values, divisors = Shaped((2, layout.room), np.dtype(np.float32)), Shaped((2,), np.dtype(np.float64))
        own = Shaped(masks.shape, np.dtype(np.float32))
        shaped: Tables[Shaped] = Tables(*(Shaped(t.shape, t.dtype) for t in tables))
        memory, n = self._device.memory_bytes, len(self._images)
        while (
            memory is not None and n > 1 and images_shared_bytes(values, own, divisors, layout, shaped, n) > memory // 2
        ):
            n -= 1
        return n

    def _correlated(self, shared: Array) -> Array:
        """Correlations, and numbers of voxels, of what was shared before and now, shape (images, 2, shifts)."""
        xp = namespace(shared)
        images, n_shifts = shared.shape[0], math.prod(shared.shape[2:])
        sums = shared.reshape(images, SUMS, n_shifts)
        if self._sums_there is None:
            self._sums_there = xp.zeros((images, KEPT, n_shifts), xp.float64)
        total = self._sums_there
        add_shared(sums, sums[:, KEPT:].max(axis=2), ROUNDING, total)
        maps: Array = xp.empty((images, 2, n_shifts), xp.float64)
        correlations(total, total[:, 2:].max(axis=2), FAINT**2, maps)
        return maps

    def _count(self, products: float, squares: float) -> None:
        self.products = self.products[0] + float(products), self.products[1] + float(squares)


def _weights(raw: Sequence[RawStrip]) -> Floats32:
    """How much each bin counts, shape (2, room); without rows if all count."""
    room = max(math.prod(strip.shape) for strip in raw)
    if all(strip.weight is None for strip in raw):
        return np.zeros((0, room), np.float32)
    weights = np.ones((len(raw), room), np.float32)
    for row, strip in zip(weights, raw, strict=True):
        if strip.weight is not None:
            row[: strip.weight.size] = strip.weight.ravel()
    return weights


def _products(fixed: Array, moving: Array) -> Array:
    """Sum of the products of bins of both arrays that lie at one place, and of their squares, shape (2,)."""
    xp = namespace(fixed)
    both = tuple(slice(0, min(m, n)) for m, n in zip(fixed.shape, moving.shape, strict=True))
    products = fixed[both] * moving[both]
    sums: Array = xp.stack([products.sum(dtype=xp.float64), (products.astype(xp.float64) ** 2).sum()])
    return sums


def _masks(fixed: Strip, moving: Strip) -> tuple[Bools, Bools] | None:
    if fixed.mask is None and moving.mask is None:
        return None
    a, b = (np.ones(s.voxels.shape, np.bool_) if s.mask is None else s.mask for s in (fixed, moving))
    return a, b


def _add(a: Sequence[int], b: Sequence[int]) -> ZYX:
    z, y, x = (p + q for p, q in zip(a, b, strict=True))
    return z, y, x
