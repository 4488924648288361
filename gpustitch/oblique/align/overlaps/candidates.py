"""Where an overlap as a whole may fit: peaks of its correlation, judged against those of mirror images."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy

from gpustitch.array import Device
from gpustitch.model import ZYX
from gpustitch.model.arrays import Floats, Integers, PxZYX
from gpustitch.oblique.align.ascend import Between, peak_of_correlation
from gpustitch.oblique.align.overlaps.maps import Maps, PartsCompared
from gpustitch.oblique.align.overlaps.parts import LONGEST_PX, QUICK, Part, parts_of, structure_px, times
from gpustitch.oblique.align.points import Overlap, nearest_voxel

# Mirror images of the fixed tile along these axes: the same spectrum, and no true match.
_MIRRORS = ((0,), (1,), (2,), (0, 1, 2))
# A lone object fits all of them: a tile that is turned over fits one, so many times as well as the others.
_ONE_MIRROR = 2.0
# Most peaks that are kept, and how far they are apart, binned voxels.
_KEPT = 4
_APART = 3
# Bins are first so many times the smallest structure, on each axis, if that many voxels are left to transform. Only
# where that leaves the place open, finer bins are tried, as long as there are no more voxels than that.
_FIRST_FACTOR = 2
_LEAST_VOXELS = 20_000
_MOST_VOXELS = 4_000_000
# A place is trusted that is so sure.
TRUSTED = 0.9
# Where the first parts of an overlap are so sure of a place, the others are not read.
_BEYOND_DOUBT = 0.999
# Places that correlate by this part as much as a peak, or by this part of its Fisher's z, and lead to it without a gap,
# are one place.
_ALIKE, _ALIKE_Z = 0.9, 0.75
_LEAST_INDEPENDENT = 4.0  # Voxels without which a correlation says nothing.
# Peaks lower than this, in standard deviations, are noise whatever the mirror images say.
_LOWEST = 4.0
# An overlap of less than so many standard deviations of the smoothing, bins, is not cut: little would be left of it.
_THICK = 5.0
_ROUNDS = 4  # Most steps to the place at which both tiles are cut alike.
_MEDIAN_SQUARE = 0.4549  # Median of the square of a normal variable.
# Least and greatest correlation of a whole overlap for its standard error.
_LEAST_CORRELATION, _SUREST_CORRELATION = 0.1, 0.999
_VOXEL_BYTES = 40  # For each voxel of a part that is compared without bins, measured.

Spread = tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Peak:
    """An offset (z, y, x) of the moving tile, in voxels, at which the overlap correlates.

    ``height`` is the correlation in standard deviations of what voxels without a true match give. ``spread`` (3, 3) is
    the covariance of the peak, voxels squared, 0 for one at the end of the reach. ``is_drawn_out`` says that places far
    from it, and all between, fit nearly as well: along fibres and layers they do.
    """

    offset_px: PxZYX
    spread: Spread
    correlation: float
    height: float
    is_drawn_out: bool
    confidence: float

    def odds_against(self, offset_px: PxZYX) -> float:
        """Twice the natural logarithm of how much better this offset fits than another one near it, about."""
        r = min(self.correlation, 0.9999)
        off = np.subtract(offset_px, self.offset_px)
        r_there = r * math.exp(-0.5 * float(off @ np.linalg.pinv(np.array(self.spread)) @ off))
        n_independent = (self.height / math.atanh(r)) ** 2
        return n_independent * math.log((1 - r_there**2) / (1 - r**2))


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


@dataclass(frozen=True)
class Found:
    """Peaks of an overlap, the highest first.

    ``mirrored`` is the highest peak of the mirror images, as a height, ``mirror`` its axes if no other fits so well.
    ``n_voxels`` is how many voxels of each tile were read, ``binning`` how many voxels (z, y, x) were taken as one.
    """

    peaks: tuple[Peak, ...]
    mirrored: float
    n_voxels: int
    binning: ZYX
    mirror: tuple[int, ...] = ()


def find_candidates(
    overlap: Overlap,
    reach_px: ZYX,
    sigma_um: float,
    rng: np.random.Generator,
    device: Device,
    *,
    is_quick: bool = False,
) -> Found:
    """Correlate what two tiles may share at all offsets within ``reach_px`` (z, y, x) of the assumed one.

    A small overlap is compared whole, a large one in a few parts, or in fewer if those leave no doubt. Levels and
    shading are taken away first. The same is done with mirror images of the fixed tile. They have the same spectrum and
    no true match. So they tell how high a false peak gets, in texture, among sparse cells or in a repeated pattern.

    Parameters
    ----------
    overlap
        Tiles without shear, and the assumed offset.
    reach_px
        How far the moving tile may be from there on each axis.
    sigma_um
        Size of the smallest structure, um: voxels are binned to it.
    rng
        Chooses the parts of a large overlap.
    device
        Where it is computed.
    is_quick
        Whether a smaller part, one mirror image and the first bins are enough, whatever they leave open.
    """
    extents = [v.coverage.shape for v in (overlap.fixed, overlap.moving)]
    reach_px = _where_shared(overlap, reach_px)
    base = structure_px(overlap.fixed, sigma_um, extents)
    # A peak is seen to be drawn out only in a map that reaches beyond it.
    first = times(base, _FIRST_FACTOR, extents)
    z, y, x = (max(r, (_APART + 1) * n) for r, n in zip(reach_px, first, strict=True))
    wide = z, y, x
    parts = list(parts_of(overlap, wide, rng, *(QUICK if is_quick else ())))
    factor = _FIRST_FACTOR
    least = _LEAST_VOXELS / 8 if is_quick else _LEAST_VOXELS
    while factor > 1 and _transformed(parts, wide, base) / factor**3 < least:
        factor -= 1
    found = _compared(
        overlap,
        parts,
        wide,
        reach_px,
        times(base, factor, extents),
        device,
        enough=_BEYOND_DOUBT,
        n_mirrors=1 if is_quick else len(_MIRRORS),
    )
    while factor > 1 and not is_quick and not (found.peaks and found.peaks[0].confidence >= TRUSTED):
        factor -= 1
        if _transformed(parts, wide, base) / factor**3 > _MOST_VOXELS:
            break
        found = _compared(overlap, parts, wide, reach_px, times(base, factor, extents), device, enough=_BEYOND_DOUBT)
    return found


def _where_shared(overlap: Overlap, reach_px: ZYX) -> ZYX:
    """A reach no further than the tiles share anything."""
    extents = (v.coverage.shape for v in (overlap.fixed, overlap.moving))
    z, y, x = (min(r, a + b + abs(o)) for r, o, a, b in zip(reach_px, overlap.offset, *extents, strict=True))
    return z, y, x


def compared_bytes(extent_px: ZYX, reach_px: ZYX, itemsize: int) -> int:
    """About the most bytes held while parts of two tiles of this extent (planes, rows, frames) are compared.

    That is the larger of two: parts as they are read, and the transforms of parts without bins.
    """
    read = math.prod(min(n, LONGEST_PX + 2 * r) for n, r in zip(extent_px, reach_px, strict=True))
    plain = math.prod(min(n, LONGEST_PX) for n in extent_px)
    return max(3 * read * itemsize, _VOXEL_BYTES * max(plain, min(read, _MOST_VOXELS)))


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
    found = _compared(overlap, parts, near_px, near_px, binning, device, (z, y, x))
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
    for part in (p for p in parts_of(overlap, (0, 0, 0), rng) if _holds_bins(p, binning)):
        maps = compared.add(part, (-1, -1, -1), (1, 1, 1))
    if not maps:
        return None, 0.0
    around, (total, squares) = maps[0][0], compared.products
    steps = [o - n * np.arange(-1, 2) for o, n in zip(overlap.offset, binning, strict=True)]
    place, spread = _place(around, [np.intp(1)] * 3, steps, binning)
    return (place, spread, float(around[1, 1, 1])), total**2 / squares if squares else 0.0


def _compared(
    overlap: Overlap,
    parts: Sequence[Part],
    wide_px: ZYX,
    reach_px: ZYX,
    binning: ZYX,
    device: Device,
    sigma: tuple[float, float, float] = (1.0, 1.0, 1.0),
    enough: float = math.inf,
    n_mirrors: int = len(_MIRRORS),
) -> Found:
    """Correlate parts at one binning within ``wide_px``; peaks are those within ``reach_px``.

    All parts are compared, or a few of them if those have a place that is ``enough`` sure.
    """
    parts = [p for p in parts if _holds_bins(p, binning)]
    if not parts:
        return Found((), 0.0, 0, binning)
    low, high = _shifts(wide_px, binning)
    offsets = [o - n * np.arange(lo, hi + 1) for o, n, lo, hi in zip(overlap.offset, binning, low, high, strict=True)]
    within = [abs(v - o) < r + n for v, o, r, n in zip(offsets, overlap.offset, reach_px, binning, strict=True)]
    images = [(), *_mirrors(parts, binning)[-n_mirrors:]]
    compared, n_voxels = PartsCompared(overlap, binning, sigma, images, device), 0
    # Bins of x by which the grid is displaced from bin to bin of z.
    slant = getattr(overlap.fixed, "shear", 0.0) * binning[0] / binning[2]
    for part in parts:
        n_voxels += part.fixed.size
        found = _judged(compared.add(part, low, high), images, offsets, within, n_voxels, binning, slant)
        if found.peaks and found.peaks[0].confidence >= enough and not found.peaks[0].is_drawn_out:
            break
    return found


def _holds_bins(part: Part, binning: ZYX) -> bool:
    return all(min(a, b) >= n for a, b, n in zip(part.fixed.shape, part.moving.shape, binning, strict=True))


def _shifts(reach_px: ZYX, binning: ZYX) -> tuple[ZYX, ZYX]:
    z, y, x = (math.ceil(r / n) for r, n in zip(reach_px, binning, strict=True))
    return (-z, -y, -x), (z, y, x)


def _mirrors(parts: Sequence[Part], binning: ZYX) -> list[tuple[int, ...]]:
    """Axes of the mirror images that differ from the fixed tile: along one bin an image is its own mirror image."""
    thick = {axis for axis, n in enumerate(binning) if any(part.fixed.shape[axis] >= 2 * n for part in parts)}
    found = dict.fromkeys(tuple(axis for axis in axes if axis in thick) for axes in _MIRRORS)
    return [axes for axes in found if axes]


def _transformed(parts: Sequence[Part], reach_px: ZYX, binning: ZYX) -> float:
    """Voxels of the transforms of all parts, about."""
    return sum(math.prod((n + r) / k for n, r, k in zip(p.moving.shape, reach_px, binning, strict=True)) for p in parts)


def _judged(
    maps: Maps,
    images: Sequence[tuple[int, ...]],
    offsets: Sequence[npt.NDArray[np.int64]],
    within: Sequence[npt.NDArray[np.bool_]],
    n_voxels: int,
    binning: ZYX,
    slant: float,
) -> Found:
    """Peaks of the first map ``within`` reach on each axis; the other maps are those of mirror images.

    The flank of a peak is no other place that fits: what leads up to a peak is taken away with it.
    """
    squares = np.concatenate([np.empty(0), *((r * r * n)[n > 0] for r, n in maps[1:])])
    # So many voxels are as good as one that is independent of the others.
    alike = max(1.0, float(np.median(squares)) / _MEDIAN_SQUARE) if squares.size else 1.0
    heights = [_height(r, n / alike) for r, n in maps]
    turned = sorted(zip((float(h.max()) for h in heights[1:]), images[1:], strict=True), reverse=True)
    (mirrored, mirror), (next_best, _) = [*turned, (0.0, ()), (0.0, ())][:2]
    mirror = mirror if mirrored > _ONE_MIRROR * next_best else ()
    found: list[tuple[PxZYX, Spread, float, float, bool]] = []
    rest, correlation = np.zeros_like(heights[0]), np.where(heights[0] > 0, maps[0][0], 0)
    rest[np.ix_(*within)] = heights[0][np.ix_(*within)]
    summits, index = _summits(heights[0]), np.arange(rest.size).reshape(rest.shape)
    while len(found) < _KEPT and rest.max() > 0:
        at = np.unravel_index(int(np.argmax(rest)), rest.shape)
        place, spread = _place(maps[0][0], at, offsets, binning)
        # Somewhat lower ones are still offered.
        is_drawn_out = bool(rest[at] > 0.9 * _LOWEST) and _is_drawn_out(correlation, at, slant)
        found.append((place, spread, float(correlation[at]), float(rest[at]), is_drawn_out))
        beside = tuple(slice(max(0, i - _APART), i + _APART + 1) for i in at)
        rest[beside] = 0
        # On a steep slant one peak has several summits beside each other. A place at the end of the reach is none.
        if summits[at] == index[at]:
            rest[np.isin(summits, index[beside][summits[beside] == index[beside]])] = 0
    confidence = _confidence([height for *_, height, _ in found], mirrored)
    peaks = tuple(Peak(*f, c) for f, c in zip(found, confidence, strict=True))
    return Found(peaks, mirrored, n_voxels, binning, mirror)


def _summits(heights: Floats) -> Integers:
    """Of each place where the steepest way up ends, as an index into the flat map; at a summit that is its own."""
    beyond = np.pad(heights, 1, constant_values=-np.inf)
    index = np.pad(np.arange(heights.size).reshape(heights.shape), 1)
    best, leads = heights.copy(), np.arange(heights.size).reshape(heights.shape)
    for step in itertools.product(range(3), repeat=3):
        at = tuple(slice(s, s + n) for s, n in zip(step, heights.shape, strict=True))
        is_higher = beyond[at] > best
        best[is_higher], leads[is_higher] = beyond[at][is_higher], index[at][is_higher]
    flat: Integers = leads.reshape(-1)
    while not np.array_equal(further := flat[flat], flat):
        flat = further
    return flat.reshape(heights.shape)


def _is_drawn_out(correlation: Floats, at: Sequence[np.intp], slant: float) -> bool:
    """Whether places further from a peak than peaks are apart belong to it.

    How far is measured in the upright grid, by which the bins' own is displaced by ``slant`` bins of x from one of z to
    the next: along a flat sheet, all that is round is drawn out.
    """
    best = min(float(correlation[tuple(at)]), 0.9999)
    alike = correlation >= min(_ALIKE * best, math.tanh(_ALIKE_Z * math.atanh(best)))
    group, _ = scipy.ndimage.label(alike, np.ones((3, 3, 3)))
    places = np.argwhere(group == group[tuple(at)]).astype(np.float64) - np.array(at)
    places[:, 2] += slant * places[:, 0]
    return bool(np.abs(places).max() > _APART)


def _height(correlation: Floats, n_independent: Floats) -> Floats:
    """Fisher's z in standard deviations; 0 where too little is shared."""
    z = np.arctanh(np.clip(correlation, -0.9999, 0.9999)) * np.sqrt(np.maximum(n_independent - 3, 0))
    return np.where(n_independent >= _LEAST_INDEPENDENT, z, 0)


def _place(
    correlation: Floats, at: Sequence[np.intp], offsets: Sequence[npt.NDArray[np.int64]], binning: ZYX
) -> tuple[PxZYX, Spread]:
    """The offset of a peak and its spread, between bins where the peak is not at the end of the reach."""
    between = Between((0.0, 0.0, 0.0), ((0.0, 0.0, 0.0),) * 3)
    if all(0 < i < n - 1 for i, n in zip(at, correlation.shape, strict=True)):
        between = peak_of_correlation(correlation[tuple(slice(i - 1, i + 2) for i in at)])
    z, y, x = (float(o[i]) - n * b for o, i, n, b in zip(offsets, at, binning, between.place, strict=True))
    a, b, c = (
        tuple(v * m * n for v, n in zip(row, binning, strict=True))
        for row, m in zip(between.spread, binning, strict=True)
    )
    return (z, y, x), (a, b, c)


def _confidence(heights: Sequence[float], mirrored: float) -> list[float]:
    """How sure each peak is, from its height against the highest other peak, mirror images included; sum below 1.

    A peak a third higher than any other has even odds. One of 1.6 times their height is 90 % sure.
    """
    others = [max(mirrored, _LOWEST, *heights[:i], *heights[i + 1 :]) for i in range(len(heights))]
    odds = [math.exp(min(30.0, 8 * (h / other - 4 / 3))) for h, other in zip(heights, others, strict=True)]
    total = 1 + sum(odds)
    return [v / total for v in odds]
