"""Step: rates that bound the engine: copies on the device and across the bus, and what a launch costs the host."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from bench.gpu_check.step import Asked, device_of
from gpustitch.array import on, to_device, to_host

N_BYTES, SMALL_BYTES = 1 << 28, 1 << 16
_REPEATS = 5


def transfers(asked: Asked) -> None:
    """One row for each way."""
    cupy, device = device_of()
    cupyx = importlib.import_module("cupyx")
    n = (SMALL_BYTES if asked.is_small else N_BYTES) // 2
    host = np.random.default_rng(0).integers(0, 4096, n, dtype=np.uint16)
    pinned, back = cupyx.empty_pinned((n,), np.uint16), cupyx.empty_pinned((n,), np.uint16)
    there, ones = cupy.empty(n, np.uint16), cupy.ones(n, np.uint16)
    up, down = (cupy.cuda.Stream(non_blocking=True) for _ in range(2))
    cupy.cuda.Device(0).synchronize()  # what was made so far is there for every stream

    def both() -> None:
        there.set(pinned, stream=up)
        ones.get(stream=down, out=back, blocking=False)
        up.synchronize()
        down.synchronize()

    def moved() -> None:
        with on(device):
            to_host(to_device(host, device))

    def rate(what: str, function: Callable[[], Any], n_bytes: int) -> None:
        seconds = best_seconds(cupy, function)
        asked.add(what, {"GB_per_s": n_bytes / seconds / 1e9, "ms": seconds * 1e3}, MB=n_bytes / 1e6)

    rate("copy on the device (read and written)", lambda: cupy.copyto(there, ones), 2 * host.nbytes)
    rate("copy on the host, one thread, pageable to pinned", lambda: np.copyto(pinned, host), host.nbytes)
    rate("to the device, pageable", lambda: cupy.asarray(host), host.nbytes)
    rate("to the device, pinned", lambda: there.set(pinned), host.nbytes)
    rate("to the host, pageable", lambda: ones.get(), host.nbytes)
    rate("to the host, pinned", lambda: ones.get(out=back), host.nbytes)
    rate("both ways at once, pinned (sum)", both, 2 * host.nbytes)
    rate("to the device and back as gpustitch does it (sum)", moved, 2 * host.nbytes)
    _costs(asked, cupy, cupyx)


def _costs(asked: Asked, cupy: Any, cupyx: Any) -> None:
    """What the host pays for small things."""
    number = cupy.zeros(1024, np.float32)
    n = 10 if asked.is_small else 2000

    def us(what: str, function: Callable[[], Any], times: int) -> None:
        function()
        cupy.cuda.Device(0).synchronize()
        begin = time.perf_counter()
        for _ in range(times):
            function()
        cupy.cuda.Device(0).synchronize()
        asked.add(what, {"us": (time.perf_counter() - begin) / times * 1e6})

    us("launch of an elementwise operation", lambda: cupy.add(number, 1, out=number), n)
    us("8 bytes to the host, with the wait", lambda: number[:2].get(), n // 4)
    us("event recorded and waited for", lambda: cupy.cuda.get_current_stream().record().synchronize(), n // 4)
    size = SMALL_BYTES if asked.is_small else 1 << 26
    begin = time.perf_counter()
    cupyx.empty_pinned((size,), np.uint8)
    asked.add("new pinned memory", {"ms": (time.perf_counter() - begin) * 1e3}, MB=size / 1e6)


def best_seconds(cupy: Any, function: Callable[[], Any]) -> float:
    """Least seconds of a few calls, each waited for, after one that warms up."""
    function()
    cupy.cuda.Device(0).synchronize()
    best = float("inf")
    for _ in range(_REPEATS):
        begin = time.perf_counter()
        function()
        cupy.cuda.Device(0).synchronize()
        best = min(best, time.perf_counter() - begin)
    return best
