"""One pass over 2 x 2 tiles of 256 frames of 1024 x 1024 pixels by one process, by two, and by two workers of dask.

The alignment is given and the light is left as it is, so that only the shared part is measured. Each way takes its turn
three times; the medians count.
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

from bench.channel import ERRORS, PIXEL_UM, STEP_UM, StageTimes, make_channel
from bench.common import report, settle_memory
from gpustitch.oblique.fuse.options import StitchOptions
from gpustitch.oblique.pipeline import stage as pipeline
from gpustitch.oblique.pipeline.options import ALIGNMENT, PipelineOptions

N_FRAMES, SIZE, REPEATS = 256, 1024, 3
WAYS: dict[str, dict[str, Any]] = {
    "one process of one thread": {"n_processes": 1, "n_workers": 1},
    "two processes": {"n_processes": 2, "n_workers": 2},
    "two workers of dask": {"cluster": "local:2", "n_workers": 2},
}


def one_run(channel: Path, out: Path, alignment: Path | None, way: dict[str, Any]) -> dict[str, float]:
    """Seconds of one run, and of its last part alone: without the start of processes that it waits for."""
    options = PipelineOptions(channel, out, STEP_UM, PIXEL_UM, stitch=StitchOptions(out, levels=5), report=False)
    options = replace(options, correction=replace(options.correction, method="none"), correct_flat=False)
    times = StageTimes()
    begin, cpu = time.perf_counter(), sum(os.times()[:4])
    pipeline.run(pipeline.plan(replace(options, align_file=alignment, **way)), times)
    end = time.perf_counter()
    return {"wall_s": end - begin, "volume_s": times.seconds(end)["stitch"], "cpu_s": sum(os.times()[:4]) - cpu}


def main() -> None:
    """Make the channel, align it, and print how long the rest takes each way."""
    work = Path(tempfile.mkdtemp(prefix="bench-cluster-"))
    try:
        channel, _ = make_channel(work / "channel", N_FRAMES, SIZE)
        out, alignment = work / "out", work / ALIGNMENT
        one_run(channel, out, None, {})
        shutil.copy(out / ALIGNMENT, alignment)
        runs: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
        for _ in range(REPEATS):
            for way, found in runs.items():
                shutil.rmtree(out)
                settle_memory(work)
                found.append(one_run(channel, out, alignment, WAYS[way]))
        middle = {
            way: {name: statistics.median(run[name] for run in found) for name in found[0]}
            for way, found in runs.items()
        }
        one, processes, _ = (found["volume_s"] for found in middle.values())
        pixels = len(ERRORS) * N_FRAMES * SIZE**2
        rows = [
            {
                "way": way,
                **found,
                "cpu_ns_per_pixel": found["cpu_s"] / pixels * 1e9,
                "to_one": one / found["volume_s"],
                "to_processes": processes / found["volume_s"],
            }
            for way, found in middle.items()
        ]
        report("cluster", rows)
    finally:
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    main()
