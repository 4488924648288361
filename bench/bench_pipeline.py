"""The whole pipeline on 2 x 2 tiles of 256 frames of 1024 x 1024 pixels, five levels, no destriping.

It runs in one pass and by stages in turn, beside two floors: all real bytes read, and as many as the volume has written
to a new file and flushed, through the page cache and past it.

The bench prints figures only if the pipeline finds the tiles' true positions.
"""

from __future__ import annotations

import os
import shutil
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from bench.channel import ERRORS, PIXEL_UM, STEP_UM, StageTimes, floor_seconds, make_channel, worst_error_px
from bench.common import report, settle_memory
from gpustitch.oblique.fuse.options import StitchOptions
from gpustitch.oblique.pipeline import stage as pipeline
from gpustitch.oblique.pipeline.options import PipelineOptions

N_FRAMES, SIZE = 256, 1024
REFERENCE_S = 400.0
REPEATS = 3


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
        channel, true = make_channel(work / "channel", N_FRAMES, SIZE)
        pixels = len(ERRORS) * N_FRAMES * SIZE**2
        runs: dict[bool, list[dict[str, Any]]] = {False: [], True: []}
        floors: dict[bool, list[float]] = {False: [], True: []}
        for _ in range(REPEATS):
            for staged, found in runs.items():
                settle_memory(work)
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
