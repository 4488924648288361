"""Aligning one overlap: CPU time per point, against the same steps with SciPy's and NumPy's own calls."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
from scipy import ndimage

from bench.bench_correlate import SIGMA_PX, SPACING, corrcoef_27, scipy_blobs
from bench.common import best_seconds, report
from gpustitch.io.volumes.array import ArrayVolume
from gpustitch.model import Mosaic, TilePath
from gpustitch.oblique.align import stage as align
from gpustitch.oblique.align.matching import MatchOptions
from gpustitch.oblique.align.stage import AlignOptions

# The stage's nominal shift, and the stage's error, in voxels (z, y, x).
NOMINAL, ERROR = (0, 140, 0), (3, -4, 5)
# Mean number of steps of the ascent from the stage position.
STEPS = 5


def tissue(shape: tuple[int, ...]) -> np.ndarray:
    """Cells of about 8 um in a smooth background, with shot noise."""
    rng = np.random.default_rng(0)
    cells = np.zeros(shape, np.float32)
    at = tuple(rng.integers(0, n, int(np.prod(shape) / 1500)) for n in shape)
    cells[at] = rng.uniform(2e4, 2e5, len(at[0]))
    image = 300 + ndimage.gaussian_filter(cells, 2.0)
    return rng.poisson(image).astype(np.uint16)


def reference_seconds(window: int, block: np.ndarray) -> float:
    """CPU seconds of one point: one search for blobs, two smoothed windows, and ``STEPS`` steps of 27 correlations."""
    half = window // 2
    centre = [n // 2 for n in block.shape]
    fixed = block[tuple(slice(c - half, c + half + 1) for c in centre)]
    moving = block[tuple(slice(c - half - 11, c + half + 12) for c in centre)]
    patch = block[tuple(slice(c - 32, c + 32) for c in centre)]

    def point() -> None:
        scipy_blobs(patch)
        f = ndimage.gaussian_filter(fixed.astype(np.float32), SIGMA_PX)
        m = ndimage.gaussian_filter(moving.astype(np.float32), SIGMA_PX)
        for _ in range(STEPS):
            corrcoef_27(f, m[10:-10, 10:-10, 10:-10])

    return best_seconds(point, repeats=3)[1]


def main() -> None:
    shape = (200, 260, 420)
    whole = tissue(tuple(n + d for n, d in zip(shape, (10, 150, 10), strict=True)))
    offset = [n + e for n, e in zip(NOMINAL, ERROR, strict=True)]
    first = whole[: shape[0], : shape[1], : shape[2]]
    second = whole[tuple(slice(o, o + n) for o, n in zip(offset, shape, strict=True))]
    tiles = (
        TilePath(Path("a"), (0.0, 0.0, 0.0)),
        TilePath(Path("b"), (0.0, NOMINAL[1] * SPACING.y_um, 0.0)),
    )
    volumes = {t.name: ArrayVolume(v, SPACING) for t, v in zip(tiles, (first, second), strict=True)}
    rows = []
    for window, count in ((21, 20), (51, 100)):
        matching = MatchOptions(sample_count=count, window_px=(window,) * 3)
        plan = align.plan(AlignOptions(mosaic=Mosaic(tiles), volumes=volumes, matching=matching))
        wall, cpu = time.perf_counter(), time.process_time()
        result = align.run(plan)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        position = result.placement.origin_px
        found = np.subtract(position[tiles[1].name], position[tiles[0].name])
        reference = reference_seconds(window, whole)
        rows.append(
            {
                "case": f"{count} points, {window}^3",
                "CPU ms/point": cpu / count * 1e3,
                "wall ms/point": wall / count * 1e3,
                "reference CPU ms/point": reference * 1e3,
                "factor": reference / (cpu / count),
                "error (voxels)": float(np.abs(found - offset).max()),
            }
        )
    report("align", rows)


if __name__ == "__main__":
    main()
