"""Where an overlap as a whole may fit: all that both tiles may share, compared at every offset in reach."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from gpustitch.array import Device
from gpustitch.model import ZYX
from gpustitch.oblique.align.overlaps.peaks import APART, Found, judged_peaks
from gpustitch.oblique.align.points import Overlap
from gpustitch.oblique.align.shifts.maps import PartsCompared
from gpustitch.oblique.align.shifts.parts import LONGEST_PX, QUICK, Part, parts_of, structure_px, times

# Mirror images of the fixed tile along these axes: the same spectrum, and no true match.
_MIRRORS = ((0,), (1,), (2,), (0, 1, 2))
# Bins are first so many times the smallest structure, on each axis, if that many voxels are left to transform. Only
# where that leaves the place open, finer bins are tried, as long as there are no more voxels than that.
_FIRST_FACTOR = 2
_LEAST_VOXELS = 20_000
_MOST_VOXELS = 4_000_000
# A place is trusted that is so sure.
TRUSTED = 0.9
# Where the first parts of an overlap are so sure of a place, the others are not read.
_BEYOND_DOUBT = 0.999
_VOXEL_BYTES = 40  # For each voxel of a part that is compared without bins, measured.


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
    z, y, x = (max(r, (APART + 1) * n) for r, n in zip(reach_px, first, strict=True))
    wide = z, y, x
    parts = list(parts_of(overlap, wide, rng, *(QUICK if is_quick else ())))
    factor = _FIRST_FACTOR
    least = _LEAST_VOXELS / 8 if is_quick else _LEAST_VOXELS
    while factor > 1 and _transformed(parts, wide, base) / factor**3 < least:
        factor -= 1
    found = compared_parts(
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
        found = compared_parts(
            overlap, parts, wide, reach_px, times(base, factor, extents), device, enough=_BEYOND_DOUBT
        )
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


def compared_parts(
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
    parts = [p for p in parts if holds_bins(p, binning)]
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
        found = judged_peaks(compared.add(part, low, high), images, offsets, within, n_voxels, binning, slant)
        if found.peaks and found.peaks[0].confidence >= enough and not found.peaks[0].is_drawn_out:
            break
    return found


def holds_bins(part: Part, binning: ZYX) -> bool:
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
