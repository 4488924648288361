"""What the written volume shows: its tiles where it says they are, steps at their borders, stripes along the sheet."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import scipy

from gpustitch.model import Box, PlacedVolume, Volume
from gpustitch.model.arrays import Bools, Floats, Floats32, HostArray
from gpustitch.oblique.align.points import nearest_voxel
from gpustitch.oblique.align.search import correlate_all_shifts
from gpustitch.oblique.destripe.measured.measures import RawFrame

# Part of a tile that is sought in the volume (z, y, x), and how far it is sought, voxels.
_PART, _SOUGHT = (16, 40, 48), (3, 3, 3)
# Details between these standard deviations, voxels, count. Less than this correlation says nothing; it says "elsewhere"
# only if it is that high, and so much higher than at the stated place.
_FINE, _COARSE, _LIKE, _ELSEWHERE, _HIGHER = 0.8, 6.0, 0.3, 0.5, 0.1
# Places of a tile that are tried.
_TRIED = ((0.5, 0.5, 0.5), (0.3, 0.3, 0.35), (0.7, 0.7, 0.65))
# Largest part of a sheet that is read back (rows, columns), and columns read at a time.
_SHEET, _COLUMNS = (512, 1024), 32
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Seen:
    """Where a raw tile was found in the volume.

    ``off_px`` is how far from its stated place (z, y, x), voxels; None if too little is like it. ``likeness`` is the
    correlation there.
    """

    name: str
    off_px: tuple[int, int, int] | None
    likeness: float


def seen(tile: PlacedVolume, volume: Volume) -> Seen:
    """Look for a part of a raw tile in the volume, at its stated place and three voxels around."""
    found = [_seen_at(tile, volume, part) for part in _TRIED]
    return max(found, key=lambda each: (each.off_px is not None, each.likeness))


def _seen_at(tile: PlacedVolume, volume: Volume, part: tuple[float, float, float]) -> Seen:
    """How far from its recorded place a part of a tile is seen in the volume."""
    cover, reach = tile.volume.coverage, _SOUGHT
    shape = [min(n, m) for n, m in zip(_PART, (cover.n_columns, cover.n_rows, cover.n_frames), strict=True)]
    z, y = (round(p * (n - m)) for p, n, m in zip(part, (cover.n_columns, cover.n_rows), shape, strict=False))
    x = round(part[2] * (cover.n_frames - shape[2]) + cover.shear * (z + shape[0] / 2))
    box = Box.of_shape(shape, (z, y, x))
    raw = np.asarray(tile.volume.read(box), np.float32)
    slant = tile.shear_px * (z + shape[0] / 2)
    oz, oy, ox = tile.origin_px
    there = box.shift(nearest_voxel((oz, oy, ox + slant))).pad(reach)
    voxels = np.asarray(volume.read(there.intersect(Box.of_shape(volume.coverage.shape))), np.float32)
    if any(a < b + 2 * r for a, b, r in zip(voxels.shape, shape, reach, strict=True)):
        return Seen(tile.name, None, 0.0)
    like = correlate_all_shifts(_details(raw), _details(voxels))
    at = np.unravel_index(int(np.argmax(like)), like.shape)
    best = float(like[at])
    dz, dy, dx = (int(a) - r for a, r in zip(at, reach, strict=True))
    z, y, x = reach
    beside = float(like[z - 1 : z + 2, y - 1 : y + 2, x - 1 : x + 2].max())
    if best < _LIKE or (beside < best and not (best >= _ELSEWHERE and best - beside > _HIGHER)):
        return Seen(tile.name, None, best)
    return Seen(tile.name, (dz, dy, dx) if beside < best else (0, 0, 0), best)


def _details(voxels: Floats32) -> Floats32:
    fine = scipy.ndimage.gaussian_filter(voxels, _FINE)
    return np.ascontiguousarray(fine - scipy.ndimage.gaussian_filter(voxels, _COARSE), dtype=np.float32)


@dataclass(frozen=True)
class Sheet:
    """A raw frame, or a part of it, and the same sheet read back from the volume, (rows, columns), in counts.

    ``stripes`` and ``across`` are lines along the rows of the sheet in the volume, and down its columns, in % of the
    light; None where too little is lit. ``direction_deg`` is the angle of its lines against the rows.
    """

    name: str
    frame: int
    raw: HostArray
    written: HostArray
    stripes: float | None
    across: float | None
    direction_deg: float | None


def sheet(tile: PlacedVolume, raw: HostArray, frame: int, volume: Volume) -> Sheet:
    """Read the sheet of one frame of a tile back from the volume; ``raw`` is that frame (rows, columns)."""
    cover = tile.volume.coverage
    rows, columns = (
        slice((n - m) // 2, (n - m) // 2 + m)
        for n, m in ((n - 1, min(n - 1, most)) for n, most in zip(raw.shape, _SHEET, strict=True))
    )
    shear = cover.shear + tile.shear_px
    oz, oy, ox = tile.origin_px
    # Whole voxels, all within the tile: the first plane and row lie at most a voxel further on than those of the frame.
    first_z, first_y = math.ceil(oz) + columns.start, math.ceil(oy) + rows.start
    n_rows, n_columns = rows.stop - rows.start, columns.stop - columns.start
    out = np.zeros((n_rows, n_columns), volume.dtype)
    for first in range(0, n_columns, _COLUMNS):
        planes = np.arange(first, min(first + _COLUMNS, n_columns))
        at = np.floor(ox + frame + shear * (first_z + planes - oz) + 0.5 + _ROUNDING).astype(int)
        low = int(at.min())
        box = Box.of_shape((len(planes), n_rows, int(at.max()) - low + 1), (first_z + first, first_y, low))
        inside = box.intersect(Box.of_shape(volume.coverage.shape))
        if inside.is_empty:
            continue
        block = np.zeros(box.shape, volume.dtype)
        block[inside.slices(box.start)] = volume.read(inside)
        out[:, planes] = block[np.arange(len(planes)), :, at - low].T
    measured = RawFrame.of(out, 0)
    left = measured.rows.before()
    return Sheet(tile.name, frame, raw[rows, columns], out, left, measured.lines_across, measured.direction_deg)


def middle_of(values: Sequence[float | None]) -> float | None:
    """The median of the numbers that are known; None if none is."""
    known = [value for value in values if value is not None]
    return float(np.median(known)) if known else None


def uncovered(placed: Mapping[str, PlacedVolume], shape: tuple[int, int, int], n: int = 40) -> tuple[float, float]:
    """Share of the volume that no tile covers, and the share that lies in gaps between tiles, in %.

    A point lies in a gap if tiles cover points on both sides of it along y, or along x. ``n`` points on each axis are
    looked at.
    """
    z, y, x = (np.linspace(0, size - 1, min(n, size)) for size in shape)
    covered = np.zeros((len(z), len(y), len(x)), bool)
    for tile in placed.values():
        covered |= covers(tile, z, y, x)
    gaps = np.zeros_like(covered)
    for axis in (1, 2):
        before = np.maximum.accumulate(covered, axis=axis)
        after = np.flip(np.maximum.accumulate(np.flip(covered, axis), axis=axis), axis)
        gaps |= before & after & ~covered
    return 100 * float(1 - covered.mean()), 100 * float(gaps.mean())


def covers(tile: PlacedVolume, z: Floats, y: Floats, x: Floats, inside: float = 0.0) -> Bools:
    """Which points of a grid (z, y, x) a tile covers, voxels of the volume; bool of the shape of the grid.

    Points count that are at least so many voxels ``inside``.
    """
    cover, (oz, oy, ox) = tile.volume.coverage, tile.origin_px
    column, row = z - oz, y - oy
    frame = x[None, :] - ox - (cover.shear + tile.shear_px) * column[:, None]
    edge = inside - 0.5
    in_z, in_y = ((at >= edge) & (at <= n - 1 - edge) for at, n in ((column, cover.n_columns), (row, cover.n_rows)))
    in_zx = cover.holds(frame - inside, frame + inside) & in_z[:, None]
    return np.asarray(in_zx[:, None, :] & in_y[None, :, None])
