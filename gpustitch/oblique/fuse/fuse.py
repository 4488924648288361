"""Fusion: one block of the mosaic from the tiles that cover it.

:func:`plan_block` says which box of which tile is needed. :func:`fuse_block` turns these boxes into the block.
Linear interpolation moves tiles to their sub-voxel positions; tiles at whole positions are copied exactly. The weights
of :mod:`gpustitch.oblique.fuse.blend` blend the tiles. A tile covers a voxel only if it covers all neighbours that the
interpolation needs. A voxel that no tile covers is 0.

Where frames of a tile are absent, the runs of frames in between are fused like tiles of their own: each has its edges,
and fades towards them. No two runs of one tile cover one voxel.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gpustitch.array import Array, kernel, namespace
from gpustitch.model import Box, PlacedVolume
from gpustitch.oblique.fuse.blend import Footprint, weights
from gpustitch.oblique.fuse.shifted import add_weighted, resample
from gpustitch.oblique.fuse.tables import Cell, Tables, cells


@dataclass(frozen=True)
class BlockPlan:
    """How a block is fused, and the box (in a tile's own grid) that must be read of each tile.

    ``numbers`` are the numbers in ``tiles`` of the tiles that cover part of the block, in the order of summation; a
    tile with absent frames is there once for each of its runs of frames.
    ``tables`` holds their geometry in the same order, with places in the tiles' whole grids; None without tiles.
    ``cells`` are the covered parts of the block, in its own voxels. A cell counts its tiles in the same order.
    ``reads`` maps the number of each tile to the box to read.
    """

    box: Box
    tiles: tuple[PlacedVolume, ...]
    numbers: tuple[int, ...]
    tables: Tables | None
    cells: tuple[Cell, ...]
    reads: Mapping[int, Box]

    @property
    def is_empty(self) -> bool:
        """Whether no tile covers a voxel of the block."""
        return not self.cells


def plan_block(box: Box, tiles: Sequence[PlacedVolume]) -> BlockPlan:
    """Find the tiles that cover part of ``box`` (mosaic voxels), and the box to read of each tile.

    The boxes to read may reach some columns beyond a tile's grid. Those columns must read as 0, as
    :meth:`gpustitch.model.Volume.read` does.
    """
    near = _by_position([n for n, tile in enumerate(tiles) if _may_cover(tile, box)], tiles)
    prints = [(number, footprint) for number in near for footprint in _footprints(tiles[number], box)]
    if not prints:
        return BlockPlan(box, tuple(tiles), (), None, (), {})
    numbers = tuple(number for number, _ in prints)
    tables = Tables.of(box, [tiles[number] for number in numbers], [footprint for _, footprint in prints])
    parts = tuple(cell for cell in cells(tables.bounds, tables.columns, box.shape) if cell.tiles)
    reads: dict[int, Box] = {}
    for place, number in enumerate(numbers):
        need = tables.needed(place, [cell.box for cell in parts if place in cell.tiles])
        reads[number] = need.hull(reads.get(number, need))
    return BlockPlan(box, tuple(tiles), numbers, tables, parts, dict(sorted(reads.items())))


def fuse_block(
    plan: BlockPlan, voxels: Mapping[int, Array], gains: Mapping[int, npt.NDArray[np.float32]] | None = None
) -> Array:
    """The voxels of a block.

    Parameters
    ----------
    plan
        Plan from :func:`plan_block`, not empty.
    voxels
        For each tile number in ``plan.reads`` the voxels of that box, all of one dtype.
    gains
        Factor for each row of a tile, for the tiles that need one (see :mod:`gpustitch.oblique.fuse.intensity`).

    Returns
    -------
    array
        Shape ``plan.box.shape``, dtype of the tiles. Whole numbers are rounded and clipped to their range.

    Raises
    ------
    ValueError
        If the plan is empty, or the voxels do not fit the boxes of ``plan.reads`` or have several dtypes.
    """
    if plan.tables is None:
        raise ValueError(f"no tile covers {plan.box}")
    _check(plan, voxels)
    xp = namespace(*voxels.values())
    gains_of = {place: gains[number] for place, number in enumerate(plan.numbers) if gains and number in gains}
    tables = plan.tables.in_boxes([plan.reads[number] for number in plan.numbers], gains_of).moved_to(xp)
    sources = [voxels[number] for number in plan.numbers]
    out: Array = xp.empty(plan.box.shape, sources[0].dtype)
    fuse_tiles(sources, tables.bounds, tables.columns, tables.edges, tables.planes, tables.rows, tables.axes, out)
    return out


@kernel("fuse.cu", T="out: uint8 uint16 float32", tile=(4, 16, 62), threads=(256,))
def fuse_tiles(
    voxels: Sequence[Array],
    bounds: Array,
    columns: Array,
    edges: Array,
    planes: Array,
    rows: Array,
    axes: Array,
    out: Array,
) -> None:
    """Fuse one block from the voxels of n tiles.

    Parameters
    ----------
    voxels
        The voxels of each tile, 3-D, in the order of summation.
    bounds, columns, edges, planes, rows, axes
        Tables of the tiles' geometry: :class:`gpustitch.oblique.fuse.tables.Tables`.
    out
        3-D, dtype of the tiles. Written whole. A voxel that one tile without gain covers is its interpolated value.
        Other covered voxels are sums with the weights of :func:`gpustitch.oblique.fuse.blend.weights`, times gains. A
        voxel that no tile covers is 0. Whole numbers are rounded (ties to even) and clipped.

    Notes
    -----
    Interpolation is linear along z, then y, then x, in float32. A tile's voxels outside its coverage must be finite.
    """
    tables = Tables(bounds, columns, edges, planes, rows, axes)
    for cell in cells(bounds, columns, out.shape):
        part = out[cell.box.slices()]
        if not cell.tiles:
            part[...] = 0
        elif len(cell.tiles) == 1 and tables.gains(cell.tiles[0], cell.box) is None:
            tile = cell.tiles[0]
            resample(voxels[tile], tables.place(tile, cell.box), tables.covered(tile, cell.box), part)
        else:
            _blend_into(part, voxels, tables, cell.tiles, cell.box)


def _blend_into(out: Array, voxels: Sequence[Array], tables: Tables, tiles: tuple[int, ...], cell: Box) -> None:
    x = np.arange(cell.shape[2])
    columns = [tables.covered(tile, cell)[:, None, :] for tile in tiles]
    covered = [(x >= c[..., :1]) & (x < c[..., 1:]) for c in columns]
    shares = weights([tables.near(tile, cell) for tile in tiles], covered, tables.axes[np.ix_(tiles, tiles)])
    total = np.zeros(cell.shape, np.float32)
    for tile, share in zip(tiles, shares, strict=True):
        gain = tables.gains(tile, cell)
        add_weighted(voxels[tile], tables.place(tile, cell), share if gain is None else share * gain, total, out)


def _check(plan: BlockPlan, voxels: Mapping[int, Array]) -> None:
    if set(voxels) != set(plan.reads):
        raise ValueError(f"fusing {plan.box} needs the tiles {sorted(plan.reads)}, not {sorted(voxels)}")
    for number, need in plan.reads.items():
        if voxels[number].shape != need.shape:
            name = plan.tiles[number].name
            raise ValueError(f"tile {name}: {need} needs voxels of shape {need.shape}, not {voxels[number].shape}")
    dtypes = {str(array.dtype) for array in voxels.values()}
    if len(dtypes) > 1:
        raise ValueError(f"tiles of one mosaic must be of one dtype, not {sorted(dtypes)}")


def _by_position(numbers: Sequence[int], tiles: Sequence[PlacedVolume]) -> list[int]:
    """Tile numbers sorted by position and name, so that sums do not depend on the order of the given tiles."""
    return sorted(numbers, key=lambda n: (tiles[n].origin_px, tiles[n].name))


def _footprints(tile: PlacedVolume, box: Box) -> Iterator[Footprint]:
    """The footprints, on the planes of the box, of the tile's runs of frames that cover a voxel of the box."""
    whole = Footprint.of(tile, box.start[0], box.stop[0])
    return (footprint for footprint in whole.by_runs(tile.volume.coverage) if _covers(footprint, box))


def _covers(footprint: Footprint, box: Box) -> bool:
    """Whether the tile covers a voxel of ``box``; ``footprint`` is the tile's footprint on the planes of the box."""
    planes, rows = (
        (max(a, box.start[n]), min(b, box.stop[n])) for n, (a, b) in enumerate((footprint.depths, footprint.rows))
    )
    columns = footprint.columns[planes[0] - box.start[0] : max(0, planes[1] - box.start[0])]
    first, stop = np.maximum(columns[:, 0], box.start[2]), np.minimum(columns[:, 1], box.stop[2])
    return rows[0] < rows[1] and bool((first < stop).any())


def _may_cover(tile: PlacedVolume, box: Box) -> bool:
    """Whether the box around the tile meets ``box``: a quick test that spares most tiles of a mosaic the exact one."""
    coverage = tile.volume.coverage
    depth = coverage.n_columns - 1
    drifts = (0.0, (coverage.shear + tile.shear_px) * depth)
    reach = ((0.0, depth), (0.0, coverage.n_rows - 1), (min(drifts), max(drifts) + coverage.n_frames - 1))
    return all(
        start - 1 <= origin + last and origin + first <= stop
        for start, stop, origin, (first, last) in zip(box.start, box.stop, tile.origin_px, reach, strict=True)
    )
