"""Arrays by zarr-python. This module alone imports it, and is imported when it is needed: it takes a while."""

from __future__ import annotations

import json
import struct
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import zarr
from zarr.abc.store import RangeByteRequest
from zarr.storage import LocalStore, WrapperStore

from gpustitch.io.volumes.zarr_files import codec_names

if TYPE_CHECKING:
    from zarr.abc.store import ByteRequest
    from zarr.core.buffer import Buffer, BufferPrototype

_DESCRIPTIONS = (".zarray", "zarr.json")
_BLOSC_HEADER = struct.Struct("<12xI")  # bytes in all, after versions, flags and sizes


def open_by_zarr_python(folder: Path, array: dict[str, Any]) -> Any:
    """The zarr array of a description, its chunks in ``folder``; zarr-python's own errors if it cannot be opened."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of codecs that other programs may lack
        return zarr.open_array(_CheckedFiles(folder, array), mode="r", zarr_format=array["zarr_format"])


class _CheckedFiles(WrapperStore[LocalStore]):
    """The files of an array; its description is given.

    Blosc's decoder is told no length, and makes voxels of whatever lies in memory behind a file that is cut off. A
    shard without bytes would be taken for an empty one.
    """

    def __init__(self, folder: Path, array: dict[str, Any]) -> None:
        super().__init__(LocalStore(folder, read_only=True))
        self._description = json.dumps(array).encode()
        if b'"index_location": "start"' in self._description and "blosc" in self._description.decode():
            raise ValueError(
                "shards with Blosc and their index in front are not read: nothing tells whether they are whole"
            )
        last = codec_names({**array, "codecs": (array.get("codecs") or [])[-1:]})
        self._is_blosc = last[-1:] in (["blosc"], ["numcodecs.blosc"])

    async def get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        """As the base class; ValueError for a chunk that is cut off."""
        if key in _DESCRIPTIONS:
            return prototype.buffer.from_bytes(self._description)
        value = await super().get(key, prototype, byte_range)
        if value is not None and not key.startswith("."):
            self._check(key, value.to_bytes(), byte_range)
        return value

    def _check(self, key: str, data: bytes, byte_range: ByteRequest | None) -> None:
        expected = byte_range.end - byte_range.start if isinstance(byte_range, RangeByteRequest) else 1
        if byte_range is None and self._is_blosc:
            header = data.ljust(_BLOSC_HEADER.size, b"\0")
            expected = max(_BLOSC_HEADER.size, _BLOSC_HEADER.unpack_from(header)[0])
        if len(data) < expected:
            raise ValueError(f"the file {key} is cut off: it has {len(data)} bytes where {expected} were expected")
