"""Writing Neuroglancer's precomputed with its pyramid: by tensorstore, asynchronously, whole files, each once."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import tensorstore as ts

from gpustitch.errors import ParameterError
from gpustitch.io.volumes.chunk_files import chunk_name
from gpustitch.io.volumes.record import Files
from gpustitch.io.volumes.shard_files import ShardNames
from gpustitch.io.volumes.sidecar import Origin
from gpustitch.io.write.files.direct import DirectShards
from gpustitch.io.write.format import PyramidFormat, VolumeOutput, Writing
from gpustitch.io.write.pyramid_layout import level_shape, precomputed_info
from gpustitch.io.write.pyramid_writer import PyramidWriter
from gpustitch.io.write.shards import level_shard_bytes, order_of_shards, precomputed_sharding
from gpustitch.io.write.stores import file_store
from gpustitch.model import ZYX, Box, Spacing


class PrecomputedWriter(PyramidWriter):
    """Writes a precomputed volume block by block; the base class says how.

    ``dtype`` is one of ``written_types``. The sidecar lies beside ``info``. Chunks of zeros are not in the shards:
    with ``write_empty`` each chunk has a file. Only chunks in shards are compressed.

    Of the first voxel's place :func:`gpustitch.io.write.pyramid_layout.precomputed_info` has whole voxels, the sidecar
    all.
    """

    written_types: ClassVar = ("uint8", "uint16", "int16", "uint32", "float32")
    codecs: ClassVar = ("none", "gzip")
    writers: ClassVar = ("tensorstore", "direct")

    _direct: DirectShards | None = None

    @property
    def _beside_um(self) -> Origin | None:
        return self._writing.place_um

    @classmethod
    def checked_files(
        cls, codec: str | None, shard_bytes: int | None, write_empty: bool, writer: str | None = None
    ) -> tuple[str, int]:
        """As the base class says."""
        if write_empty:
            if shard_bytes:
                raise ParameterError(
                    "shards of precomputed volumes hold no chunks of zeros; leave out `write_empty` or `shard_bytes`"
                )
            shard_bytes = 0
        codec, shard_bytes = super().checked_files(codec, shard_bytes, write_empty, writer)
        if writer == "direct" and (codec != "none" or not shard_bytes):
            raise ParameterError(
                "`writer` direct writes shards of raw chunks; leave out `codec`, `write_empty` and `shard_bytes` 0"
            )
        if shard_bytes == 0 and codec != "none":
            raise ParameterError(
                f"chunks of precomputed volumes are compressed only in shards; leave out `codec` {codec}, or "
                "`write_empty` and `shard_bytes` 0"
            )
        return codec, shard_bytes

    def _create(self, folder: Path, context: Any) -> Mapping[str, Any]:
        info = precomputed_info(self.shape, self.dtype, self.spacing, self.levels, self.chunk_shape, self._beside_um)
        if self.shard_bytes:
            encoding = "raw" if self.codec == "none" else self.codec
            for factor, scale in zip(self.factors, info["scales"], strict=True):
                shape = level_shape(self.shape, factor)
                files = self.shape, self.chunk_shape, self.dtype.itemsize
                n_bytes = level_shard_bytes(*files, factor, self.shard_bytes)
                scale["sharding"] = precomputed_sharding(shape, *files[1:], n_bytes, encoding)
        self._describe(folder / "info", info)
        self._folders = [folder / scale["key"] for scale in info["scales"]]
        self._offsets = [scale["voxel_offset"][::-1] for scale in info["scales"]]
        for level in self._folders:
            level.mkdir(exist_ok=True)
        if self.shard_bytes:
            self._shards = [ShardNames(scale) for scale in info["scales"]]
            self._orders = [
                order_of_shards(level_shape(self.shape, factor), self.chunk_shape, unit)
                for factor, unit in zip(self.factors, self.file_shapes, strict=True)
            ]
            self._numbers = [np.argsort(order) for order in self._orders]
        if self._writer == "direct":
            self._direct = DirectShards(info["scales"], self._writing.n_writers, flush=self._writing.flush)
        return {level.name: self._opened(folder, level.name, context) for level in self._folders}

    def _file(self, level: int, index: ZYX) -> str:
        if not self.shard_bytes:
            return chunk_name(self._states[level].box(index).shift(self._offsets[level]))
        number = self._numbers[level][np.ravel_multi_index(index, self._states[level].grid)]
        return self._shards[level].name((int(number),))

    def _opened(self, folder: Path, key: str, context: Any) -> Any:
        spec = {
            "driver": "neuroglancer_precomputed",
            "kvstore": file_store(folder),
            "scale_metadata": {"key": key},
        }
        store = ts.open(spec, open=True, read=True, write=True, context=context).result()
        return store[ts.d["channel"][0]].translate_to[0].transpose([2, 1, 0])

    def _store(self, level: int, box: Box, voxels: npt.NDArray[Any], *, may_refer: bool) -> Any:
        if self._writing.write_empty and not voxels.any():
            _write_zeros(self._folders[level], box.shift(self._offsets[level]), voxels)
            return None
        if self._direct is not None:
            return self._direct.write(self._place(level, self._states[level].index(box)), level, box, voxels)
        return super()._store(level, box, voxels, may_refer=may_refer)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            super().__exit__(kind, error, trace)
        finally:
            if self._direct is not None:
                self._direct.close()

    def _record(self) -> Mapping[str, Files]:
        found = super()._record()
        if not self.shard_bytes:
            return found
        return {key: files.taken(order) for (key, files), order in zip(found.items(), self._orders, strict=True)}


def _write_zeros(folder: Path, chunk: Box, voxels: npt.NDArray[Any]) -> None:
    """Write a chunk of zeros, for which tensorstore makes no file."""
    (folder / chunk_name(chunk)).write_bytes(voxels.tobytes())


class PrecomputedOutput(PyramidFormat):
    """Neuroglancer's precomputed: the format of names without a known suffix."""

    name = title = "precomputed"
    codecs = PrecomputedWriter.codecs
    types = PrecomputedWriter.written_types
    checked_files = staticmethod(PrecomputedWriter.checked_files)

    def holds(self, dtype: np.dtype[Any], codec: str | None) -> frozenset[str]:
        """Voxel size and place."""
        return frozenset({"spacing", "origin_um"})

    def open(self, path: Path, shape: ZYX, dtype: np.dtype[Any], spacing: Spacing, writing: Writing) -> VolumeOutput:
        """A writer of a volume."""
        return PrecomputedWriter(path, shape, dtype, spacing, writing)
