"""Tiles made for the tests of fusion."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from gpustitch.io.volumes.array import ArrayVolume
from gpustitch.model import Box, Coverage, PlacedVolume, Spacing
from gpustitch.oblique.fuse.blend import Footprint
from gpustitch.oblique.fuse.fuse import fuse_block, plan_block

SPACING = Spacing(1.0, 1.0, 1.0)


def tile(
    values: Any,
    origin: Sequence[float],
    *,
    shear: float = 0.0,
    frames: int | None = None,
    shear_px: float = 0.0,
    name: str = "",
    absent: tuple[int, ...] = (),
) -> PlacedVolume:
    """A tile of an array, or of a function of (z, y, x) in the tile's grid; zero outside its coverage."""
    array = np.asarray(values)
    coverage = Coverage(frames or array.shape[2], array.shape[1], array.shape[0], shear, absent)
    assert coverage.shape == array.shape
    array = array * coverage.mask(Box.of_shape(array.shape)).astype(array.dtype)
    position = tuple(float(v) for v in origin)
    return PlacedVolume(name or str(position), ArrayVolume(array, SPACING, coverage), position, shear_px)  # type: ignore[arg-type]


def oblique(
    frames: int, rows: int, planes: int, shear: float, origin: Sequence[float], seed: int | None, **more: Any
) -> PlacedVolume:
    """An oblique tile of noise (constant 1000 without a seed)."""
    shape = Coverage(frames, rows, planes, shear).shape
    if seed is None:
        values = np.full(shape, 1000, np.uint16)
    else:
        values = np.random.default_rng(seed).integers(0, 65536, shape, dtype=np.uint16)
    return tile(values, origin, shear=shear, frames=frames, **more)


def fused(tiles: Sequence[PlacedVolume], box: Box) -> npt.NDArray[Any]:
    plan = plan_block(box, tiles)
    if plan.is_empty:
        return np.zeros(box.shape, tiles[0].volume.dtype)
    return fuse_block(plan, {n: tiles[n].volume.read(need) for n, need in plan.reads.items()})


def whole_box(tiles: Sequence[PlacedVolume]) -> Box:
    stops = [[math.ceil(o + n) + 1 for o, n in zip(t.origin_px, t.volume.coverage.shape, strict=True)] for t in tiles]
    return Box((0, 0, 0), tuple(max(s[a] for s in stops) for a in range(3)))  # type: ignore[arg-type]


def covered_by(tiles: Sequence[PlacedVolume], box: Box) -> npt.NDArray[np.int64]:
    """How many tiles can be interpolated at each voxel of the box."""
    count = np.zeros(box.shape, np.int64)
    for t in tiles:
        z, y, x = (np.arange(a, b) for a, b in zip(box.start, box.stop, strict=True))
        for footprint in Footprint.of(t, box.start[0], box.stop[0]).by_runs(t.volume.coverage):
            deep = (z >= footprint.depths[0]) & (z < footprint.depths[1])
            rows = (y >= footprint.rows[0]) & (y < footprint.rows[1])
            columns = (x >= footprint.columns[:, :1]) & (x < footprint.columns[:, 1:])
            count += (deep[:, None] & columns)[:, None, :] & rows[None, :, None]
    return count
