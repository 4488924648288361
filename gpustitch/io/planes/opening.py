"""Section series and volumes of any kind, read plane by plane or by box."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from gpustitch.errors import DamagedInputError, InputMissingError, ParameterError
from gpustitch.io.found import found_files
from gpustitch.io.frames.opening import open_frames, source_files
from gpustitch.io.frames.stacks import PLANE_TYPES, TiffFrames, TiffPages
from gpustitch.io.images.files import JP2_SUFFIXES, TIFF_SUFFIXES, reading
from gpustitch.io.images.tiff_facts import tiff_facts
from gpustitch.io.planes.adapters import ArrayPlanes, FramePlanes, PngFrames, VolumePlanes
from gpustitch.io.volumes.blockfs import BLOCKFS_FILE, BlockfsVolume
from gpustitch.io.volumes.ome_zarr import OmeZarrVolume, is_ome_zarr
from gpustitch.io.volumes.opening import PIPELINE_VOLUME, is_volume
from gpustitch.io.volumes.precomputed import PrecomputedVolume, read_info
from gpustitch.io.write.pyramid_layout import DEFAULT_CHUNK
from gpustitch.model import ZYX, Box, Coverage, Frames, Spacing

_PNG = ".png"
_FRAMES = (".dcimg", *TIFF_SUFFIXES, *JP2_SUFFIXES)
_WHAT = "DCIMG, TIFF, JPEG 2000 or PNG files, a .npy array, a precomputed, blockfs or OME-Zarr volume"


class Planes(Frames, Protocol):
    """A stack of planes that can be asked for any part of it; ``shape`` is (planes, rows, columns)."""

    @property
    def name(self) -> str:
        """What messages call it."""

    @property
    def spacing(self) -> Spacing | None:
        """Distances that the source itself states; None if it does not state all three."""

    @property
    def depth(self) -> int:
        """How many planes are stored together: reading fewer at a time decodes the same chunks again."""


def open_planes(pattern_or_path: str | Path, *, allow_truncated: bool = False) -> Planes:
    """The planes of whatever lies at a path.

    That is a DCIMG file; a TIFF of one or many pages; a folder or glob of TIFF, JPEG 2000 or PNG files (in natural
    order: ``img_2`` before ``img_10``); a folder that is a precomputed, blockfs or OME-Zarr volume (level 0, planes of
    constant z), or that the pipeline made and holds one; a ``.npy`` file (plane, row, column).

    Parameters
    ----------
    pattern_or_path
        Where they are.
    allow_truncated
        Take the whole frames of a DCIMG file that ends early.

    Raises
    ------
    InputMissingError
        If nothing is there.
    ParameterError
        If it is of no kind named above, or files of several kinds are there.
    DamagedInputError
        If a file is damaged, or planes differ in size or type.
    """
    path = Path(pattern_or_path)
    if path.is_dir():
        # The flat field beside the pipeline's volume is an image, but no plane of it.
        volume = _open_volume(path) or _open_volume(path / PIPELINE_VOLUME)
        if volume is not None:
            return volume
    if path.is_file() and path.suffix.lower() == ".npy":
        return ArrayPlanes(_map_npy(path), str(path))
    if path.is_file() and path.suffix.lower() not in (*_FRAMES, _PNG):
        raise ParameterError(f"{path} is of no kind that planes are read from: {_WHAT}")
    png = _png_files(pattern_or_path)
    if png:
        return FramePlanes(PngFrames(png), str(pattern_or_path))
    try:
        files = source_files(pattern_or_path)
    except InputMissingError as error:
        if path.is_dir():
            raise InputMissingError(f"{path} holds no planes: {_WHAT}") from error
        raise
    if {file.suffix.lower() for file in files} <= set(TIFF_SUFFIXES):
        tiffs = TiffPages(files[0], PLANE_TYPES) if len(files) == 1 else TiffFrames(files, PLANE_TYPES)
        return FramePlanes(tiffs, str(pattern_or_path), _tiff_spacing(files))
    return FramePlanes(open_frames(pattern_or_path, allow_truncated=allow_truncated), str(pattern_or_path))


def check_outside(output: Path, source: Path, *, is_image: bool) -> None:
    """Raise ParameterError if an output lies in a volume that is read, or is an image in a folder of its planes."""
    folder = source.resolve()
    parents = output.resolve().parents
    if folder.is_dir() and ((folder in parents and is_volume(folder)) or (is_image and parents[0] == folder)):
        raise ParameterError(f"{output} lies in the input {source}; choose an output outside it")


def _open_volume(path: Path) -> VolumePlanes | None:
    # spimstitch writes an info beside its blockfs data, and nothing that a reader of precomputed chunks would find
    if any((place / BLOCKFS_FILE).is_file() for place in (path, path / "1_1_1")):
        return _open_blockfs(path)
    if (path / "info").is_file():
        precomputed = PrecomputedVolume(path)
        depth = int(read_info(path)["scales"][0]["chunk_sizes"][0][2])
        return VolumePlanes(precomputed, str(path), precomputed.spacing, depth)
    if is_ome_zarr(path):
        image = OmeZarrVolume(path)
        return VolumePlanes(image, str(path), image.stated_spacing, image.chunk_shape[0])
    return None


def _open_blockfs(path: Path) -> VolumePlanes:
    try:
        volume = BlockfsVolume(path)
    except ParameterError:  # it states no voxel size
        return VolumePlanes(BlockfsVolume(path, Spacing(1.0, 1.0, 1.0)), str(path), None, DEFAULT_CHUNK[0])
    return VolumePlanes(volume, str(path), volume.spacing, DEFAULT_CHUNK[0])


def _map_npy(path: Path) -> npt.NDArray[Any]:
    with reading(path, "a NumPy array"):
        return np.asarray(np.lib.format.open_memmap(path, mode="r"))


def _png_files(pattern_or_path: str | Path) -> list[Path]:
    """The PNG files there in order, if there are any; ParameterError if there are other images too."""
    images = [file for file in found_files(pattern_or_path) if file.suffix.lower() in (*_FRAMES, _PNG)]
    kinds = {file.suffix.lower() for file in images}
    if _PNG in kinds and len(kinds) > 1:
        raise ParameterError(
            f"{pattern_or_path} holds files of several kinds ({', '.join(sorted(kinds))}); name those to read"
        )
    return images if kinds == {_PNG} else []


def _tiff_spacing(files: list[Path]) -> Spacing | None:
    facts = tiff_facts(files[0])
    several = {axis: n for axis, n in facts.lengths.items() if n > 1}
    if len(files) == 1 and len(several) > 1:
        found = ", ".join(f"{axis} {n}" for axis, n in several.items())
        raise DamagedInputError(
            f"{files[0]} has images along several axes ({found}); one stack of planes was expected, so save the "
            "channel and time to be read in a file of its own"
        )
    return facts.spacing


class PlanesVolume:
    """Planes as a :class:`gpustitch.model.Volume`; its coverage is the whole box.

    Parameters
    ----------
    planes
        A stack of them.
    spacing
        Voxel spacing; by default what the planes state.

    Raises
    ------
    ParameterError
        If neither is known.
    """

    def __init__(self, planes: Planes, spacing: Spacing | None = None) -> None:
        known = spacing or planes.spacing
        if known is None:
            raise ParameterError(f"{planes.name} does not state its voxel size; give it (z, y and x, in um)")
        self.planes = planes
        self.spacing: Spacing = known
        self.dtype: np.dtype[Any] = planes.dtype
        z, y, x = planes.shape
        self.coverage = Coverage(x, y, z)

    @property
    def shape(self) -> ZYX:
        """Shape (z, y, x)."""
        return self.coverage.shape

    def read(self, box: Box) -> npt.NDArray[Any]:
        """Voxels of ``box``, shape ``box.shape``; zero outside the planes."""
        inside = box.intersect(Box.of_shape(self.shape))
        if inside.is_empty:
            return np.zeros(box.shape, self.dtype)
        z, y, x = inside.slices()
        voxels = self.planes.read(z.start, z.stop, y, x)
        if inside == box:
            return voxels
        out = np.zeros(box.shape, self.dtype)
        out[inside.slices(box.start)] = voxels
        return out
