"""A clock and counts that stand still unless a test moves them."""

from __future__ import annotations

from dataclasses import dataclass, field

from gpustitch.running.meter import Used
from gpustitch.running.progress import Silent


@dataclass
class FakeMeter:
    """Readings of a machine that reads 2 GB and writes 1 GB a second, on two CPUs."""

    at_s: float = 1000.0
    held_bytes: int | None = 3 * 10**9

    def __call__(self) -> Used:
        at = round(self.at_s)
        return Used(self.at_s, 2 * self.at_s, at * 2 * 10**9, at * 10**9, 0, 0, 0.0, 0.0, self.held_bytes, None)

    def now(self) -> str:
        """The time as text."""
        return f"at {self.at_s - 1000:g}"


@dataclass
class Told(Silent):
    """Progress that keeps all that it is told."""

    lines: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    spans: list[tuple[str, float, float]] = field(default_factory=list)
    pieces: list[tuple[str, int, str]] = field(default_factory=list)
    done: int = 0

    def start(self, label: str, total: int, unit: str) -> None:
        self.pieces.append((label, total, unit))

    def advance(self, count: int = 1) -> None:
        self.done += count

    def span(self, label: str, begin: float, end: float) -> None:
        self.spans.append((label, round(begin, 6), round(end, 6)))

    def note(self, message: str) -> None:
        self.lines.append(message)

    def warn(self, message: str) -> None:
        self.warnings.append(message)
