"""Where an output came from: program, version, parameters and inputs, as JSON beside it."""

from __future__ import annotations

import dataclasses
import datetime
import json
import math
import platform
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gpustitch.array import Device
from gpustitch.io.atomic import atomic_file
from gpustitch.io.partial import final_place
from gpustitch.version import VERSION

# Of records that are hardly more than :func:`provenance`: of a flat field, of destriped images, of a pipeline's run.
RECORD_SCHEMA = 2

PROGRAM = "gpustitch"  # in records, who made it


def provenance(parameters: Any, inputs: Iterable[Path]) -> dict[str, Any]:
    """A JSON-serialisable record of one run; the same run again gives the same record.

    Parameters
    ----------
    parameters
        The run's parameters, as a dataclass or mapping.
    inputs
        Files that the run read; each is recorded with its size and time of last change, null if it is gone.
    """
    return {
        "program": PROGRAM,
        "version": VERSION,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "parameters": plain(parameters),
        "inputs": [_described(path) for path in inputs],
    }


def plain(value: Any) -> Any:
    """``value`` in JSON's types: dataclasses as objects, arrays as their shape and dtype, devices by name.

    A path becomes the text of its final place, even while its folder is unfinished.
    """
    if isinstance(value, Device):
        return str(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return f"array {value.shape} {value.dtype}"
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Path):
        return str(final_place(value))
    if value is None or isinstance(value, str | int | float | bool):
        return value
    return str(value)


def write_json(path: Path, content: Mapping[str, Any], *, schema: int, overwrite: bool = False) -> None:
    """Write ``content`` as indented JSON with the number of its schema; the file appears whole or not at all."""
    with atomic_file(path, overwrite=overwrite) as partial:
        partial.write_text(json_text({"schema": schema, **content}), encoding="utf-8")


def json_text(content: Mapping[str, Any]) -> str:
    """The text that :func:`write_json` writes."""
    return json.dumps(plain(content), indent=2) + "\n"


def _described(path: Path) -> dict[str, Any]:
    place = str(final_place(path))
    try:
        status = path.stat()
    except OSError:  # it went away since it was read: what was made of it is right, and `changes` tells
        return {"path": place, "bytes": None, "changed": None}
    changed = datetime.datetime.fromtimestamp(status.st_mtime, datetime.UTC)
    return {"path": place, "bytes": status.st_size, "changed": changed.isoformat(timespec="seconds")}
