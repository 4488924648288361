"""What the CUDA bodies take on a device, beside the time of a copy of their bytes within its memory.

Run with ``python -m bench.bench_cuda``; where there is no CUDA device it says so and ends. ``CUDA_VISIBLE_DEVICES``
chooses one of several. A row is a function that puts arguments on the device and says what has to be done with them:
write one and name it in ``ROWS``.

The floor is the time in which the bytes that must be read and written are copied, or in which a float32 matrix product
does the arithmetic that must be done, if that is longer; both are measured in the same run. Arguments are larger than
the caches.
"""

from __future__ import annotations

import importlib
import itertools
import re
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from bench.common import report
from gpustitch.array import Array, Device, choose_device, cuda_devices, to_device
from gpustitch.ops.correlate import pearson_shifts
from gpustitch.ops.deoblique import plane_offsets, shear_lerp
from gpustitch.ops.pyramid import halve, halve_max, halve_mode

WARM_UP, LAUNCHES = 3, 20
COPIED_BYTES = 1 << 29
MATRIX = 4096
# Frames, rows and columns that are de-obliqued; voxels that are halved; windows of two sizes that are correlated.
FRAMES = (512, 1024, 256)
VOLUME = (256, 1024, 1024)
WINDOWS = {21: 10_000, 51: 1_000}


@dataclass(frozen=True)
class Work:
    """One operation on arguments that are on the device.

    ``n_bytes`` must at least be read and written, ``flops`` operations on floats must at least be done, for ``items``
    of a ``unit``.
    """

    what: str
    launch: Callable[[], Any]
    n_bytes: int
    items: int
    unit: str = "voxel"
    flops: int = 0


Row = Callable[[Any, Device], Work]


def random_of(cupy: Any, device: Device, shape: tuple[int, ...], dtype: str, most: int = 65535) -> Array:
    """Numbers from 0 to ``most``: a million at random, repeated."""
    rng = np.random.default_rng(0)
    few = to_device(rng.integers(0, most, 1 << 20, endpoint=True).astype(dtype), device)
    size = int(np.prod(shape))
    numbers: Array = cupy.tile(few, -(-size // few.size))[:size].reshape(shape)
    return numbers


def deoblique(cupy: Any, device: Device, *, dtype: str, shear: float) -> Work:
    """A block inside the coverage: a frame's voxel is read for each that is written."""
    n_frames, n_rows, n_planes = FRAMES
    frames = random_of(cupy, device, FRAMES, dtype, np.iinfo(dtype).max if dtype != "float32" else 65535)
    first = int(np.ceil(shear * n_planes))
    out = cupy.empty((n_planes, n_rows, n_frames - first), dtype)
    offset, weight = (to_device(a, device) for a in plane_offsets(shear, 0, n_planes))
    offset += first
    return Work(
        f"shear_lerp {dtype}, shear {shear}", partial(shear_lerp, frames, out, offset, weight), 2 * out.nbytes, out.size
    )


def pyramid(cupy: Any, device: Device, *, twin: Callable[[Array, Array], None], dtype: str, odd: bool = False) -> Work:
    """A volume halved; of odd length, rows do not begin at whole words."""
    shape = tuple(n - odd for n in VOLUME)
    volume = random_of(cupy, device, shape, dtype, 3 if twin is halve_mode else 255)
    out = cupy.empty([-(-n // 2) for n in shape], dtype)
    what = f"{twin.__name__} {dtype} {'x'.join(map(str, shape))}"
    return Work(what, partial(twin, volume, out), volume.nbytes + out.nbytes, volume.size)


def correlate(cupy: Any, device: Device, *, side: int) -> Work:
    """Windows at all 27 shifts."""
    n = WINDOWS[side]
    fixed = random_of(cupy, device, (n, side, side, side), "float32")
    moving = random_of(cupy, device, (n, side + 2, side + 2, side + 2), "float32")
    wanted, out = cupy.ones((n, 3, 3, 3), "uint8"), cupy.zeros((n, 3, 3, 3))
    return Work(
        f"pearson_shifts {n} windows of {side}^3",
        partial(pearson_shifts, fixed, moving, wanted, out),
        fixed.nbytes + moving.nbytes + wanted.nbytes + out.nbytes,
        n,
        "window",
        27 * 2 * fixed.size,
    )


ROWS: list[Row] = [
    partial(deoblique, dtype="uint16", shear=1.0),
    partial(deoblique, dtype="uint16", shear=0.9),
    partial(deoblique, dtype="uint8", shear=0.9),
    partial(deoblique, dtype="float32", shear=0.9),
    partial(pyramid, twin=halve, dtype="uint16"),
    partial(pyramid, twin=halve, dtype="uint16", odd=True),
    partial(pyramid, twin=halve, dtype="uint8"),
    partial(pyramid, twin=halve, dtype="float32"),
    partial(pyramid, twin=halve_max, dtype="uint16"),
    partial(pyramid, twin=halve_mode, dtype="uint32"),
    partial(correlate, side=21),
    partial(correlate, side=51),
]


def device_seconds(cupy: Any, launch: Callable[[], Any]) -> tuple[float, float]:
    """Median seconds of a launch on the device, and seconds in which the host prepares one."""
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
