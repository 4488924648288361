"""Text of scanner logs: sections of keys and values, in whatever encoding and number format the computer had."""

from __future__ import annotations

import codecs
import math
import re
from dataclasses import dataclass
from pathlib import Path

from gpustitch.errors import DamagedInputError
from gpustitch.io.images.files import reading

_MOST_BYTES = 1 << 24  # a log is some kilobytes
_BOMS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
_NUMBER = re.compile(r"[+-]?(\d+([.,]\d*)?|[.,]\d+)([eE][+-]?\d+)?")


@dataclass(frozen=True)
class LogText:
    """``[Section]`` -> ``key = value``. Names match whole (``Pixel Size`` is no ``Image Pixel Size``), in any case."""

    path: Path
    sections: dict[str, dict[str, list[str]]]

    def has(self, section: str) -> bool:
        """Whether there is such a section."""
        return section.lower() in self.sections

    def section_with(self, key: str) -> str | None:
        """The first section with a key, in lower case; None if there is none."""
        return next((name for name, keys in self.sections.items() if key.lower() in keys), None)

    def text(self, section: str, key: str) -> str | None:
        """The value of a key; None without it, or if it is empty.

        Raises
        ------
        DamagedInputError
            If the section holds different values of the key.
        """
        values = list(dict.fromkeys(self.sections.get(section.lower(), {}).get(key.lower(), [])))
        if len(values) > 1:
            raise DamagedInputError(f"{self.path} contradicts itself: [{section}] {key} is {' and '.join(values)}")
        return values[0] if values and values[0] else None

    def number(self, section: str, key: str) -> float | None:
        """The value as a number, with a decimal point or comma; None without it.

        Raises
        ------
        DamagedInputError
            If it is no finite number.
        """
        text = self.text(section, key)
        if text is None:
            return None
        value = float(text.replace(",", ".")) if _NUMBER.fullmatch(text) else math.nan
        if not math.isfinite(value):
            raise DamagedInputError(f"{self.path}: [{section}] {key} is {text!r}, which is no number")
        return value

    def length(self, section: str, key: str) -> float | None:
        """As :meth:`number`, and DamagedInputError unless it is above 0."""
        value = self.number(section, key)
        if value is not None and value <= 0:
            raise DamagedInputError(f"{self.path}: [{section}] {key} is {value:g}; a length above 0 was expected")
        return value

    def count(self, section: str, key: str) -> int | None:
        """As :meth:`number`, and DamagedInputError unless it is whole and not negative."""
        value = self.number(section, key)
        if value is not None and (value < 0 or value != int(value)):
            raise DamagedInputError(f"{self.path}: [{section}] {key} is {value:g}; a whole number was expected")
        return None if value is None else int(value)

    def needed(self, section: str, key: str) -> float:
        """As :meth:`length`, and DamagedInputError without it."""
        value = self.length(section, key)
        if value is None:
            where = f"[{section}] has no" if self.has(section) else f"there is no [{section}] with"
            raise DamagedInputError(f"{self.path}: {where} {key}")
        return value

    def quote(self, section: str, key: str) -> str:
        """The line as it is written, for messages."""
        return f"[{section}] {key}={self.text(section, key)}"


def read_log(path: Path) -> LogText:
    """Read a log.

    Raises
    ------
    InputMissingError
        If there is no such file.
    DamagedInputError
        If it is no text.
    """
    with reading(path, "a scanner's log"), path.open("rb") as stream:
        data = stream.read(_MOST_BYTES)
    text = _decoded(data)
    if "\0" in text:
        raise DamagedInputError(f"{path} is no text; a scanner's log was expected")
    sections: dict[str, dict[str, list[str]]] = {}
    section: dict[str, list[str]] = sections.setdefault("", {})
    for line in text.splitlines():
        stripped = line.strip()
        if stripped.startswith("[") and stripped.endswith("]"):
            section = sections.setdefault(stripped[1:-1].strip().lower(), {})
        elif "=" in stripped and not stripped.startswith((";", "#")):
            key, _, value = stripped.partition("=")
            section.setdefault(key.strip().lower(), []).append(value.strip())
    return LogText(path, sections)


def _decoded(data: bytes) -> str:
    for bom, encoding in _BOMS:
        if data.startswith(bom):
            return data.decode(encoding, errors="replace")
    if data[1:2] == b"\0" or data[:1] == b"\0":
        return data.decode("utf-16-le" if data[1:2] == b"\0" else "utf-16-be", errors="replace")
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("latin-1")
