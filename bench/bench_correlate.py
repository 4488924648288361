"""Pearson at 27 shifts, smoothing and blobs, against NumPy's and SciPy's own calls and a matrix product."""

from __future__ import annotations

import itertools

import numpy as np
from scipy import ndimage

from bench.common import best_seconds, gemm_flops_per_s, report
from gpustitch.model import Spacing
from gpustitch.oblique.align.blobs import find_blobs
from gpustitch.oblique.align.correlate import pearson_shifts
from gpustitch.ops.smooth import smooth

SPACING = Spacing(1.8 / 2**0.5, 1.8, 1.28)
SIGMA_PX = [2.5 / um for um in SPACING.zyx_um]


def corrcoef_27(fixed: np.ndarray, moving: np.ndarray) -> np.ndarray:
    """Pearson at 27 shifts with 27 calls of ``numpy.corrcoef``."""
    out = np.empty((3, 3, 3))
    for i, j, k in itertools.product(range(3), repeat=3):
        window = moving[i : i + fixed.shape[0], j : j + fixed.shape[1], k : k + fixed.shape[2]]
        out[i, j, k] = np.corrcoef(fixed.ravel(), window.ravel())[0, 1]
    return out


def scipy_blobs(volume: np.ndarray) -> np.ndarray:
    """Blobs with two calls of ``gaussian_filter`` and one of ``grey_dilation``."""
    data = volume.astype(np.float32)
    sigma = [2 / um for um in SPACING.zyx_um]
    contrast = ndimage.gaussian_filter(data, sigma) - ndimage.gaussian_filter(data, [3 * s for s in sigma])
    reach = [int(np.ceil(s)) for s in sigma]
    grid = np.mgrid[tuple(slice(-r, r + 1) for r in reach)]
    ball = sum((g / s) ** 2 for g, s in zip(grid, sigma, strict=True)) <= 1
    maxima = (ndimage.grey_dilation(contrast, footprint=ball) == contrast) & (contrast > 0)
    return np.argwhere(ndimage.label(maxima)[0])


def main() -> None:
    rng = np.random.default_rng(0)
    flops = gemm_flops_per_s()
    rows = []
    for n in (21, 51):
        fixed = rng.normal(1000, 30, (n, n, n)).astype(np.float32)
        moving = rng.normal(1000, 30, (n + 2,) * 3).astype(np.float32)
        out, wanted = np.zeros((1, 3, 3, 3)), np.ones((1, 3, 3, 3), np.uint8)
        ours = best_seconds(lambda f=fixed, m=moving, o=out, w=wanted: pearson_shifts(f[None], m[None], w, o))[1]
        reference = best_seconds(lambda f=fixed, m=moving: corrcoef_27(f, m))[1]
        floor = 27 * 2 * n**3 / flops
        rows.append(_row(f"pearson, 27 shifts, {n}^3", ours, reference, floor, n**3))
    block = rng.integers(0, 5000, (73, 73, 73)).astype(np.uint16)
    ours = best_seconds(lambda: smooth(block, SIGMA_PX))[1]
    reference = best_seconds(lambda: ndimage.gaussian_filter(block.astype(np.float32), SIGMA_PX))[1]
    rows.append(_row("smooth 73^3", ours, reference, 3 * 2 * 73 * block.size / flops, block.size))
    patch = rng.integers(0, 5000, (64, 64, 64)).astype(np.uint16)
    ours = best_seconds(lambda: find_blobs(patch, SPACING))[1]
    reference = best_seconds(lambda: scipy_blobs(patch))[1]
    rows.append(_row("blobs 64^3", ours, reference, 6 * 2 * 64 * patch.size / flops, patch.size))
    report("correlate", rows)


def _row(case: str, ours: float, reference: float, floor: float, voxels: int) -> dict[str, object]:
    return {
        "case": case,
        "CPU ms": ours * 1e3,
        "ns/voxel": ours / voxels * 1e9,
        "ratio to gemm floor": ours / floor,
        "reference ms": reference * 1e3,
        "factor": reference / ours,
    }


if __name__ == "__main__":
    main()
