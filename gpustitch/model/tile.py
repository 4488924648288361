"""Tiles and mosaics: what each tile holds, where the stage reported it and where alignment found it."""

from __future__ import annotations

import bisect
import itertools
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from gpustitch.errors import MosaicError
from gpustitch.model.box import ZYX, Box
from gpustitch.model.geometry import Coverage, Spacing

UmXYZ = tuple[float, float, float]

# Names of folders and files that state a stage position, whole tenths of a micron: X or Z, and X_Y.
WHOLE_NAME = r"[+-]?\d+"
PAIR_NAME = rf"({WHOLE_NAME})_({WHOLE_NAME})"


def tile_name(stage_um: UmXYZ) -> str:
    """Name of the tile at a stage position in messages and reports: ``X_Y_Z`` in tenths of a micron, as on disk."""
    return "_".join(f"{round(v * 10)}" for v in stage_um)


def stage_position(path: Path) -> UmXYZ | None:
    """Stage position (um) that the names ``X/X_Y/Z`` or ``X/X_Y`` at a path's end state; None if they state none."""
    found = _named_place(path)
    return None if found is None else found[0]


def channel_of(path: Path) -> Path | None:
    """The folder above ``X/X_Y/Z`` or ``X/X_Y`` at a path's end, which holds all tiles; None without such names."""
    found = _named_place(path)
    return None if found is None else found[1]


def _named_place(path: Path) -> tuple[UmXYZ, Path] | None:
    path = path.absolute()
    z_name, above = path.name.partition(".")[0], path.parent
    for folder, z in ((above, z_name), (path, "0")):
        pair, x_name = re.fullmatch(PAIR_NAME, folder.name), folder.parent.name
        if pair and re.fullmatch(WHOLE_NAME, z) and re.fullmatch(WHOLE_NAME, x_name) and int(x_name) == int(pair[1]):
            return (int(pair[1]) / 10, int(pair[2]) / 10, int(z) / 10), folder.parent.parent
    return None


class Frames(Protocol):
    """A stack of camera frames that can be read in parts."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """(frames, rows, columns)."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of a pixel."""

    @property
    def absent(self) -> frozenset[int]:
        """Frames that no file holds. They keep their place, read as zeros and cover nothing."""

    def read(self, start: int, stop: int, rows: slice = slice(None), columns: slice = slice(None)) -> npt.NDArray[Any]:
        """Frames ``start <= f < stop``, cut to ``rows`` and ``columns``; shape (stop-start, rows, columns)."""


def read_into(frames: Frames, start: int, stop: int, rows: slice, columns: slice, out: npt.NDArray[Any]) -> None:
    """Read frames as :meth:`Frames.read` does, into ``out``: without a copy between where they have a `read_into`."""
    into = getattr(frames, "read_into", None)
    if into is None:
        out[...] = frames.read(start, stop, rows, columns)
    else:
        into(start, stop, rows, columns, out)


def part_axis(frames: Frames) -> int | None:
    """Axis of a frame, 0 for rows or 1 for columns, along which a part is read without the rest; None if along none.

    Frames state it as an attribute of this name. Compressed ones are decoded whole.
    """
    return getattr(frames, "part_axis", None)


@dataclass(frozen=True)
class Layout:
    """How frames lie where they are read from: ``is_swapped``, columns as rows, and flipped along upright axes.

    Memory in that order is filled without turning each frame.
    """

    is_swapped: bool = False
    flips_rows: bool = False
    flips_columns: bool = False

    @property
    def is_upright(self) -> bool:
        """Whether frames lie as they are given."""
        return not (self.is_swapped or self.flips_rows or self.flips_columns)

    def upright(self, stored: Any) -> Any:
        """A view of frames (frame, row, column) as they are given, of memory in the order of this layout."""
        rows, columns = (slice(None, None, -1 if flips else 1) for flips in (self.flips_rows, self.flips_columns))
        return stored[:, columns, rows].transpose(0, 2, 1) if self.is_swapped else stored[:, rows, columns]

    def stored(self, upright: Any) -> Any:
        """The view in the order of this layout of frames as they are given."""
        rows, columns = (slice(None, None, -1 if flips else 1) for flips in (self.flips_rows, self.flips_columns))
        return upright.transpose(0, 2, 1)[:, columns, rows] if self.is_swapped else upright[:, rows, columns]


UPRIGHT = Layout()


def layout_of(frames: Frames) -> Layout:
    """How frames lie where they are read from: they state it as an attribute `layout`, or lie as they are given."""
    layout: Layout = getattr(frames, "layout", UPRIGHT)
    return layout


class Volume(Protocol):
    """Anything that can be asked for a box of voxels in an upright grid.

    Raw frames de-obliqued on demand, a precomputed volume on disk, an array: alignment and fusion see only a Volume.
    """

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of a voxel."""

    @property
    def spacing(self) -> Spacing:
        """Voxel spacing of the grid."""

    @property
    def coverage(self) -> Coverage:
        """Which voxels hold data; ``coverage.shape`` is the grid's shape."""

    def read(self, box: Box) -> npt.NDArray[Any]:
        """Voxels of ``box``, shape ``box.shape``; zero outside the coverage or the grid."""


@dataclass(frozen=True)
class TilePath:
    """Where a tile's data lie on disk, and where the stage said the tile was.

    ``stage_um`` is (x, y, z) in um, read from the folder names ``X/X_Y/Z`` in tenths of a micron. It also names the
    tile.
    """

    path: Path
    stage_um: UmXYZ

    @property
    def name(self) -> str:
        """The tile's name: :func:`tile_name` of its stage position."""
        return tile_name(self.stage_um)


@dataclass(frozen=True)
class PlacedVolume:
    """A volume and where its grid lies in the mosaic.

    ``origin_px`` is the position (z, y, x) of the volume's first voxel in the mosaic grid, in voxels, not rounded.
    ``shear_px`` displaces each plane z along x against the plane before, in mosaic columns. It adds to the shear of
    the volume's own grid. It is 0 unless the pixel size turned out to differ from the one used to de-oblique.
    """

    name: str
    volume: Volume
    origin_px: tuple[float, float, float]
    shear_px: float = 0.0


@dataclass(frozen=True)
class Mosaic:
    """Tiles of one channel."""

    tiles: tuple[TilePath, ...]

    def __post_init__(self) -> None:
        if not self.tiles:
            raise MosaicError("a mosaic needs at least one tile")
        seen: dict[UmXYZ, Path] = {}
        for tile in self.tiles:
            if tile.stage_um in seen:
                raise MosaicError(
                    f"{tile.path} and {seen[tile.stage_um]} are both at stage position {tile.stage_um} um"
                )
            seen[tile.stage_um] = tile.path

    def grid_um(self, tile_um: UmXYZ = (0.0, 0.0, 0.0)) -> tuple[list[float], list[float], list[float]]:
        """The distinct x, y and z of the tiles, um; positions closer than a quarter of ``tile_um`` are one place."""
        x, y, z = (_places([tile.stage_um[axis] for tile in self.tiles], tile_um[axis] / 4) for axis in range(3))
        return x, y, z

    def missing_positions(self, tile_um: UmXYZ = (0.0, 0.0, 0.0)) -> list[UmXYZ]:
        """Places (x, y, z) of the grid of :meth:`grid_um` that hold no tile, um."""
        grid = self.grid_um(tile_um)
        filled = {
            tuple(bisect.bisect_right(places, at) - 1 for places, at in zip(grid, tile.stage_um, strict=True))
            for tile in self.tiles
        }
        everywhere = itertools.product(*(range(len(places)) for places in grid))
        return [(grid[0][i], grid[1][j], grid[2][k]) for i, j, k in everywhere if (i, j, k) not in filled]


def _places(positions: Sequence[float], apart: float) -> list[float]:
    places: list[float] = []
    for at in sorted(positions):
        if not places or at - places[-1] > apart:
            places.append(at)
    return places


@dataclass(frozen=True)
class Match:
    """One point found in two tiles: its grid voxel (z, y, x) in each tile, and the correlation of the two windows.

    ``fixed_px`` is a whole voxel, ``moving_px`` is sub-voxel.
    """

    fixed_px: ZYX
    moving_px: tuple[float, float, float]
    correlation: float


@dataclass(frozen=True)
class Candidate:
    """An offset at which the pictures of an overlap may fit.

    ``offset_px`` and its standard error ``sigma_px`` are (z, y, x) in voxels. ``confidence``, 0 to 1, says how sure the
    pictures alone are that it is the right one; the confidences of one overlap sum to at most 1.
    """

    offset_px: tuple[float, float, float]
    sigma_px: tuple[float, float, float]
    confidence: float


@dataclass(frozen=True)
class Link:
    """Where tile ``moving`` lies relative to tile ``fixed``, from the matches in their overlap.

    ``offset_px`` is the position (z, y, x) of the moving tile's first voxel in the fixed tile's grid:
    the robust median over ``matches`` of ``fixed_px - moving_px``. ``scatter_px`` is 1.4826 times the median absolute
    deviation per axis. ``reason`` says why the link was rejected; it is empty for an accepted link.
    ``sigma_px`` is the standard error of the offset per axis; None if only the scatter is known. ``candidates`` are the
    offsets at which the pictures may fit, the surest first; a rejected link may have some too.
    ``bend_px`` (z, y, x) is by how much the offset changes from end to end of the overlap, as of tiles that are
    stretched or turned against each other; None if it is not seen to. ``sigma_px`` includes it.
    """

    fixed: str
    moving: str
    offset_px: tuple[float, float, float]
    scatter_px: tuple[float, float, float]
    matches: tuple[Match, ...]
    reason: str = ""
    sigma_px: tuple[float, float, float] | None = None
    candidates: tuple[Candidate, ...] = ()
    bend_px: tuple[float, float, float] | None = None

    @property
    def is_measured(self) -> bool:
        """Whether the offset comes from the pictures; that of a rejected link may be the stage's."""
        return not self.reason or bool(self.matches) or self.sigma_px is not None


# What holds a tile in place: links that close a loop, links that close none, or the stage alone.
Support = Literal["loop", "link", "stage"]


@dataclass(frozen=True)
class Placement:
    """Solved tile positions.

    ``origin_px`` maps tile names to (z, y, x) in mosaic voxels; the least coordinate on each axis is 0.
    ``residual_px`` maps (fixed, moving) to the solved offset of an accepted link less its measured offset, in the
    mosaic's grid; the links themselves stay in the grid of their tiles.
    ``unlinked`` names the tiles that no accepted link reaches.
    ``sigma_px`` holds each tile's standard error (z, y, x), voxels, relative to the mean of all tiles; ``support`` says
    what holds each tile. A tile that they do not name has none that is known: so in files that do not state them.
    """

    origin_px: Mapping[str, tuple[float, float, float]]
    residual_px: Mapping[tuple[str, str], tuple[float, float, float]]
    links: tuple[Link, ...]
    unlinked: tuple[str, ...]
    sigma_px: Mapping[str, tuple[float, float, float]] = field(default_factory=dict)
    support: Mapping[str, Support] = field(default_factory=dict)

    @property
    def is_unaligned(self) -> bool:
        """Whether tiles overlap, but no link was accepted: all positions are those of the stage."""
        return is_unaligned(self.links)

    def standard_error_um(self, name: str, spacing: Spacing) -> UmXYZ | None:
        """Standard error (x, y, z) of a tile's position, um, relative to the mean of all tiles; None if not known."""
        sigma = self.sigma_px.get(name)
        if sigma is None or not all(map(math.isfinite, sigma)):
            return None
        return sigma[2] * spacing.x_um, sigma[1] * spacing.y_um, sigma[0] * spacing.z_um

    @property
    def islands(self) -> tuple[tuple[str, ...], ...]:
        """Groups of tiles that accepted links join, the largest first; the links say nothing between two groups."""
        group = {name: {name} for name in self.origin_px}
        for link in (link for link in self.links if not link.reason):
            joined = group[link.fixed] | group[link.moving]
            group.update(dict.fromkeys(joined, joined))
        apart = {min(members): tuple(sorted(members)) for members in group.values()}
        return tuple(sorted(apart.values(), key=lambda members: (-len(members), members)))


def is_unaligned(links: Sequence[Link]) -> bool:
    """Whether there are links and all of them were rejected."""
    return bool(links) and all(link.reason for link in links)
