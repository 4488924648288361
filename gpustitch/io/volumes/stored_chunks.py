"""Reading the chunks of an unsharded precomputed scale straight from their files.

A raw chunk is a file of voxels, little-endian, x fastest. Only the planes that are wanted are read, by one request.
A library that decodes whole chunks copies all voxels several times.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorstore as ts

from gpustitch.errors import DamagedInputError
from gpustitch.io.forked import uses_tensorstore
from gpustitch.io.volumes.chunk_files import ChunkFiles, ChunkPart, decompressed
from gpustitch.io.windows import StoredFile
from gpustitch.model import ZYX, Box

# Encoded voxels are rarely larger than plain ones, except the tables of very small chunks.
_MOST_OVER, _MOST_HEAD = 2, 1 << 20

Decode = Callable[[Path, bytes, ZYX], npt.NDArray[Any]]


class StoredChunks:
    """The chunks of one scale.

    Parameters
    ----------
    files
        Their files.
    dtype
        Type of a voxel.
    decode
        Voxels of a chunk from a file's decompressed content; None for raw chunks.
    """

    def __init__(self, files: ChunkFiles, dtype: np.dtype[Any], decode: Decode | None = None) -> None:
        self._files = files
        self._dtype = dtype.newbyteorder("<")
        self._is_raw = decode is None
        self._decode = decode or self._voxels

    def holds(self, box: Box) -> bool:
        """Whether any chunk of ``box``, which lies in the volume, has a file."""
        return any(self._files.file(part.number) is not None for part in self._files.parts(box))

    def read(self, box: Box) -> npt.NDArray[Any]:
        """Voxels of ``box``, which lies in the volume; 0 in chunks of zeros, which have no file.

        Raises
        ------
        DamagedInputError
            If a file cannot be read or its size is not the chunk's.
        """
        out = np.zeros(box.shape, self._dtype.newbyteorder("="))
        for part in self._files.parts(box):
            stored = self._files.file(part.number)
            if stored is None:
                continue
            file, suffix = stored
            to = out[part.of_box]
            if suffix or not self._is_raw:
                most = math.prod(part.shape) * self._dtype.itemsize
                data = decompressed(file, suffix, most if self._is_raw else _MOST_OVER * most + _MOST_HEAD)
                np.copyto(to, self._decode(file, data, part.shape)[part.of_chunk])
            else:
                self._copy(file, part, to)
        return out

    def _copy(self, file: Path, part: ChunkPart, out: npt.NDArray[Any]) -> None:
        """Copy a part of a raw chunk from its file."""
        planes, rows, columns = part.of_chunk
        try:
            stored = StoredFile(file)
        except OSError as error:
            raise DamagedInputError(f"{file} cannot be read: {error.strerror}") from error
        with stored:
            self._check_size(file, part.shape, stored.size)
            voxels = np.empty((planes.stop - planes.start, *part.shape[1:]), self._dtype)
            stored.fill(voxels, planes.start * voxels[0].nbytes, "a chunk")
        np.copyto(out, voxels[:, rows, columns])

    def _voxels(self, file: Path, data: bytes, shape: ZYX) -> npt.NDArray[Any]:
        self._check_size(file, shape, len(data))
        return np.frombuffer(data, self._dtype).reshape(shape)

    def _check_size(self, file: Path, shape: ZYX, size: int) -> None:
        expected = math.prod(shape) * self._dtype.itemsize
        if size != expected:
            raise DamagedInputError(f"{file} has {size} bytes but a chunk of {shape} voxels has {expected}")


def decoder(info: dict[str, Any], scale: dict[str, Any]) -> Decode:
    """The function that decodes the chunks of a scale: tensorstore reads each as a volume of one chunk in memory."""

    def decode(file: Path, data: bytes, shape: ZYX) -> npt.NDArray[Any]:
        size = list(shape[::-1])
        alone = {**scale, "key": "c", "size": size, "chunk_sizes": [size], "voxel_offset": [0, 0, 0]}
        uses_tensorstore()
        context = ts.Context()  # each has its own memory, so that threads do not meet
        memory = ts.KvStore.open({"driver": "memory"}, context=context).result()
        memory["info"] = json.dumps({**info, "scales": [alone]}).encode()
        memory["c/" + "_".join(f"0-{n}" for n in size)] = data
        spec = {"driver": "neuroglancer_precomputed", "kvstore": {"driver": "memory"}}
        try:
            store = ts.open(spec, read=True, context=context).result()
            return np.asarray(store[ts.d["channel"][0]].transpose([2, 1, 0]).read().result())
        except (ValueError, OSError) as error:
            raise DamagedInputError(f"{file} cannot be decoded as {scale['encoding']}: {error}") from error

    return decode
