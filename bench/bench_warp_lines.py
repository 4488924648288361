"""How wide warps read and write arrays: bytes, 128-byte lines and 32-byte sectors of each request, counted on the CPU.

Bodies run in the tests' emulator of CUDA, which notes every access. What the 32 threads of a warp access at one place
of the text, for the n-th time, is taken for one request, as a device makes it of threads that go together. Arrays begin
at whole lines, as CuPy's do. Nothing is timed, and caches are not seen: of a sector that several requests use in turn,
all but one come from a cache on a device. Arguments are those of the kernels' rows in ``gpu-check``, smaller.
"""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.common import report
from bench.gpu_check import kernel_rows
from bench.gpu_check.step import device_of
from tests.cuda_cpu import build, module, shim, shim_array

LINE, SECTOR, WARP, MOST_WARPS = 128, 32, 32, 32
LOGGER = Path(__file__).with_name("warp_lines.cpp")
# Most accesses of a launch that are kept, and the least bytes of an array that counts.
ROOM, LEAST_BYTES, MOST_ARRAYS = 6_000_000, 4096, 64
ACCESS = np.dtype(
    [
        ("at", "u8"),
        ("block", "u4"),
        ("place", "u4"),
        ("array", "u4"),
        ("thread", "u2"),
        ("size", "u1"),
        ("writes", "u1"),
    ],
    align=True,
)
SIZES = {
    "FRAMES": (512, 8, 32), "COUNTED": (8, 64, 128), "DESTRIPED": (1, 64, 512), "VOLUME": (4, 32, 512),
    "SHEET": (64, 64, 64), "WINDOWS": {21: 2, 51: 1}, "FUSED": (8, 32, 256), "PLANES": (4, 32, 512), "MAX_LAG": 2,
    "RENDERED": (4, 32, 512), "BOXES": (1, 24), "STRIPS": 16, "REACH": 3,
}  # fmt: skip

Found = dict[tuple[str, bool], list[npt.NDArray[Any]]]


def counted(accesses: npt.NDArray[Any]) -> dict[str, float]:
    """Requests of warps, and of one of them the bytes asked for, the lines touched, and the part of sectors used."""
    order = np.lexsort((accesses["place"], accesses["thread"], accesses["block"]))
    a = accesses[order]
    same = np.ones(len(a), np.bool_)
    for name in ("block", "thread", "place"):
        same[1:] &= a[name][1:] == a[name][:-1]
    same[:1] = False
    # The n-th time that a thread comes to a place.
    at = np.arange(len(a))
    times = at - np.maximum.accumulate(np.where(same, 0, at))
    warps = a["block"].astype(np.int64) * MOST_WARPS + a["thread"] // WARP
    request = _numbered(_numbered(warps) * (int(times.max()) + 1) + times, _numbered(a["place"]))
    # Arrays are far from each other; an access has two ends.
    first = a["at"].astype(np.int64) + (a["array"].astype(np.int64) << 40)
    ends, twice = np.concatenate([first, first + a["size"] - 1]), np.concatenate([request, request])
    lines, sectors = (int(_numbered(twice, _numbered(ends // size)).max()) + 1 for size in (LINE, SECTOR))
    n, n_bytes = int(request.max()) + 1, int(a["size"].sum())
    return {
        "requests": n,
        "bytes of a request": n_bytes / n,
        "lines of a request": lines / n,
        "asked of sectors": n_bytes / (SECTOR * sectors),
    }


def _numbered(keys: npt.NDArray[Any], others: npt.NDArray[Any] | None = None) -> npt.NDArray[np.int64]:
    """For each key, or pair of keys, the number that it has among those that differ."""
    if others is not None:
        keys = keys.astype(np.int64) * (int(others.max()) + 1) + others
    return np.unique(keys, return_inverse=True)[1].astype(np.int64)


@contextlib.contextmanager
def noted(found: Found) -> Iterator[None]:
    """Put the accesses of each launch under the body's name, and whether they write."""
    library, call = build.library, module.Function.__call__

    def traced(code: str, options: tuple[str, ...] = (), *, sanitized: bool = False) -> Path:
        return build.traced(code, LOGGER)

    def noting(self: Any, grid: Any, block: Any, args: Any, *, shared_mem: int = 0) -> None:
        arrays = [a for a in shim_array.OWNED.values() if a.nbytes >= LEAST_BYTES][:MOST_ARRAYS]
        starts = np.array([a.ctypes.data for a in arrays], np.uint64)
        ends = starts + np.array([a.nbytes for a in arrays], np.uint64)
        own = self.library
        pointers = (v.ctypes.data_as(ctypes.c_void_p) for v in (starts, ends))
        own.warp_lines_begin(ctypes.c_uint64(ROOM), len(arrays), *pointers)
        call(self, grid, block, args, shared_mem=shared_mem)
        own.warp_lines_count.restype, own.warp_lines_accesses.restype = ctypes.c_uint64, ctypes.c_void_p
        n = min(ROOM, own.warp_lines_count())
        accesses = np.frombuffer(ctypes.string_at(own.warp_lines_accesses(), n * ACCESS.itemsize), ACCESS)
        for writes in (False, True):
            found.setdefault((self.name, writes), []).append(accesses[accesses["writes"] == writes])

    build.library, module.Function.__call__ = traced, noting  # type: ignore[method-assign]
    try:
        yield
    finally:
        build.library, module.Function.__call__ = library, call  # type: ignore[method-assign]


def rows_of(what: str, found: Found) -> list[dict[str, Any]]:
    """Lines of the table for one operation: of each body what it reads and what it writes."""
    rows = []
    for (body, writes), accesses in found.items():
        if sum(map(len, accesses)):
            # Launches follow each other: what is the n-th access in one has nothing to do with another.
            each = [(len(a), counted(a)) for a in accesses if len(a)]
            n = sum(c["requests"] for _, c in each)
            means = {
                key: sum(c["requests"] * c[key] for _, c in each) / n
                for key in ("bytes of a request", "lines of a request", "asked of sectors")
            }
            rows.append({"operation": what, "body": body, "": "writes" if writes else "reads", "requests": n} | means)
    return rows


def main() -> None:
    """Count all rows of the bench of kernels."""
    vars(kernel_rows).update(SIZES)
    rows = []
    found: Found = {}
    with shim.installed() as cupy, noted(found):
        device = device_of()[1]
        for row in kernel_rows.ROWS:
            work = row(cupy, device)
            found.clear()
            work.launch()
            rows += rows_of(work.what, found)
    report("warp_lines", rows)


if __name__ == "__main__":
    main()
