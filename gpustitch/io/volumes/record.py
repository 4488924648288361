"""The record of a volume's files that our writers leave: which files exist, so that a lost one is noticed.

A chunk of zeros has no file, so an absent file alone tells nothing. The record says which files were written, and their
sizes and checksums. Files are counted along the grid of a level: a file for each chunk, or for each shard.
"""

from __future__ import annotations

import base64
import json
import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from gpustitch.errors import DamagedInputError
from gpustitch.io.checked import MOST, inside, rows, whole
from gpustitch.io.sums import summed

RECORD = "gpustitch.files.json"
RECORD_KEY = "gpustitch_files"  # attribute of an OME-Zarr image that has a record
# Descriptions in the folders of levels: all other files there hold voxels.
ARRAY_FILES = frozenset({"zarr.json", ".zarray", ".zattrs"})
_SCHEMA = 1
# Version is what schema was called at first.
_KEYS = frozenset({"schema", "version", "files", "sums", "levels"})
_LEVEL_KEYS = frozenset({"grid", "n_files", "written", "n_bytes", "crc32"})


@dataclass(frozen=True)
class Files:
    """The files of one level, each on the level's grid of files (z, y, x).

    Attributes
    ----------
    there
        bool: whether the file was written.
    n_bytes, crc32
        uint64 and uint32: sizes and checksums (CRC-32) of the files. Sizes are 0 where nothing is known.
    """

    there: npt.NDArray[np.bool_]
    n_bytes: npt.NDArray[np.uint64]
    crc32: npt.NDArray[np.uint32]

    @classmethod
    def none(cls, grid: Sequence[int]) -> Self:
        """A level without a file."""
        return cls(np.zeros(grid, np.bool_), np.zeros(grid, np.uint64), np.zeros(grid, np.uint32))

    @property
    def are_summed(self) -> bool:
        """Whether sizes and checksums of all files are known."""
        return bool(self.n_bytes[self.there].all())

    def taken(self, order: npt.NDArray[np.int64]) -> Self:
        """The files at some places of the flat grid, along one axis."""
        return type(self)(self.there.ravel()[order], self.n_bytes.ravel()[order], self.crc32.ravel()[order])


@dataclass(frozen=True)
class FileRecord:
    """What a record says.

    Attributes
    ----------
    path
        The record's file.
    files
        Names of the files beside it: descriptions and the sidecar.
    levels
        For each level's folder: its files.
    sums
        Sizes and checksums (CRC-32) of descriptions and the sidecar, by their paths in the volume; empty if not known.
    """

    path: Path
    files: tuple[str, ...]
    levels: Mapping[str, Files]
    sums: Mapping[str, tuple[int, int]]

    @property
    def written(self) -> Mapping[str, npt.NDArray[np.bool_]]:
        """For each level's folder: bool over the level's grid of files (z, y, x), whether the file was written."""
        return {name: files.there for name, files in self.levels.items()}


def write_record(folder: Path, files_of: Mapping[str, Files]) -> None:
    """Write the record of the volume in ``folder``, as :class:`FileRecord` says, once all other files are there."""
    levels = {}
    for level, of_level in files_of.items():
        there = of_level.there
        levels[level] = {
            "grid": list(there.shape),
            "n_files": int(there.sum()),
            "written": _packed(np.packbits(there)),
        }
        if of_level.are_summed:
            levels[level]["n_bytes"] = _packed(of_level.n_bytes[there].astype("<u8"))
            levels[level]["crc32"] = _packed(of_level.crc32[there].astype("<u4"))
    files = sorted(entry.name for entry in folder.iterdir() if entry.is_file() and entry.name != RECORD)
    described = [f"{level}/{name}" for level in levels for name in sorted(ARRAY_FILES)]
    sums = {name: summed(folder / name) for name in (*files, *described) if (folder / name).is_file()}
    record = {"schema": _SCHEMA, "files": files, "sums": sums, "levels": levels}
    (folder / RECORD).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def read_record(folder: Path, *, is_due: bool = False) -> FileRecord | None:
    """The record of the volume in ``folder``; None if there is none, as other programs write none.

    Raises
    ------
    DamagedInputError
        If the record cannot be understood, or a file beside it is gone. Also if there is none although it ``is_due``.
    """
    path = folder / RECORD
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        schema = whole(record["schema"] if "schema" in record else record["version"], "schema", 1)
        if schema <= _SCHEMA:
            files = tuple(inside(name, "a file") for name in rows(record["files"], "files"))
            levels = {str(name): _files(level) for name, level in record["levels"].items()}
            sums = {inside(name, "a file"): _sum(of) for name, of in record.get("sums", {}).items()}
            _check_keys(record, _KEYS)
        gone = [name for name in files if not (folder / name).is_file()] if schema <= _SCHEMA else []
    except (FileNotFoundError, NotADirectoryError):  # a file is no volume
        if is_due:
            raise DamagedInputError(
                f"{folder} has lost {RECORD}, which it should hold; copy the volume again"
            ) from None
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, zlib.error) as error:
        raise DamagedInputError(
            f"{path} is no record of a volume's files: {type(error).__name__}: {error}; copy the volume again"
        ) from error
    if schema > _SCHEMA:
        raise DamagedInputError(
            f"{path} is of schema {schema}, and this version of gpustitch reads 1 to {_SCHEMA}; use a newer one"
        )
    if gone:
        raise DamagedInputError(f"{folder} has lost {', '.join(gone)}; copy the volume again, or remove {RECORD} too")
    return FileRecord(path, files, levels, sums)


def check_levels(record: FileRecord, described: Sequence[str]) -> None:
    """Raise DamagedInputError unless the volume's description lists the levels that were written."""
    if set(record.written) != set(described):
        raise DamagedInputError(
            f"{record.path} is of the levels {', '.join(record.written)}, but the description beside it lists "
            f"{', '.join(described)}; copy the volume again"
        )


def _packed(values: npt.NDArray[Any]) -> str:
    return base64.b64encode(zlib.compress(values.tobytes())).decode("ascii")


def _unpacked(text: Any, n_bytes: int) -> bytes:
    # One byte more than due is enough to see that there are too many.
    data = zlib.decompressobj().decompress(base64.b64decode(text, validate=True), min(n_bytes, MOST) + 1)
    if len(data) != n_bytes:
        raise ValueError(f"a table of its files is not of {n_bytes} bytes")
    return data


def _check_keys(found: Mapping[str, Any], known: frozenset[str]) -> None:
    """Raise ValueError for a name that is none: what stood there, as checksums, would be missed by nobody."""
    if strange := sorted(set(found) - known):
        raise ValueError(f"it has {strange[0]!r:.60}, which is none of {', '.join(sorted(known))}")


def _sum(value: Any) -> tuple[int, int]:
    n_bytes, crc32 = rows(value, "a sum", 2)
    return whole(n_bytes, "a size"), whole(crc32, "a checksum", most=0xFFFFFFFF)


def _files(level: Mapping[str, Any]) -> Files:
    _check_keys(level, _LEVEL_KEYS)
    grid = tuple(whole(n, "grid", 1) for n in rows(level["grid"], "grid"))
    size = math.prod(grid)
    packed = np.frombuffer(_unpacked(level["written"], -(-size // 8)), np.uint8)
    found = Files.none(grid)
    found.there.ravel()[:] = np.unpackbits(packed, count=size).astype(np.bool_)
    n_files = int(found.there.sum())
    if n_files != level["n_files"]:
        raise ValueError(f"it names {n_files} files on a grid of {grid}, not {level['n_files']}")
    if "crc32" in level:
        found.n_bytes[found.there] = np.frombuffer(_unpacked(level["n_bytes"], 8 * n_files), "<u8")
        found.crc32[found.there] = np.frombuffer(_unpacked(level["crc32"], 4 * n_files), "<u4")
    return found
