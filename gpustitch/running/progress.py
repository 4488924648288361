"""Progress of a stage: the command line draws it, a library caller may ignore it."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol, TypeVar

T = TypeVar("T")

# What one of them is called, where it is not what is left without an s.
_ONE_OF = {"patches": "patch", "series": "series"}

_log = logging.getLogger("gpustitch")


class Progress(Protocol):
    """What a stage reports to. Only the thread that runs the stage calls it."""

    def start(self, label: str, total: int, unit: str) -> None:
        """Begin ``total`` pieces of work, counted in ``unit`` (``"frames"``, ``"blocks"`` ...)."""

    def advance(self, count: int = 1) -> None:
        """``count`` more pieces are done."""

    def finish(self) -> None:
        """The work begun last is done."""

    def span(self, label: str, begin: float, end: float) -> None:
        """What is begun next is of a longer run: from ``begin`` to ``end`` of it (0 to 1), by what it takes as a rule.

        An empty span ends the longer run.
        """

    def note(self, message: str) -> None:
        """One line that a person should see: a choice the stage made, or what it found."""

    def warn(self, message: str) -> None:
        """One line that a person must see: something is missing from the result or may be wrong."""


class Silent:
    """Progress that nobody watches; notes and warnings are logged (:mod:`logging`), as ``gpustitch``."""

    def start(self, label: str, total: int, unit: str) -> None:
        """Do nothing."""

    def advance(self, count: int = 1) -> None:
        """Do nothing."""

    def finish(self) -> None:
        """Do nothing."""

    def span(self, label: str, begin: float, end: float) -> None:
        """Do nothing."""

    def note(self, message: str) -> None:
        """Log it as information."""
        _log.info("%s", message)

    def warn(self, message: str) -> None:
        """Log it as a warning."""
        _log.warning("%s", message)


SILENT: Progress = Silent()


class InSteps:
    """Tells ``progress`` of ``n`` pieces of work that are done in ``n_steps`` steps, whose counts come as they may."""

    def __init__(self, progress: Progress, n: int, n_steps: int) -> None:
        self._progress, self._n, self._n_steps = progress, n, n_steps
        self._steps = 0

    def advance(self, count: int = 1) -> None:
        """``count`` more steps are done."""
        before = self._told()
        self._steps = min(self._steps + count, self._n_steps)
        if more := self._told() - before:
            self._progress.advance(more)

    def _told(self) -> int:
        return self._steps * self._n // max(1, self._n_steps)


def tracked(items: Iterable[T], progress: Progress, label: str, total: int, unit: str) -> Iterator[T]:
    """Yield the items, and advance ``progress`` by one after each."""
    progress.start(label, total, unit)
    try:
        for item in items:
            yield item
            progress.advance()
    finally:
        progress.finish()


def listed(items: Sequence[object], most: int = 20) -> str:
    """Numbers or names for people: the first of them, and how many more there are."""
    text = ", ".join(map(str, items[:most]))
    return text if len(items) <= most else f"{text} and {len(items) - most} more"


def units(n: int, named: str) -> str:
    """What ``n`` things are called of which several are ``named``: of 1 block, of 0 or 2 blocks."""
    if n != 1 or not named.endswith("s"):
        return named
    return _ONE_OF.get(named, named[:-1])


def counted(n: int, named: str) -> str:
    """``1 block``, ``1,200 blocks``."""
    return f"{n:,} {units(n, named)}"


def duration_text(seconds: float) -> str:
    """A duration for people, rounded up: seconds, then minutes, then hours to a tenth."""
    if seconds < 100:
        return f"{math.ceil(seconds)} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 100 else f"{minutes / 60:.1f} h"


def size_text(n_bytes: int) -> str:
    """A number of bytes as text for people: GB to two digits from 1 GB on, else MB rounded up."""
    return f"{n_bytes / 1e9:.2f} GB" if n_bytes >= 1e9 else f"{math.ceil(n_bytes / 1e6)} MB"
