"""Brightness that falls off linearly along y within each tile: its correction, and its estimate from overlaps.

The model: a tile shows the sample times ``1 + (c - 1) * t``. Here t runs from 0 at the tile's first row to 1 at its
last row. c is the brightness of the last row divided by that of the first row.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from gpustitch.errors import ParameterError
from gpustitch.model import Box, PlacedVolume
from gpustitch.oblique.fuse.blend import Footprint, differing_axes
from gpustitch.oblique.fuse.fuse import fuse_block, plan_block
from gpustitch.ops.rounding import FLAT

# Voxels of a patch along z and x; along y a patch spans the overlap.
_PATCH_PLANES, _PATCH_COLUMNS = 32, 64
_LEAST_ROWS = 4
# In overlaps of up to half a tile, each iteration leaves less than a tenth of the error.
_ITERATIONS = 5


def row_gains(n_rows: int, last_to_first: float) -> npt.NDArray[np.float32]:
    """The factor for each row of a tile that makes its brightness even, shape (n_rows,); 1 for the first row.

    Raises
    ------
    ParameterError
        If ``last_to_first`` is not a positive number.
    """
    if not (math.isfinite(last_to_first) and last_to_first > 0):
        raise ParameterError(
            "`last_to_first`, the brightness of a tile's last row over that of its first, must be a positive number, "
            f"not {last_to_first}"
        )
    t = np.arange(n_rows) / max(1, n_rows - 1)
    return np.asarray(1 / (1 + (last_to_first - 1) * t), dtype=np.float32)


def overlap_patches(tiles: Sequence[PlacedVolume], count: int, seed: int = 0) -> list[tuple[int, int, Box]]:
    """Boxes (mosaic voxels) within the overlaps of neighbours along y, each with the numbers of its two tiles.

    The first number is the tile that ends there, the second the tile that begins. Both tiles cover every voxel of a
    box. Overlaps take turns; places within an overlap are random.
    """
    pairs = [
        (i, j)
        for i, a in enumerate(tiles)
        for j, b in enumerate(tiles)
        if a.origin_px[1] < b.origin_px[1] and differing_axes(a, b) == (False, True, False) and _shared_rows(a, b)
    ]
    random = np.random.default_rng(seed)
    patches = []
    for number in range(count if pairs else 0):
        i, j = pairs[number % len(pairs)]
        box = _patch(tiles[i], tiles[j], random)
        if box is not None:
            patches.append((i, j, box))
    return patches


def tiles_last_to_first(
    patch: tuple[int, int, Box], tiles: Sequence[PlacedVolume], *, min_mean: float, min_correlation: float
) -> float | None:
    """The estimate of c from one of :func:`overlap_patches`, which is read of both tiles; None if it says nothing.

    Other arguments are those of :func:`patch_last_to_first`.
    """
    first, second, box = patch
    seen, places = [], []
    for tile in (tiles[first], tiles[second]):
        alone = plan_block(box, [tile])
        seen.append(fuse_block(alone, {0: tile.volume.read(alone.reads[0])}))
        rows = np.arange(box.start[1], box.stop[1]) - tile.origin_px[1]
        places.append(rows / max(1, tile.volume.coverage.n_rows - 1))
    return patch_last_to_first(*seen, *places, min_mean=min_mean, min_correlation=min_correlation)


def patch_last_to_first(
    before: npt.NDArray[Any],
    after: npt.NDArray[Any],
    t_before: npt.NDArray[np.float64],
    t_after: npt.NDArray[np.float64],
    *,
    min_mean: float,
    min_correlation: float,
) -> float | None:
    """The estimate of c from one patch seen by two tiles, or None where the patch says nothing.

    Parameters
    ----------
    before, after
        The same patch (z, y, x) in the tile that ends there and in the tile that begins there.
    t_before, t_after
        Place of each row of the patch in each tile, shape (y,): 0 is the tile's first row, 1 its last row.
    min_mean, min_correlation
        Least mean brightness of the patch in either tile, and least Pearson correlation between the two tiles. Below
        one of them the patch says nothing.

    Notes
    -----
    Both images are equally noisy. So a total least-squares line is fitted to the pairs of voxel values. Its slope is
    the ratio of the two brightnesses, which gives c for the middle row. The rows are then corrected with this c, and
    the remaining ratio improves c, a few times over.
    """
    first, second = (np.asarray(v, dtype=np.float64) for v in (before, after))
    if min(first.mean(), second.mean()) < min_mean:
        return None
    estimate = 1.0
    for _ in range(_ITERATIONS):
        shown = [1 + (estimate - 1) * t for t in (t_before, t_after)]
        left = _slope(first / shown[0][None, :, None], second / shown[1][None, :, None], min_correlation)
        if left is None:
            return None
        middle = [float(t.mean()) for t in (t_before, t_after)]
        ratio = left * (1 + (estimate - 1) * middle[1]) / (1 + (estimate - 1) * middle[0])
        # ratio = (1 + (c - 1) t_after) / (1 + (c - 1) t_before)
        lever = ratio * middle[0] - middle[1]
        estimate = 1 + (1 - ratio) / lever if lever > 0 else math.nan
        if not (math.isfinite(estimate) and estimate > 0):
            return None
    return estimate


def _slope(first: npt.NDArray[np.float64], second: npt.NDArray[np.float64], min_correlation: float) -> float | None:
    """Slope of the total least-squares line through the pairs; None if they correlate too little or one is constant."""
    a, b = (first - first.mean()).ravel(), (second - second.mean()).ravel()
    saa, sbb, sab = float(a @ a), float(b @ b), float(a @ b)
    least = [v.size * (FLAT * float(abs(v).max())) ** 2 for v in (first, second)]
    if saa <= least[0] or sbb <= least[1] or sab <= 0 or sab < min_correlation * math.sqrt(saa * sbb):
        return None
    return (sbb - saa + math.hypot(sbb - saa, 2 * sab)) / (2 * sab)


def _shared_rows(a: PlacedVolume, b: PlacedVolume) -> tuple[int, int] | None:
    prints = [Footprint.of(tile, 0, 1) for tile in (a, b)]
    first, stop = max(p.rows[0] for p in prints), min(p.rows[1] for p in prints)
    return (first, stop) if stop - first >= _LEAST_ROWS else None


def _patch(a: PlacedVolume, b: PlacedVolume, random: np.random.Generator) -> Box | None:
    """A random box that both tiles cover wholly; None if the tiles share none on the drawn planes."""
    rows = _shared_rows(a, b)
    depths = [Footprint.of(tile, 0, 1).depths for tile in (a, b)]
    first, stop = max(d[0] for d in depths), min(d[1] for d in depths)
    if rows is None or stop <= first:
        return None
    planes = min(_PATCH_PLANES, stop - first)
    z = first + int(random.integers(stop - first - planes + 1))
    left, right = _shared_columns(a, b, z, planes)
    # The slant may move a tile over these planes by more columns than it has frames: take fewer planes.
    while right - left < _PATCH_COLUMNS and planes > 1:
        planes = (planes + 1) // 2
        left, right = _shared_columns(a, b, z, planes)
    width = min(_PATCH_COLUMNS, right - left)
    if width < 1:
        return None
    x = left + int(random.integers(right - left - width + 1))
    return Box((z, rows[0], x), (z + planes, rows[1], x + width))


def _shared_columns(a: PlacedVolume, b: PlacedVolume, z: int, planes: int) -> tuple[int, int]:
    """The longest half-open range of x that a run of frames of each tile covers on all these planes; may be empty."""
    spans = []
    for tile in (a, b):
        columns = [p.columns for p in Footprint.of(tile, z, z + planes).by_runs(tile.volume.coverage)]
        spans.append([(int(c[:, 0].max()), int(c[:, 1].min())) for c in columns])
    shared = [(max(p[0], q[0]), min(p[1], q[1])) for p, q in itertools.product(*spans)]
    return max(shared, key=lambda span: span[1] - span[0], default=(0, 0))
