"""Manifests: which files beside them are whole, and what these were made with and from.

The first line of a manifest says settings and inputs, every other line a file: its name, size and CRC-32. A file gets
its name first, then its line, so that whatever has a line was whole, wherever a run was killed.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from gpustitch.io.atomic import atomic_file, os_errors
from gpustitch.io.checked import WRONG, check_schema, table, text, told, whole
from gpustitch.io.inputs import Stamp, changes, stamps_of
from gpustitch.io.sums import crc32_of, summed
from gpustitch.version import VERSION

SUFFIX = ".manifest.jsonl"
# Also of ``work.json``, which says the same of an unfinished output.
MAKING_SCHEMA = 1


@dataclass(frozen=True)
class Making:
    """What files are made with and from: settings in JSON's types, inputs, version of the program."""

    settings: Mapping[str, Any]
    inputs: tuple[Stamp, ...]
    version: str = VERSION

    @property
    def record(self) -> dict[str, Any]:
        """The first line of a manifest."""
        inputs = [stamp.record for stamp in self.inputs]
        made = {"settings": dict(self.settings), "inputs": inputs}
        return {"program": "gpustitch", "schema": MAKING_SCHEMA, "version": self.version, **made}

    def differences(self, now: Making) -> list[str]:
        """What is different ``now``, in words; settings that are not known now do not count."""
        lines = []
        if self.version != now.version:
            lines.append(f"gpustitch {self.version} made them, this is {now.version}")
        before, after = dict(_flat(self.settings)), dict(_flat(now.settings))
        for path, value in after.items():
            if (was := before.get(path, "not stated")) != value:
                lines.append(f"`{path[-1]}` was {was} and is {value}")
        return lines + changes(self.inputs, now.inputs, "the files were made")


def _flat(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Values of nested settings by the names that lead to them."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _flat(inner, (*path, name))
    else:
        yield path, value


@dataclass(frozen=True)
class Whole:
    """What a whole file looks like; ``n_cut_off`` counts pixels that its type cut off."""

    size_bytes: int
    crc32: int
    n_cut_off: int = 0

    @classmethod
    def of(cls, data: bytes, n_cut_off: int = 0) -> Self:
        """That of a file with this content."""
        return cls(len(data), crc32_of(data), n_cut_off)

    def fits(self, path: Path) -> bool:
        """Whether a file is there, and has this content; it is read for that."""
        try:
            return path.stat().st_size == self.size_bytes and summed(path) == (self.size_bytes, self.crc32)
        except OSError:
            return False


def making_of(record: Mapping[str, Any], file: Path) -> Making:
    """What the :attr:`Making.record` that stood in ``file`` says; DamagedInputError if it is none."""
    with told(file, "how files were made"):
        check_schema(record, MAKING_SCHEMA)
        settings, version = table(record["settings"], "settings"), text(record["version"], "version")
        return Making(settings, stamps_of(record["inputs"], file), version)


def read_manifest(path: Path) -> tuple[Making, dict[str, Whole]] | None:
    """What a manifest says of its files: how they are made, and the whole ones by their names; None if there is none.

    Of two lines about a file the later counts. Lines that were cut off say nothing.

    Raises
    ------
    DamagedInputError
        If its first line is not that of a manifest.
    """
    if not path.exists():
        return None
    with told(path, "how files were made", "without `skip_existing` it is not looked at"):
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        making = making_of(table(json.loads(lines[0]), "the first line"), path)
    found = {}
    for line in lines[1:]:
        try:
            of = table(json.loads(line), "a line")
            numbers = (whole(of["size"], "size"), whole(of["crc32"], "crc32"), whole(of.get("cut_off", 0), "cut_off"))
            found[text(of["name"], "name")] = Whole(*numbers)
        except WRONG:
            continue
    return making, found


class Manifest:
    """Writes files, and a line about each into the manifest; may be called from several threads.

    Lines about files made with the same settings from the same inputs stay, all others go before the first file is
    written. Until then no manifest is made.
    """

    def __init__(self, path: Path, making: Making) -> None:
        self.path = path
        self.making = making
        self._lines = -1
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._lines >= 0:
            os.close(self._lines)
            self._lines = -1

    def name(self, file: Path) -> str:
        """What the manifest calls a file."""
        return file.relative_to(self.path.parent).as_posix()

    def write(self, file: Path, data: bytes, *, overwrite: bool, n_cut_off: int = 0) -> None:
        """Write a file, which appears whole, then its line.

        Raises
        ------
        OutputExistsError, OutputError
            If the file or the manifest exists or cannot be written.
        """
        with self._lock, os_errors(self.path):
            self._begin()
        with atomic_file(file, overwrite=overwrite, durable=False) as partial:
            partial.write_bytes(data)
        made = Whole.of(data, n_cut_off)
        line = {"name": self.name(file), "size": made.size_bytes, "crc32": made.crc32}
        if n_cut_off:
            line["cut_off"] = n_cut_off
        with self._lock, os_errors(self.path):
            os.write(self._lines, _line(line))

    def _begin(self) -> None:
        """Open the manifest to append to it; make it first unless it is about the same files."""
        if self._lines >= 0:
            return
        goes_on, is_cut_off = self._there()
        if not goes_on:
            with atomic_file(self.path, overwrite=True) as partial:
                partial.write_bytes(_line(self.making.record))
        self._lines = os.open(self.path, os.O_WRONLY | os.O_APPEND | getattr(os, "O_BINARY", 0))
        if is_cut_off:
            os.write(self._lines, b"\n")

    def _there(self) -> tuple[bool, bool]:
        """Whether the manifest that is there is about the same files, and whether its last line was cut off."""
        try:
            with self.path.open("rb") as stream:
                if json.loads(stream.readline()) != json.loads(_line(self.making.record)):
                    return False, False
                stream.seek(-1, os.SEEK_END)
                return True, stream.read() != b"\n"
        except (OSError, *WRONG):
            return False, False


def _line(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content).encode() + b"\n"
