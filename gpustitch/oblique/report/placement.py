"""Whether tiles lie right in what was written: their overlaps are compared anew, at the positions of the volume."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from gpustitch.array import CPU
from gpustitch.model import ZYX, PlacedVolume, Spacing
from gpustitch.model.arrays import PxZYX
from gpustitch.oblique.align.link import link_tiles
from gpustitch.oblique.align.matching import MatchOptions
from gpustitch.oblique.align.pairs import Pair, do_overlap, neighbours
from gpustitch.oblique.align.points import Overlap, nearest_voxel
from gpustitch.oblique.mosaic.slant import slanted
from gpustitch.running.progress import SILENT, Progress, tracked
from gpustitch.running.threads import Workers

# Points compared in an overlap: enough for a tenth of a voxel.
_POINTS = 12
# How far from its place a tile is looked for, um.
_REACH_UM = 45.0
# Tiles that may have been exchanged; each two of them are tried.
_MOST_SUSPECTS = 8
# A tile this far from its picture, voxels, may be one of two that were exchanged.
_WRONG_PX = 3.0


@dataclass(frozen=True)
class Remeasured:
    """Two tiles, compared anew where the volume has them.

    Attributes
    ----------
    placed_px, stage_px
        Where the volume, and the stage, have the moving tile in the fixed one's grid (z, y, x), voxels.
    off_px
        How far the moving tile lies from where the pictures fit (z, y, x), voxels; None if they do not tell.
    sigma_px
        Standard error of that; None if it is not known.
    reason
        Why nothing was measured; empty if it was.
    """

    fixed: str
    moving: str
    placed_px: PxZYX
    stage_px: PxZYX
    off_px: PxZYX | None = None
    sigma_px: PxZYX | None = None
    reason: str = ""

    @property
    def pair(self) -> Pair:
        """Names of the two tiles."""
        return self.fixed, self.moving

    def off_um(self, spacing: Spacing) -> float | None:
        """Length of ``off_px``, um."""
        if self.off_px is None:
            return None
        return math.dist((0, 0, 0), [px * um for px, um in zip(self.off_px, spacing.zyx_um, strict=True)])


@dataclass(frozen=True)
class Placing:
    """What the overlaps say: pairs looked at, those left out to read no more, and exchanged tiles."""

    links: tuple[Remeasured, ...]
    left_out: tuple[Pair, ...] = ()
    exchanged: tuple[Pair, ...] = ()


def pairs_of(placed: Mapping[str, PlacedVolume], stage_px: Mapping[str, PxZYX]) -> list[Pair]:
    """Neighbours where the volume has the tiles or the stage puts them, such that early ones touch all tiles."""
    volumes = {name: tile.volume for name, tile in placed.items()}
    here = {name: nearest_voxel(tile.origin_px) for name, tile in placed.items()}
    there = {name: nearest_voxel(stage_px[name]) for name in placed}
    none = MatchOptions(search_px=(0, 0, 0))
    found = list(neighbours(here, volumes, none))
    for pair in neighbours(there, volumes, none):
        if pair not in found and pair[::-1] not in found and do_overlap(there, volumes, pair):
            found.append(pair)
    touched: set[str] = set()
    ordered: list[Pair] = []
    for n_new in (2, 1, 0):  # first pairs of which neither tile was looked at
        for pair in found:
            if pair not in ordered and len(set(pair) - touched) >= n_new:
                ordered.append(pair)
                touched |= set(pair)
    return ordered


def compare(
    placed: Mapping[str, PlacedVolume],
    stage_px: Mapping[str, PxZYX],
    most_bytes: int,
    n_read: Callable[[], int],
    lit: Collection[str],
    progress: Progress = SILENT,
) -> Placing:
    """Compare all neighbours, as long as no more than ``most_bytes`` of frames are read, as ``n_read`` tells.

    Parameters
    ----------
    placed
        The raw tiles where the volume has them, by name.
    stage_px
        Where the stage puts them (z, y, x), voxels of the volume.
    lit
        Tiles that show something: only such are tried in each other's place.
    """
    pairs, before = pairs_of(placed, stage_px), n_read()
    links: list[Remeasured] = []
    for number, pair in enumerate(tracked(pairs, progress, "comparing overlaps", len(pairs), "overlaps")):
        if n_read() - before > most_bytes:
            return Placing(tuple(links), tuple(pairs[number:]))
        links.append(_remeasured(placed[pair[0]], placed[pair[1]], [stage_px[name] for name in pair]))
    return Placing(tuple(links), exchanged=_exchanged(placed, links, lit, lambda: n_read() - before <= most_bytes))


def _remeasured(fixed: PlacedVolume, moving: PlacedVolume, stage_px: Sequence[PxZYX]) -> Remeasured:
    at = _apart(fixed, fixed.origin_px, moving.origin_px)
    stage = _apart(fixed, stage_px[0], stage_px[1])
    link = Remeasured(fixed.name, moving.name, at, stage)
    found = _fits(fixed, moving, nearest_voxel(at), at)
    reach = _reach(fixed)
    is_far = any(abs(a - b) > r / 2 for a, b, r in zip(at, stage, reach, strict=True))
    if found.reason and is_far:
        again = _fits(fixed, moving, nearest_voxel(stage), at)
        found = found if again.reason else again
    return replace(link, off_px=found.off_px, sigma_px=found.sigma_px, reason=found.reason)


def _apart(fixed: PlacedVolume, here: PxZYX, there: PxZYX) -> PxZYX:
    """The offset of two positions in the volume, in the grid of the tiles, which may slant less."""
    z, y, x = (b - a for a, b in zip(here, there, strict=True))
    return slanted((z, y, x), -fixed.shear_px)


def _reach(tile: PlacedVolume) -> ZYX:
    z, y, x = (math.ceil(_REACH_UM / um) for um in tile.volume.spacing.zyx_um)
    return z, y, x


def _fits(fixed: PlacedVolume, moving: PlacedVolume, about: ZYX, at: PxZYX) -> Remeasured:
    """Where the pictures fit, looked for about one offset and told against the offset ``at``."""
    options = MatchOptions(sample_count=_POINTS)
    link, _ = link_tiles(
        Overlap(fixed.volume, moving.volume, about),
        (fixed.name, moving.name),
        options,
        _reach(fixed),
        np.random.default_rng(0),
        Workers(1, CPU),
    )
    if link.reason:
        return Remeasured(fixed.name, moving.name, at, at, reason=link.reason)
    z, y, x = (a - m for a, m in zip(at, link.offset_px, strict=True))
    return Remeasured(fixed.name, moving.name, at, at, (z, y, x), link.sigma_px)


def _exchanged(
    placed: Mapping[str, PlacedVolume], links: Sequence[Remeasured], lit: Collection[str], may_read: Callable[[], bool]
) -> tuple[Pair, ...]:
    """Tiles that fit their neighbours only if each takes the other's place.

    Of two that stand beside each other, one alone may fit a neighbour of the other by chance of the order. So those
    two count that make most overlaps fit.
    """
    right = {name for link in links if link.off_px and max(map(abs, link.off_px)) < _WRONG_PX for name in link.pair}
    touched = {name for link in links for name in link.pair}
    suspects = [name for name in placed if name in lit and name in touched and name not in right][:_MOST_SUSPECTS]
    fits: dict[Pair, int] = {}
    for pair in itertools.combinations(suspects, 2):
        if not may_read():
            break
        if n := _n_fit_exchanged(placed, links, pair):
            fits[pair] = n
    found: list[Pair] = []
    while fits:
        most = max(fits.values())
        best = [pair for pair, n in fits.items() if n == most]
        if len({name for pair in best for name in pair}) < 2 * len(best):
            break  # which two it is, nothing tells
        found += best
        gone = {name for pair in best for name in pair}
        fits = {pair: n for pair, n in fits.items() if not gone & set(pair) and not _are_beside(pair, gone, links)}
    return tuple(found)


def _are_beside(pair: Pair, others: Collection[str], links: Sequence[Remeasured]) -> bool:
    """Whether one of two tiles is a neighbour of one of the others."""
    return any(set(link.pair) & set(pair) and set(link.pair) & set(others) for link in links)


def _n_fit_exchanged(placed: Mapping[str, PlacedVolume], links: Sequence[Remeasured], pair: Pair) -> int:
    """How many overlaps of two tiles fit once they change places."""
    swapped = {
        pair[0]: replace(placed[pair[1]], name=pair[0], origin_px=placed[pair[0]].origin_px),
        pair[1]: replace(placed[pair[0]], name=pair[1], origin_px=placed[pair[1]].origin_px),
    }
    n_fit = 0
    for link in links:
        if not set(link.pair) & set(pair):
            continue
        fixed, moving = (swapped.get(name, placed[name]) for name in link.pair)
        at = _apart(fixed, fixed.origin_px, moving.origin_px)
        n_fit += _fits(fixed, moving, nearest_voxel(at), at).off_px is not None
    return n_fit
