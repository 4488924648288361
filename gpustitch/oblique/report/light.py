"""How bright raw tiles are, over their depth; what is saturated, and which tile shows nothing."""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gpustitch.model import Frames
from gpustitch.model.arrays import Floats, HostArray
from gpustitch.oblique.destripe.sampled import evenly
from gpustitch.oblique.destripe.saturation import full_scale
from gpustitch.oblique.report.lines.order import Lines, Order
from gpustitch.running.progress import SILENT, Progress, tracked

# Frames looked at in each tile, and where they are many or large, at least.
_FRAMES, _LEAST_FRAMES = 12, 3
# Parts that the depth of a tile is cut into.
_DEPTHS = 48
# Frames with such a part of pixels off their median hold noise: two of them are never alike.
_NOISY = 0.1
# Such a part of the lines between the first and the last that change may be dead.
_FEW_LINES = 0.25
# Saturated pixels, in %: so many that cells are cut off everywhere.
MUCH_SATURATED = 20.0
# So many pixels of a frame, evenly spaced, tell its percentiles.
_SAMPLED = 1 << 16


@dataclass(frozen=True)
class TileLight:
    """The light of some frames of a tile, in counts as the camera wrote them.

    Attributes
    ----------
    n_frames
        Frames looked at.
    mean, low, high
        Mean, and percentiles 1 and 99.9.
    depth
        Mean along the sheet, from the shallow end, at most 48 parts.
    saturated_percent, full_scale
        Share of pixels at the count where the camera is saturated, and that count; None if none is.
    is_constant
        Whether every frame holds a single count.
    n_repeated
        Frames looked at that are copies of an earlier one, though they hold noise.
    dead_rows, dead_columns
        Lines of a single count in every frame, between lines that have noise.
    order
        Whether lines are in the camera's order.
    """

    n_frames: int
    mean: float
    low: float
    high: float
    depth: Floats
    saturated_percent: float
    full_scale: float | None
    is_constant: bool
    n_repeated: int = 0
    dead_rows: tuple[int, ...] = ()
    dead_columns: tuple[int, ...] = ()
    order: Order = Order()


def lights(tiles: Mapping[str, Frames], most_bytes: int, progress: Progress = SILENT) -> dict[str, TileLight | None]:
    """Look at frames of each tile, evenly spaced; None for a tile without a frame that can be read.

    Few are looked at where more would be over ``most_bytes`` for all tiles, but at least three of each.
    """
    found: dict[str, TileLight | None] = {}
    for name, frames in tracked(tiles.items(), progress, "looking at frames", len(tiles), "tiles"):
        each = math.prod(frames.shape[1:]) * frames.dtype.itemsize * len(tiles)
        count = min(_FRAMES, max(_LEAST_FRAMES, most_bytes // each))
        found[name] = _light(frames, count)
    return found


def _light(frames: Frames, count: int) -> TileLight | None:
    """Brightness of evenly spaced frames of a tile; None if none of them can be read."""
    there = [n for n in range(frames.shape[0]) if n not in frames.absent]
    looked = [there[at] for at in evenly(len(there), count)] if there else []
    depths, samples, held, n_pixels, scale, varies = [], [], 0, 0, math.inf, False
    sums: list[int] = []
    still = [np.ones(n, bool) for n in frames.shape[1:]]
    lines = Lines()
    for number in looked:
        frame = frames.read(number, number + 1)
        if number in frames.absent:  # it turned out to be unreadable
            continue
        depths.append(_by_depth(frame[0]))
        samples.append(frame.reshape(-1)[:: max(1, frame.size // _SAMPLED)])
        full = float(full_scale(frame)[0])
        held, n_pixels = held + int(np.count_nonzero(frame >= full)), n_pixels + frame.size
        scale = min(scale, full)
        for axis, kept in enumerate(still):
            kept &= np.ptp(frame[0], axis=1 - axis) == 0
        lines.add(frame[0])
        varies = varies or bool(frame.min() < frame.max())
        if np.count_nonzero(samples[-1] != np.median(samples[-1])) > _NOISY * samples[-1].size:
            sums.append(zlib.crc32(np.ascontiguousarray(frame).data))
    if not samples:
        return None
    values = np.concatenate(samples)
    low, high = (float(v) for v in np.percentile(values, (1, 99.9)))
    return TileLight(
        n_frames=len(samples),
        mean=float(np.mean(depths)),
        low=low,
        high=high,
        depth=np.mean(depths, axis=0),
        saturated_percent=100 * held / n_pixels,
        full_scale=scale if math.isfinite(scale) else None,
        is_constant=not varies,
        n_repeated=len(sums) - len(set(sums)),
        dead_rows=_between(still[0]),
        dead_columns=_between(still[1]),
        order=lines.order,
    )


def _between(still: npt.NDArray[np.bool_]) -> tuple[int, ...]:
    """Lines that never change but lie between some that do; at the rim, or if they are many, nothing may be seen."""
    lit = np.flatnonzero(~still)
    if not lit.size:
        return ()
    dead = lit[0] + np.flatnonzero(still[lit[0] : lit[-1]])
    return tuple(dead.tolist()) if len(dead) <= _FEW_LINES * (lit[-1] - lit[0]) else ()


def _by_depth(frame: HostArray) -> Floats:
    """Mean of columns, in parts of as many columns each."""
    columns = frame.mean(axis=0, dtype=np.float64)
    n = min(_DEPTHS, len(columns))
    edges = np.linspace(0, len(columns), n + 1).astype(int)
    return np.asarray(np.add.reduceat(columns, edges[:-1]) / np.diff(edges))


def blinded(lights: Mapping[str, TileLight | None]) -> set[str]:
    """Tiles that are saturated all over: what a neighbour shows is little beside them, and no sign that it is dead."""
    known = {tile: light for tile, light in lights.items() if light is not None}
    most = max((light.high for light in known.values()), default=0.0)
    # A tile of a single count is dead, unless the camera can count no further, and no tile shows more.
    return {
        tile
        for tile, light in known.items()
        if light.saturated_percent > MUCH_SATURATED and (not light.is_constant or light.high >= most)
    }


def copies(lights: Mapping[str, TileLight | None]) -> list[tuple[str, str]]:
    """Tiles whose frames are those of an earlier one: noise makes no two recordings alike."""
    first: dict[tuple[Any, ...], str] = {}
    found = []
    for tile, light in lights.items():
        if light is None or light.is_constant:
            continue
        seen = (light.n_frames, light.mean, light.low, light.high, *light.depth.tolist())
        if first.setdefault(seen, tile) != tile:
            found.append((first[seen], tile))
    return found
