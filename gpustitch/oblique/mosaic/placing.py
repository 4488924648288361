"""Open the tiles of a mosaic, and put them where the stage or an alignment says they are."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from gpustitch.errors import MosaicError
from gpustitch.io.volumes.format import missing_text
from gpustitch.model import ZYX, Mosaic, PlacedVolume, Spacing, TilePath, UmXYZ, Volume, check_um
from gpustitch.model.arrays import PxZYX
from gpustitch.oblique.mosaic.distances import check_distances
from gpustitch.oblique.mosaic.file import read_alignment
from gpustitch.oblique.mosaic.folders import find_volume_mosaic
from gpustitch.oblique.mosaic.slant import more_slant, slant_of, slanted
from gpustitch.oblique.mosaic.tiles import open_tiles
from gpustitch.running.progress import listed

_SAME = 1e-6
# Sines of sheet angles that differ by less are one: volumes hold rounded spacings.
_SAME_SINE = 1e-3
# A place this near to whole voxels, and within its standard error of them, is whole: nothing is interpolated then.
_NEARLY_WHOLE_PX = 1 / 16


@dataclass(frozen=True)
class PlacedMosaic:
    """Tiles in one grid of ``spacing``, the least coordinate on each axis 0; ``notes`` are for people."""

    tiles: tuple[PlacedVolume, ...]
    spacing: Spacing
    notes: tuple[str, ...] = ()

    @property
    def shape(self) -> ZYX:
        """Shape (z, y, x) of the grid that holds all the tiles."""
        stops = [_stop(tile) for tile in self.tiles]
        z, y, x = (max(stop[axis] for stop in stops) for axis in range(3))
        return z, y, x


def place_found(
    root: Path,
    *,
    alignment: Path | None = None,
    x_step_um: float | None = None,
    y_voxel_um: float | None = None,
    z_offset: int | None = None,
    negative_y: bool = False,
    allow_missing: bool = False,
) -> PlacedMosaic:
    """Open the volumes below ``root`` and place them.

    Parameters
    ----------
    root
        Folder of volumes ``X/X_Y/Z``. Each is opened by :func:`gpustitch.oblique.mosaic.tiles.open_tile`.
    alignment
        Alignment file that says where each tile begins; None for the positions of the stage.
    x_step_um, y_voxel_um
        Spacing along x and y; None for the spacing of the alignment or, without an alignment, of the tiles.
    z_offset, negative_y
        As in :func:`stage_origins`; unused with an alignment.
    allow_missing
        Read chunks of volumes as empty where their files are missing.

    Raises
    ------
    InputMissingError, DamagedInputError
        If there are no volumes, or a volume cannot be opened.
    MosaicError
        If the volumes do not make one mosaic, or the alignment does not name all of them.
    ParameterError
        If a size is out of range.
    """
    mosaic = find_volume_mosaic(root)
    return place_opened(
        mosaic,
        open_tiles(mosaic, allow_missing=allow_missing),
        alignment=alignment,
        x_step_um=x_step_um,
        y_voxel_um=y_voxel_um,
        z_offset=z_offset,
        negative_y=negative_y,
    )


def place_opened(
    mosaic: Mosaic,
    volumes: Sequence[Volume],
    *,
    alignment: Path | None = None,
    x_step_um: float | None = None,
    y_voxel_um: float | None = None,
    z_offset: int | None = None,
    negative_y: bool = False,
) -> PlacedMosaic:
    """Place opened volumes, one for each tile of ``mosaic`` in its order; the rest as in :func:`place_found`.

    Raises
    ------
    MosaicError
        If the volumes do not make one mosaic, or the alignment does not name all of them.
    ParameterError
        If a size is out of range.
    """
    found = None if alignment is None else read_alignment(alignment)
    sigma_px: Mapping[str, PxZYX] = {}
    if found is not None:
        y_voxel_um = found.voxel_size_um if y_voxel_um is None else y_voxel_um
        x_step_um = found.x_step_um if x_step_um is None else x_step_um
    spacing = mosaic_spacing(mosaic, volumes, x_step_um, y_voxel_um)
    note = ""
    if found is None:
        origins = stage_origins(mosaic, spacing, z_offset=z_offset, negative_y=negative_y)
        if not check_distances(origins, volumes[0].coverage, spacing):
            note = "no two tiles overlap: the volume is empty between them"
    else:
        assert alignment is not None
        check_angle(found.angle_deg, spacing.sheet_angle_deg, alignment)
        at = mosaic_spacing(mosaic, volumes, found.x_step_um, found.voxel_size_um)
        origins = _aligned(mosaic, found.origin_um, at, alignment)
        # Other files than gpustitch's state no slant: they leave x as it was matched, in the grid of the tiles.
        slant = slant_of(volumes[0], volumes[0].spacing) if found.slant is None else found.slant
        more = slant_of(volumes[0], spacing) - slant
        origins = {name: slanted(px, more) for name, px in origins.items()}
        sigma_px = found.placement(spacing).sigma_px
        if found.is_unaligned:
            note = f"UNALIGNED: no overlap gave a link, {alignment} holds the stage's positions"
    placed = place(mosaic, volumes, origins, spacing, sigma_px)
    return replace(placed, notes=(note, *placed.notes)) if note else placed


def place(
    mosaic: Mosaic,
    volumes: Sequence[Volume],
    origins: Mapping[str, PxZYX],
    spacing: Spacing,
    sigma_px: Mapping[str, PxZYX] | None = None,
) -> PlacedMosaic:
    """Put opened volumes into one grid.

    Parameters
    ----------
    mosaic, volumes
        The tiles, and the volume of each in the same order.
    origins
        Position (z, y, x) of each tile by its name, in voxels of the grid.
    spacing
        Spacing of the grid. A tile of another spacing is sheared by the difference in slant.
    sigma_px
        Standard error (z, y, x) of the positions of tiles, in voxels. A coordinate that lies within it of a whole
        voxel, and within 1/16 voxel, is taken as whole.
    """
    sigma_px = sigma_px or {}
    least = [min(origins[tile.name][axis] for tile in mosaic.tiles) for axis in range(3)]
    tiles = []
    for tile, volume in zip(mosaic.tiles, volumes, strict=True):
        at = (v - low for v, low in zip(origins[tile.name], least, strict=True))
        z, y, x = map(_settled, at, sigma_px.get(tile.name, (0.0, 0.0, 0.0)))
        tiles.append(PlacedVolume(tile.name, volume, (z, y, x), more_slant(volume, spacing)))
    return PlacedMosaic(tuple(tiles), spacing, (*_missing_notes(mosaic, volumes), *_absent_notes(tiles)))


def _settled(at: float, sigma_px: float) -> float:
    """A coordinate, or the whole voxel that cannot be told from it."""
    whole = float(round(at))
    return whole if abs(at - whole) <= min(sigma_px, _NEARLY_WHOLE_PX) else at


def stage_origins(
    mosaic: Mosaic, spacing: Spacing, *, z_offset: int | None = None, negative_y: bool = False
) -> dict[str, PxZYX]:
    """Where the stage says the tiles are, in voxels (z, y, x).

    ``z_offset`` puts the tiles' distinct z positions that many voxels apart, whatever their names say.
    ``negative_y`` is for a stage whose y runs against the camera's y.
    """
    depths = sorted({tile.stage_um[2] for tile in mosaic.tiles})
    origins = {}
    for tile in mosaic.tiles:
        x_um, y_um, z_um = tile.stage_um
        z = z_um / spacing.z_um if z_offset is None else float(z_offset * depths.index(z_um))
        origins[tile.name] = (z, (-y_um if negative_y else y_um) / spacing.y_um, x_um / spacing.x_um)
    return origins


def mosaic_spacing(
    mosaic: Mosaic, volumes: Sequence[Volume], x_step_um: float | None = None, y_voxel_um: float | None = None
) -> Spacing:
    """The spacing that all tiles share, or with the given step and pixel in place of its own.

    The pixel is square, so another y spacing means another z spacing in proportion.

    Raises
    ------
    MosaicError
        If the tiles differ in spacing or dtype.
    ParameterError
        If a size is not positive.
    """
    own = volumes[0].spacing
    for tile, volume in zip(mosaic.tiles, volumes, strict=True):
        if not all(math.isclose(a, b, rel_tol=_SAME) for a, b in zip(volume.spacing.zyx_um, own.zyx_um, strict=True)):
            raise _unlike(tile, mosaic.tiles[0], f"voxels of {volume.spacing.zyx_um} um (z, y, x)", f"{own.zyx_um} um")
        if volume.dtype != volumes[0].dtype:
            raise _unlike(tile, mosaic.tiles[0], f"{volume.dtype} voxels", f"{volumes[0].dtype}")
    y_um, x_um = (mine if given is None else given for mine, given in ((own.y_um, y_voxel_um), (own.x_um, x_step_um)))
    check_um(y_voxel_um=("y voxel size", y_um), x_step_um=("x step size", x_um))
    return Spacing(own.z_um * (y_um / own.y_um), y_um, x_um)


def cropped(mosaic: PlacedMosaic, offset: ZYX) -> PlacedMosaic:
    """The mosaic cut so that voxel ``offset`` (z, y, x) becomes its first voxel."""
    tiles = []
    for tile in mosaic.tiles:
        z, y, x = (o - d for o, d in zip(tile.origin_px, offset, strict=True))
        tiles.append(replace(tile, origin_px=(z, y, x)))
    return replace(mosaic, tiles=tuple(tiles))


def _missing_notes(mosaic: Mosaic, volumes: Sequence[Volume]) -> tuple[str, ...]:
    """A line for each place of the grid that holds no tile, and for each tile whose files are not all there."""
    cover, own = volumes[0].coverage, volumes[0].spacing
    extent = (cover.n_frames * own.x_um, cover.n_rows * own.y_um, cover.n_columns * own.z_um)
    places = mosaic.missing_positions(extent)
    return (
        *(f"no tile near {_position(place)}: the volume is empty there" for place in places),
        *missing_files(mosaic, volumes),
    )


def missing_files(mosaic: Mosaic, volumes: Sequence[Volume]) -> Iterator[str]:
    """A line for each tile whose volume on disk lacks files of chunks; ``volumes`` in the order of the tiles."""
    for tile, volume in zip(mosaic.tiles, volumes, strict=True):
        if text := missing_text(volume, f"tile {tile.name}"):
            yield text


def absent_frames(volumes: Mapping[str, Volume]) -> dict[str, int]:
    """The number of absent frames of each tile, by name, for the tiles that have any."""
    return {name: len(volume.coverage.absent) for name, volume in volumes.items() if volume.coverage.absent}


def _absent_notes(tiles: Sequence[PlacedVolume]) -> tuple[str, ...]:
    counts = absent_frames({tile.name: tile.volume for tile in tiles})
    if not counts:
        return ()
    named = listed([f"{name}: {count}" for name, count in counts.items()])
    return (f"tiles lack frames ({named}): the volume is empty there where no other tile lies",)


def check_aligned(mosaic: Mosaic, origin_um: Mapping[UmXYZ, UmXYZ], file: Path) -> None:
    """Raise MosaicError if an alignment read from ``file`` does not say where all tiles are."""
    absent = [_position(tile.stage_um) for tile in mosaic.tiles if tile.stage_um not in origin_um]
    if absent:
        raise MosaicError(
            f"{file} does not say where these tiles are: {'; '.join(absent)}. "
            "Align the mosaic again, or leave out the alignment"
        )


def check_angle(aligned_deg: float | None, angle_deg: float, file: Path) -> None:
    """Raise MosaicError if an alignment read from ``file`` was made of tiles whose sheet has another angle."""
    if aligned_deg is None:
        return
    ours, theirs = (math.sin(math.radians(angle)) for angle in (angle_deg, aligned_deg))
    if abs(ours - theirs) > _SAME_SINE:
        raise MosaicError(
            f"{file} was made with a sheet at {aligned_deg:.4g} degrees, but the tiles are of one at {angle_deg:.4g}; "
            "the positions of one angle are not those of another"
        )


def _aligned(mosaic: Mosaic, origin_um: Mapping[UmXYZ, UmXYZ], spacing: Spacing, file: Path) -> dict[str, PxZYX]:
    check_aligned(mosaic, origin_um, file)
    origins = {}
    for tile in mosaic.tiles:
        x_um, y_um, z_um = origin_um[tile.stage_um]
        origins[tile.name] = (z_um / spacing.z_um, y_um / spacing.y_um, x_um / spacing.x_um)
    return origins


def _stop(tile: PlacedVolume) -> ZYX:
    coverage = tile.volume.coverage
    slant = max(0.0, (coverage.shear + tile.shear_px) * (coverage.n_columns - 1))
    last = (coverage.n_columns - 1, coverage.n_rows - 1, slant + coverage.n_frames - 1)
    z, y, x = (math.ceil(o + n - 1e-5) + 1 for o, n in zip(tile.origin_px, last, strict=True))
    return z, y, x


def _position(stage: UmXYZ) -> str:
    x, y, z = stage
    return f"x {x:g}, y {y:g}, z {z:g} um"


def _unlike(tile: TilePath, first: TilePath, has: str, expected: str) -> MosaicError:
    return MosaicError(f"{tile.path} has {has} but {first.path} {expected}; tiles of one mosaic must be alike")
