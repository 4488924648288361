"""Writing OME-Zarr images with their pyramid: OME-NGFF 0.5 (zarr 3) or 0.4 (zarr 2), compressed by tensorstore."""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import tensorstore as ts

from gpustitch.errors import ParameterError
from gpustitch.io.volumes.record import RECORD, RECORD_KEY
from gpustitch.io.write.format import Downsample, PyramidFormat, VolumeOutput, Writing
from gpustitch.io.write.in_flight import IN_FLIGHT_BYTES
from gpustitch.io.write.pyramid_layout import DEFAULT_CHUNK, DEFAULT_LEVELS, level_shape, triple
from gpustitch.io.write.pyramid_writer import N_WRITERS, PyramidWriter
from gpustitch.model import ZYX, Box, Spacing
from gpustitch.model.arrays import Floats

VERSIONS = ("0.5", "0.4")
DEFAULT_COMPRESSION = 1  # 3 takes 40 % more time for 7 % less space
_AXES = ("z", "y", "x")
_OS_ERROR = re.compile(r"os_error_code='(\d+)'")


class OmeZarrWriter(PyramidWriter):
    """Writes an OME-Zarr image block by block; the base class says how.

    Level ``l`` has the path ``l``. Its voxels are means of ``2**l`` voxels along each axis. Their centres lie
    ``(2**l - 1) / 2`` voxels of level 0 further along, as the level's translation states. Blocks come in any order.

    Parameters
    ----------
    path, shape, dtype, spacing, downsample, levels, sidecar, overwrite, n_writers, in_flight_bytes, flush, write_empty
        As in :class:`gpustitch.io.write.pyramid_writer.PyramidWriter`; ``dtype`` is one of ``written_types``.
    chunk_shape
        Voxels (z, y, x) that are compressed together; chunks are no larger than their level.
    shard_shape
        Voxels (z, y, x) of a file of several chunks, in whole chunks; blocks are then whole shards. None gives each
        chunk a file.
    version
        ``0.5``, or ``0.4`` (without shards) for readers that know no zarr 3.
    compression
        Level of Blosc's zstd, 1 to 9; 0 for none.
    origin_um
        Centre (z, y, x) of the first voxel; None for 0.

    Raises
    ------
    ParameterError
        If a parameter is out of range.
    OutputExistsError, OutputError
        If ``path`` exists or cannot be created.
    """

    written_types: ClassVar = ("uint8", "uint16", "int16", "uint32", "float32", "float64")

    def __init__(
        self,
        path: str | Path,
        shape: Sequence[int],
        dtype: npt.DTypeLike,
        spacing: Spacing,
        *,
        downsample: Downsample,
        levels: int = DEFAULT_LEVELS,
        chunk_shape: Sequence[int] = DEFAULT_CHUNK,
        shard_shape: Sequence[int] | None = None,
        version: str = VERSIONS[0],
        compression: int = DEFAULT_COMPRESSION,
        origin_um: tuple[float, float, float] | None = None,
        sidecar: Mapping[str, Any] | None = None,
        overwrite: bool = False,
        n_writers: int = N_WRITERS,
        in_flight_bytes: int = IN_FLIGHT_BYTES,
        flush: bool = True,
        write_empty: bool = False,
    ) -> None:
        self.inner_shape = triple(chunk_shape, "chunk_shape")
        self.version = version
        self.compression = compression
        self.origin_um = origin_um
        self.sharded = shard_shape is not None
        unit = self.inner_shape if shard_shape is None else triple(shard_shape, "shard_shape")
        if version not in VERSIONS:
            raise ParameterError(f"`version` of OME-Zarr is {' or '.join(VERSIONS)}, not {version}")
        if not 0 <= compression <= 9:
            raise ParameterError(f"`compression` of OME-Zarr is a level from 0 (none) to 9, not {compression}")
        if self.sharded and version == "0.4":
            raise ParameterError("OME-Zarr 0.4 (zarr 2) has no shards; write `version` 0.5 or leave out `shard_shape`")
        if any(u % c for u, c in zip(unit, self.inner_shape, strict=True)):
            raise ParameterError(f"`shard_shape` must be of whole chunks of {self.inner_shape} voxels, not {unit}")
        super().__init__(
            path,
            shape,
            dtype,
            spacing,
            downsample=downsample,
            levels=levels,
            chunk_shape=unit,
            sidecar=sidecar,
            overwrite=overwrite,
            n_writers=n_writers,
            in_flight_bytes=in_flight_bytes,
            flush=flush,
            write_empty=write_empty,
        )

    def _create(self, folder: Path) -> Sequence[str]:
        image = multiscales(self.path.name.split(".")[0], self.spacing, self.levels, self.origin_um)
        if self.version == "0.4":
            _write_json(folder / ".zgroup", {"zarr_format": 2})
            _write_json(folder / ".zattrs", {"multiscales": [{"version": "0.4", **image}], RECORD_KEY: RECORD})
        else:
            attributes = {"ome": {"version": self.version, "multiscales": [image]}, RECORD_KEY: RECORD}
            _write_json(folder / "zarr.json", {"zarr_format": 3, "node_type": "group", "attributes": attributes})
        # Files are flushed together at the end: one wait instead of one for each file.
        context = ts.Context({"file_io_sync": False})
        names = [str(level) for level in range(self.levels)]
        self._stores = [self._create_level(folder / name, level, context) for level, name in enumerate(names)]
        return names

    def _create_level(self, folder: Path, level: int, context: Any) -> Any:
        shape = level_shape(self.shape, level)
        chunk = _least(self.inner_shape, shape)
        codec = {"cname": "zstd", "clevel": self.compression}
        if self.version == "0.4":
            metadata: dict[str, Any] = {
                "shape": shape,
                "chunks": chunk,
                "dtype": self.dtype.newbyteorder("<").str,
                "compressor": {"id": "blosc", "shuffle": 1, **codec} if self.compression else None,
                "fill_value": 0,
                "order": "C",
                "filters": None,
                "dimension_separator": "/",
            }
        else:
            codecs: list[dict[str, Any]] = [{"name": "bytes", "configuration": {"endian": "little"}}]
            if self.compression:
                codecs.append({"name": "blosc", "configuration": {"shuffle": "shuffle", **codec}})
            unit = chunk
            if self.sharded:
                unit = _whole(chunk, _least(self.chunk_shape, shape))
                codecs = [{"name": "sharding_indexed", "configuration": {"chunk_shape": chunk, "codecs": codecs}}]
            metadata = {
                "shape": shape,
                "data_type": self.dtype.name,
                "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": unit}},
                "codecs": codecs,
                "fill_value": 0,
                "dimension_names": _AXES,
            }
        spec = {
            "driver": "zarr" if self.version == "0.4" else "zarr3",
            "kvstore": {"driver": "file", "path": f"{folder.absolute()}/"},
            "metadata": metadata,
            "store_data_equal_to_fill_value": True,  # whether zeros are written, the base class decides
        }
        with _tensorstore_errors():
            return ts.open(spec, create=True, context=context).result()

    def _store(self, level: int, chunk: Box, voxels: npt.NDArray[Any]) -> None:
        with _tensorstore_errors():
            self._stores[level][chunk.slices()].write(voxels).result()


def multiscales(
    name: str, spacing: Spacing, levels: int, origin_um: tuple[float, float, float] | None = None
) -> dict[str, Any]:
    """The ``multiscales`` entry, without version, of an image (z, y, x) whose levels are halved by means."""
    datasets = []
    for level in range(levels):
        factor = 1 << level
        steps: list[dict[str, Any]] = [{"type": "scale", "scale": [v * factor for v in spacing.zyx_um]}]
        if level or origin_um is not None:
            first = origin_um or (0.0, 0.0, 0.0)
            centre = [at + v * (factor - 1) / 2 for at, v in zip(first, spacing.zyx_um, strict=True)]
            steps.append({"type": "translation", "translation": centre})
        datasets.append({"path": str(level), "coordinateTransformations": steps})
    axes = [{"name": axis, "type": "space", "unit": "micrometer"} for axis in _AXES]
    return {"name": name, "axes": axes, "datasets": datasets}


def _least(a: ZYX, b: ZYX) -> ZYX:
    z, y, x = (min(m, n) for m, n in zip(a, b, strict=True))
    return z, y, x


def _whole(chunk: ZYX, shape: ZYX) -> ZYX:
    """``shape``, each axis rounded up to whole chunks."""
    z, y, x = (-(-n // c) * c for c, n in zip(chunk, shape, strict=True))
    return z, y, x


def _write_json(file: Path, content: Mapping[str, Any]) -> None:
    file.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


@contextlib.contextmanager
def _tensorstore_errors() -> Iterator[None]:
    """Turn tensorstore's errors back into the operating system's: tensorstore puts the error number into a text."""
    try:
        yield
    except Exception as error:
        found = _OS_ERROR.search(str(error))
        if found is None:
            raise
        number = int(found[1])
        raise OSError(number, os.strerror(number)) from error


def origin_along_axes_um(affine_lps_mm: Floats) -> tuple[float, float, float]:
    """Distance (z, y, x) of the first voxel from the patient's origin, along normal, columns and rows of the planes.

    For axial planes these directions are the patient's own axes. Volumes of the same orientation agree with each other.
    """
    x, y = (affine_lps_mm[:3, i] / np.linalg.norm(affine_lps_mm[:3, i]) for i in (0, 1))
    normal = np.cross(x, y)
    along_z, along_y, along_x = (float(axis @ affine_lps_mm[:3, 3]) * 1000 for axis in (normal, y, x))
    return along_z, along_y, along_x


class OmeZarrOutput(PyramidFormat):
    """OME-Zarr."""

    name, title = "ome-zarr", "OME-Zarr"
    suffixes = (".zarr", ".ome.zarr")
    takes = PyramidFormat.takes | {"shard_shape", "version", "compression"}
    default_compression = str(DEFAULT_COMPRESSION)

    def open(self, path: Path, shape: ZYX, dtype: np.dtype[Any], spacing: Spacing, writing: Writing) -> VolumeOutput:
        """A writer of a volume."""
        affine = writing.affine_lps_mm
        return OmeZarrWriter(
            path,
            shape,
            dtype,
            spacing,
            downsample=writing.downsample,
            levels=writing.levels,
            chunk_shape=writing.chunk_shape,
            shard_shape=writing.shard_shape,
            version=writing.version or VERSIONS[0],
            compression=DEFAULT_COMPRESSION if writing.compression is None else writing.compression,
            origin_um=None if affine is None else origin_along_axes_um(affine),
            flush=writing.flush,
            write_empty=writing.write_empty,
            **writing.shared,
        )
