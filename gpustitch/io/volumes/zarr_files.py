"""The files of a zarr array: its description, and a file for each chunk, or for each shard of chunks."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from gpustitch.errors import DamagedInputError
from gpustitch.io.checked import MOST_CHUNKS, MOST_IN_CHUNK, rows, whole
from gpustitch.io.volumes.presence import Index

CONSOLIDATED = ".zmetadata"  # of zarr 2: one file with copies of the descriptions of all groups and arrays below
_LIKE_A_CHUNK = re.compile(r"c|(c[./])?\d+([./]\d+)*")
_NESTING = 4  # an image may lie in a well of a plate


def read_description(folder: Path, name: str) -> dict[str, Any] | None:
    """The content of ``name``, such as ``.zarray``, in ``folder`` or its consolidated copy; None if there is neither.

    Raises
    ------
    DamagedInputError
        If the file is not JSON with named values.
    """
    file = folder / name
    if file.is_file():
        return _content(file)
    places = [(folder, name), *((above, f"{folder.relative_to(above).as_posix()}/{name}") for above in folder.parents)]
    for above, key in places[:_NESTING] if name != "zarr.json" else ():
        if (above / CONSOLIDATED).is_file():
            copies = _content(above / CONSOLIDATED).get("metadata")
            found = copies.get(key) if isinstance(copies, dict) else None
            return dict(found) if isinstance(found, dict) else None
    return None


def _content(file: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise DamagedInputError(f"{file} is not zarr metadata: {type(error).__name__}: {error}") from error


def read_array(folder: Path) -> dict[str, Any] | None:
    """The description of the zarr array in ``folder``; None if there is no array.

    Raises
    ------
    DamagedInputError
        If the file of the description cannot be read.
    """
    array = read_description(folder, "zarr.json")
    if array is not None and array.get("node_type") != "group":
        return array
    return read_description(folder, ".zarray")


def array_shape(array: Mapping[str, Any] | None) -> tuple[int, ...]:
    """The shape in an array's description; empty if it cannot be understood."""
    try:
        return () if array is None else tuple(int(n) for n in array["shape"])
    except (KeyError, TypeError, ValueError, OverflowError):
        return ()


def codec_names(array: Mapping[str, Any]) -> list[str]:
    """Names of the filters and codecs in an array's description, those within shards too."""
    return list(_codecs([array.get("filters"), array.get("compressor"), array.get("codecs")]))


def _codecs(part: Any) -> Iterator[str]:
    if isinstance(part, list):
        for one in part:
            yield from _codecs(one)
    elif isinstance(part, dict):
        yield str(part.get("name", part.get("id", "?")))
        configuration = part.get("configuration")
        yield from _codecs(configuration.get("codecs") if isinstance(configuration, dict) else None)


class ZarrNames:
    """Names below the folder of an array: ``0.0.1`` or ``0/0/1`` in zarr 2, ``c/0/0/1`` in zarr 3.

    A :class:`gpustitch.io.volumes.presence.Naming`, except that its axes are those of the array.

    Attributes
    ----------
    is_sparse
        Whether the array says what chunks without a file hold.
    fills_zeros
        Whether elements without a file are 0.
    file_shape
        Elements along each axis that a file holds.

    Raises
    ------
    DamagedInputError
        If the array's description cannot be understood.
    """

    def __init__(self, folder: Path) -> None:
        array = read_array(folder) or {}
        try:
            grid, self.file_shape, self._prefix, self._separator = _described(array)
            # Without a fill value nothing says what a chunk without a file holds.
            self.is_sparse = array["fill_value"] is not None
            self.fills_zeros = array["fill_value"] in (0, None, False)
        except (ValueError, KeyError, TypeError, AttributeError, ArithmeticError) as error:
            raise DamagedInputError(
                f"{folder} does not describe a zarr array: {type(error).__name__}: {error}"
            ) from error
        self.axes = [{str(i): i for i in range(n)} for n in grid]

    def split(self, name: str) -> tuple[Sequence[str], int] | None:
        """As :class:`gpustitch.io.volumes.presence.Naming` says."""
        parts = name[len(self._prefix) :].split(self._separator)
        if name.startswith(self._prefix) and len(parts) == len(self.axes) and all(map(str.isdigit, parts)):
            return parts, 1
        return ((name,) * (len(self.axes) + 1), 0) if _LIKE_A_CHUNK.fullmatch(name) else None

    def name(self, index: Index, kind: int = 1) -> str:
        """As :class:`gpustitch.io.volumes.presence.Naming` says."""
        return self._prefix + self._separator.join(map(str, index))


def _described(array: Mapping[str, Any]) -> tuple[list[int], list[int], str, str]:
    """Files along each axis, elements of a file, what all names begin with, and what separates their numbers."""
    if array["zarr_format"] == 2:
        chunk, prefix, separator = array["chunks"], "", array.get("dimension_separator") or "."
    else:
        chunk = array["chunk_grid"]["configuration"]["chunk_shape"]
        encoding = array["chunk_key_encoding"]
        is_default = encoding["name"] == "default"
        separator = encoding.get("configuration", {}).get("separator", "/" if is_default else ".")
        prefix = "c" + separator if is_default else ""
    if separator not in ("/", "."):
        raise ValueError(f"chunks' numbers are separated by {separator!r}, not / or .")
    shape = [whole(n, "shape") for n in rows(array["shape"], "shape")]
    chunks = [whole(n, "the shape of a chunk", 1) for n in rows(chunk, "the shape of a chunk", len(shape))]
    if math.prod(chunks) > MOST_IN_CHUNK:
        raise ValueError(f"a chunk of {chunks} voxels is larger than any that is read")
    grid = [-(-n // c) for n, c in zip(shape, chunks, strict=True)]
    if math.prod(grid) > MOST_CHUNKS:
        raise ValueError(f"its {math.prod(grid)} chunks are more than can be listed")
    return grid, chunks, prefix, separator
