"""Shared by all benches: timing, floors measured in the same run, and the results file."""

from __future__ import annotations

import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from gpustitch.version import VERSION

RESULTS = Path(__file__).parent / "results"


def best_seconds(function: Callable[[], Any], *, repeats: int = 5) -> tuple[float, float]:
    """Least wall-clock and least CPU seconds of ``function`` over ``repeats`` calls, after one warm-up call."""
    function()
    wall, cpu = [], []
    for _ in range(repeats):
        w, c = time.perf_counter(), time.process_time()
        function()
        wall.append(time.perf_counter() - w)
        cpu.append(time.process_time() - c)
    return min(wall), min(cpu)


def memcpy_bytes_per_s(size_bytes: int = 1 << 28) -> float:
    """Bytes per second that ``numpy.copyto`` copies on one core, beyond the cache."""
    source = np.ones(size_bytes, np.uint8)
    target = np.empty_like(source)
    return size_bytes / best_seconds(lambda: np.copyto(target, source))[0]


def disk_write_bytes_per_s(folder: Path | None = None, size_bytes: int = 1 << 28) -> float:
    """Bytes per second written to one new file in ``folder`` (the temporary folder by default), not synced."""
    data = os.urandom(1 << 20) * (size_bytes >> 20)
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        target = Path(temporary) / "floor.bin"
        return size_bytes / best_seconds(lambda: target.write_bytes(data), repeats=3)[0]


def gemm_flops_per_s(n: int = 2048) -> float:
    """Floating-point operations per second of a float32 matrix product, all cores."""
    a = np.random.default_rng(0).random((n, n), np.float32)
    return 2 * n**3 / best_seconds(lambda: a @ a, repeats=3)[0]


def settle_memory(folder: Path) -> None:
    """Read as many empty bytes as there is memory, from a file in ``folder``, so that the system keeps them as cache.

    Some virtual machines give free memory back to their host, and wait seconds for each gigabyte when it is used again.
    A run that begins with full memory takes what is there.
    """
    if sys.platform != "linux":
        return
    total = next(line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemTotal:"))
    sparse, room = folder / "sparse", bytearray(1 << 22)
    with sparse.open("ab") as file:  # it stays: without it what was read of it would be free again
        file.truncate(int(total.split()[1]) << 10)
    with sparse.open("rb", buffering=0) as file:
        while file.readinto(room):
            pass


def machine() -> dict[str, str]:
    """The machine and the versions that the figures were measured with."""
    model = ""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        model = lines[0].partition(":")[2].strip() if lines else ""
    packages = ("numpy", "scipy", "PyWavelets", "tensorstore", "imagecodecs")
    return {
        "cpu": model or platform.processor(),
        "cores": str(len(os.sched_getaffinity(0))),
        "python": platform.python_version(),
        "gpustitch": VERSION,
        **{name: _version(name) for name in packages},
    }


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "unknown"


def report(bench: str, rows: list[dict[str, Any]]) -> None:
    """Print the rows as a table and write them to ``bench/results/<bench>.json`` with the machine's description."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    table = [columns] + [[_text(row.get(key, "")) for key in columns] for row in rows]
    widths = [max(len(line[i]) for line in table) for i in range(len(columns))]
    for line in table:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)))
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{bench}.json").write_text(json.dumps({"machine": machine(), "rows": rows}, indent=1) + "\n")


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
