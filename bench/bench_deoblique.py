"""De-obliquing: the operation alone, and the sweep from frames in memory to written chunks.

Run with ``python -m bench.bench_deoblique [FOLDER]``: the volume is written in FOLDER, by default the temporary folder.
The system's time for new files and pages differs between machines and from minute to minute. The table therefore states
system time separately. The floor is a loop that only writes as many new chunk files.
"""

from __future__ import annotations

import math
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import numpy.typing as npt

from bench.common import best_seconds, memcpy_bytes_per_s, report
from gpustitch.model import Box
from gpustitch.oblique.deskew.deoblique import deoblique
from gpustitch.oblique.deskew.stage import DeobliqueOptions, plan, run

SHAPE = (256, 1024, 1024)
# CPU ns per camera pixel of spimstitch's dcimg2oblique on frames of this shape (EPYC, isotropic with 1 and 5 levels,
# anisotropic with 1).
REFERENCE = {("isotropic", 1): 85.0, ("isotropic", 5): 131.0, ("anisotropic", 1): 562.0}
STEPS = {"isotropic": 1.8 / math.sqrt(2), "anisotropic": 2.0}


class Memory:
    """Frames in memory."""

    absent: frozenset[int] = frozenset()

    def __init__(self, frames: npt.NDArray[Any]) -> None:
        self.frames = frames
        self.shape = frames.shape
        self.dtype = frames.dtype

    def read(self, start: int, stop: int, rows: slice = slice(None), columns: slice = slice(None)) -> npt.NDArray[Any]:
        """A copy, as from a file."""
        return self.frames[start:stop, rows, columns].copy()


def cpu_seconds(function: Callable[[], Any], folder: Path, repeats: int = 3) -> tuple[float, float, float]:
    """User, system and wall-clock seconds of the call with least CPU; ``folder/v`` is removed before each call."""
    results = []
    for _ in range(repeats):
        shutil.rmtree(folder / "v", ignore_errors=True)
        before, start = os.times(), time.perf_counter()
        function()
        after = os.times()
        results.append((after.user - before.user, after.system - before.system, time.perf_counter() - start))
    return min(results, key=lambda result: result[0] + result[1])


def chunk_files(folder: Path, n_chunks: int = 1280) -> dict[str, Any]:
    """The floor of writing: new files of one chunk each, from bytes in memory."""
    chunk = os.urandom(64**3 * 2)

    def write() -> None:
        (folder / "v").mkdir()
        for number in range(n_chunks):
            (folder / "v" / str(number)).write_bytes(chunk)

    user, system, _ = cpu_seconds(write, folder)
    return {"what": "floor: new chunk files", "cpu_ns_per_voxel": (user + system) / n_chunks / 64**3 * 1e9}


def operation(frames: npt.NDArray[Any], name: str, copy_ns: float) -> dict[str, Any]:
    """Blocks of 64 x 1024 x 128 voxels inside the coverage."""
    shear = 1.8 * math.cos(math.pi / 4) / STEPS[name]
    box = Box((0, 0, 100), (64, 1024, 228))
    first = math.floor(100 - 63 * shear)
    window = frames[first:229, :, :64]
    _, cpu = best_seconds(lambda: deoblique(window, box, shear, first_frame=first), repeats=10)
    ns = cpu / box.size * 1e9
    return {"what": f"operation {name}", "cpu_ns_per_voxel": ns, "of_memcpy": ns / copy_ns}


def sweep(frames: npt.NDArray[Any], name: str, levels: int, n_workers: int, folder: Path) -> dict[str, Any]:
    """All steps from frames in memory to the finished volume."""

    def whole() -> None:
        options = DeobliqueOptions(
            "memory", folder / "v", step_um=STEPS[name], levels=levels, n_workers=n_workers, flush=False
        )
        with patch("gpustitch.oblique.deskew.stage.open_frames", lambda _: Memory(frames)):
            run(plan(options))

    user, system, wall = (seconds / frames.size * 1e9 for seconds in cpu_seconds(whole, folder))
    row: dict[str, Any] = {
        "what": f"to chunks {name}",
        "levels": levels,
        "workers": n_workers,
        "user_ns_per_pixel": user,
        "system_ns_per_pixel": system,
        "cpu_ns_per_pixel": user + system,
        "wall_ns_per_pixel": wall,
    }
    if (name, levels) in REFERENCE:
        row["reference_cpu_ns"] = REFERENCE[name, levels]
        row["factor"] = REFERENCE[name, levels] / row["cpu_ns_per_pixel"]
    return row


def main(folder: Path | None) -> None:
    """Measure, print, store."""
    frames = np.random.default_rng(0).integers(0, 65536, SHAPE, np.uint16)
    copy_ns = 2e9 / memcpy_bytes_per_s()
    rows: list[dict[str, Any]] = [{"what": "floor: memcpy of a voxel", "cpu_ns_per_voxel": copy_ns}]
    rows += [operation(frames, name, copy_ns) for name in STEPS]
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        for name, levels, n_workers in (
            ("isotropic", 1, 1), ("isotropic", 5, 1), ("isotropic", 1, 2), ("anisotropic", 1, 1), ("anisotropic", 1, 2),
        ):  # fmt: skip
            rows.append(chunk_files(Path(temporary)))
            rows.append(sweep(frames, name, levels, n_workers, Path(temporary)))
    report("deoblique", rows)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
