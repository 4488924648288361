"""Step: times of the CUDA bodies on a device, beside the time of copying their bytes within the device's memory.

The rows are in :mod:`bench.gpu_check.kernel_rows`. A body must at least read and write some bytes, and do some
arithmetic. The floor is the longer of two times: a copy of those bytes, and a float32 matrix product of that
arithmetic. Both are measured in the same run. Arguments are larger than the caches.
"""

from __future__ import annotations

import itertools
import os
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

from bench.gpu_check import kernel_rows
from bench.gpu_check.kernel_rows import ROWS, Work
from bench.gpu_check.process import THROUGH, command
from bench.gpu_check.step import Asked, device_of

WARM_UP, LAUNCHES = 3, 20
COPIED_BYTES = 1 << 29
MATRIX = 4096
# Sizes that show that the rows run.
SMALL = {
    "FRAMES": (40, 6, 8), "COUNTED": (5, 4, 20), "DESTRIPED": (2, 40, 44), "VOLUME": (4, 6, 10), "SHEET": (12, 9, 10),
    "WINDOWS": {21: 1, 51: 1}, "FUSED": (4, 6, 8), "PLANES": (5, 6, 7), "MAX_LAG": 3, "RENDERED": (6, 5, 7),
    "BOXES": (2, 12), "STRIPS": 5, "REACH": 2,
}  # fmt: skip
# The command of this step.
_OWN = "bench.gpu_check.begin", "bench.gpu_check.kernel_rates:kernel_rates"
# The row that a process begins with that took over from one whose device failed, and how many rows failed before.
FIRST_ROW, FAILED_ROWS = "GPUSTITCH_BENCH_FIRST_ROW", "GPUSTITCH_BENCH_FAILED_ROWS"


def device_seconds(cupy: Any, launch: Callable[[], Any]) -> tuple[float, float]:
    """Median seconds of a launch on the device, and seconds that the host takes to prepare a launch."""
    for _ in range(WARM_UP):
        launch()
    cupy.cuda.get_current_stream().synchronize()
    events = [cupy.cuda.Event() for _ in range(LAUNCHES + 1)]
    events[0].record()
    start = time.perf_counter()
    for event in events[1:]:
        launch()
        event.record()
    host_s = (time.perf_counter() - start) / LAUNCHES
    events[-1].synchronize()
    pairs = itertools.pairwise(events)
    return statistics.median(cupy.cuda.get_elapsed_time(a, b) for a, b in pairs) / 1e3, host_s


def copy_bytes_per_s(cupy: Any, n_bytes: int) -> float:
    """Bytes read and written per second by a copy within the device's memory."""
    source, target = cupy.zeros(n_bytes, "uint8"), cupy.zeros(n_bytes, "uint8")
    return 2 * n_bytes / device_seconds(cupy, lambda: cupy.copyto(target, source))[0]


def gemm_flops_per_s(cupy: Any, side: int) -> float:
    """Operations per second of a float32 matrix product."""
    a, product = cupy.ones((side, side), "float32"), cupy.empty((side, side), "float32")
    return 2 * side**3 / device_seconds(cupy, lambda: cupy.matmul(a, a, out=product))[0]


def measured(cupy: Any, work: Work, copy: float, gemm: float) -> dict[str, float]:
    """The figures of one line of the table."""
    seconds, host_s = device_seconds(cupy, work.launch)
    floor_s = max(work.n_bytes / copy, work.flops / gemm)
    figures = {
        "ms": seconds * 1e3,
        "host_ms": host_s * 1e3,
        "ns_per_item": seconds / work.items * 1e9,
        "GB_per_s": work.n_bytes / seconds / 1e9,
        "floor_ms": floor_s * 1e3,
        "of_floor": seconds / floor_s,
    }
    return figures | ({"GFLOP_per_s": work.flops / seconds / 1e9} if work.flops else {})


def kernel_rates(asked: Asked) -> None:
    """A row for the copy, one for the matrix product, and one for each body."""
    if asked.is_small:
        vars(kernel_rows).update(SMALL)
    cupy, device = device_of()
    first, n_failed = (int(os.environ.get(name, "0")) for name in (FIRST_ROW, FAILED_ROWS))
    copy = copy_bytes_per_s(cupy, 1 << 12 if asked.is_small else COPIED_BYTES)
    gemm = gemm_flops_per_s(cupy, 8 if asked.is_small else MATRIX)
    if first == 0:
        asked.add("a copy within the device's memory", {"GB_per_s": copy / 1e9})
        asked.add("a float32 matrix product", {"GFLOP_per_s": gemm / 1e9})
    for number, row in enumerate(ROWS[first:], first + 1):
        try:
            work = row(cupy, device)
            asked.add(work.what, measured(cupy, work, copy, gemm), item=work.unit)
        except Exception as error:
            asked.add(_said(row), error=f"{type(error).__name__}: {error}")
            # After some errors a device does nothing more for this process: another one goes on.
            os.environ |= {FIRST_ROW: str(number), FAILED_ROWS: str(n_failed + 1)}
            arguments = ["--rows", str(asked.rows), "--budget", f"{asked.left_s:.1f}", *["--small"] * asked.is_small]
            sys.stderr.flush()
            os.execv(sys.executable, command(*_OWN, *arguments, through=os.environ.get(THROUGH)))
        work = None  # its arrays go before the next one's come
        cupy.get_default_memory_pool().free_all_blocks()
    if n_failed:
        raise AssertionError(f"{n_failed} of {len(ROWS)} rows failed")


def _said(row: Any) -> str:
    """Name and arguments of a row that did not come to say what it does."""
    options = ", ".join(f"{k}={getattr(v, '__name__', v)}" for k, v in getattr(row, "keywords", {}).items())
    return f"{getattr(row, 'func', row).__name__} {options}".strip()
