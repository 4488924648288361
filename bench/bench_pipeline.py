"""The whole pipeline on 2 x 2 tiles of 256 frames of 1024 x 1024 pixels, five levels, no destriping.

It runs in one pass and by stages in turn, beside two floors: all real bytes read, and as many as the volume has written
to a new file and flushed, through the page cache and past it.

The specimen is a periodic texture of blobs, so that making 2 GiB of camera files takes seconds. Known stage errors
displace the tiles. The bench prints figures only if the pipeline finds the tiles' true positions.
"""

from __future__ import annotations

import json
import math
import mmap
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

from bench.common import report
from gpustitch.io.frames.dcimg_writer import write_dcimg
from gpustitch.oblique.fuse.options import StitchOptions
from gpustitch.oblique.pipeline import stage as pipeline
from gpustitch.oblique.pipeline.options import PipelineOptions
from gpustitch.running.progress import Silent

N_FRAMES, SIZE, PERIOD = 256, 1024, 160
PIXEL_UM = 1.8
STEP_UM = PIXEL_UM / math.sqrt(2)
REFERENCE_S = 400.0
REPEATS = 3
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


def floor_seconds(channel: Path, written: int, target: Path, *, direct: bool) -> float:
    """Seconds to read all camera files and to write ``written`` bytes to the new file ``target``."""
    piece = mmap.mmap(-1, 1 << 23)  # begins at a page, as writing past the cache asks for
    piece.write(np.random.default_rng(0).bytes(len(piece)))
    begin = time.perf_counter()
    for path in channel.rglob("*.dcimg"):
        with path.open("rb", buffering=0) as file:
            while file.readinto(piece):
                pass
    handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | (os.O_DIRECT if direct else 0), 0o600)
    try:
        for _ in range(-(-written // len(piece))):
            os.write(handle, piece)
        os.fsync(handle)
    finally:
        os.close(handle)
    seconds = time.perf_counter() - begin
    target.unlink()
    return seconds


def one_run(channel: Path, true: np.ndarray, out: Path, *, staged: bool) -> dict[str, Any]:
    """Figures of one run, whose output is removed."""
    times = StageTimes()
    options = PipelineOptions(channel, out, STEP_UM, PIXEL_UM, stitch=StitchOptions(out, levels=5), staged=staged)
    options = replace(options, correction=replace(options.correction, method="none"))
    begin, cpu = time.perf_counter(), sum(os.times()[:4])  # of the processes that it starts too
    result = pipeline.run(pipeline.plan(options), times)
    end = time.perf_counter()
    wall, cpu = end - begin, sum(os.times()[:4]) - cpu
    assert result.alignment is not None
    error = worst_error_px(result.alignment, true)
    if error > 0.25:
        raise SystemExit(f"tiles were placed wrongly by up to {error:.2f} voxels: the figures mean nothing")
    files = [f.stat().st_size for f in (out / "volume").rglob("*") if f.is_file()]
    shutil.rmtree(out)
    return {
        "wall_s": wall, "cpu_s": cpu, "written": sum(files), "files": len(files), "worst_position_error_px": error,
        "parts": times.seconds(end),
    }  # fmt: skip


def main() -> None:
    """Make the channel, run the pipeline both ways, and print the time of each part."""
    work = Path(tempfile.mkdtemp(prefix="bench-pipeline-"))
    try:
        channel, true = make_channel(work / "channel")
        pixels = len(ERRORS) * N_FRAMES * SIZE**2
        runs: dict[bool, list[dict[str, Any]]] = {False: [], True: []}
        floors: dict[bool, list[float]] = {False: [], True: []}
        for _ in range(REPEATS):
            for staged, found in runs.items():
                found.append(one_run(channel, true, work / "out", staged=staged))
            for direct, seconds in floors.items():
                seconds.append(floor_seconds(channel, runs[False][-1]["written"], work / "floor", direct=direct))
        buffered, direct = (statistics.median(seconds) for seconds in floors.values())
        walls = [statistics.median(run["wall_s"] for run in found) for found in runs.values()]
        rows = []
        for (staged, found), wall in zip(runs.items(), walls, strict=True):
            way = "by stages" if staged else "one pass"
            middle = sorted(found, key=lambda run: run["wall_s"])[len(found) // 2]
            rows += [{"part": f"{way}: {part}", "wall_s": s} for part, s in middle["parts"].items()]
            rows.append(
                {
                    "part": f"whole pipeline, {way}",
                    "wall_s": wall,
                    "to_stages": wall / walls[1],
                    "cpu_ns_per_pixel": statistics.median(run["cpu_s"] for run in found) / pixels * 1e9,
                    "floor_buffered_s": buffered,
                    "ratio_to_buffered": wall / buffered,
                    "floor_direct_s": direct,
                    "ratio_to_direct": wall / direct,
                    "files": middle["files"],
                    "reference_s": REFERENCE_S,
                    "factor": REFERENCE_S / wall,
                    "worst_position_error_px": max(run["worst_position_error_px"] for run in found),
                }
            )
        report("pipeline", rows)
    finally:
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    main()
