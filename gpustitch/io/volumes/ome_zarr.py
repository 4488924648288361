"""Reading OME-Zarr images (OME-NGFF 0.4 in zarr 2, 0.5 in zarr 3, also older images and bare zarr arrays)."""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorstore as ts

from gpustitch.errors import DamagedInputError, InputMissingError, ParameterError
from gpustitch.io.units import spacing_of, um_per
from gpustitch.io.volumes.format import StoredVolume, VolumeFormat
from gpustitch.io.volumes.precomputed import SIDECAR, read_scan
from gpustitch.io.volumes.presence import check_presence
from gpustitch.io.volumes.record import RECORD_KEY, read_record
from gpustitch.io.volumes.zarr_files import ZarrNames
from gpustitch.model import ZYX, Box, Coverage, Spacing
from gpustitch.ops.padded import padded

_CACHE_BYTES = 1 << 28  # of decoded chunks: neighbouring blocks share many of them
_METADATA = ("zarr.json", ".zattrs", ".zgroup", ".zarray")
_OLD_AXES = "tczyx"  # of images that do not name their axes (before 0.3)


@dataclass(frozen=True)
class OmeImage:
    """The description of an image: the axes' names, and for each level its path, scale and translation.

    Levels are in order from fine to coarse. ``scales`` are in um if z, y and x all have a unit of length
    (``has_units``). Otherwise their unit is unknown. ``has_record`` tells whether a record of files lies beside it.
    """

    version: str
    axes: tuple[str, ...]
    paths: tuple[str, ...]
    scales: tuple[tuple[float, ...], ...]
    translations: tuple[tuple[float, ...], ...]
    has_units: bool
    has_record: bool = False


@functools.cache
def _context() -> Any:
    """One cache for all OME-Zarr volumes of the process, so that memory does not grow with their number."""
    return ts.Context({"cache_pool": {"total_bytes_limit": _CACHE_BYTES}})


def is_ome_zarr(path: Path) -> bool:
    """Whether ``path`` is the folder of a zarr group or array."""
    return any((path / name).is_file() for name in _METADATA)


def read_ome_image(path: Path) -> OmeImage:
    """The first multiscale image that the zarr group in folder ``path`` describes.

    Raises
    ------
    InputMissingError
        If there is no zarr group or array.
    DamagedInputError
        If the group does not describe an image.
    """
    if not is_ome_zarr(path):
        raise InputMissingError(f"{path} is not an OME-Zarr image: there is no zarr.json or .zattrs in it")
    attributes, is_array = _attributes(path)
    if is_array:
        return OmeImage("", (), ("",), ((),), ((),), False)
    ome = attributes.get("ome", attributes)
    if not isinstance(ome, dict) or "multiscales" not in ome:
        inside = sorted(entry.name for entry in path.iterdir() if entry.is_dir() and is_ome_zarr(entry))
        hint = f"; name one of the groups in it, such as {path / inside[0]}" if inside else ""
        raise DamagedInputError(f"{path} is a zarr group but describes no OME-Zarr image (no multiscales){hint}")
    try:
        image = _image(ome["multiscales"][0], str(ome.get("version", "")))
        return replace(image, has_record=RECORD_KEY in attributes)
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise DamagedInputError(
            f"{path} does not describe an OME-Zarr image correctly: {type(error).__name__}: {error}"
        ) from error


def _attributes(path: Path) -> tuple[dict[str, Any], bool]:
    """Attributes of a zarr group or array, and whether it is an array."""
    if (path / ".zarray").is_file():
        return {}, True
    file = next((path / name for name in _METADATA if (path / name).is_file()), path)
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        if file.name != "zarr.json":
            return dict(content), False
        return dict(content.get("attributes", {})), content["node_type"] == "array"
    except (OSError, ValueError, KeyError, TypeError, AttributeError, UnicodeDecodeError) as error:
        raise DamagedInputError(f"{file} is not zarr metadata: {type(error).__name__}: {error}") from error


def _image(multiscales: dict[str, Any], version: str) -> OmeImage:
    axes = [axis if isinstance(axis, dict) else {"name": axis} for axis in multiscales.get("axes", _OLD_AXES)]
    names = tuple(str(axis["name"]) for axis in axes)
    units = [um_per(axis.get("unit")) for axis in axes]
    has_units = all(unit is not None for name, unit in zip(names, units, strict=True) if name in "zyx")
    in_um = np.array([unit if has_units and unit is not None else 1.0 for unit in units])
    datasets = multiscales["datasets"]
    if not datasets:
        raise ValueError("there are no datasets")
    outer = _transform(multiscales, len(axes))
    stated = any("coordinateTransformations" in part for part in (multiscales, datasets[0]))
    paths, scales, translations = [], [], []
    for dataset in sorted(datasets, key=lambda dataset: float(_transform(dataset, len(axes))[0].prod())):
        scale, translation = _transform(dataset, len(axes))
        scales.append(tuple(float(v) for v in scale * outer[0] * in_um))
        translations.append(tuple(float(v) for v in (translation * outer[0] + outer[1]) * in_um))
        paths.append(str(dataset["path"]))
    version = version or str(multiscales.get("version", ""))
    return OmeImage(version, names, tuple(paths), tuple(scales), tuple(translations), has_units and stated)


def _transform(part: dict[str, Any], rank: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Scale and translation equivalent to all ``coordinateTransformations`` of a part."""
    scale, translation = np.ones(rank), np.zeros(rank)
    for step in part.get("coordinateTransformations", ()):
        kind = step["type"]
        if kind == "identity":
            continue
        if kind not in ("scale", "translation"):
            raise ValueError(f"transformations of type {kind} are not known")
        values = np.array(step[kind], np.float64)
        if values.shape != (rank,):
            raise ValueError(f"a {kind} has {values.size} numbers but there are {rank} axes")
        if kind == "scale":
            scale, translation = scale * values, translation * values
        else:
            translation = translation + values
    return scale, translation


class OmeZarrVolume:
    """One level of an OME-Zarr image on disk, a :class:`gpustitch.model.Volume`.

    Axes may be in any order; axes other than z, y and x must be of length 1. An image without z is one plane.

    Parameters
    ----------
    path
        Folder of the image's zarr group, or of a zarr array with the axes (..., z, y, x).
    level
        0 for full resolution.
    allow_missing
        Read the fill value, mostly 0, where files of chunks are missing.

    Attributes
    ----------
    stated_spacing
        Voxel spacing; None unless the image states it on all three axes with a unit of length.
    spacing
        The stated spacing. Without one: the scale's numbers taken as um (their ratio is then right), or 1 um.
    chunk_shape, depth
        Voxels (z, y, x) that are stored together; their number of planes.
    levels
        Number of levels.
    axes
        Names of the stored array's axes.
    n_files, n_missing
        Number of files of chunks or shards that the level should have, and how many of them are missing. zarr lets
        files be absent: without a record nobody knows the lost ones from the unwritten ones, and both are counted.

    Raises
    ------
    InputMissingError, DamagedInputError
        If there is no such image, or the image cannot be opened, has lost files, or has several channels or times.
    ParameterError
        If the image has no such level.
    """

    def __init__(self, path: str | Path, level: int = 0, *, allow_missing: bool = False) -> None:
        self.path = Path(path)
        self.level = level
        self.image = read_ome_image(self.path)
        self.levels = len(self.image.paths)
        if not 0 <= level < self.levels:
            raise ParameterError(f"{self.path} has levels 0 to {self.levels - 1}; `level` is {level}")
        folder = self.path / self.image.paths[level]
        store = self._open(folder)
        axes = self.image.axes or tuple("tczyx"[-store.ndim :])
        if len(axes) != store.ndim:
            raise DamagedInputError(f"{self.path} names {len(axes)} axes but its array has {store.ndim}")
        self.axes = tuple(axes)
        self._store, self.chunk_shape = self._upright(store, axes)
        self.depth = self.chunk_shape[0]
        self.dtype: np.dtype[Any] = np.dtype(self._store.dtype.numpy_dtype)
        if self.dtype.kind not in "uif":
            raise DamagedInputError(f"{self.path} holds {self.dtype} voxels; whole or real numbers were expected")
        self.n_files, self.n_missing = self._counted(folder, allow_missing)
        self.stated_spacing, self.spacing = self._spacings(axes)
        z, y, x = self._store.shape
        scan = read_scan(self.path) if level == 0 else None
        self.coverage = Coverage(x, y, z) if scan is None else scan.coverage
        if self.coverage.shape != (z, y, x):
            raise DamagedInputError(
                f"{self.path / SIDECAR} describes a volume of {self.coverage.shape} voxels (z, y, x) but {self.path} "
                f"has {(z, y, x)}; remove it to use the whole box"
            )

    @staticmethod
    def _open(folder: Path) -> Any:
        driver = "zarr3" if (folder / "zarr.json").is_file() else "zarr"
        if driver == "zarr" and not (folder / ".zarray").is_file():
            raise DamagedInputError(f"there is no zarr array {folder}; the image names it as one of its levels")
        spec = {
            "driver": driver,
            "kvstore": {"driver": "file", "path": f"{folder.absolute()}/"},
            "recheck_cached_data": "open",
        }
        try:
            return ts.open(spec, read=True, context=_context()).result()
        except (ValueError, OSError, NotImplementedError) as error:
            raise DamagedInputError(f"{folder} cannot be opened as a zarr array: {error}") from error

    def _counted(self, folder: Path, allow_missing: bool) -> tuple[int, int]:
        """Number of files that the level should have, and of those that are missing; refuses what has lost files."""
        # A level may be opened alone, as an array.
        owner, name = (self.path, self.image.paths[self.level]) if self.image.axes else (folder.parent, folder.name)
        record = read_record(owner, is_due=self.image.has_record and not allow_missing)
        recorded = None if record is None else record.written.get(name)
        names = ZarrNames(folder)
        found = check_presence(
            folder,
            names,
            recorded,
            is_sparse=names.is_sparse and not self.image.has_record,
            allow_missing=allow_missing,
        )
        return found.n_due, found.n_missing

    def _upright(self, store: Any, axes: Sequence[str]) -> tuple[Any, ZYX]:
        """The array as (z, y, x), and the shape of its chunks."""
        if not {"y", "x"} <= set(axes):
            raise DamagedInputError(f"{self.path} has the axes {', '.join(axes)}; z, y and x were expected")
        chunks = dict(zip(axes, store.chunk_layout.read_chunk.shape, strict=True))
        kept = [axes.index(name) for name in "zyx" if name in axes]
        for axis, (name, length) in enumerate(zip(axes, store.shape, strict=True)):
            if axis not in kept and length != 1:
                raise DamagedInputError(
                    f"{self.path} has {length} values along its axis {name}; a volume of one channel at one time was "
                    "expected. Copy the one to be read into an image of its own"
                )
        upright = store[tuple(slice(None) if axis in kept else 0 for axis in range(store.ndim))]
        upright = upright.transpose([sorted(kept).index(axis) for axis in kept])
        if len(kept) == 2:
            upright = upright[ts.newaxis]
        return upright, (int(chunks.get("z", 1)), int(chunks["y"]), int(chunks["x"]))

    def _spacings(self, axes: Sequence[str]) -> tuple[Spacing | None, Spacing]:
        scale = dict(zip(axes, self.image.scales[self.level], strict=False))
        spacing = spacing_of(scale.get("z"), scale.get("y"), scale.get("x"))
        return spacing if self.image.has_units else None, spacing or Spacing(1.0, 1.0, 1.0)

    @property
    def shape(self) -> ZYX:
        """Shape (z, y, x)."""
        return self.coverage.shape

    def read(self, box: Box) -> npt.NDArray[Any]:
        """Voxels of ``box``, shape ``box.shape``: zero outside the volume, the fill value in unwritten chunks.

        Raises
        ------
        DamagedInputError
            If a chunk cannot be read.
        """
        return padded(box, self.shape, self.dtype, self._inside)

    def _inside(self, box: Box) -> npt.NDArray[Any]:
        try:
            return np.ascontiguousarray(self._store[box.slices()].read().result())
        except (ValueError, OSError) as error:
            raise DamagedInputError(f"{self.path}: voxels {box} cannot be read: {error}") from error


class OmeZarrFormat(VolumeFormat):
    """OME-Zarr, and bare zarr arrays."""

    name = "OME-Zarr"
    marks = _METADATA

    def open(
        self, folder: Path, fallback: Spacing | None = None, *, level: int = 0, allow_missing: bool = False
    ) -> StoredVolume:
        """A level of the volume in a folder."""
        return OmeZarrVolume(folder, level, allow_missing=allow_missing)
