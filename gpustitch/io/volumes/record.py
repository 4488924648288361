"""The record of a volume's files that our writers leave: which files exist, so that a lost one is noticed.

A chunk of zeros has no file, so an absent file alone tells nothing. The record says which files were written. Files are
counted along the grid of a level: a file for each chunk, or for each shard.
"""

from __future__ import annotations

import base64
import json
import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gpustitch.errors import DamagedInputError
from gpustitch.io.checked import MOST, inside, rows, whole

RECORD = "gpustitch.files.json"
RECORD_KEY = "gpustitch_files"  # attribute of an OME-Zarr image that has a record
_VERSION = 1


@dataclass(frozen=True)
class FileRecord:
    """What a record says.

    Attributes
    ----------
    path
        The record's file.
    files
        Names of the files beside it: descriptions and the sidecar.
    written
        For each level's folder: bool over the level's grid of files (z, y, x), whether the file was written.
    """

    path: Path
    files: tuple[str, ...]
    written: Mapping[str, npt.NDArray[np.bool_]]


def write_record(folder: Path, written: Mapping[str, npt.NDArray[np.bool_]]) -> None:
    """Write the record of the volume in ``folder``, as :class:`FileRecord` says, once all other files are there."""
    levels = {}
    for level, flags in written.items():
        packed = base64.b64encode(zlib.compress(np.packbits(flags).tobytes())).decode("ascii")
        levels[level] = {"grid": list(flags.shape), "n_files": int(flags.sum()), "written": packed}
    files = sorted(entry.name for entry in folder.iterdir() if entry.is_file())
    record = {"version": _VERSION, "files": files, "levels": levels}
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
        version = record["version"]
        if version == _VERSION:
            files = tuple(inside(name, "a file") for name in rows(record["files"], "files"))
            written = {str(name): _flags(level) for name, level in record["levels"].items()}
        gone = [name for name in files if not (folder / name).is_file()] if version == _VERSION else []
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
    if version != _VERSION:
        raise DamagedInputError(f"{path} is of version {version}, but this program reads {_VERSION}; use a newer one")
    if gone:
        raise DamagedInputError(f"{folder} has lost {', '.join(gone)}; copy the volume again, or remove {RECORD} too")
    return FileRecord(path, files, written)


def check_levels(record: FileRecord, described: Sequence[str]) -> None:
    """Raise DamagedInputError unless the volume's description lists the levels that were written."""
    if set(record.written) != set(described):
        raise DamagedInputError(
            f"{record.path} is of the levels {', '.join(record.written)}, but the description beside it lists "
            f"{', '.join(described)}; copy the volume again"
        )


def _flags(level: Mapping[str, Any]) -> npt.NDArray[np.bool_]:
    grid = tuple(whole(n, "grid", 1) for n in rows(level["grid"], "grid"))
    size = math.prod(grid)
    n_bytes = -(-size // 8)
    # One byte more than due is enough to see that there are too many.
    data = zlib.decompressobj().decompress(base64.b64decode(level["written"], validate=True), min(n_bytes, MOST) + 1)
    packed = np.frombuffer(data, np.uint8)
    if packed.size != n_bytes:
        raise ValueError(f"its flags are not those of a grid of {grid}")
    flags = np.unpackbits(packed, count=size).astype(np.bool_)
    if int(flags.sum()) != level["n_files"]:
        raise ValueError(f"it names {flags.sum()} files on a grid of {grid}, not {level['n_files']}")
    return flags.reshape(grid)
