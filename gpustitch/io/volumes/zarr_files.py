"""How the files of a zarr array are named: a file for each chunk, or for each shard of chunks."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gpustitch.errors import DamagedInputError
from gpustitch.io.volumes.presence import Index

_LIKE_A_CHUNK = re.compile(r"c|(c[./])?\d+([./]\d+)*")


class ZarrNames:
    """Names below the folder of an array: ``0.0.1`` or ``0/0/1`` in zarr 2, ``c/0/0/1`` in zarr 3.

    A :class:`gpustitch.io.volumes.presence.Naming`, except that its axes are those of the array.

    Attributes
    ----------
    is_sparse
        Whether the array says what chunks without a file hold.

    Raises
    ------
    DamagedInputError
        If the array's description cannot be understood.
    """

    def __init__(self, folder: Path) -> None:
        file = folder / ("zarr.json" if (folder / "zarr.json").is_file() else ".zarray")
        try:
            array = json.loads(file.read_text(encoding="utf-8"))
            grid, self._prefix, self._separator = _described(array)
            # Without a fill value nothing says what a chunk without a file holds.
            self.is_sparse = array["fill_value"] is not None
        except (OSError, ValueError, KeyError, TypeError, AttributeError, ZeroDivisionError) as error:
            raise DamagedInputError(
                f"{file} does not describe a zarr array: {type(error).__name__}: {error}"
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


def _described(array: dict[str, Any]) -> tuple[list[int], str, str]:
    """Files along each axis, what all names begin with, and what separates their numbers."""
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
    return [-(-n // c) for n, c in zip(array["shape"], chunk, strict=True)], prefix, separator
