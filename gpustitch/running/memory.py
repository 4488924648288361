"""How much memory a run may take: what the system and the container say is free."""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

# Of the free memory, the part that a run takes at most unless it is told.
_PART = 0.8
_SYSTEM, _HELD = Path("/proc/meminfo"), Path("/proc/self/statm")
# Held beside what a run counts: libraries that are loaded as they are needed, and arrays of threads that have ended.
SPARE_BYTES = 64 << 20
# Names of glibc's `mallopt`, and the greatest size of arrays that it comes to keep by itself.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _KEPT_BYTES = -1, -3, 32 << 20
# Limit and use of a container, by the second and the first version of control groups.
_GROUPS = (
    (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")),
    (Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"), Path("/sys/fs/cgroup/memory/memory.usage_in_bytes")),
)


def most_bytes(stated: int | None) -> int | None:
    """The bytes that a run may hold: as stated, else four fifths of what is free; None if the system does not say."""
    if stated is not None:
        return stated
    free = free_bytes()
    return None if free is None else int(_PART * free)


def free_bytes() -> int | None:
    """Free bytes of memory, within the limit of the container, if any; None if the system does not say."""
    found = [of for of in (_of_system(), *(_of_group(*files) for files in _GROUPS)) if of is not None]
    return min(found, default=None)


def part_of(stated: int | None, at_most: int) -> int:
    """The bytes that a part of a run may hold beside others: a quarter of what is stated, or ``at_most``."""
    return at_most if stated is None else min(at_most, stated // 4)


def held_bytes() -> int:
    """Bytes of memory that this process holds already; 0 if the system does not say."""
    try:
        return int(_HELD.read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError, AttributeError):
        return 0


def give_back() -> None:
    """Give the system back what was freed, and the C library keeps: the next part of a run needs it as other sizes."""
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's; other libraries keep little
        if trim is not None:
            trim(ctypes.c_size_t(0))


def keep_freed() -> None:
    """Let the C library keep what is freed, up to arrays of 32 MB, as it does by itself in the end.

    dask's workers tell it to give all back at once. Then the system makes each new array of empty pages, which takes
    longer than to fill it.
    """
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # glibc's
        if mallopt is not None:
            mallopt(_MMAP_THRESHOLD, _KEPT_BYTES)
            mallopt(_TRIM_THRESHOLD, 2 * _KEPT_BYTES)


def _of_system() -> int | None:
    try:
        lines = _SYSTEM.read_text("ascii").splitlines()
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
    except (OSError, ValueError, IndexError, StopIteration):
        return None


def _of_group(limit: Path, use: Path) -> int | None:
    try:
        return max(0, int(limit.read_text("ascii")) - int(use.read_text("ascii")))
    except (OSError, ValueError):  # no such file, or "max"
        return None
