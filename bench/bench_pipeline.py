"""The whole pipeline on 2 x 2 tiles of 256 frames of 1024 x 1024 pixels, five levels, no destriping.

The specimen is a periodic texture of blobs, so that making 2 GiB of camera files takes seconds. Known stage errors
displace the tiles. The bench prints figures only if the pipeline finds the tiles' true positions.
"""

from __future__ import annotations

import json
import math
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from scipy import ndimage

from bench.common import disk_write_bytes_per_s, memcpy_bytes_per_s, report
from gpustitch.io.frames.dcimg_writer import write_dcimg
from gpustitch.oblique.fuse.options import StitchOptions
from gpustitch.oblique.pipeline import stage as pipeline
from gpustitch.oblique.pipeline.options import PipelineOptions
from gpustitch.running.progress import Silent

N_FRAMES, SIZE, PERIOD = 256, 1024, 160
PIXEL_UM = 1.8
STEP_UM = PIXEL_UM / math.sqrt(2)
REFERENCE_S = 400.0
# Each tile's true position minus the stage's, in voxels (z, y, x).
ERRORS = ((0, 0, 0), (2, -3, 4), (-1, 5, -2), (3, 2, 1))


class StageTimes(Silent):
    """Notes when each part of the pipeline begins."""

    def __init__(self) -> None:
        self.begun: list[tuple[str, float]] = []

    def start(self, label: str, total: int, unit: str) -> None:
        self.begun.append((label, time.perf_counter()))

    def seconds(self, end: float) -> dict[str, float]:
        """Seconds from the beginning of each part to the beginning of the next."""
        total: dict[str, float] = {}
        for (label, at), (_, then) in zip(self.begun, [*self.begun[1:], ("", end)], strict=True):
            total[label] = total.get(label, 0.0) + then - at
        return total


def texture() -> np.ndarray:
    """Periodic blobs on a smooth background, (z, y, x) uint16."""
    rng = np.random.default_rng(0)
    points = (rng.random((PERIOD,) * 3) < 2e-4).astype(np.float32)
    blobs = ndimage.gaussian_filter(points, 2.0, mode="wrap")
    smooth = ndimage.gaussian_filter(rng.random((PERIOD,) * 3).astype(np.float32), 6.0, mode="wrap")
    return (300 + 2000 * blobs / blobs.max() + 300 * (smooth - 0.5) / np.abs(smooth - 0.5).max()).astype(np.uint16)


def frames(world: np.ndarray, corner: tuple[int, int, int]) -> Iterator[np.ndarray]:
    """Camera frames of a tile with its first voxel at ``corner``; at 45 degrees pixel (f, r, c) is (c, r, f+c)."""
    rng = np.random.default_rng([v % PERIOD for v in corner])
    z, y, x = corner
    rows = (np.arange(SIZE) + y)[:, None] % PERIOD
    depth = np.arange(SIZE)[None, :]
    for f in range(N_FRAMES):
        clean = world[(depth + z) % PERIOD, rows, (f + depth + x) % PERIOD]
        yield clean + rng.integers(0, 20, clean.shape, np.uint16)


def make_channel(folder: Path) -> tuple[Path, np.ndarray]:
    """Write the four tiles; return the folder and the tiles' true positions in voxels (z, y, x)."""
    world = texture()
    true = []
    for number, error in enumerate(ERRORS):
        x, y = number // 2 * 140, number % 2 * (SIZE - 124)
        names = round(x * STEP_UM * 10), round(y * PIXEL_UM * 10)
        place = (error[0], round(names[1] / 10 / PIXEL_UM) + error[1], round(names[0] / 10 / STEP_UM) + error[2])
        path = folder / f"{names[0]}" / f"{names[0]}_{names[1]}" / "0.dcimg"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_dcimg(path, frames(world, place), N_FRAMES, (SIZE, SIZE))
        true.append(place)
    return folder, np.array(true)


def worst_error_px(alignment: Path, true: np.ndarray) -> float:
    """Largest error of a solved position, in voxels."""
    content = json.loads(alignment.read_text())
    spacing = (STEP_UM, content["voxel_size"], content["voxel_size"] / math.sqrt(2))
    stages = sorted(content["alignments"], key=lambda key: json.loads(key))
    found = np.array([[v / s for v, s in zip(content["alignments"][k], spacing, strict=True)][::-1] for k in stages])
    error = found - true
    return float(np.abs(error - error.mean(0)).max())


def main() -> None:
    """Make the channel, run the pipeline, and print the time of each part."""
    work = Path(tempfile.mkdtemp(prefix="bench-pipeline-"))
    try:
        channel, true = make_channel(work / "channel")
        pixels = len(ERRORS) * N_FRAMES * SIZE**2
        times = StageTimes()
        options = PipelineOptions(
            channel, work / "out", STEP_UM, PIXEL_UM, stitch=StitchOptions(work / "out", levels=5)
        )
        begin, cpu = time.perf_counter(), time.process_time()
        result = pipeline.run(pipeline.plan(options), times)
        end = time.perf_counter()
        wall, cpu = end - begin, time.process_time() - cpu
        assert result.alignment is not None
        error = worst_error_px(result.alignment, true)
        if error > 0.25:
            raise SystemExit(f"tiles were placed wrongly by up to {error:.2f} voxels: the figures mean nothing")
        written = sum(f.stat().st_size for f in (work / "out" / "volume").rglob("*") if f.is_file())
        # Raw frames are read once, tiles written and read once, the volume written once.
        floor = (2 * pixels * 2) / memcpy_bytes_per_s() + (2 * pixels + written) / disk_write_bytes_per_s(work)
        rows = [{"part": part, "wall_s": s, "ns_per_pixel": s / pixels * 1e9} for part, s in times.seconds(end).items()]
        rows.append(
            {
                "part": "whole pipeline",
                "wall_s": wall,
                "ns_per_pixel": wall / pixels * 1e9,
                "cpu_s": cpu,
                "floor_s": floor,
                "ratio_to_floor": wall / floor,
                "reference_s": REFERENCE_S,
                "factor": REFERENCE_S / wall,
                "worst_position_error_px": error,
            }
        )
        report("pipeline", rows)
    finally:
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    main()
