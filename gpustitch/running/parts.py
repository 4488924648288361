"""A long run in parts: one bar over all of it, what each part took, and what was said, kept beside the output."""

from __future__ import annotations

import contextlib
import datetime
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from gpustitch.array import cpu_count
from gpustitch.array.ranges import named_range
from gpustitch.running.measured import WHOLE, Part, table
from gpustitch.running.meter import Meter, Used, Watch, used_now
from gpustitch.running.progress import Progress
from gpustitch.running.record import RunRecord

_log = logging.getLogger(__name__)

# A killed run has told at least what it had done so long before.
_SAVED_EVERY_S = 10.0


def _now() -> str:
    return datetime.datetime.now().astimezone().isoformat(timespec="seconds")


class Parts:
    """Progress of a run: passes on what it is told, measures the parts, and keeps a record within :meth:`recorded`.

    Parameters
    ----------
    progress
        Who watches.
    shares
        The parts in their order, and what each takes as a rule, in any unit of time.
    n_workers
        Number of threads.
    meter, now
        What has been used so far; the time as text.
    """

    def __init__(
        self,
        progress: Progress,
        shares: Mapping[str, float],
        n_workers: int,
        *,
        meter: Meter = used_now,
        now: Callable[[], str] = _now,
    ) -> None:
        self._progress, self._meter, self._now = progress, meter, now
        self._n_workers, self._n_busy = n_workers, min(n_workers, cpu_count())
        self._record = RunRecord()
        self._parts: list[Part] = []
        self._warnings: list[str] = []
        self._unit, self._done = "", Counter[str]()
        self._begun: tuple[str, Used] | None = None
        self._first, self._saved_s = meter(), 0.0
        self._seen: int | None = None  # the most memory in this part
        self._most: int | None = None  # and in all
        self._spans = _spans(shares)
        self._span = (0.0, 0.0)
        self._watch = Watch(meter)

    @contextlib.contextmanager
    def recorded(self, folder: Path, facts: Mapping[str, Any]) -> Iterator[None]:
        """Keep ``run.log`` and ``run.json`` in the folder; at the end the parts are told in a table.

        ``facts`` are put into the record. What cannot be written hinders nothing.
        """
        self._record.into(folder, {"began": self._now(), **facts, "n_workers": self._n_workers}, self._progress.warn)
        self._save("running")
        try:
            try:
                with self._watch:
                    yield
            finally:
                self._progress.span("", 1.0, 1.0)
            for line in table(self._parts, self._whole(), self._n_busy):
                self.note(line)
            self._save("finished", ended=True)
        except BaseException as error:
            self._record.log(self._now(), f"{type(error).__name__}: {error}")
            self._save("failed" if isinstance(error, Exception) else "stopped", ended=True, error=error)
            raise

    @contextlib.contextmanager
    def part(self, name: str, *, is_kept: bool = False) -> Iterator[None]:
        """What happens within the block is a part of the run; ``is_kept`` says that an earlier run has finished it."""
        self._span = self._spans.get(name, (self._span[1],) * 2)
        self._progress.span(name, *self._span)
        _log.debug("%s begins%s", name, "; an earlier run has finished it" if is_kept else "")
        before, is_finished = self._meter(), False
        self._begun, self._done = (name, before), Counter()
        self._watch.most()
        self._seen = None
        try:
            with named_range(name):
                yield
            is_finished = True
        finally:
            self._begun = None
            self._parts.append(self._part(name, before, is_finished=is_finished, is_kept=is_kept))
            self._record.log(self._now(), f"{name}: {self._parts[-1].seconds:.1f} s")
            _log.debug("%s ends after %.1f s", name, self._parts[-1].seconds)
            self._save("running")

    def step(self, number: int, n: int) -> None:
        """The piece of work that is begun next is one of ``n`` of its part, the first of which is number 1."""
        begin, end = self._span
        name = self._begun[0] if self._begun is not None else ""
        self._progress.span(name, begin + (end - begin) * (number - 1) / n, begin + (end - begin) * number / n)

    def start(self, label: str, total: int, unit: str) -> None:
        """Begin a piece of work."""
        self._unit = unit
        self._progress.start(label, total, unit)

    def advance(self, count: int = 1) -> None:
        """Count what is done."""
        self._done[self._unit] += count
        self._progress.advance(count)
        if time.monotonic() - self._saved_s >= _SAVED_EVERY_S:
            self._save("running")

    def finish(self) -> None:
        """End a piece of work."""
        self._progress.finish()

    def span(self, label: str, begin: float, end: float) -> None:
        """Nothing: the parts are known."""

    def note(self, message: str) -> None:
        """Keep and pass on a line."""
        self._record.log(self._now(), message)
        self._progress.note(message)

    def warn(self, message: str) -> None:
        """Keep and pass on a line that must be seen."""
        self._warnings.append(message)
        self._record.log(self._now(), f"warning: {message}")
        self._progress.warn(message)

    def _part(self, name: str, before: Used, **more: Any) -> Part:
        self._seen = _larger(self._seen, self._watch.most())
        part = Part.between(name, before, self._meter(), self._seen, done=dict(self._done), **more)
        self._most = _larger(self._most, part.peak_bytes)
        return part

    def _whole(self) -> Part:
        return Part.between(WHOLE, self._first, self._meter(), self._most)

    def _save(self, outcome: str, *, ended: bool = False, error: BaseException | None = None) -> None:
        """Write `run.json` as it is now: the parts that are finished, and the one that has begun."""
        self._saved_s = time.monotonic()
        parts = list(self._parts)
        if self._begun is not None:
            parts.append(self._part(*self._begun, is_finished=False))
        whole = self._whole()
        n, whole_s = self._n_busy, whole.seconds
        numbers = whole.record(n, whole_s)
        for name in ("name", "done", "is_finished", "is_kept", "share"):
            del numbers[name]
        facts = {
            "outcome": outcome,
            "ended": self._now() if ended else None,
            "error": None if error is None else f"{type(error).__name__}: {error}",
            **numbers,
            "parts": [part.record(n, whole_s) for part in [*parts, whole.without(parts)]],
            "warnings": self._warnings,
        }
        self._record.save(facts, durable=ended)


def _larger(a: int | None, b: int | None) -> int | None:
    return b if a is None else a if b is None else max(a, b)


def _spans(shares: Mapping[str, float]) -> dict[str, tuple[float, float]]:
    """From where to where of the whole each part is."""
    whole, begin, spans = sum(shares.values()), 0.0, {}
    for name, share in shares.items():
        end = begin + share / whole
        spans[name], begin = (begin, end), end
    return spans
