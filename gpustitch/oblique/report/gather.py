"""Everything that the report measures: bounded reads of the raw tiles and of the written volume."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from gpustitch.model import Box, PlacedVolume, Spacing, Volume
from gpustitch.model.arrays import HostArray, PxZYX
from gpustitch.oblique.deskew.tile import ObliqueTile
from gpustitch.oblique.destripe.sampled import evenly
from gpustitch.oblique.report.crops import Crop, Detail, crop_of
from gpustitch.oblique.report.focus.measure import Blur
from gpustitch.oblique.report.light import TileLight, lights
from gpustitch.oblique.report.placement import Placing, Remeasured, compare
from gpustitch.oblique.report.seams import Seam, seams_of
from gpustitch.oblique.report.written import Seen, Sheet, covers, seen, sheet, uncovered
from gpustitch.running.progress import SILENT, Progress, tracked

# Voxels of a coarse level that is read whole, at most, and of a mid-plane.
COARSE_VOXELS, PLANE_PIXELS = 1 << 22, 1 << 20
# Sheets read back, borders and tiles looked at in the volume, at most.
_SHEETS, _BORDERED, _SOUGHT = 4, 24, 64
# Overlaps shown: the worst, and so many others, evenly spaced.
WORST, OTHERS = 12, 6
# At the edge of a tile, so many voxels are interpolated with nothing.
_INSIDE = 2.0
# Parts of the bytes that may be read: for frames looked at, for overlaps; and after what part no more crops are read.
_OF_FRAMES, _OF_OVERLAPS, _UNTIL_CROPS = 0.1, 0.6, 0.85


@dataclass(frozen=True)
class Plane:
    """A plane of the volume in the middle of an axis (0, 1, 2 for z, y, x), at a level that fits a screen.

    ``times`` is how many voxels of the finest level a pixel is, (rows, columns). ``at_px`` is the plane's place.
    """

    axis: int
    at_px: float
    image: HostArray
    times: tuple[float, float]


@dataclass
class Measured:
    """What was measured; whatever could not be stays empty."""

    spacing: Spacing
    shape: tuple[int, int, int]
    placed: Mapping[str, PlacedVolume] = field(default_factory=dict)
    stage_px: Mapping[str, PxZYX] = field(default_factory=dict)
    placing: Placing = field(default_factory=lambda: Placing(()))
    lights: Mapping[str, TileLight | None] = field(default_factory=dict)
    crops: dict[tuple[str, str], Crop] = field(default_factory=dict)
    ratios: dict[tuple[str, str], float] = field(default_factory=dict)
    details: dict[tuple[str, str], list[tuple[Detail, Detail]]] = field(default_factory=dict)
    pieces: dict[tuple[str, str], tuple[tuple[Detail, Detail], ...]] = field(default_factory=dict)
    flickers: dict[tuple[str, str], float] = field(default_factory=dict)
    blurs: dict[tuple[str, str], Blur] = field(default_factory=dict)
    in_volume: list[Seen] = field(default_factory=list)
    seams: list[Seam] = field(default_factory=list)
    sheets: list[Sheet] = field(default_factory=list)
    planes: list[Plane] = field(default_factory=list)
    share: tuple[float, float] | None = None
    empty_percent: float | None = None

    @property
    def shown(self) -> list[Remeasured]:
        """The overlaps to show: the worst, then others, evenly spaced."""
        links = [link for link in self.placing.links if link.pair in self.crops]
        order = sorted(links, key=lambda link: -(math.inf if link.off_px is None else max(map(abs, link.off_px))))
        others = order[WORST:]
        step = max(1, math.ceil(len(others) / OTHERS))
        return [*order[:WORST], *others[::step]]


def measure(
    levels: Sequence[Volume],
    placed: Mapping[str, PlacedVolume],
    stage_px: Mapping[str, PxZYX],
    most_bytes: int,
    n_read: Callable[[], int],
    progress: Progress = SILENT,
) -> Measured:
    """Measure what can be.

    Parameters
    ----------
    levels
        The levels of the volume, fine to coarse; none if it cannot be opened.
    placed
        The raw tiles where the volume has them, by name; none if they cannot be read.
    stage_px
        Where the stage puts them (z, y, x), voxels of the volume.
    most_bytes
        About how many bytes of frames are read.
    n_read
        Tells how many bytes of frames were read so far.
    """
    finest, before = levels[0], n_read()
    found = Measured(finest.spacing, finest.coverage.shape, placed, stage_px)
    tiles = {name: tile.volume for name, tile in placed.items()}
    raw = {name: tile.frames for name, tile in tiles.items() if isinstance(tile, ObliqueTile)}
    found.lights = lights(raw, int(_OF_FRAMES * most_bytes), progress)
    found.placing = compare(placed, stage_px, int(_OF_OVERLAPS * most_bytes), n_read, _with_signal(found), progress)
    _compare_light(found, lambda: n_read() - before <= _UNTIL_CROPS * most_bytes)
    some = _evenly(list(placed.values()), _SOUGHT)
    for tile in tracked(some, progress, "looking for tiles in the volume", len(some), "tiles"):
        if n_read() - before <= most_bytes:
            found.in_volume.append(seen(tile, finest))
    for link in _evenly(list(found.placing.links), _BORDERED):
        found.seams += list(seams_of(link, placed[link.fixed], placed[link.moving], finest))
    lit = _evenly([found.placed[name] for name in _with_signal(found, 0.5)], _SHEETS)
    for tile in lit:
        found.sheets += _sheets(tile, finest, max(1, _SHEETS // len(lit)))
    found.planes = planes_of(levels)
    if placed:
        found.share = uncovered(placed, found.shape)
        found.empty_percent = _empty(levels, found)
    return found


def _evenly(items: Sequence[PlacedVolume] | Sequence[Remeasured], most: int) -> list:  # type: ignore[type-arg]
    """At most so many of the items, evenly spaced."""
    if len(items) <= most:
        return list(items)
    return [items[n] for n in np.linspace(0, len(items) - 1, most).astype(int).tolist()]


def _compare_light(found: Measured, may_read: Callable[[], bool]) -> None:
    """Crops of the overlaps, and what their tiles show there, and how bright they are."""
    crops: dict[tuple[str, str], Crop] = {}
    for link in found.placing.links:
        crop = crop_of(link, found.placed) if may_read() else None
        if crop is not None:
            crops[link.pair] = crop
    found.crops = crops
    for link in found.placing.links:
        crop_there = crops.get(link.pair)
        if crop_there is None:
            continue
        found.details[link.pair] = [crop_there.details]
        ratio = crop_there.ratio(0.0)  # of a level that is taken off too high, little would be much
        fits = link.off_px is not None and max(map(abs, link.off_px)) < 2
        if fits:  # else a cell may lie in the piece of one tile alone
            found.pieces[link.pair] = crop_there.pieces
            found.flickers[link.pair] = crop_there.flicker
            if crop_there.blur is not None:
                found.blurs[link.pair] = crop_there.blur
        if ratio and math.isfinite(ratio) and fits:
            found.ratios[link.pair] = ratio
    found.crops = {link.pair: crops[link.pair] for link in found.shown}  # others are not looked at any more


def _with_signal(found: Measured, part: float = 0.1) -> list[str]:
    """The tiles that show at least such a part of what the one shows that shows most."""
    known = {name: light.high - light.low for name, light in found.lights.items() if light is not None}
    most = max(known.values(), default=0.0)
    return [name for name, light in known.items() if light >= part * most > 0]


def _sheets(tile: PlacedVolume, finest: Volume, count: int) -> list[Sheet]:
    """So many sheets of a tile, evenly spaced, that can be read."""
    volume = tile.volume
    if not isinstance(volume, ObliqueTile):
        return []
    numbers = [n for n in range(volume.scan.n_frames) if n not in volume.frames.absent]
    chosen = [numbers[at] for at in evenly(len(numbers), count)] if numbers else []
    frames = [(number, volume.frames.read(number, number + 1)[0]) for number in chosen]
    return [sheet(tile, raw, number, finest) for number, raw in frames if number not in volume.frames.absent]


def planes_of(levels: Sequence[Volume]) -> list[Plane]:
    """The three planes through the middle of the volume."""
    found = []
    for axis in range(3):
        down, across = (a for a in range(3) if a != axis)
        level = next(
            (v for v in levels if v.coverage.shape[down] * v.coverage.shape[across] <= PLANE_PIXELS), levels[-1]
        )
        shape, finest = level.coverage.shape, levels[0].coverage.shape
        start, stop = [0, 0, 0], list(shape)
        start[axis] = shape[axis] // 2
        stop[axis] = start[axis] + 1
        box = Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))
        times = finest[down] / shape[down], finest[across] / shape[across]
        at = (start[axis] + 0.5) * finest[axis] / shape[axis] - 0.5
        found.append(Plane(axis, at, np.squeeze(level.read(box), axis=axis), times))
    return found


def _empty(levels: Sequence[Volume], found: Measured) -> float | None:
    """Share of what tiles cover that is 0 in a coarse level, in %."""
    coarse = next((v for v in levels if math.prod(v.coverage.shape) <= COARSE_VOXELS), None)
    if coarse is None:
        return None
    voxels = coarse.read(Box.of_shape(coarse.coverage.shape))
    times = [a / b for a, b in zip(found.shape, voxels.shape, strict=True)]
    z, y, x = ((np.arange(n) + 0.5) * t - 0.5 for n, t in zip(voxels.shape, times, strict=True))
    n_covered = n_empty = 0
    for tile in found.placed.values():
        covered = covers(tile, z, y, x, _INSIDE)
        n_covered += int(np.count_nonzero(covered))
        n_empty += int(np.count_nonzero(covered & (voxels == 0)))
    return 100 * n_empty / n_covered if n_covered else None
