"""A stitched volume beside its ideal: the phantom's scene, evaluated at the volume's own voxels."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import scipy

from gpustitch.demo.phantom.specimen import Lattice, Scene, render_tissue, with_blobs
from gpustitch.demo.phantom.truth import TileTruth, Truth
from gpustitch.errors import InputMissingError
from gpustitch.model import ZYX, Box, Volume, column_step_um, shear_of
from gpustitch.model.arrays import Bools, Floats, Floats32

# Brightness is compared only at voxels that cells and vessels change by at most this fraction of the tissue.
_PURE_TISSUE = 0.03


@dataclass(frozen=True)
class Compared:
    """One block (z, y, x): measured and ideal voxels, float32, and whether a voxel shows tissue alone, bool."""

    image: Floats32
    ideal: Floats32
    usable: Bools


@dataclass(frozen=True)
class Footing:
    """The true places of a mosaic's voxels, given the solved position of each tile.

    Parameters
    ----------
    truth
        The phantom.
    origin_px
        Solved position (z, y, x) of each tile by name, in mosaic voxels.
    pixel_um
        Camera pixel that the mosaic's shear assumes.
    """

    truth: Truth
    origin_px: Mapping[str, tuple[float, float, float]]
    pixel_um: float

    @property
    def spacing_um(self) -> tuple[float, float, float]:
        """True voxel spacing (z, y, x) of the mosaic, with the true pixel size."""
        return self.truth.spec.scan.spacing.zyx_um

    @property
    def shear(self) -> float:
        """Columns by which the mosaic displaces each plane against the one before."""
        spec = self.truth.spec
        return shear_of(self.pixel_um, spec.step_um, spec.angle_deg)

    @property
    def slant_um(self) -> float:
        """True change of x from plane to plane at a constant column, um; 0 only for the true pixel size."""
        spec = self.truth.spec
        return column_step_um(spec.true_pixel_um - self.pixel_um, spec.angle_deg)[0]

    def solved_px(self) -> Floats:
        """Solved positions in the truth's order, (n, 3).

        Raises
        ------
        InputMissingError
            If a tile has no solved position.
        """
        missing = [tile.name for tile in self.truth.tiles if tile.name not in self.origin_px]
        if missing:
            raise InputMissingError(f"no solved position for the tiles {', '.join(missing)}")
        return np.array([self.origin_px[tile.name] for tile in self.truth.tiles], np.float64)

    def true_px(self) -> Floats:
        """True position of every tile, (n, 3), up to a common displacement."""
        x, y, z = np.array([tile.true_um for tile in self.truth.tiles]).T
        dz, dy, dx = self.spacing_um
        return np.column_stack([z / dz, y / dy, (x - z / dz * self.slant_um) / dx])

    def lattice(self, box: Box) -> Lattice:
        """True places of the voxels (z, y, x) of a mosaic box, with the mean displacement of all tiles corrected."""
        dz, dy, dx = self.spacing_um
        shift = (self.true_px() - self.solved_px()).mean(axis=0)
        origin_z, origin_y = shift[0] * dz, shift[1] * dy
        origin_x = shift[2] * dx + shift[0] * self.slant_um
        whole = Lattice((origin_x, origin_y, origin_z), (self.slant_um, dz), dy, (dx, 0.0), box.shape)
        return whole.part(box.start, box.stop)

    def seen_from(self, tile: TileTruth) -> Footing:
        """The same footing for the volume of one tile, de-obliqued alone with the nominal pixel size."""
        spec = self.truth.spec
        nominal = replace(self, pixel_um=spec.pixel_um)
        own = np.array(self.origin_px[tile.name])
        origins = {}
        for name, origin in self.origin_px.items():
            z, y, x = np.array(origin) - own
            origins[name] = (float(z), float(y), float(x + (nominal.shear - self.shear) * z))
        return replace(nominal, origin_px=origins)

    def within_tile(self, tile: TileTruth, box: Box) -> tuple[Floats32, Floats32, Floats32]:
        """Frame, row and column of the tile at each voxel of a mosaic box, broadcastable to (z, y, x)."""
        z, y, x = (np.arange(a, b) for a, b in zip(box.start, box.stop, strict=True))
        oz, oy, ox = self.origin_px[tile.name]
        column = (z - oz)[:, None, None]
        frame = (x - ox)[None, None, :] - self.shear * column
        return frame.astype(np.float32), (y - oy)[None, :, None].astype(np.float32), column.astype(np.float32)

    def depth_px(self, tile: TileTruth, box: Box) -> Floats32:
        """Depth of each voxel of a box inside the tile: the least of its frames, rows and columns to an edge."""
        spec = self.truth.spec
        depth = np.full(box.shape, np.inf, np.float32)
        for index, count in zip(self.within_tile(tile, box), (spec.n_frames, spec.n_rows, spec.n_columns), strict=True):
            np.minimum(depth, np.minimum(index, count - 1 - index), out=depth)
        return depth


def compare(volume: Volume, box: Box, scene: Scene, lattice: Lattice) -> Compared:
    """Read a box and render its ideal; uncovered voxels count as unusable."""
    image = volume.read(box).astype(np.float32)
    return compared(image, scene, lattice)


def compared(image: Floats32, scene: Scene, lattice: Lattice) -> Compared:
    """Render the ideal of an image whose voxels lie on the lattice."""
    tissue = render_tissue(scene, lattice)
    ideal = with_blobs(tissue.copy(), scene, lattice)
    return Compared(image, ideal, calm_tissue(scene, tissue, ideal) & (image > 0))


def calm_tissue(scene: Scene, tissue: Floats32, ideal: Floats32) -> Bools:
    """Which voxels show tissue alone, given the scene rendered without and with its cells and vessels."""
    return np.asarray((np.abs(ideal - tissue) < _PURE_TISSUE * tissue) & (tissue > 0.5 * scene.tissue), np.bool_)


def tile_alone(footing: Footing, tile: TileTruth, volume: Volume, box: Box) -> Floats32:
    """A box of the mosaic as one tile shows it, interpolated linearly in the tile's own volume; 0 outside the tile."""
    z, y, x = footing.truth.spec.n_columns, footing.truth.spec.n_rows, volume.coverage.shape[2]
    place = [v.astype(np.float64) for v in footing.within_tile(tile, box)]
    across = place[0] + volume.coverage.shear * place[2]
    low = [math.floor(float(v.min())) for v in (place[2], place[1], across)]
    high = [math.ceil(float(v.max())) + 1 for v in (place[2], place[1], across)]
    own = Box((low[0], low[1], low[2]), (high[0], high[1], high[2])).intersect(Box.of_shape((z, y, x)))
    if own.is_empty:
        return np.zeros(box.shape, np.float32)
    at = [np.broadcast_to(v - s, box.shape) for v, s in zip((place[2], place[1], across), own.start, strict=True)]
    return np.asarray(scipy.ndimage.map_coordinates(volume.read(own).astype(np.float32), at, order=1, mode="constant"))


def truly_inside(truth: Truth, points_um: Floats, margin_px: float) -> Bools:
    """Which points (n, 3) as x, y, z some tile saw at least ``margin_px`` frames, rows and columns inside its edges."""
    spec = truth.spec
    last = np.array([spec.n_frames, spec.n_rows, spec.n_columns]) - 1.0
    inside = np.zeros(len(points_um), np.bool_)
    for tile in truth.tiles:
        index = truth.lattice(tile).index_of(points_um)
        inside |= ((index >= margin_px) & (index <= last - margin_px)).all(axis=1)
    return inside


def box_about(centre: tuple[float, float, float], half: ZYX) -> Box:
    """The box of ``2*half + 1`` voxels around the voxel nearest to ``centre``."""
    z, y, x = (round(c) for c in centre)
    return Box((z, y, x), (z + 1, y + 1, x + 1)).pad(half)
