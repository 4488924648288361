"""How far a run is, how fast it goes and how long it still takes, for a bar or for lines."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass

from gpustitch.running.meter import Meter, Used, used_now
from gpustitch.running.progress import duration_text, size_text, units

# Speeds are those of the last seconds.
_WINDOW_S = 60.0
_LEAST_WINDOW_S = 1.0
# From so much of a part on, and after so many seconds of it, its speed tells how long the run still takes.
_LEAST_DONE, _LEAST_S = 0.02, 5.0
# Without a terminal: the first line, and the next ones.
FIRST_S, NEXT_S = 10.0, 60.0


@dataclass(frozen=True)
class Look:
    """What people see of a run at a moment; None and empty where nothing tells."""

    label: str
    fraction: float
    elapsed_s: float
    left_s: float | None
    facts: tuple[str, ...]

    @property
    def left(self) -> str:
        """How long the run still takes."""
        return "" if self.left_s is None else f"about {duration_text(self.left_s)} left"

    @property
    def line(self) -> str:
        """All of it in one line."""
        parts = [f"{100 * self.fraction:.0f} %", *self.facts, duration_text(self.elapsed_s), self.left]
        return f"{self.label}: {', '.join(part for part in parts if part)}"


class State:
    """How far a run is. The thread that runs it tells; any thread looks.

    Parameters
    ----------
    meter
        What has been used so far; its times are the clock.
    """

    def __init__(self, meter: Meter = used_now) -> None:
        self._meter, self._lock = meter, threading.Lock()
        self._part, self._label, self._unit = "", "", ""
        self._done = self._total = 0
        self._span, self._at = (0.0, 1.0), 0.0
        self._first = meter()
        self._span_began_s = self._first.at_s
        self._window: deque[tuple[Used, int]] = deque()
        self._next_s = FIRST_S

    @property
    def is_long(self) -> bool:
        """Whether the run has several parts, in one bar."""
        return bool(self._part)

    @property
    def elapsed_s(self) -> float:
        """How long the run takes so far."""
        return self._meter().at_s - self._first.at_s

    def span(self, label: str, begin: float, end: float) -> None:
        """What is begun next is from ``begin`` to ``end`` of the run; an empty span ends it."""
        with self._lock:
            self._part, self._span, self._at = label, (begin, end), begin
            self._label, self._done, self._total = "", 0, 0
            self._span_began_s = self._begin_window().at_s

    def start(self, label: str, total: int, unit: str) -> None:
        """Begin a piece of work."""
        with self._lock:
            self._label, self._total, self._unit, self._done = label, total, unit, 0
            now = self._begin_window()
            if not self._part:
                self._span, self._at, self._span_began_s = (0.0, 1.0), 0.0, now.at_s

    def advance(self, count: int) -> None:
        """Count what is done of it."""
        self._done += count

    @property
    def done(self) -> dict[str, int]:
        """How much of it is done, by its unit."""
        return {self._unit: self._done} if self._done else {}

    def finish(self) -> str:
        """End it; returns what was done, for people, and nothing if nothing is begun."""
        with self._lock:
            text = f"{self._label}: {self._done} {units(self._done, self._unit)}" if self._label else ""
            self._go_on()
            self._label, self._done, self._total = "", 0, 0
            self._begin_window()
        return text

    def due(self) -> bool:
        """Whether it is time to print a line, where no bar is drawn."""
        with self._lock:
            is_due = bool(self._label or self._part) and self.elapsed_s >= self._next_s
            if is_due:
                self._next_s = self.elapsed_s + NEXT_S
        return is_due

    def look(self) -> Look:
        """How far the run is now."""
        with self._lock:
            now = self._meter()
            self._go_on()
            self._window.append((now, self._done))
            while now.at_s - self._window[0][0].at_s > _WINDOW_S and len(self._window) > 2:
                self._window.popleft()
            return Look(
                self._part or self._label, self._at, now.at_s - self._first.at_s, self._left(now), self._facts(now)
            )

    def _go_on(self) -> None:
        """Move on to where the run is; a second piece of work in a part does not begin it again."""
        begin, end = self._span
        share = min(1.0, self._done / self._total) if self._total else 0.0
        self._at = max(self._at, begin + share * (end - begin))

    def _begin_window(self) -> Used:
        now = self._meter()
        self._window.clear()
        self._window.append((now, 0))
        return now

    def _left(self, now: Used) -> float | None:
        """The speed in this part is taken for that of the rest."""
        begin, end = self._span
        took = now.at_s - self._span_began_s
        if self._at - begin < _LEAST_DONE * (end - begin) or self._at <= begin or took < _LEAST_S:
            return None
        return took / (self._at - begin) * (1 - self._at)

    def _facts(self, now: Used) -> tuple[str, ...]:
        """How far the run is and how fast, in a few words each; speeds are those of the last window."""
        facts = [f"{self._done:,} of {self._total:,} {units(self._total, self._unit)}"] if self._total else []
        before, done_before = self._window[0]
        took = now.at_s - before.at_s
        if took >= _LEAST_WINDOW_S:
            if self._total:
                facts.append(f"{(self._done - done_before) / took:,.1f} {self._unit}/s")
            speeds = (("in", now.bytes_in, before.bytes_in), ("out", now.bytes_out, before.bytes_out))
            for name, after, earlier in speeds:
                if after is not None and earlier is not None:
                    facts.append(f"{name} {max(0, after - earlier) / 1e9 / took:.2f} GB/s")
        if now.held_bytes is not None:
            facts.append(f"{size_text(now.held_bytes)} held")
        return tuple(facts)
