"""Reading zarr arrays: by tensorstore, which is fast, and by zarr-python what tensorstore does not know."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorstore as ts

from gpustitch.errors import DamagedInputError, ResourceError
from gpustitch.io.forked import uses_tensorstore
from gpustitch.io.volumes.format import READ_CACHE_BYTES
from gpustitch.io.volumes.zarr_files import codec_names, read_array

Selection = tuple[slice | int, ...]


@dataclass(frozen=True)
class ZarrArray:
    """An open array.

    Attributes
    ----------
    folder
        Where it lies.
    shape, dtype
        Of the array; the dtype is in the machine's order of bytes.
    chunk_shape
        Elements that are compressed together.
    reader
        The library that reads it.
    """

    folder: Path
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    chunk_shape: tuple[int, ...]
    reader: str
    _read: Callable[[Selection], Any]

    def read(self, selection: Selection) -> npt.NDArray[Any]:
        """The elements of a slice, or at a number, along each axis; the fill value in chunks without a file.

        Raises
        ------
        DamagedInputError
            If a chunk cannot be read.
        """
        try:
            return np.asarray(self._read(selection), self.dtype)
        except (MemoryError, ResourceError):
            raise
        except Exception as error:  # each codec has errors of its own
            raise DamagedInputError(f"{self.folder} cannot be read at {_text(selection)}: {error}") from error


def open_zarr_array(folder: Path) -> ZarrArray:
    """The array in ``folder``, by zarr-python if tensorstore refuses it.

    Raises
    ------
    DamagedInputError
        If there is no array, or neither library can open it.
    """
    array = read_array(folder)
    if array is None:
        raise DamagedInputError(f"there is no zarr array {folder}; the image names it as one of its levels")
    try:
        return _by_tensorstore(folder, array)
    except (ValueError, OSError, OverflowError, NotImplementedError) as refused:
        try:
            return _by_zarr_python(folder, array)
        except MemoryError:
            raise
        except Exception as error:  # damaged metadata make it raise anything
            codecs = ", ".join(codec_names(array)) or "none"
            raise DamagedInputError(
                f"{folder} cannot be opened as a zarr array (its codecs: {codecs}); zarr-python says: {error}; "
                f"tensorstore says: {str(refused).partition(' [')[0]}"
            ) from error


@functools.cache
def _context() -> Any:
    """One cache for all arrays of the process, so that memory does not grow with their number."""
    return ts.Context({"cache_pool": {"total_bytes_limit": READ_CACHE_BYTES}})


def _by_tensorstore(folder: Path, array: dict[str, Any]) -> ZarrArray:
    """An array that tensorstore opens; without a description of its own, by a consolidated one."""
    file = "zarr.json" if array.get("zarr_format") == 3 else ".zarray"
    spec = {
        "driver": "zarr3" if file == "zarr.json" else "zarr",
        "kvstore": {"driver": "file", "path": f"{folder.absolute()}/"},
        "recheck_cached_data": "open",
    }
    is_there = (folder / file).is_file()  # else there is a consolidated copy
    if not is_there:
        spec["metadata"] = array
    uses_tensorstore()
    store: Any = ts.open(spec, read=True, context=_context(), assume_metadata=not is_there).result()

    def read(selection: Selection) -> Any:
        uses_tensorstore()
        return store[selection].read().result()

    return ZarrArray(
        folder,
        tuple(store.shape),
        np.dtype(store.dtype.numpy_dtype),
        tuple(store.chunk_layout.read_chunk.shape),
        "tensorstore",
        read,
    )


def _by_zarr_python(folder: Path, description: dict[str, Any]) -> ZarrArray:
    from gpustitch.io.volumes.zarr_python import open_by_zarr_python  # takes longer than to open most volumes

    array = open_by_zarr_python(folder, description)
    dtype = np.dtype(array.dtype).newbyteorder("=")
    return ZarrArray(folder, array.shape, dtype, array.chunks, "zarr-python", lambda selection: array[selection])


def _text(selection: Selection) -> str:
    parts = [f"{part.start}:{part.stop}" if isinstance(part, slice) else str(part) for part in selection]
    return f"[{', '.join(parts)}]"
