"""The most memory that the pipeline holds, against what it may hold and what it foretold.

Two tiles of 150 frames of 2048 x 2048 pixels that overlap along y are stitched, each run in a process of its own: with
each way of destriping, and each limit. The peak is that of the process as the system counts it, or of all its processes
together as the run has seen it once a second. What cannot fit is refused, with the least that can. By hand:
``python -m bench.bench_memory FOLDER METHOD GIB``.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.channel import ERRORS, PIXEL_UM, STEP_UM, make_channel
from bench.common import report
from gpustitch.errors import ParameterError
from gpustitch.oblique.fuse.options import StitchOptions
from gpustitch.oblique.pipeline import stage as pipeline
from gpustitch.oblique.pipeline.options import PipelineOptions

N_FRAMES, SIZE = 150, 2048
METHODS = ("none", "wavelet", "lightsheet")
LIMITS_GIB = (1.0, 2.0, 8.0)


def made_channel(folder: Path) -> Path:
    """The first two tiles of the bench of the pipeline, of larger frames."""
    return make_channel(folder, N_FRAMES, SIZE, ERRORS[:2])[0]


def one_run(folder: Path, method: str, gib: float) -> dict[str, Any]:
    """Figures of a run in this process, whose output is removed."""
    channel, out = folder / "channel", folder / "out"
    stitch = StitchOptions(out, levels=5)
    stitch = replace(stitch, intensity=replace(stitch.intensity, is_estimated=method == "none"))
    options = PipelineOptions(channel, out, STEP_UM, PIXEL_UM, stitch=stitch, preset="plain", n_workers=2)
    options = replace(
        options,
        correction=replace(options.correction, method=method),
        memory_bytes=int(gib * 2**30),
        restart=True,
    )
    row: dict[str, Any] = {"method": method, "limit_gib": gib}
    try:
        plan = pipeline.plan(options)
    except ParameterError as error:
        return row | {"refused": str(error)}
    row |= {"is_staged": plan.options.writes_tiles, "n_workers": plan.options.n_workers}
    row["foretold_gib"] = plan.foreseen.memory_bytes / 2**30
    pipeline.run(plan)
    of_all = json.loads((out / "run.json").read_text())["runs"][-1]["peak_memory_bytes"] / 2**30
    shutil.rmtree(out)
    status = Path("/proc/self/status").read_text("ascii").splitlines()
    peak = max(of_all, next(int(line.split()[1]) for line in status if line.startswith("VmHWM:")) / 2**20)
    return row | {"peak_gib": peak, "of_limit": peak / gib, "of_foretold": peak / row["foretold_gib"]}


def main() -> None:
    """Make the channel and stitch it in each way, or in the one that the arguments name."""
    if arguments := sys.argv[1:]:
        print(json.dumps(one_run(Path(arguments[0]), arguments[1], float(arguments[2]))))
        return
    work = Path(tempfile.mkdtemp(prefix="bench-memory-"))
    try:
        made_channel(work / "channel")
        rows = []
        for method in METHODS:
            for gib in LIMITS_GIB:
                command = [sys.executable, "-m", "bench.bench_memory", str(work), method, str(gib)]
                run = subprocess.run(command, capture_output=True, text=True, check=True)
                rows.append(json.loads(run.stdout.splitlines()[-1]))
        report("memory", rows)
    finally:
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    main()
