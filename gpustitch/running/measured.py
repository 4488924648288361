"""The parts of a run as they were measured: a table for people, and for programs the same numbers in JSON's types."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gpustitch.running.meter import Used
from gpustitch.running.progress import units

OTHER, WHOLE = "other", "the run"
# What is shorter tells nothing: clocks of CPU time tick a hundred times a second.
_LEAST_S = 0.5
# Shares of the time: of all threads or one from which on they are called busy, and of waiting for disks and CPUs.
_BUSY, _STALLED, _QUEUED = 0.8, 0.3, 0.5
_LEAST_SHOWN_S, _MOST_NAME = 0.05, 24
_COUNTED = ("cpu_s", "bytes_in", "bytes_out", "disk_bytes_in", "disk_bytes_out", "stalled_s", "queued_s")


@dataclass(frozen=True)
class Part:
    """What a part of a run took; None where the system does not say.

    Attributes are those of :class:`gpustitch.running.meter.Used`, and:

    Attributes
    ----------
    name
        Of the part.
    seconds
        How long it took.
    peak_bytes
        The most memory that was held.
    done
        How many pieces of work, by their unit (``"frames"``, ...).
    is_finished
        Whether it came to its end.
    is_kept
        Whether an earlier run had finished it.
    """

    name: str
    seconds: float
    cpu_s: float
    bytes_in: int | None
    bytes_out: int | None
    disk_bytes_in: int | None
    disk_bytes_out: int | None
    stalled_s: float | None
    queued_s: float | None
    peak_bytes: int | None
    done: Mapping[str, int] = field(default_factory=dict)
    is_finished: bool = True
    is_kept: bool = False

    @classmethod
    def between(cls, name: str, before: Used, after: Used, seen: int | None, **more: Any) -> Part:
        """What was used from one moment to another; ``seen`` is the most memory that was seen meanwhile."""
        counted = {each: _difference(getattr(after, each), getattr(before, each)) for each in _COUNTED}
        held = [before.held_bytes, after.held_bytes, seen]
        if after.peak_bytes is not None and after.peak_bytes > (before.peak_bytes or 0):
            held.append(after.peak_bytes)  # it has grown meanwhile
        peak = max((n for n in held if n is not None), default=None)
        return cls(name, after.at_s - before.at_s, **counted, peak_bytes=peak, **more)

    def without(self, parts: Iterable[Part]) -> Part:
        """What of it is in none of the parts."""
        counted = {each: getattr(self, each) for each in ("seconds", *_COUNTED)}
        for part in parts:
            counted = {each: _difference(n, getattr(part, each)) for each, n in counted.items()}
        return Part(OTHER, **counted, peak_bytes=None)

    def bound_by(self, n_workers: int) -> str:
        """What kept it from being faster, as far as that was measured; empty if it was too short to tell.

        ``"CPU"``: all threads computed. ``"one thread"``: one did, others waited for it. ``"disk"``: programs
        waited for disks. ``"busy CPU"``: programs waited for CPUs, which others held. ``"waiting"``: for anything else,
        such as a GPU or a network.
        """
        if self.seconds < _LEAST_S:
            return ""
        cpus = self.cpu_s / self.seconds
        if cpus >= _BUSY * n_workers:
            return "CPU"
        moved = (self.disk_bytes_in or 0) + (self.disk_bytes_out or 0)
        if moved and self.stalled_s is not None and self.stalled_s >= _STALLED * self.seconds:
            return "disk"
        if self.queued_s is not None and self.queued_s >= _QUEUED * self.seconds:
            return "busy CPU"
        return "one thread" if _BUSY <= cpus < 2 - _BUSY else "waiting"

    def record(self, n_workers: int, whole_s: float) -> dict[str, Any]:
        """The numbers for programs; ``whole_s`` is how long the run took."""
        numbers = dataclasses.asdict(self)
        for name in ("cpu", "stalled", "queued"):
            numbers[f"{name}_seconds"] = numbers.pop(f"{name}_s")
        numbers["peak_memory_bytes"] = numbers.pop("peak_bytes")
        return numbers | {"share": _share(self.seconds, whole_s), "bound_by": self.bound_by(n_workers) or None}


def table(parts: Sequence[Part], whole: Part, n_workers: int) -> Iterator[str]:
    """A line for each part that this run did and that took time, for what is in none, and for the whole."""
    shown = [part for part in parts if not part.is_kept and part.seconds >= _LEAST_SHOWN_S]
    rows = [*shown, whole.without(parts), whole]
    width = min(_MOST_NAME, max(len(row.name) for row in rows))
    yield f"{'part':<{width}}  seconds  share  GB/s in    out  CPUs  bound by"
    for row in rows:
        share = f"{100 * _share(row.seconds, whole.seconds):.0f} %"
        cpus = f"{row.cpu_s / row.seconds:.1f}" if row.seconds >= _LEAST_S else "-"
        speed = ", ".join(_speed(n, unit, row.seconds) for unit, n in row.done.items())
        name = row.name if len(row.name) <= width else f"{row.name[: width - 3]}..."
        line = f"{name:<{width}}  {row.seconds:7.1f}  {share:>5}  {_rate(row.bytes_in, row.seconds)}  "
        line += f"{_rate(row.bytes_out, row.seconds, 5)}  {cpus:>4}  {row.bound_by(n_workers) or '-':<10}  {speed}"
        yield line.rstrip()


def _share(seconds: float, whole_s: float) -> float:
    return seconds / whole_s if whole_s > 0 else 0.0


def _speed(n: int, unit: str, seconds: float) -> str:
    return f"{n / seconds:,.1f} {unit}/s" if 0 < seconds <= n else f"{n} {units(n, unit)}"


def _rate(n_bytes: int | None, seconds: float, width: int = 7) -> str:
    text = "-" if n_bytes is None or seconds <= 0 else f"{n_bytes / 1e9 / seconds:.3f}"
    return f"{text:>{width}}"


def _difference(after: Any, before: Any) -> Any:
    """What was added, 0 where a process took its count with it; None if the system does not say."""
    return None if after is None or before is None else max(0, after - before)
