"""What an unfinished run has finished so far: a file of one JSON line for each unit of work.

A line is written when all of its unit is on the disk. A line that a killed run did not end is none.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from gpustitch.io.checked import table, told

_ADVICE = "remove it, and begin anew"


class Journal:
    """A run's finished units, by name, with facts in JSON's types; may be used from several threads.

    Opens the journal that is at ``path``, or begins it. A context manager.

    Parameters
    ----------
    path
        The journal's file.

    Raises
    ------
    DamagedInputError
        If there is a file that is no journal.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._units: dict[str, Mapping[str, Any]] = {}
        if path.exists():
            kept = self._read()
            with path.open("r+b") as file:
                file.truncate(kept)
        self._file = path.open("a", encoding="utf-8")

    def _read(self) -> int:
        """Take over the units of an earlier run; returns the length of the lines that are whole."""
        kept = 0
        with told(self.path, "the work of an unfinished run", _ADVICE), self.path.open("rb") as file:
            for line in file:
                if not line.endswith(b"\n"):
                    break
                unit = table(json.loads(line), "a line")
                self._units[str(unit["unit"])] = table(unit["facts"], "facts")
                kept += len(line)
        return kept

    def __len__(self) -> int:
        return len(self._units)

    def found(self, unit: str) -> Mapping[str, Any] | None:
        """The facts of a finished unit; None if it is still to be done."""
        return self._units.get(unit)

    def add(self, unit: str, facts: Mapping[str, Any]) -> None:
        """Note a finished unit, whose files are on the disk."""
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
