"""Times of the CUDA bodies on a device, beside the time of copying their bytes within the device's memory.

Run with ``python -m bench cuda``. Without a CUDA device the bench says so and ends. ``CUDA_VISIBLE_DEVICES`` chooses
one of several devices. The rows are in :mod:`bench.cuda_rows`.

A body must at least read and write some bytes, and do some arithmetic. The floor is the longer of two times: a copy of
those bytes, and a float32 matrix product of that arithmetic. Both are measured in the same run. Arguments are larger
than the caches.
"""

from __future__ import annotations

import importlib
import itertools
import re
import statistics
import time
from collections.abc import Callable
from typing import Any

from bench.common import report
from bench.cuda_rows import ROWS, Work
from gpustitch.array import choose_device, cuda_devices

WARM_UP, LAUNCHES = 3, 20
COPIED_BYTES = 1 << 29
MATRIX = 4096


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


def copy_bytes_per_s(cupy: Any) -> float:
    """Bytes read and written per second by a copy within the device's memory."""
    source, target = cupy.zeros(COPIED_BYTES, "uint8"), cupy.zeros(COPIED_BYTES, "uint8")
    return 2 * COPIED_BYTES / device_seconds(cupy, lambda: cupy.copyto(target, source))[0]


def gemm_flops_per_s(cupy: Any) -> float:
    """Operations per second of a float32 matrix product."""
    a, product = cupy.ones((MATRIX, MATRIX), "float32"), cupy.empty((MATRIX, MATRIX), "float32")
    return 2 * MATRIX**3 / device_seconds(cupy, lambda: cupy.matmul(a, a, out=product))[0]


def measured(cupy: Any, work: Work, copy: float, gemm: float) -> dict[str, Any]:
    """One line of the table."""
    seconds, host_s = device_seconds(cupy, work.launch)
    floor_s = max(work.n_bytes / copy, work.flops / gemm)
    row = {
        "what": work.what,
        "ms": seconds * 1e3,
        "host_ms": host_s * 1e3,
        f"ns_per_{work.unit}": seconds / work.items * 1e9,
        "GB_per_s": work.n_bytes / seconds / 1e9,
        "floor_ms": floor_s * 1e3,
        "of_floor": seconds / floor_s,
    }
    return row | ({"GFLOP_per_s": work.flops / seconds / 1e9} if work.flops else {})


def main() -> None:
    """Measure, print, store."""
    devices, reason = cuda_devices()
    if not devices:
        print(f"no CUDA device: {reason}")
        return
    cupy, device = importlib.import_module("cupy"), choose_device("cuda:0")
    found = devices[0]
    copy, gemm = copy_bytes_per_s(cupy), gemm_flops_per_s(cupy)
    runtime = cupy.cuda.runtime.runtimeGetVersion()
    rows: list[dict[str, Any]] = [
        {"what": f"{found.name}, capability {found.capability}, CUDA {runtime}, CuPy {cupy.__version__}"},
        {"what": "a copy within its memory", "GB_per_s": copy / 1e9},
        {"what": "a float32 matrix product", "GFLOP_per_s": gemm / 1e9},
    ]
    for row in ROWS:
        rows.append(measured(cupy, row(cupy, device), copy, gemm))
        cupy.get_default_memory_pool().free_all_blocks()
    report("cuda_" + re.sub(r"\W+", "_", found.name.lower()).strip("_"), rows)


if __name__ == "__main__":
    main()
