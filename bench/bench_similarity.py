"""Banded correlation of planes: per pair and pixel, and against a matrix product of the same run."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from bench.common import best_seconds, gemm_flops_per_s, memcpy_bytes_per_s, report
from gpustitch.ops.similarity import BandedCorrelation, centred_rows, default_block, peak_bytes, plane_moments
from gpustitch.ops.similarity_parts import plain_correlation

# z-spacing (Java), two threads on two cores, not measured in this run.
JAVA_NS = 2.5
SHAPE = (1024, 1024)


def steady(planes: npt.NDArray[Any], reach: int, mask: npt.NDArray[np.bool_] | None = None) -> float:
    """Wall-clock seconds a plane takes in the middle of a long stack."""
    stream = BandedCorrelation(SHAPE, reach)
    for _ in range(-(-reach // len(planes))):
        stream.push(planes, mask)
    return best_seconds(lambda: stream.push(planes, mask), repeats=3)[0] / len(planes)


def pairwise(planes: npt.NDArray[Any]) -> float:
    """Seconds a pair takes with ``numpy.corrcoef``."""
    a, b = planes[0].reshape(-1), planes[1].reshape(-1)
    return best_seconds(lambda: np.corrcoef(a, b), repeats=3)[0]


def products(rows: npt.NDArray[np.float32], block: int, n_rows: int) -> None:
    """Coefficients of a block with all rows."""
    plain_correlation(rows, slice(0, block), SHAPE[0] * SHAPE[1], np.zeros(n_rows), np.ones(n_rows))


def prepared(planes: npt.NDArray[Any]) -> tuple[float, float]:
    """Wall-clock seconds a plane takes for its moments, and for its row."""
    n, mask = len(planes), np.ones((1, 1, 1), np.uint8)
    parts = np.empty((n, planes[0].size // 16384, 3))
    rows = np.zeros((planes[0].size // 4096, n, 4096), np.float32)
    scaling = np.tile(np.array([30000, 0.1, 1e-3, 1], np.float32), (n, 1))
    moments = best_seconds(lambda: plane_moments(planes, mask, parts), repeats=3)[0]
    centred = best_seconds(lambda: centred_rows(planes, mask, scaling, rows, 0), repeats=3)[0]
    return moments / n, centred / n


def main() -> None:
    """Measure, print, store."""
    rng = np.random.default_rng(0)
    n_pixels = SHAPE[0] * SHAPE[1]
    flops = gemm_flops_per_s()
    rows: list[dict[str, Any]] = [
        {"what": "floor: matrix product, Gflop/s", "figure": flops / 1e9},
        {"what": "floor: copy of a float32 pixel, ns", "figure": 4e9 / memcpy_bytes_per_s()},
    ]
    planes = rng.integers(0, 65536, (64, *SHAPE)).astype(np.uint16)
    rows.append({"what": "numpy.corrcoef, one pair", "ns_per_pair_pixel": pairwise(planes) / n_pixels * 1e9})
    for dtype in (np.uint16, np.float32):
        for what, seconds in zip(("moments", "rows"), prepared(planes.astype(dtype)), strict=True):
            rows.append({"what": f"{what} {np.dtype(dtype)}, ns per pixel", "figure": seconds / n_pixels * 1e9})
    for reach in (10, 50):
        block = default_block(reach)
        n_rows = block * (1 + -(-reach // block))
        ring = rng.random((n_pixels // 4096, n_rows, 4096), np.float32)
        seconds = best_seconds(lambda a=ring, b=block, n=n_rows: products(a, b, n), repeats=3)[0]
        rows.append(
            {
                "what": f"products alone, reach {reach}",
                "ns_per_pair_pixel": seconds / block / reach / n_pixels * 1e9,
                "of_gemm": 2 * n_rows * block * n_pixels / seconds / flops,
                "of_gemm_in_band": 2 * reach * block * n_pixels / seconds / flops,
            }
        )
        del ring
        cases = {"uint16": (planes, None), "float32": (planes.astype(np.float32), None)}
        cases["float32, pixels excluded in each plane"] = (cases["float32"][0], rng.random(planes.shape) > 0.1)
        for what, (stack, mask) in cases.items():
            ns = steady(stack, reach, mask) / reach / n_pixels * 1e9
            peak = peak_bytes(SHAPE, reach, some_excluded=mask is not None) / 2**20
            name = f"1024 x 1024 {what}, reach {reach}"
            rows.append({"what": name, "ns_per_pair_pixel": ns, "java_factor": JAVA_NS / ns, "peak_MiB": peak})
    report("similarity", rows)


if __name__ == "__main__":
    main()
