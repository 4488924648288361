"""Banded correlation of planes: time per pair and pixel, against a matrix product on the same threads and a copy.

Every thread computes its own matrix products: run with OPENBLAS_NUM_THREADS=1, as ``python -m bench`` does.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from bench.common import best_seconds, memcpy_bytes_per_s, report
from gpustitch.array import cpu_count
from gpustitch.sections.similarity.banded import BandedCorrelation
from gpustitch.sections.similarity.bands import LONGEST_OF_VECTORS, PLANES_TOGETHER, band_products, each_of
from gpustitch.sections.similarity.blocks import default_block, peak_bytes
from gpustitch.sections.similarity.parts import row_sums, sampled_scaling
from gpustitch.sections.similarity.similarity_rows import centred_rows, plane_moments, tiles_of

# z-spacing (Java), two threads on two cores, from another run.
JAVA_NS = 2.5
SHAPE = (1024, 1024)
N_PIXELS = SHAPE[0] * SHAPE[1]
_N_GEMM = 1536


def gemm_flops_per_s(n_threads: int) -> tuple[float, float]:
    """Operations per second of float32 matrix products, one on each thread, by wall-clock and by CPU time."""
    a = np.random.default_rng(0).random((_N_GEMM, _N_GEMM), np.float32)
    wall, cpu = best_seconds(lambda: each_of(lambda _: a @ a, range(n_threads), n_threads), repeats=4)
    return 2 * _N_GEMM**3 * n_threads / wall, 2 * _N_GEMM**3 * n_threads / cpu


def steady(
    planes: npt.NDArray[Any], max_lag: int, n_threads: int, mask: npt.NDArray[np.bool_] | None = None
) -> tuple[float, float]:
    """Wall-clock and CPU seconds of a plane in the middle of a long stack; whole blocks are pushed."""
    stream = BandedCorrelation(SHAPE, max_lag, n_threads=n_threads)
    n = default_block(max_lag)
    some, used = planes[:n], None if mask is None else mask[:n]
    for _ in range(-(-max_lag // n)):
        stream.push(some, used)
    wall, cpu = best_seconds(lambda: stream.push(some, used), repeats=6 if mask is None else 1)
    return wall / n, cpu / n


def parts(planes: npt.NDArray[Any], max_lag: int) -> dict[str, float]:
    """CPU nanoseconds per plane and pixel of each part of the work on 4 tiles at a time, on one thread."""
    n, (tiles, width) = len(planes), tiles_of(SHAPE)
    rows = np.zeros((4, max_lag + n, width), np.float32)
    sampled, mask, flat = sampled_scaling(planes), np.ones((1, 1, 1), np.uint8), planes.reshape(n, 1, -1)
    groups = [slice(start * width, (start + 4) * width) for start in range(0, tiles - 4, 4)]
    n_pixels = len(groups) * 4 * width
    seconds = {
        "sample": best_seconds(lambda: sampled_scaling(planes))[1] * n_pixels / N_PIXELS,
        "convert": best_seconds(
            lambda: [centred_rows(flat[..., g], mask, sampled.scaling, rows, max_lag) for g in groups]
        )[1],
        "sum": best_seconds(lambda: [row_sums(rows[:, max_lag:]) for _ in groups])[1],
        "products": best_seconds(lambda: [band_products(rows, max_lag) for _ in groups])[1],
    }
    return {what: 1e9 * value / n / n_pixels for what, value in seconds.items()}


def moments(planes: npt.NDArray[Any]) -> float:
    """CPU nanoseconds per plane and pixel of exact moments, for planes where a sample does not suffice."""
    out = np.empty((len(planes), -(-N_PIXELS // 16384), 3))
    return 1e9 * best_seconds(lambda: plane_moments(planes, np.ones((1, 1, 1), np.uint8), out))[1] / planes.size


def pairwise(planes: npt.NDArray[Any]) -> float:
    """Seconds of a pair with ``numpy.corrcoef``."""
    a, b = planes[0].reshape(-1), planes[1].reshape(-1)
    return best_seconds(lambda: np.corrcoef(a, b), repeats=3)[0]


def measured(planes: npt.NDArray[Any], max_lag: int, n_threads: int, copy: float) -> dict[str, Any]:
    """One row of the table, with the matrix product measured in the same run."""
    gemm = gemm_flops_per_s(n_threads)
    wall, cpu = (1e9 * seconds / N_PIXELS for seconds in steady(planes, max_lag, n_threads))
    again = gemm_flops_per_s(n_threads)
    flops, per_cpu = max(gemm[0], again[0]), max(gemm[1], again[1])
    performed = max_lag + 1 if max_lag <= LONGEST_OF_VECTORS else max_lag + PLANES_TOGETHER
    # A pixel is read and written, as float32 but for uint8; each block reads the rows of earlier planes again.
    kept = 1 if planes.dtype == np.uint8 else 4
    moved = planes.itemsize + kept + kept * max_lag / default_block(max_lag)
    return {
        "what": f"{planes.dtype}, max_lag {max_lag}, {n_threads} threads",
        "ns_per_pair_pixel": wall / max_lag,
        "cpu_ns_per_pair_pixel": cpu / max_lag,
        "java_factor": JAVA_NS * max_lag / wall,
        "gemm_gflops": flops / 1e9,
        "of_gemm_in_band": 2e9 * max_lag / wall / flops,
        "of_gemm_performed": 2e9 * performed / wall / flops,
        "of_gemm_in_band_cpu": 2e9 * max_lag / cpu / per_cpu,
        "floor_bytes_ns": moved / copy / 2 * 1e9 / max_lag / n_threads,
        "floor_gemm_ns": 2e9 / flops,
        "peak_MiB": peak_bytes(SHAPE, max_lag) / 2**20,
    }


def main() -> None:
    """Measure, print, store."""
    rng = np.random.default_rng(0)
    copy = memcpy_bytes_per_s()
    planes = rng.integers(0, 65536, (64, *SHAPE)).astype(np.uint16)
    rows: list[dict[str, Any]] = [{"what": "floor: copy, one thread, GB/s", "figure": copy / 1e9}]
    rows.append({"what": "numpy.corrcoef, one pair", "ns_per_pair_pixel": pairwise(planes) / N_PIXELS * 1e9})
    for max_lag in (10, 50):
        rows += [measured(planes.astype(np.uint8), max_lag, n, copy) for n in sorted({1, cpu_count()})]
    for dtype in (np.uint16, np.float32):
        stack = planes.astype(dtype)
        rows.append({"what": f"exact moments, {np.dtype(dtype)}, CPU ns per plane and pixel", "figure": moments(stack)})
        for max_lag in (10, 50):
            for what, ns in parts(stack[: default_block(max_lag)], max_lag).items():
                name = f"{what}, {np.dtype(dtype)}, max_lag {max_lag}, CPU ns per plane and pixel"
                rows.append({"what": name, "figure": ns})
            rows += [measured(stack, max_lag, n, copy) for n in sorted({1, cpu_count()})]
    mask = rng.random(planes.shape) > 0.1
    for max_lag in (10, 50):
        wall, cpu = (1e9 * s / N_PIXELS / max_lag for s in steady(planes, max_lag, cpu_count(), mask))
        peak = peak_bytes(SHAPE, max_lag, some_excluded=True) / 2**20
        name = f"uint16, max_lag {max_lag}, pixels excluded in each plane"
        rows.append({"what": name, "ns_per_pair_pixel": wall, "cpu_ns_per_pair_pixel": cpu, "peak_MiB": peak})
    report("similarity", rows)


if __name__ == "__main__":
    main()
