"""What an unfinished run has finished so far: a file of one JSON line for each unit of work.

A line is written when all of its unit is on the disk. A line that a killed run did not end is none. Other processes
that work for the run write journals of their own, in a folder beside it, which it takes over.
"""

from __future__ import annotations

import json
import logging
import threading
import uuid
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from gpustitch.io.checked import table, told
from gpustitch.io.partial import flush

_log = logging.getLogger(__name__)

_ADVICE = "remove it, and begin anew"


class Journal:
    """A run's finished units, by name, with facts in JSON's types; may be used from several threads.

    Opens the journal that is at ``path``, or begins it. A context manager.

    Parameters
    ----------
    path
        The journal's file.
    known
        Units that another process has finished.

    Attributes
    ----------
    is_part
        Whether other processes finish units of the same run at the same time: a :meth:`part` of its journal.

    Raises
    ------
    DamagedInputError
        If there is a file that is no journal.
    """

    def __init__(self, path: Path, known: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        self.path = path
        self.is_part = known is not None
        self._lock = threading.Lock()
        self._units: dict[str, Mapping[str, Any]] = dict(known or {})
        if path.exists():
            units, kept = _read(path)
            self._units |= units
            with path.open("r+b") as file:
                file.truncate(kept)
        self._file = path.open("a", encoding="utf-8")
        if not self.is_part:
            self.join()

    @property
    def units(self) -> Mapping[str, Mapping[str, Any]]:
        """All finished units and their facts."""
        with self._lock:
            return dict(self._units)

    @property
    def parts(self) -> Path:
        """The folder of the journals of other processes that work for this run."""
        folder = _parts_of(self.path)
        folder.mkdir(exist_ok=True)
        return folder

    @classmethod
    def part(cls, parts: Path, known: Mapping[str, Mapping[str, Any]]) -> Self:
        """A new journal in the folder ``parts`` of a run of which the units ``known`` are finished, and those there."""
        for path in parts.glob("*.jsonl"):
            known = {**known, **_read(path)[0]}
        return cls(parts / f"{uuid.uuid4().hex}.jsonl", known)

    def join(self) -> None:
        """Take over what other processes have noted; they must have ended."""
        parts = journals_of(self.path)[1:]
        for part in parts:
            for unit, facts in _read(part)[0].items():
                if unit not in self._units:
                    self.add(unit, facts)
        if parts:
            flush(self.path)
            for part in parts:
                part.unlink()

    def __len__(self) -> int:
        return len(self._units)

    def found(self, unit: str) -> Mapping[str, Any] | None:
        """The facts of a finished unit; None if it is still to be done."""
        return self._units.get(unit)

    def add(self, unit: str, facts: Mapping[str, Any]) -> None:
        """Note a finished unit, whose files are on the disk."""
        _log.debug("finished: %s", unit)
        line = json.dumps({"unit": unit, "facts": facts}) + "\n"
        with self._lock:
            self._units[unit] = facts
            self._file.write(line)
            self._file.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()


def journals_of(path: Path) -> list[Path]:
    """The journal of a run at ``path``, then those of other processes that work for it."""
    return [path, *sorted(_parts_of(path).glob("*.jsonl"))]


def _parts_of(path: Path) -> Path:
    return path.with_name("parts")


def _read(path: Path) -> tuple[dict[str, Mapping[str, Any]], int]:
    """The units in a journal, and the length of the lines that are whole."""
    units: dict[str, Mapping[str, Any]] = {}
    kept = 0
    with told(path, "the work of an unfinished run", _ADVICE), path.open("rb") as file:
        for line in file:
            if not line.endswith(b"\n"):
                break
            unit = table(json.loads(line), "a line")
            units[str(unit["unit"])] = table(unit["facts"], "facts")
            kept += len(line)
    return units, kept
