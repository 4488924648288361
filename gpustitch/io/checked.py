"""Values of metadata, checked once where they are parsed: what follows need not doubt them.

Each function returns the value or raises a ValueError that says what was found; :func:`told` names the file.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from gpustitch.errors import DamagedInputError

MOST = 1 << 53  # of whole numbers: beyond it JSON's numbers are not exact
MOST_CHUNKS = 1 << 31  # of a level: their files are listed
MOST_IN_CHUNK = 1 << 32  # voxels: a chunk is decoded as a whole
# What reading and using wrong content raises.
WRONG = (
    ValueError, KeyError, TypeError, AttributeError, IndexError, ArithmeticError, RecursionError, IsADirectoryError,
)  # fmt: skip
_SHOWN = 60


@contextlib.contextmanager
def told(path: Path, what: str, advice: str = "") -> Iterator[None]:
    """Turn whatever is wrong with the content of ``path`` into a DamagedInputError; ``what`` it should describe."""
    try:
        yield
    except WRONG as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else f"{type(error).__name__}: {error}"
        end = f"; {advice}" if advice else ""
        raise DamagedInputError(f"{path} does not describe {what}: {reason}{end}") from error


def read_json(path: Path) -> Any:
    """The JSON in a file; within :func:`told`."""
    return json.loads(path.read_text(encoding="utf-8"))


def table(value: Any, what: str) -> dict[str, Any]:
    """``value`` if it is an object with names."""
    if not isinstance(value, dict):
        raise ValueError(f"{what} is {_shown(value)}, not an object")
    return value


def rows(value: Any, what: str, length: int | None = None) -> list[Any]:
    """``value`` if it is a list, of ``length`` entries if that is given."""
    if not isinstance(value, list) or (length is not None and len(value) != length):
        raise ValueError(f"{what} is {_shown(value)}, not a list{'' if length is None else f' of {length}'}")
    return value


def whole(value: Any, what: str, least: int = 0, most: int = MOST) -> int:
    """``value`` if it is a whole number within bounds."""
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise ValueError(f"{what} is {_shown(value)}, not a whole number from {least} to {most}")
    return value


def number(value: Any, what: str, above: float = -math.inf, most: float = 1e15) -> float:
    """``value`` as a float if it is a finite number within bounds."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not above < value <= most:
        raise ValueError(f"{what} is {_shown(value)}, not a number above {above:g} and up to {most:g}")
    return float(value)


def flag(value: Any, what: str) -> bool:
    """``value`` if it is true or false."""
    if not isinstance(value, bool):
        raise ValueError(f"{what} is {_shown(value)}, not true or false")
    return value


def text(value: Any, what: str) -> str:
    """``value`` if it is a text."""
    if not isinstance(value, str):
        raise ValueError(f"{what} is {_shown(value)}, not a text")
    return value


def inside(value: Any, what: str) -> str:
    """``value`` if it is a path below the folder that it is relative to."""
    name = text(value, what)
    place = PurePosixPath(name)
    if not place.parts or place.is_absolute() or ".." in place.parts or "\0" in name or "\\" in name:
        raise ValueError(f"{what} is {_shown(value)}, not a path inside the folder")
    return name


def check_schema(content: Mapping[str, Any], known: int) -> int:
    """The number of the schema that the content of a file states, 1 without one; ValueError if it is not known."""
    found = whole(content.get("schema", 1), "schema", 1)
    if found > known:
        raise ValueError(f"it is of schema {found}, and this version of gpustitch reads 1 to {known}; use a newer one")
    return found


def _shown(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}..."


def triple(fields: Mapping[str, Any], name: str, least: int, most: int = MOST) -> tuple[int, int, int]:
    """The three whole numbers that stand under ``name``."""
    x, y, z = (whole(value, name, least, most) for value in rows(fields[name], name, 3))
    return x, y, z
