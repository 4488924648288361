"""A synthetic specimen that is known exactly: evaluated at any point, never stored as voxels.

The specimen is a smooth piece of tissue with an outline and a texture. Gaussian blobs lie in the tissue: single blobs
are cells, chains of blobs are vessels. A specimen is rendered on a `Lattice`, which describes oblique camera frames
and upright volumes alike.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from gpustitch.model import ObliqueScan, UmXYZ, column_step_um
from gpustitch.model.arrays import Floats, Floats32

# Standard deviations at which a blob is cut off: exp(-4.5**2 / 2) = 4e-5 of its peak is left there.
_REACH = 4.5


@dataclass(frozen=True)
class Lattice:
    """Points ``origin + i*first + j*(0, row, 0) + k*last``: axis 1 runs along y, axes 0 and 2 span x and z.

    Parameters
    ----------
    origin_um
        Point (x, y, z) of index (0, 0, 0).
    first_um, last_um
        Steps (x, z) along axes 0 and 2.
    row_um
        Step in y along axis 1.
    shape
        Number of points on each axis.
    """

    origin_um: UmXYZ
    first_um: tuple[float, float]
    row_um: float
    last_um: tuple[float, float]
    shape: tuple[int, int, int]

    @classmethod
    def of_frames(cls, scan: ObliqueScan, origin_um: UmXYZ) -> Lattice:
        """Camera pixels (frame, row, column) of a scan whose pixel (0, 0, 0) lies at ``origin_um``."""
        along_sheet = column_step_um(scan.pixel_um, scan.angle_deg)
        shape = (scan.n_frames, scan.n_rows, scan.n_columns)
        return cls(origin_um, (scan.step_um, 0.0), scan.pixel_um, along_sheet, shape)

    def part(self, start: tuple[int, int, int], stop: tuple[int, int, int]) -> Lattice:
        """Points ``start <= index < stop``."""
        i, j, k = start
        x, y, z = self.origin_um
        origin = (
            x + i * self.first_um[0] + k * self.last_um[0],
            y + j * self.row_um,
            z + i * self.first_um[1] + k * self.last_um[1],
        )
        n0, n1, n2 = (b - a for a, b in zip(start, stop, strict=True))
        return replace(self, origin_um=origin, shape=(n0, n1, n2))

    def index_of(self, points_um: Floats) -> Floats:
        """Real-valued indices (i, j, k) of points (x, y, z), shape (n, 3) in and out."""
        offset = np.asarray(points_um, dtype=np.float64) - np.asarray(self.origin_um)
        index: Floats = np.empty(offset.shape)
        index[:, 1] = offset[:, 1] / self.row_um
        index[:, 0::2] = offset[:, 0::2] @ self._inverse().T
        return index

    def point_of(self, index: Floats) -> Floats:
        """Points (x, y, z) of real-valued indices (i, j, k), shape (n, 3) in and out."""
        i, j, k = np.asarray(index, dtype=np.float64).reshape(-1, 3).T
        x = i * self.first_um[0] + k * self.last_um[0]
        z = i * self.first_um[1] + k * self.last_um[1]
        return np.asarray(np.column_stack([x, j * self.row_um, z]) + np.asarray(self.origin_um), dtype=np.float64)

    def reach(self, radius_um: float) -> Floats:
        """Half the extent, in steps of each axis, of a ball of the given radius."""
        first, last = np.linalg.norm(self._inverse(), axis=1)
        return np.array([first, 1 / abs(self.row_um), last]) * radius_um

    def _inverse(self) -> Floats:
        return np.asarray(np.linalg.inv(np.array([self.first_um, self.last_um]).T), dtype=np.float64)


@dataclass(frozen=True)
class Blobs:
    """Gaussian blobs: centres (n, 3) as (x, y, z) um, standard deviations (n,) um, peaks (n,) counts."""

    centre_um: Floats
    sigma_um: Floats
    peak: Floats

    def __len__(self) -> int:
        return len(self.peak)

    def joined(self, other: Blobs) -> Blobs:
        """These blobs followed by the others."""
        return Blobs(
            np.concatenate([self.centre_um, other.centre_um]),
            np.concatenate([self.sigma_um, other.sigma_um]),
            np.concatenate([self.peak, other.peak]),
        )


@dataclass(frozen=True)
class Texture:
    """A sum of plane waves: wave vectors (n, 3) in rad/um along x, y, z, phases (n,), amplitudes (n,)."""

    wave_rad_per_um: Floats
    phase_rad: Floats
    amplitude: Floats


@dataclass(frozen=True)
class Outline:
    """The border of the tissue: a box with very round corners, slanted along x by ``slant`` um per um of z.

    A point is inside where ``sum(((coordinate - centre) / half)**4) < 1``. The border is ``softness`` wide in that sum.
    """

    centre_um: UmXYZ
    half_um: UmXYZ
    slant: float
    softness: float


@dataclass(frozen=True)
class Scene:
    """The specimen; ``empty`` is the counts of the medium, ``tissue`` the mean counts of the tissue."""

    outline: Outline
    texture: Texture
    cells: Blobs
    vessels: Blobs
    empty: float
    tissue: float


def render(scene: Scene, lattice: Lattice) -> Floats32:
    """Counts of the scene at the lattice's points, without camera or noise.

    Returns
    -------
    float32 array of ``lattice.shape``, nowhere darker than the empty medium.
    """
    return with_blobs(render_tissue(scene, lattice), scene, lattice)


def render_tissue(scene: Scene, lattice: Lattice) -> Floats32:
    """Like `render`, without cells and vessels."""
    image = _textured(scene.texture, lattice)
    image += 1.0
    np.maximum(image, 0.2, out=image)
    image *= np.float32(scene.tissue)
    image *= inside(scene.outline, lattice)
    image += np.float32(scene.empty)
    return image


def with_blobs(image: Floats32, scene: Scene, lattice: Lattice) -> Floats32:
    """Put the scene's vessels and cells into an image of its tissue; overwrite and return the image."""
    add_blobs(image, scene.vessels.joined(scene.cells), lattice)
    np.maximum(image, np.float32(scene.empty), out=image)
    return image


def render_cells(scene: Scene, lattice: Lattice) -> Floats32:
    """What the cells add to the scene at the lattice's points, counts: the scene if it had no background."""
    tissue = render_tissue(scene, lattice)
    nothing = Blobs(np.zeros((0, 3)), np.zeros(0), np.zeros(0))
    without = with_blobs(tissue.copy(), replace(scene, cells=nothing), lattice)
    return with_blobs(tissue, scene, lattice) - without


def inside(outline: Outline, lattice: Lattice) -> Floats32:
    """1 in the tissue, 0 outside, a smooth step between them; float32 of ``lattice.shape``."""
    n0, n1, n2 = lattice.shape
    x0, y0, z0 = lattice.origin_um
    i, k = np.arange(n0)[:, None], np.arange(n2)[None, :]
    x = x0 + i * lattice.first_um[0] + k * lattice.last_um[0] - outline.centre_um[0]
    z = z0 + i * lattice.first_um[1] + k * lattice.last_um[1] - outline.centre_um[2]
    y = y0 + np.arange(n1) * lattice.row_um - outline.centre_um[1]
    in_plane = ((x - outline.slant * z) / outline.half_um[0]) ** 4 + (z / outline.half_um[2]) ** 4
    along_y = (y / outline.half_um[1]) ** 4
    ramp = (0.5 + (1 - in_plane) / outline.softness).astype(np.float32)[:, None, :] - (
        along_y / outline.softness
    ).astype(np.float32)[None, :, None]
    np.clip(ramp, 0, 1, out=ramp)
    return np.asarray(ramp * ramp * (3 - 2 * ramp), dtype=np.float32)


def add_blobs(image: Floats32, blobs: Blobs, lattice: Lattice) -> None:
    """Add each blob to ``image`` (float32 of ``lattice.shape``) where the blob is not negligible."""
    if not len(blobs):
        return
    centre = lattice.index_of(blobs.centre_um)
    reach = lattice.reach(1.0)[None, :] * (_REACH * blobs.sigma_um[:, None])
    start = np.maximum(np.ceil(centre - reach), 0).astype(np.int64)
    stop = np.minimum(np.floor(centre + reach) + 1, lattice.shape).astype(np.int64)
    for n in np.flatnonzero((stop > start).all(axis=1)):
        (i0, j0, k0), (i1, j1, k1) = start[n], stop[n]
        falloff = -0.5 / blobs.sigma_um[n] ** 2
        i = np.arange(i0, i1)[:, None] - centre[n, 0]
        k = np.arange(k0, k1)[None, :] - centre[n, 2]
        square = (i * lattice.first_um[0] + k * lattice.last_um[0]) ** 2
        square += (i * lattice.first_um[1] + k * lattice.last_um[1]) ** 2
        in_plane = (blobs.peak[n] * np.exp(falloff * square)).astype(np.float32)
        y = (np.arange(j0, j1) - centre[n, 1]) * lattice.row_um
        along_y = np.exp(falloff * y * y).astype(np.float32)
        image[i0:i1, j0:j1, k0:k1] += in_plane[:, None, :] * along_y[None, :, None]


def _textured(texture: Texture, lattice: Lattice) -> Floats32:
    """The sum of the plane waves; a phase is a sum over the axes, so each slice is one matrix product."""
    n0, n1, n2 = lattice.shape
    kx, ky, kz = texture.wave_rad_per_um.T
    x0, y0, z0 = lattice.origin_um
    per_first = kx * lattice.first_um[0] + kz * lattice.first_um[1]
    per_last = kx * lattice.last_um[0] + kz * lattice.last_um[1]
    rows = ky * (y0 + np.arange(n1) * lattice.row_um)[:, None]
    columns = (kx * x0 + kz * z0 + texture.phase_rad)[:, None] + per_last[:, None] * np.arange(n2)
    right = np.concatenate([np.cos(columns), -np.sin(columns)]).astype(np.float32)
    # Cosine and sine of a sum of phases, from those of both: a slice takes products instead of functions.
    cosine, sine = np.cos(rows) * texture.amplitude, np.sin(rows) * texture.amplitude
    n_waves = len(kx)
    left = np.empty((n1, 2 * n_waves), np.float32)
    image = np.empty(lattice.shape, np.float32)
    for i in range(n0):
        turned_cosine, turned_sine = np.cos(i * per_first), np.sin(i * per_first)
        left[:, :n_waves] = cosine * turned_cosine - sine * turned_sine
        left[:, n_waves:] = sine * turned_cosine + cosine * turned_sine
        np.matmul(left, right, out=image[i])
    return image
