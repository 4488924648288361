"""What a run uses: time, CPU, bytes read and written, memory; of this process and of those that it began.

Linux says all of it in ``/proc``. What a system does not say is None, and is never stated as 0.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

_PROC = Path("/proc")
_WATCHED_EVERY_S = 1.0
# Fields of /proc/PID/stat behind the name: CPU time, its own and that of processes it waited for.
_CPU_FIELDS = slice(11, 15)


@dataclass(frozen=True)
class Used:
    """What has been used since the processes began. Differences of two tell what happened between them.

    Attributes
    ----------
    at_s
        Time of a clock.
    cpu_s
        CPU time.
    bytes_in, bytes_out
        What the program read and wrote by calls of the system, whether of a disk or of the system's memory of it.
    disk_bytes_in, disk_bytes_out
        What disks of this machine read and wrote for it; some network disks are not counted.
    stalled_s, queued_s
        Time in which any process of the machine waited for a disk, or for a free CPU.
    held_bytes
        Memory that is held.
    peak_bytes
        The most that this process alone has held.
    """

    at_s: float
    cpu_s: float
    bytes_in: int | None = None
    bytes_out: int | None = None
    disk_bytes_in: int | None = None
    disk_bytes_out: int | None = None
    stalled_s: float | None = None
    queued_s: float | None = None
    held_bytes: int | None = None
    peak_bytes: int | None = None


Meter = Callable[[], Used]


def used_now() -> Used:
    """What has been used so far, by this process and the processes that it began."""
    cpu = os.times()
    own = str(os.getpid())
    held, below = _resident(own), list(_below(own))
    counts = [_counts(name) for name in (own, *below)]

    def summed(name: str) -> int | None:
        return sum(of.get(name, 0) for of in counts) if name in counts[0] else None

    return Used(
        time.perf_counter(),
        sum(cpu[:4]) + sum(map(_cpu_s, below)),
        bytes_in=summed("rchar"),
        bytes_out=summed("wchar"),
        disk_bytes_in=summed("read_bytes"),
        disk_bytes_out=summed("write_bytes"),
        stalled_s=_pressure_s("io"),
        queued_s=_pressure_s("cpu"),
        held_bytes=None if held is None else held[0] + sum(_private(name) for name in below),
        peak_bytes=_peak(),
    )


class Watch:
    """Looks at the memory held from time to time, from a thread of its own. A context manager."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._most: int | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="gpustitch-memory", daemon=True)

    def seen(self, held_bytes: int | None) -> None:
        """Take note of the memory held at a moment."""
        if held_bytes is not None:
            self._most = max(held_bytes, self._most or 0)

    def most(self) -> int | None:
        """The most that was seen since the last call."""
        most, self._most = self._most, None
        return most

    def _run(self) -> None:
        while not self._ended.wait(_WATCHED_EVERY_S):
            self.seen(self._meter().held_bytes)

    def __enter__(self) -> Self:
        with contextlib.suppress(RuntimeError):  # no more threads
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        if self._thread.ident is not None:
            self._thread.join()


def _text(*parts: str) -> str:
    """A file of /proc; empty if there is none, or its process has ended."""
    try:
        return _PROC.joinpath(*parts).read_text("ascii", errors="replace")
    except OSError:
        return ""


def _below(process: str) -> Iterator[str]:
    """Numbers of the processes that a process began, and that these began."""
    if not (_PROC / process / "task" / process / "children").exists():  # some systems do not list them
        yield from _descendants(process)
        return
    for thread in _entries(_PROC / process / "task"):
        for child in _text(process, "task", thread, "children").split():
            yield child
            yield from _below(child)


def _descendants(process: str) -> Iterator[str]:
    """The same by the parents of all processes."""
    children: dict[str, list[str]] = {}
    for number in filter(str.isdigit, _entries(_PROC)):
        children.setdefault(_fields(number)[1], []).append(number)
    found = [process]
    while found:
        began = children.get(found.pop(), [])
        yield from began
        found += began


def _entries(folder: Path) -> list[str]:
    try:
        return [entry.name for entry in folder.iterdir()]
    except OSError:
        return []


def _fields(process: str) -> list[str]:
    """What /proc/PID/stat says behind the name: state, parent, ...; 0 of a process that has ended."""
    return _text(process, "stat").rpartition(")")[2].split() or ["0"] * 15


def _cpu_s(process: str) -> float:
    return sum(map(int, _fields(process)[_CPU_FIELDS])) / os.sysconf("SC_CLK_TCK")


def _counts(process: str) -> dict[str, int]:
    lines = (line.partition(":") for line in _text(process, "io").splitlines())
    return {name: int(count) for name, _, count in lines if count.strip().isdigit()}


def _resident(process: str) -> tuple[int, int] | None:
    """Bytes in memory, and how many of these others may share."""
    fields = _text(process, "statm").split()
    return None if len(fields) < 3 else (_page_bytes(int(fields[1])), _page_bytes(int(fields[2])))


def _private(process: str) -> int:
    held = _resident(process)
    return 0 if held is None else held[0] - held[1]


def _page_bytes(pages: int) -> int:
    return pages * os.sysconf("SC_PAGE_SIZE")


def _peak() -> int | None:
    lines = _text("self", "status").splitlines()
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM:")), None)


def _pressure_s(of: str) -> float | None:
    first = _text("pressure", of).partition("\n")[0]
    total = first.rpartition("total=")[2]
    return int(total) / 1e6 if first.startswith("some") and total.isdigit() else None
