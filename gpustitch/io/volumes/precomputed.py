"""Reading Neuroglancer precomputed volumes: raw chunks from their files, all other encodings through tensorstore."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorstore as ts

from gpustitch.errors import DamagedInputError, InputMissingError, ParameterError
from gpustitch.io.checked import read_json, told
from gpustitch.io.forked import uses_tensorstore
from gpustitch.io.volumes.chunk_files import ChunkFiles, ChunkNames
from gpustitch.io.volumes.format import (
    FULL,
    READ_CACHE_BYTES,
    Access,
    LevelFiles,
    StoredVolume,
    VolumeFiles,
    VolumeFormat,
)
from gpustitch.io.volumes.precomputed_info import checked_info
from gpustitch.io.volumes.presence import Index, check_presence
from gpustitch.io.volumes.record import check_levels, read_record
from gpustitch.io.volumes.replaced import Unchanged
from gpustitch.io.volumes.shard_files import ShardNames
from gpustitch.io.volumes.sidecar import SIDECAR, Origin, read_sidecar
from gpustitch.io.volumes.stored_chunks import StoredChunks, decoder
from gpustitch.model import ZYX, Box, Coverage, Spacing
from gpustitch.ops.padded import padded

_ROUNDED = 1e-6  # of a voxel


@functools.cache
def _context() -> Any:
    """One cache for all volumes of the process, so that memory does not grow with their number."""
    return ts.Context({"cache_pool": {"total_bytes_limit": READ_CACHE_BYTES}})


def read_info(path: Path, *, has_chunks: bool = True) -> dict[str, Any]:
    """The ``info`` of the precomputed volume in folder ``path``, its scales from fine to coarse.

    Unless it ``has_chunks``, as a volume in another container, only names and resolutions of scales are looked at.

    Raises
    ------
    InputMissingError
        If there is no file ``info``.
    DamagedInputError
        If the file does not describe a precomputed image.
    """
    file = path / "info"
    if not file.is_file():
        raise InputMissingError(f"{path} is not a precomputed volume: there is no file {file}")
    with told(file, "a single-channel precomputed image"):
        return checked_info(read_json(file), has_chunks=has_chunks)


class PrecomputedVolume:
    """One level of a precomputed volume on disk, a :class:`gpustitch.model.Volume`.

    Parameters
    ----------
    path
        Folder that holds ``info``.
    level
        0 for full resolution.
    allow_missing
        Read zeros where files of chunks are missing.

    Attributes
    ----------
    stated_spacing
        The spacing; precomputed volumes always state it.
    origin_um
        Centre (z, y, x) of the level's first voxel, um. The corner of voxel 0 is at 0, as viewers show it.
    chunk_shape, depth, levels
        Voxels (z, y, x) of a chunk and its planes; number of levels.
    n_files, n_missing
        Number of files of chunks or shards that the level should have, and how many of them are missing. Which chunks
        a shard should hold, nothing says.

    Raises
    ------
    InputMissingError, DamagedInputError
        If there is no such volume, or the volume cannot be opened or has lost files.
    ParameterError
        If the volume has no such level.
    """

    def __init__(self, path: str | Path, level: int = 0, *, allow_missing: bool = False) -> None:
        self.path = Path(path)
        self.level = level
        self._unchanged = Unchanged(self.path, [self.path / "info"])
        info = read_info(self.path)
        if not 0 <= level < len(info["scales"]):
            raise ParameterError(f"{self.path} has levels 0 to {len(info['scales']) - 1}; `level` is {level}")
        scale = info["scales"][level]
        x_nm, y_nm, z_nm = (float(v) for v in scale["resolution"])
        self.spacing = self.stated_spacing = Spacing(z_nm / 1000, y_nm / 1000, x_nm / 1000)
        x, y, z = (int(n) for n in scale["chunk_sizes"][0])
        self.chunk_shape: ZYX = (z, y, x)
        self.depth = z
        self.levels = len(info["scales"])
        self._store = self._open(scale)
        self.dtype: np.dtype[Any] = np.dtype(self._store.dtype.numpy_dtype)
        z, y, x = self._store.shape
        self._chunks = self._checked_chunks(info, scale, allow_missing)
        scan, place = read_sidecar(self.path)
        self.origin_um = self._origin(info["scales"][0], scale, place)
        self.coverage = Coverage(x, y, z) if scan is None or level else scan.coverage
        if self.coverage.shape != (z, y, x):
            raise DamagedInputError(
                f"{self.path / SIDECAR} describes a volume of {self.coverage.shape} voxels (z, y, x) but {self.path} "
                f"has {(z, y, x)}; remove it to use the whole box"
            )

    def _origin(self, finest: dict[str, Any], scale: dict[str, Any], place: Origin | None) -> Origin:
        """Centre (z, y, x) of the level's first voxel, um.

        Offsets are whole voxels, counted from the corner of the grid. The sidecar states what they leave out.
        """
        unit, own = (np.array(of["resolution"][::-1], np.float64) / 1000 for of in (finest, scale))
        first, here = (np.array(of.get("voxel_offset", (0, 0, 0))[::-1], np.float64) for of in (finest, scale))
        if place is None:
            found = (here + 0.5) * own
        elif (np.abs(np.array(place) / unit - 0.5 - first) > 0.5 + _ROUNDED).any():
            raise DamagedInputError(
                f"{self.path / SIDECAR} says that the first voxel is at {place} um (z, y, x), but {self.path / 'info'} "
                f"begins with voxel {tuple(first.astype(int).tolist())}; correct the one that is wrong"
            )
        else:
            found = np.array(place) + (own - unit) / 2
        z, y, x = found.tolist()
        return z, y, x

    def _open(self, scale: dict[str, Any]) -> Any:
        spec = {
            "driver": "neuroglancer_precomputed",
            "kvstore": {"driver": "file", "path": f"{self.path.absolute()}/"},
            "scale_metadata": {"key": scale["key"]},
            "recheck_cached_data": "open",
        }
        uses_tensorstore()
        try:
            store = ts.open(spec, read=True, context=_context()).result()
        except (ValueError, OSError) as error:
            raise DamagedInputError(f"{self.path} cannot be opened as a precomputed volume: {error}") from error
        return store[ts.d["channel"][0]].translate_to[0].transpose([2, 1, 0])

    def _checked_chunks(self, info: dict[str, Any], scale: dict[str, Any], allow_missing: bool) -> StoredChunks | None:
        """Check that the files are there; return the chunks unless tensorstore reads them."""
        record = read_record(self.path)
        if record is not None:
            check_levels(record, [str(other["key"]) for other in info["scales"]])
        if scale.get("sharding"):
            recorded = None if record is None else record.written.get(scale["key"])
            folder = self.path / scale["key"]
            found = check_presence(folder, ShardNames(scale), recorded, allow_missing=allow_missing)
            self.n_files, self.n_missing = found.n_due, found.n_missing
            return None
        files = ChunkFiles(self.path, scale, record, allow_missing=allow_missing)
        self.n_files, self.n_missing = files.n_due, files.n_missing
        if scale["encoding"] == "raw":
            return StoredChunks(files, self.dtype)
        return None if files.is_plain else StoredChunks(files, self.dtype, decoder(info, scale))

    @property
    def shape(self) -> ZYX:
        """Shape (z, y, x)."""
        return self.coverage.shape

    def holds(self, box: Box) -> bool:
        """Whether any file has voxels of ``box``, which lies in the volume; nothing says so of chunks in shards."""
        return self._chunks is None or self._chunks.holds(box)

    def read(self, box: Box) -> npt.NDArray[Any]:
        """Voxels of ``box``, shape ``box.shape``; zero outside the volume and in chunks of zeros.

        Raises
        ------
        DamagedInputError
            If a chunk cannot be read, or the volume is another since it was opened.
        """
        voxels = padded(box, self.shape, self.dtype, self._decoded if self._chunks is None else self._chunks.read)
        self._unchanged.check()
        return voxels

    def _decoded(self, box: Box) -> npt.NDArray[Any]:
        uses_tensorstore()
        try:
            return np.asarray(self._store[box.slices()].read().result())
        except (ValueError, OSError) as error:
            raise DamagedInputError(f"{self.path}: voxels {box} cannot be read: {error}") from error


class PrecomputedFormat(VolumeFormat):
    """Neuroglancer's precomputed."""

    name = "precomputed"
    marks = ("info",)

    def open(self, folder: Path, access: Access = FULL) -> StoredVolume:
        """A level of the volume in a folder."""
        return PrecomputedVolume(folder, access.level, allow_missing=access.allow_missing)

    def files(self, folder: Path) -> list[VolumeFiles]:
        """The files of the volume in a folder."""
        scales = read_info(folder)["scales"]
        keys = [str(scale["key"]) for scale in scales]
        return [VolumeFiles(folder, keys, lambda level: _level_files(folder, scales[level]))]


def _level_files(folder: Path, scale: dict[str, Any]) -> LevelFiles:
    naming = ShardNames(scale) if scale.get("sharding") else ChunkNames(scale)

    def decode(index: Index, volume: StoredVolume | None) -> None:
        if volume is not None:
            for chunk in naming.chunks(index):
                volume.read(chunk)

    return LevelFiles(folder / scale["key"], naming, False, decode)
