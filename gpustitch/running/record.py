"""``run.json`` and ``run.log``: what runs did, for programs and for people, beside the output that they made.

``run.json`` has one entry for each run: one that was killed, and those that went on with it.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from gpustitch.array import cpu_count
from gpustitch.errors import GpustitchError
from gpustitch.io.atomic import atomic_file
from gpustitch.io.checked import check_schema, table
from gpustitch.io.provenance import json_text
from gpustitch.version import VERSION

RUN_RECORD, RUN_LOG = "run.json", "run.log"
SCHEMA = 1
_PACKAGES = ("numpy", "scipy", "tensorstore")


class RunRecord:
    """The two files; until they have a place, lines are kept. What cannot be written is told once; the run goes on."""

    def __init__(self) -> None:
        self._folder: Path | None = None
        self._lines: list[str] = []
        self._earlier: list[Any] = []
        self._facts: dict[str, Any] = {}
        self._warn: Callable[[str], None] = lambda _: None

    def into(self, folder: Path, facts: Mapping[str, Any], warn: Callable[[str], None]) -> None:
        """Go on with the files in a folder, or begin them. ``facts`` are of this run; ``warn`` tells people."""
        self._folder, self._warn = folder, warn
        self._facts = {**facts, "versions": _versions(), "system": platform.platform(), "cpus": cpu_count()}
        self._earlier = _runs(folder / RUN_RECORD, warn)
        self._append()

    def log(self, when: str, message: str) -> None:
        """Add a line to ``run.log``."""
        self._lines.append(f"{when} {message}\n")
        if self._folder is not None:
            self._append()

    def save(self, facts: Mapping[str, Any], *, durable: bool) -> None:
        """Write ``run.json``, with ``facts`` of this run as they are now."""
        if self._folder is None:
            return
        runs = [*self._earlier, {**self._facts, **facts}]
        record = {"program": "gpustitch", "schema": SCHEMA, "version": VERSION, "runs": runs}
        try:
            with atomic_file(self._folder / RUN_RECORD, overwrite=True, durable=durable) as partial:
                partial.write_text(json_text(record), encoding="utf-8")
        except (GpustitchError, OSError) as error:
            self._failed(RUN_RECORD, error)

    def _append(self) -> None:
        assert self._folder is not None
        lines, self._lines = self._lines, []
        try:
            with (self._folder / RUN_LOG).open("a", encoding="utf-8", errors="backslashreplace") as log:
                log.writelines(lines)
        except OSError as error:
            self._failed(RUN_LOG, error)

    def _failed(self, name: str, error: Exception) -> None:
        warn, self._warn = self._warn, lambda _: None
        warn(f"{name} cannot be written, and lacks what is said from now on ({error})")


def _runs(path: Path, warn: Callable[[str], None]) -> list[Any]:
    """The earlier runs of a record; one that did not tell its end was killed."""
    if not path.exists():
        return []
    try:
        record = table(json.loads(path.read_text(encoding="utf-8")), "it")
        check_schema(record, SCHEMA)
        runs = record["runs"]
        return [{**run, "outcome": "killed"} if run["outcome"] == "running" else run for run in runs]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        warn(f"{path} cannot be read ({error!r}): it will lack the runs before this one")
        return []


def _versions() -> dict[str, str]:
    found = {"gpustitch": VERSION, "python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
