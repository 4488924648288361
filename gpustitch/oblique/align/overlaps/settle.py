"""The one place where a whole overlap fits best, near a place that is known."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import numpy as np

from gpustitch.array import Device
from gpustitch.model import ZYX
from gpustitch.model.arrays import PxZYX
from gpustitch.oblique.align.overlaps.candidates import compared_parts, holds_bins
from gpustitch.oblique.align.overlaps.peaks import Peak, Spread, place_of_peak
from gpustitch.oblique.align.points import Overlap, nearest_voxel
from gpustitch.oblique.align.shifts.maps import Maps, PartsCompared
from gpustitch.oblique.align.shifts.parts import parts_of

# An overlap of less than so many standard deviations of the smoothing, bins, is not cut: little would be left of it.
_THICK = 5.0
_ROUNDS = 4  # Most steps to the place at which both tiles are cut alike.
# Least and greatest correlation of a whole overlap for its standard error.
_LEAST_CORRELATION, _SUREST_CORRELATION = 0.1, 0.999


@dataclass(frozen=True)
class Settled:
    """The one place of an overlap, and how many structures of the size of its peak, at least 1, put it there."""

    peak: Peak
    n_structures: float

    @property
    def error(self) -> float:
        """By which part of its reach what does not correlate lets the peak be off."""
        r = min(max(self.peak.correlation, _LEAST_CORRELATION), _SUREST_CORRELATION)
        return math.sqrt((1 - r**2) / self.n_structures) / r


def settle(
    overlap: Overlap,
    near_px: ZYX,
    sigma_um: float,
    rng: np.random.Generator,
    device: Device,
    binning: ZYX = (1, 1, 1),
) -> Settled | None:
    """The best place within ``near_px`` voxels (z, y, x) of the assumed offset, without bins or in fine ones.

    None if the best one is at the end of the reach. For overlaps that show so little that windows miss it.
    """
    z, y, x = (sigma_um / um / n for um, n in zip(overlap.fixed.spacing.zyx_um, binning, strict=True))
    parts = list(parts_of(overlap, near_px, rng))
    found = compared_parts(overlap, parts, near_px, near_px, binning, device, (z, y, x))
    best = found.peaks[0] if found.peaks else None
    limits = zip(best.offset_px, overlap.offset, near_px, binning, strict=True) if best else ()
    if best is None or any(abs(v - o) > n - k for v, o, n, k in limits):
        return None
    seed, n_bins = int(rng.integers(2**32)), 0.0
    for _ in range(_ROUNDS):
        place = nearest_voxel(best.offset_px)
        here = dataclasses.replace(overlap, offset=place)
        closer, n_bins = _at_place(here, binning, (z, y, x), np.random.default_rng(seed), device)
        if closer is None or not _is_thick(here, binning, (z, y, x)):
            break
        best = dataclasses.replace(best, offset_px=closer[0], spread=closer[1], correlation=closer[2])
        if nearest_voxel(best.offset_px) == place:
            break
    one_px = math.pi**1.5 * math.sqrt(float(np.prod(np.diag(best.spread))))
    return Settled(best, max(1.0, n_bins * math.prod(binning) / max(one_px, 1.0)))


def _is_thick(overlap: Overlap, binning: ZYX, sigma: tuple[float, float, float]) -> bool:
    """Whether there is much to compare along each axis on which the tiles do not lie wholly beside each other."""
    shapes = (overlap.shared[0].shape, overlap.fixed.coverage.shape, overlap.moving.coverage.shape)
    return all(n == a == b or n >= _THICK * k * s for n, a, b, k, s in zip(*shapes, binning, sigma, strict=True))


def _at_place(
    overlap: Overlap, binning: ZYX, sigma: tuple[float, float, float], rng: np.random.Generator, device: Device
) -> tuple[tuple[PxZYX, Spread, float] | None, float]:
    """Offset, spread and correlation of the peak at the assumed offset, if any, and how many bins make it up.

    Both boxes hold the same. So what lies beyond their ends is smoothed into neither. Were it smoothed into one of
    them, a bright object there would displace the peak.

    The number of bins is (sum of products)^2 / sum of their squares.
    """
    compared = PartsCompared(overlap, binning, sigma, [()], device, counts_products=True)
    maps: Maps = []
    for part in (p for p in parts_of(overlap, (0, 0, 0), rng) if holds_bins(p, binning)):
        maps = compared.add(part, (-1, -1, -1), (1, 1, 1))
    if not maps:
        return None, 0.0
    around, (total, squares) = maps[0][0], compared.products
    steps = [o - n * np.arange(-1, 2) for o, n in zip(overlap.offset, binning, strict=True)]
    place, spread = place_of_peak(around, [np.intp(1)] * 3, steps, binning)
    return (place, spread, float(around[1, 1, 1])), total**2 / squares if squares else 0.0
