"""Writing OME-Zarr images with their pyramid: OME-NGFF 0.5 (zarr 3) or 0.4 (zarr 2), compressed by tensorstore."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import tensorstore as ts

from gpustitch.errors import ParameterError
from gpustitch.io.volumes.record import RECORD, RECORD_KEY
from gpustitch.io.write.format import PyramidFormat, VolumeOutput, Writing
from gpustitch.io.write.omero import omero
from gpustitch.io.write.pyramid_layout import level_shape
from gpustitch.io.write.pyramid_writer import PyramidWriter
from gpustitch.io.write.stores import file_store, system_error
from gpustitch.model import ZYX, Box, Spacing, level_factors
from gpustitch.ops.contrast import shown_range
from gpustitch.version import VERSION

VERSIONS = ("0.5", "0.4")
DEFAULT_COMPRESSION = 1  # 3 takes 40 % more time for 7 % less space
_AXES = ("z", "y", "x")
# Chunks, and voxels, whose contrast is looked at, unless a chunk has more.
_CHUNKS_SAMPLED, _MOST_SAMPLED = 64, 1 << 24


class OmeZarrWriter(PyramidWriter):
    """Writes an OME-Zarr image block by block; the base class says how.

    Level ``l`` has the path ``l``. Its voxels are means of ``n`` voxels along an axis, which
    :func:`gpustitch.model.level_factors` tells for each. Their centres lie ``(n - 1) / 2`` voxels of level 0 further
    along, as the level's translation states. Blocks come in any order.
    Chunks are no larger than their level. The ``omero`` block has the channel's name, its colour, and the contrast of
    chunks of the finest level, spread over the volume, which are read back at the end.

    Parameters
    ----------
    path, shape, dtype, spacing
        As in :class:`gpustitch.io.write.pyramid_writer.PyramidWriter`; ``dtype`` is one of ``written_types``.
    writing
        How it is written. ``version`` is ``0.5``, or ``0.4`` (without shards) for readers that know no zarr 3. A place
        that is not known puts the volume's corner at 0, so the first voxel's centre half a voxel from it: there viewers
        show a precomputed volume. ``channel`` may state the emission (:mod:`gpustitch.io.write.omero`); None for the
        volume's name.

    Raises
    ------
    ParameterError
        If a parameter is out of range.
    OutputExistsError, OutputError
        If ``path`` exists or cannot be created.
    """

    written_types: ClassVar = ("uint8", "uint16", "int16", "uint32", "float32", "float64")
    codecs: ClassVar = ("zstd", "lz4", "gzip", "none")

    def __init__(
        self,
        path: str | Path,
        shape: Sequence[int],
        dtype: npt.DTypeLike,
        spacing: Spacing,
        writing: Writing,
    ) -> None:
        self.version = writing.version or VERSIONS[0]
        self.origin_um = writing.place_um
        compression = DEFAULT_COMPRESSION if writing.compression is None else writing.compression
        if not 0 <= compression <= 9:
            raise ParameterError(f"`compression` of OME-Zarr is a level from 0 (none) to 9, not {compression}")
        self.compression = 0 if writing.codec == "none" else compression
        shard_bytes = _shards_of(self.version, writing.shard_bytes)
        super().__init__(path, shape, dtype, spacing, dataclasses.replace(writing, shard_bytes=shard_bytes))

    def _create(self, folder: Path, context: Any) -> Mapping[str, Any]:
        if self.version == "0.4":
            self._describe(folder / ".zgroup", {"zarr_format": 2})
        self._describe_group()
        return {str(level): self._create_level(folder / str(level), level, context) for level in range(self.levels)}

    def _describe_group(self, **more: Any) -> None:
        """Write the group's description, with ``more`` than its image."""
        image = multiscales(self._name, self.spacing, self.levels, self.origin_um)
        if self.version == "0.4":
            attributes = {"multiscales": [{"version": "0.4", **image}], **more, RECORD_KEY: RECORD}
            self._describe(self._folder / ".zattrs", attributes)
        else:
            attributes = {"ome": {"version": self.version, "multiscales": [image], **more}, RECORD_KEY: RECORD}
            group = {"zarr_format": 3, "node_type": "group", "attributes": attributes}
            self._describe(self._folder / "zarr.json", group)

    @property
    def _name(self) -> str:
        return self.path.name.split(".")[0]

    def _conclude(self) -> None:
        voxels = self._sample()
        finite = voxels[np.isfinite(voxels)]
        least, most = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
        self._describe_group(
            omero=omero(self._writing.channel or self._name, self.dtype, shown_range(voxels), least, most)
        )

    def _sample(self) -> npt.NDArray[Any]:
        """Chunks of the finest level as they are on the disk, spread over the files that are there.

        In coarser levels cells are averaged away.
        """
        state = self._states[0]
        most = max(1, min(_CHUNKS_SAMPLED, _MOST_SAMPLED // math.prod(self.chunk_shape)))
        files = _spread([state.box(index) for index in zip(*np.nonzero(state.files.there), strict=True)], most)
        each = max(1, most // max(1, len(files)))
        chunks = [chunk for file in files for chunk in _spread(list(file.blocks(self.chunk_shape)), each)]
        reads = [self._levels[0][chunk.slices()].read() for chunk in chunks]
        parts = [np.asarray(read.result()).ravel() for read in reads]
        return np.concatenate([np.empty(0, self.dtype), *parts])

    def _file(self, level: int, index: ZYX) -> str:
        return ("" if self.version == "0.4" else "c/") + "/".join(map(str, index))

    def _create_level(self, folder: Path, level: int, context: Any) -> Any:
        is_zarr2 = self.version == "0.4"
        spec = {
            "driver": "zarr" if is_zarr2 else "zarr3",
            "kvstore": file_store(folder),
            "metadata": self._metadata_of_zarr2(level) if is_zarr2 else self._metadata_of_zarr3(level),
            "store_data_equal_to_fill_value": True,  # whether zeros are written, the base class decides
        }
        try:
            return ts.open(spec, create=True, open=True, context=context).result()
        except ValueError as error:
            raise system_error(error) from error

    def _metadata_of_zarr2(self, level: int) -> dict[str, Any]:
        """What ``.zarray`` says of a level: a file for each chunk."""
        shape = level_shape(self.shape, self.factors[level])
        return {
            "shape": shape,
            "chunks": _least(self.chunk_shape, shape),
            "dtype": self.dtype.newbyteorder("<").str,
            "compressor": self._codec_of_zarr2(),
            "fill_value": 0,
            "order": "C",
            "filters": None,
            "dimension_separator": "/",
        }

    def _metadata_of_zarr3(self, level: int) -> dict[str, Any]:
        """What ``zarr.json`` says of a level: a file for each chunk, or shards of several."""
        shape = level_shape(self.shape, self.factors[level])
        chunk = unit = _least(self.chunk_shape, shape)
        codecs: list[dict[str, Any]] = [{"name": "bytes", "configuration": {"endian": "little"}}]
        codecs += self._codecs_of_zarr3()
        if self.shard_bytes:
            unit = _whole(chunk, _least(self.file_shapes[level], shape))
            codecs = [{"name": "sharding_indexed", "configuration": {"chunk_shape": chunk, "codecs": codecs}}]
        return {
            "shape": shape,
            "data_type": self.dtype.name,
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": unit}},
            "codecs": codecs,
            "fill_value": 0,
            "dimension_names": _AXES,
        }

    def _codecs_of_zarr3(self) -> list[dict[str, Any]]:
        if not self.compression:
            return []
        if self.codec == "gzip":
            return [{"name": "gzip", "configuration": {"level": self.compression}}]
        return [{"name": "blosc", "configuration": {"shuffle": "shuffle", **self._blosc}}]

    def _codec_of_zarr2(self) -> dict[str, Any] | None:
        if not self.compression:
            return None
        if self.codec == "gzip":
            return {"id": "gzip", "level": self.compression}
        return {"id": "blosc", "shuffle": 1, **self._blosc}

    @property
    def _blosc(self) -> dict[str, Any]:
        return {"cname": self.codec, "clevel": self.compression}


def _spread(boxes: list[Box], most: int) -> list[Box]:
    """At most so many of the boxes, evenly spaced in their order."""
    return [boxes[i * len(boxes) // most] for i in range(most)] if len(boxes) > most else boxes


def multiscales(
    name: str, spacing: Spacing, levels: int, origin_um: tuple[float, float, float] | None = None
) -> dict[str, Any]:
    """The ``multiscales`` entry, without version, of an image (z, y, x) whose levels are means of finer ones."""
    datasets = []
    for level, factor in enumerate(level_factors(spacing, levels)):
        size = [um * n for um, n in zip(spacing.zyx_um, factor, strict=True)]
        # Half a voxel of the level from the volume's corner; a first voxel whose centre is known has its own corner.
        centre = [um / 2 for um in size]
        if origin_um is not None:
            finest = zip(origin_um, spacing.zyx_um, factor, strict=True)
            centre = [at + um * (n - 1) / 2 for at, um, n in finest]
        steps: list[dict[str, Any]] = [
            {"type": "scale", "scale": size},
            {"type": "translation", "translation": centre},
        ]
        datasets.append({"path": str(level), "coordinateTransformations": steps})
    axes = [{"name": axis, "type": "space", "unit": "micrometer"} for axis in _AXES]
    made = {"method": "gpustitch.ops.pyramid.downsample", "version": VERSION}
    return {"name": name, "type": "mean", "metadata": made, "axes": axes, "datasets": datasets}


def _shards_of(version: str, shard_bytes: int | None) -> int | None:
    """``shard_bytes``, 0 in a version without shards; ParameterError if there is no such version, or it has none."""
    if version not in VERSIONS:
        raise ParameterError(f"`version` of OME-Zarr is {' or '.join(VERSIONS)}, not {version}")
    if version != "0.4":
        return shard_bytes
    if shard_bytes:
        raise ParameterError("OME-Zarr 0.4 (zarr 2) has no shards; write `version` 0.5 or `shard_bytes` 0")
    return 0


def _least(a: ZYX, b: ZYX) -> ZYX:
    z, y, x = (min(m, n) for m, n in zip(a, b, strict=True))
    return z, y, x


def _whole(chunk: ZYX, shape: ZYX) -> ZYX:
    """``shape``, each axis rounded up to whole chunks."""
    z, y, x = (-(-n // c) * c for c, n in zip(chunk, shape, strict=True))
    return z, y, x


class OmeZarrOutput(PyramidFormat):
    """OME-Zarr."""

    name, title = "ome-zarr", "OME-Zarr"
    suffixes = (".zarr", ".ome.zarr")
    takes = PyramidFormat.takes | {"version", "compression"}
    codecs = OmeZarrWriter.codecs
    types = OmeZarrWriter.written_types
    checked_files = staticmethod(OmeZarrWriter.checked_files)
    default_compression = str(DEFAULT_COMPRESSION)

    def shards_of(self, version: str | None, shard_bytes: int | None) -> int | None:
        """``shard_bytes`` as a version has them."""
        return _shards_of(version or VERSIONS[0], shard_bytes)

    def holds(self, dtype: np.dtype[Any], codec: str | None) -> frozenset[str]:
        """Voxel size, place and channel."""
        return frozenset({"spacing", "origin_um", "channel"})

    def open(self, path: Path, shape: ZYX, dtype: np.dtype[Any], spacing: Spacing, writing: Writing) -> VolumeOutput:
        """A writer of a volume."""
        return OmeZarrWriter(path, shape, dtype, spacing, writing)
