"""Figures measured in a stitched volume: stripes, cells and seams."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np

from gpustitch.demo.phantom.specimen import Lattice, Scene, render
from gpustitch.demo.phantom.truth import TileTruth, Truth
from gpustitch.demo.score.cells import CellMatches, cell_amount, find_cells, halo_px, match_cells
from gpustitch.demo.score.compare import Compared, Footing, box_about, compare, compared, tile_alone, truly_inside
from gpustitch.demo.score.errors import RowProfile, row_energy, row_profile, seam_step, stripe_energy
from gpustitch.model import Box, Frames, Volume
from gpustitch.model.arrays import Bools, Floats, Floats32, PxZYX
from gpustitch.oblique.deskew.tile import ObliqueTile
from gpustitch.running.progress import Progress, tracked
from gpustitch.running.threads import ordered_map

_CELL_BLOCK = (96, 128, 128)
_MATCH_RADIUS_UM = 5.0
_CELL_RADIUS_UM = 8.0
# Cells nearer to the edge of the imaged region are not counted: their surroundings are missing.
_EDGE_PX = 8.0
_MOST_CELLS_WEIGHED = 400
_STRIPE_BLOCK_PX = 24
_STRIPE_BLOCKS_PER_TILE = 8
_SEAM_PATCH_PX = 24
_SEAM_DEPTH_PX = 3
_SEAM_PATCHES_PER_FACE = 12


@dataclass(frozen=True)
class StripeFigures:
    """Stripes in the raw frames (``before``) and in the stitched volume (``after``).

    ``pattern`` is the energy of the known stripes, relative to the stripes that were made. ``rows`` is the mean square
    of all false differences from row to row.
    """

    pattern_before: float
    pattern_after: float
    rows_before: float
    rows_after: float


@dataclass(frozen=True)
class CellFigures:
    """Found cells: matches with the truth and numbers; ``kept`` is the brightness left of each weighed cell."""

    matches: CellMatches
    n_true: int
    n_found: int
    kept: Floats


@dataclass(frozen=True)
class SeamFigures:
    """Relative steps across tile borders, one for each patch of border inside another tile."""

    steps: Floats


def measure_stripes(footing: Footing, volume: Volume, scene: Scene, raw: Mapping[str, Frames]) -> StripeFigures:
    """Compare row profiles of the same blocks of tissue in the raw frames and in the volume.

    Only voxels that a single tile saw are compared: blending tiles also blends their stripes.

    Parameters
    ----------
    footing, volume, scene
        True places of the volume's voxels, the stitched volume, and the true specimen.
    raw
        Upright raw frames of each tile by name.
    """
    before: list[RowProfile] = []
    after: list[RowProfile] = []
    made: list[RowProfile] = []
    truth = footing.truth
    for tile in truth.tiles:
        source = ObliqueTile(raw[tile.name], truth.spec.scan)
        for box in _stripe_boxes(truth):
            origin = [round(o) for o in footing.origin_px[tile.name]]
            there = box.shift(origin)
            stitched = compare(volume, there, scene, footing.lattice(there))
            others = [other for other in truth.tiles if other.name != tile.name]
            alone = np.max([footing.depth_px(other, there) for other in others], axis=0, initial=-np.inf) < -1
            unstitched = _raw_block(truth, tile, source, box, scene)
            usable = unstitched.usable & stitched.usable & alone
            before.append(row_profile(unstitched.image, unstitched.ideal, usable))
            after.append(row_profile(stitched.image, stitched.ideal, usable))
            gain = _gain(truth, tile, box)
            made.append(row_profile(gain, np.ones_like(gain), usable))
    return StripeFigures(stripe_energy(before, made), stripe_energy(after, made), row_energy(before), row_energy(after))


def _raw_block(truth: Truth, tile: TileTruth, source: ObliqueTile, box: Box, scene: Scene) -> Compared:
    """A block of the raw frames, de-obliqued with the true geometry, without dark offset and illumination."""
    dz, dy, dx = truth.spec.scan.spacing.zyx_um
    whole = Lattice(tile.true_um, (0.0, dz), dy, (dx, 0.0), truth.spec.scan.shape)
    light = source.read(box).astype(np.float32) - np.float32(truth.spec.sensor.dark)
    light /= truth.spec.flat().T[box.start[0] : box.stop[0], :, None]
    return compared(light, scene, whole.part(box.start, box.stop))


def _gain(truth: Truth, tile: TileTruth, box: Box) -> Floats32:
    """The true gain of the stripes at the voxels of a block of the tile's de-obliqued grid."""
    z, _, x = (np.arange(a, b) for a, b in zip(box.start, box.stop, strict=True))
    frame = np.rint(x[None, :] - truth.spec.scan.shear * z[:, None]).astype(np.int64)
    frame = np.clip(frame, 0, truth.spec.n_frames - 1)
    first = int(frame.min())
    gain = tile.stripes.gain(np.arange(first, int(frame.max()) + 1), truth.spec.n_columns)
    return np.asarray(gain[frame - first, :, z[:, None]].transpose(0, 2, 1))


def measure_cells(
    footing: Footing,
    volume: Volume,
    scene: Scene,
    n_workers: int,
    progress: Progress,
    *,
    ideal_of: Callable[[Lattice], Floats32] | None = None,
    removed: float = 0.0,
    seed: int = 0,
) -> CellFigures:
    """Find cells in the volume without the truth, match them with true cells, and weigh some true cells.

    ``ideal_of`` renders what cells are weighed against, by default the scene; ``removed`` is that of `find_cells`.
    """
    truth = footing.truth
    true_um = scene.cells.centre_um
    true_um = true_um[truly_inside(truth, true_um, _EDGE_PX)]
    blocks = list(Box.of_shape(volume.coverage.shape).blocks(_CELL_BLOCK))
    cells = ordered_map(lambda box: _cells_in(footing, volume, box, removed), blocks, n_workers)
    found_px = list(tracked(cells, progress, "Finding cells", len(blocks), "blocks"))
    whole = footing.lattice(Box.of_shape(volume.coverage.shape))
    found_um = whole.point_of(np.concatenate([np.zeros((0, 3)), *found_px]))
    # Cells at the very margin may be found or not: found cells count only well inside, but may match any true cell.
    counted = found_um[truly_inside(truth, found_um, _EDGE_PX)]
    matches = match_cells(true_um, found_um, _MATCH_RADIUS_UM)
    precision = match_cells(scene.cells.centre_um, counted, _MATCH_RADIUS_UM).precision
    matches = CellMatches(matches.pairs, matches.distance_um, matches.recall, precision)
    chosen = np.random.default_rng(seed).permutation(len(true_um))[:_MOST_CELLS_WEIGHED]
    ideal_of = ideal_of or partial(render, scene)
    kept = [_kept(footing, volume, ideal_of, whole, true_um[n]) for n in chosen]
    return CellFigures(matches, len(true_um), len(counted), np.array(kept))


def measure_seams(
    footing: Footing, volume: Volume, scene: Scene, tiles: Mapping[str, Volume] | None, n_workers: int
) -> SeamFigures:
    """Steps of brightness across the edges of each tile where an edge lies inside exactly one other tile.

    The volume is compared with that other tile alone. Destriping may leave steps between rows anywhere; only steps
    that stitching adds are seams.

    Parameters
    ----------
    footing, volume, scene
        True places of the volume's voxels, the stitched volume, and the true specimen.
    tiles
        The volume of each tile by name; None to compare with the scene instead.
    """
    patches = [(tile, *face) for tile in footing.truth.tiles for face in _faces(footing.truth, tile)]

    def seam(patch: tuple[TileTruth, TileTruth, int, bool, PxZYX]) -> float:
        tile, other, axis, far, centre = patch
        box, distance, usable = _patch(footing, tile, axis, far, centre)
        if tiles is None:
            block = compare(volume, box, scene, footing.lattice(box))
            return seam_step(block.image, block.ideal, distance, usable & block.usable, depth_px=_SEAM_DEPTH_PX)
        alone = tile_alone(footing, other, tiles[other.name], box)
        usable &= alone > 0.3 * scene.tissue
        return seam_step(volume.read(box).astype(np.float32), alone, distance, usable, depth_px=_SEAM_DEPTH_PX)

    steps = np.array(list(ordered_map(seam, patches, n_workers)), np.float64)
    return SeamFigures(steps[np.isfinite(steps)])


def _stripe_boxes(truth: Truth) -> Iterator[Box]:
    """Blocks of all rows, spread over a tile, in the tile's de-obliqued grid."""
    spec = truth.spec
    size = min(_STRIPE_BLOCK_PX, spec.n_columns, spec.n_frames)
    across = max(1, round((_STRIPE_BLOCKS_PER_TILE / 2) ** 0.5))
    for z in np.linspace(0, spec.n_columns - size, across + 2)[1:-1].astype(int):
        for f in np.linspace(0, spec.n_frames - size, 2 * across + 2)[1:-1].astype(int):
            x = int(f + (z + size / 2) * spec.scan.shear)
            yield Box((int(z), 0, x), (int(z) + size, spec.n_rows, x + size))


def _cells_in(footing: Footing, volume: Volume, box: Box, removed: float) -> Floats:
    """Cells with their centre in the box, in voxels of the volume."""
    around = box.pad(halo_px(footing.spacing_um)).intersect(Box.of_shape(volume.coverage.shape))
    voxels = volume.read(around)
    if not voxels.any():
        return np.zeros((0, 3))
    cells = find_cells(voxels, footing.spacing_um, removed=removed) + np.asarray(around.start)
    inside = (cells >= np.asarray(box.start) - 0.5) & (cells < np.asarray(box.stop) - 0.5)
    return np.asarray(cells[inside.all(axis=1)])


def _kept(
    footing: Footing, volume: Volume, ideal_of: Callable[[Lattice], Floats32], whole: Lattice, centre_um: Floats
) -> float:
    """Brightness of a cell in the volume, relative to its true brightness."""
    centre_px = whole.index_of(centre_um[None])[0]
    half = [int(np.ceil(1.5 * _CELL_RADIUS_UM / s)) + 1 for s in footing.spacing_um]
    box = box_about((centre_px[0], centre_px[1], centre_px[2]), (half[0], half[1], half[2]))
    ideal = ideal_of(footing.lattice(box))
    image = volume.read(box).astype(np.float32)
    where = centre_px - np.asarray(box.start)
    amounts = [cell_amount(v, where, footing.spacing_um, _CELL_RADIUS_UM) for v in (image, ideal)]
    return amounts[0] / amounts[1]


def _faces(truth: Truth, tile: TileTruth) -> Iterator[tuple[TileTruth, int, bool, PxZYX]]:
    """Patches of a tile's six faces: other tile there, axis (frame, row, column), whether at the far end, centre."""
    spec = truth.spec
    counts = (spec.n_frames, spec.n_rows, spec.n_columns)
    rng = np.random.default_rng([spec.seed, 76])
    for axis, far in itertools.product(range(3), (False, True)):
        centres: list[list[float]] = [
            list(np.arange(_SEAM_PATCH_PX, n - _SEAM_PATCH_PX, 2.0 * _SEAM_PATCH_PX)) or [n / 2] for n in counts
        ]
        centres[axis] = [counts[axis] - 1.0 if far else 0.0]
        patches = [(frame, row, column) for frame, row, column in itertools.product(*centres)]
        seen = [(others[0], p) for p in patches if len(others := _others_at(truth, tile, p)) == 1]
        for n in rng.permutation(len(seen))[:_SEAM_PATCHES_PER_FACE]:
            yield seen[n][0], axis, far, seen[n][1]


def _others_at(truth: Truth, tile: TileTruth, pixel: PxZYX) -> list[TileTruth]:
    """The other tiles that see the same place as a pixel of this tile."""
    point = truth.lattice(tile).point_of(np.array([pixel]))
    spec = truth.spec
    last = np.array([spec.n_frames, spec.n_rows, spec.n_columns]) - 1.0
    others = [(other, truth.lattice(other).index_of(point)[0]) for other in truth.tiles if other.name != tile.name]
    return [other for other, index in others if bool(((index >= 0) & (index <= last)).all())]


def _patch(footing: Footing, tile: TileTruth, axis: int, far: bool, centre: PxZYX) -> tuple[Box, Floats32, Bools]:
    """A patch of a tile's face: box, distance inside the tile from the face, and mask of voxels one other tile sees."""
    spec = footing.truth.spec
    half = [float(_SEAM_PATCH_PX)] * 3
    half[axis] = _SEAM_DEPTH_PX + 1.0
    frame, row, column = centre
    origin = footing.origin_px[tile.name]
    columns = (column - half[2], column + half[2])
    x = [frame + s * half[0] + footing.shear * c for s in (-1, 1) for c in columns]
    low = (columns[0] + origin[0], row - half[1] + origin[1], min(x) + origin[2])
    high = (columns[1] + origin[0], row + half[1] + origin[1], max(x) + origin[2])
    box = Box((int(low[0]), int(low[1]), int(low[2])), (int(high[0]) + 1, int(high[1]) + 1, int(high[2]) + 1))
    within = footing.within_tile(tile, box)
    depth = np.array([footing.depth_px(other, box) for other in footing.truth.tiles if other.name != tile.name])
    # At a tile's edge interpolation lacks neighbours: one other tile must lie well inside, and none just begin.
    usable = (np.sum(depth > -2, axis=0) == 1) & (depth.max(axis=0) >= 3)
    for n in range(3):
        usable &= np.abs(within[n] - centre[n]) <= half[n]
    last = (spec.n_frames, spec.n_rows, spec.n_columns)[axis] - 1
    distance = np.broadcast_to(last - within[axis] if far else within[axis], box.shape)
    return box, distance, usable
