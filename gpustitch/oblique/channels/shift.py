"""How far one channel lies from another: chromatic shift, or a stage that did not come back to where it was."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gpustitch.model import ZYX, Link, Mosaic, Spacing, Volume
from gpustitch.model.arrays import Floats, PxZYX
from gpustitch.oblique.align.link import link_tiles
from gpustitch.oblique.align.matching import MatchOptions
from gpustitch.oblique.align.points import Overlap
from gpustitch.running.progress import Progress, tracked
from gpustitch.running.threads import Workers

# So many tiles, around the middle of the mosaic, are compared.
MOST_TILES = 9
# How far one channel is looked for from the other, voxels.
_REACH: ZYX = (12, 12, 12)
# A shift counts that is so many voxels, and so many of its standard errors.
_SHIFTED_PX = 0.25
_SHIFTED_SE = 3.0
# Tiles disagree whose shifts scatter by so many times what their standard errors explain, and by so many voxels.
_UNEVEN = 3.0
_UNEVEN_PX = 0.5


@dataclass(frozen=True)
class ChannelShift:
    """Where a channel lies in the grid of another.

    Attributes
    ----------
    offset_px
        Mean over the tiles compared (z, y, x), voxels: add it to a place in the channel for its place in the other.
    standard_error_px
        Of that mean, from the links and how they scatter.
    by_tile_px
        The shift of each tile that tells, by its name.
    n_tiles
        Number of tiles that were compared.
    reason
        Why the shift is not known; empty if it is.
    """

    offset_px: PxZYX | None
    standard_error_px: PxZYX | None
    by_tile_px: Mapping[str, PxZYX]
    n_tiles: int
    is_uneven: bool = False
    reason: str = ""

    @property
    def is_shifted(self) -> bool:
        """Whether the channels surely lie apart by more than voxels hide."""
        if self.offset_px is None or self.standard_error_px is None:
            return False
        pairs = zip(self.offset_px, self.standard_error_px, strict=True)
        return any(abs(at) > max(_SHIFTED_PX, _SHIFTED_SE * sigma) for at, sigma in pairs)

    def record(self, spacing: Spacing) -> dict[str, Any]:
        """What is known, in JSON's types; lengths in um along z, y, x."""
        return {
            "offset_um": _um(self.offset_px, spacing),
            "standard_error_um": _um(self.standard_error_px, spacing),
            "by_tile_um": {name: _um(at, spacing) for name, at in self.by_tile_px.items()},
            "n_tiles_compared": self.n_tiles,
            "is_uneven": self.is_uneven,
            "reason": self.reason or None,
        }

    def text(self, name: str, other: str, spacing: Spacing) -> str:
        """The shift in words, um along x, y, z."""
        offset, sigma = _um(self.offset_px, spacing), _um(self.standard_error_px, spacing)
        if offset is None or sigma is None:
            return f"{name} against {other}: shift NOT known, {self.reason}"
        parts = (f"{at:.2f} +- {se:.2f}" for at, se in zip(offset[::-1], sigma[::-1], strict=True))
        tiles = f"{len(self.by_tile_px)} of {self.n_tiles} tiles"
        return f"{name} lies on {other} once it is moved by {', '.join(parts)} um (x, y, z; standard error): {tiles}"


def central(mosaic: Mosaic, most: int = MOST_TILES) -> Mosaic:
    """The tiles nearest to the middle of a mosaic, where a specimen is."""
    places = np.array([tile.stage_um for tile in mosaic.tiles])
    away = np.linalg.norm(places - (places.min(axis=0) + places.max(axis=0)) / 2, axis=1)
    nearest = sorted(np.argsort(away, kind="stable")[:most])
    return Mosaic(tuple(mosaic.tiles[number] for number in nearest))


def measured_shift(
    fixed: Mapping[str, Volume], moving: Mapping[str, Volume], workers: Workers, progress: Progress
) -> ChannelShift:
    """The shift between two channels, from tiles that both have; names are those of places.

    Each tile is compared with the same tile of the other channel as overlaps are: the best fit of the whole must beat
    those of mirror images, so that channels which show nothing in common give no shift.
    """
    names = [name for name in fixed if name in moving]
    options = MatchOptions(search_px=_REACH, sample_count=40)
    links: dict[str, Link] = {}
    reasons: list[str] = []
    for name in tracked(names, progress, "Comparing channels", len(names), "tiles"):
        rng = np.random.default_rng(options.seed)
        overlap = Overlap(fixed[name], moving[name], (0, 0, 0))
        link, _ = link_tiles(overlap, (name, name), options, _REACH, rng, workers)
        if link.reason or link.sigma_px is None:
            reasons.append(link.reason or "no standard error is known")
        else:
            links[name] = link
    if not links:
        return ChannelShift(None, None, {}, len(names), reason=reasons[0] if reasons else "no tile is in both")
    return _mean(links, len(names))


def _mean(links: Mapping[str, Link], n_tiles: int) -> ChannelShift:
    """The weighted mean of the shifts of tiles; where they scatter more than they should, its error says so."""
    offsets = np.array([link.offset_px for link in links.values()])
    sigmas = np.array([link.sigma_px for link in links.values()])
    weights = 1 / sigmas**2
    mean: Floats = (weights * offsets).sum(axis=0) / weights.sum(axis=0)
    formal = np.sqrt(1 / weights.sum(axis=0))
    n = len(offsets)
    ratio = np.sqrt((weights * (offsets - mean) ** 2).sum(axis=0) / (n - 1)) if n > 1 else np.ones(3)
    spread = np.abs(offsets - mean).max(axis=0)
    is_uneven = bool(((ratio > _UNEVEN) & (spread > _UNEVEN_PX)).any())
    by_tile = {name: _three(link.offset_px) for name, link in links.items()}
    return ChannelShift(_three(mean), _three(formal * np.maximum(1, ratio)), by_tile, n_tiles, is_uneven)


def _three(values: Sequence[float] | Floats) -> PxZYX:
    a, b, c = (float(value) for value in values)
    return a, b, c


def _um(zyx_px: PxZYX | None, spacing: Spacing) -> PxZYX | None:
    if zyx_px is None or not all(map(math.isfinite, zyx_px)):
        return None
    return _three([at * um for at, um in zip(zyx_px, spacing.zyx_um, strict=True)])
