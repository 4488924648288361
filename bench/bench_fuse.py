"""Fusion: nanoseconds per voxel of moving and blending in memory, and of a mosaic from disk to disk.

The mosaic is 2 x 2 tiles of 256 frames of 1024 x 1024 (``--small``: 64 of 512 x 512), overlaps of 15 to 20 %, at
sub-voxel positions. CPU seconds of all threads are divided by the voxels of the output volume; empty corners of the
parallelogram count. A second figure divides by the voxels that a tile covers. spimstitch took 38 to 47 ns (one level)
and 61 ns (five levels) of CPU per voxel. The floor is the system's time to write the same chunk files.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from bench.common import best_seconds, memcpy_bytes_per_s, report
from gpustitch.io.volumes.array import ArrayVolume
from gpustitch.io.volumes.precomputed import PrecomputedVolume
from gpustitch.io.write.format import Writing
from gpustitch.io.write.precomputed import PrecomputedWriter
from gpustitch.model import Box, Coverage, ObliqueScan, PlacedVolume, Spacing
from gpustitch.oblique.fuse import stage as stitch
from gpustitch.oblique.fuse.fuse import fuse_block, plan_block
from gpustitch.oblique.fuse.options import StitchOptions, TreeOptions
from gpustitch.oblique.fuse.stage import plan_tree

REFERENCE_NS = {1: 42.0, 5: 61.0}


def in_memory() -> list[dict[str, Any]]:
    """Blocks of 64 x 256 x 256 voxels from arrays."""
    floor = 4 / memcpy_bytes_per_s() * 1e9
    shape = (66, 516, 516)
    values = np.random.default_rng(0).integers(0, 65536, shape, dtype=np.uint16)
    box = Box.of_shape((64, 256, 256), (1, 257, 257))
    rows = []
    for name, origins in (
        ("one tile, whole voxels", [(0.0, 0.0, 0.0)]),
        ("one tile, sub-voxel", [(0.3, 0.4, 0.6)]),
        ("two tiles along y", [(0.3, 0.4, 0.6), (0.1, 255.7, 0.2)]),
        ("two tiles along x", [(0.3, 0.4, 0.6), (0.1, 0.7, 255.2)]),
        ("four tiles", [(0.3, 0.4, 0.6), (0.1, 255.7, 0.2), (0.3, 0.1, 255.9), (0.2, 255.9, 255.7)]),
    ):
        volume = ArrayVolume(values, Spacing(1, 1, 1), Coverage(shape[2], shape[1], shape[0]))
        plan = plan_block(box, [PlacedVolume(str(n), volume, origin) for n, origin in enumerate(origins)])
        voxels = {number: volume.read(need) for number, need in plan.reads.items()}
        _, cpu = best_seconds(lambda plan=plan, voxels=voxels: fuse_block(plan, voxels))
        ns = cpu / box.size * 1e9
        rows.append(
            {"what": name, "ns/voxel": ns, "floor": "copy 2 bytes", "floor ns": floor, "times floor": ns / floor}
        )
    return rows


def write_tree(root: Path, scan: ObliqueScan) -> None:
    """Write 2 x 2 tiles of noise, overlapping by 20 % along x and 15 % along y, at sub-voxel positions."""
    slab = np.random.default_rng(0).integers(100, 4000, (64, scan.n_rows, scan.n_frames), dtype=np.uint16)
    for i in range(2):
        for j in range(2):
            x = round(10 * i * 0.8 * scan.n_frames * scan.step_um) + 3 * j
            y = round(10 * j * 0.85 * scan.n_rows * scan.pixel_um) + 7 * i
            path = root / f"{x}" / f"{x}_{y}" / "0"
            path.parent.mkdir(parents=True, exist_ok=True)
            sidecar = {"scan": dataclasses.asdict(scan)}
            with PrecomputedWriter(
                path, scan.shape, np.uint16, scan.spacing, Writing(levels=1, sidecar=sidecar)
            ) as writer:
                for z in range(0, scan.n_columns, 64):
                    planes = np.zeros((64, scan.n_rows, scan.shape[2]), np.uint16)
                    for plane in range(64):
                        planes[plane, :, z + plane : z + plane + scan.n_frames] = slab[plane]
                    writer.write(Box((z, 0, 0), (z + 64, scan.n_rows, scan.shape[2])), planes)


def write_files_cpu_s(folder: Path, sizes: list[int]) -> float:
    """CPU seconds to create files of these sizes, with one ``write`` each."""
    data = os.urandom(max(sizes))
    before = cpu_s()
    for number, size in enumerate(sizes):
        (folder / f"{number}").write_bytes(memoryview(data)[:size])
    return cpu_s() - before


def cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def disk_to_disk(scan: ObliqueScan) -> list[dict[str, Any]]:
    """The whole stage, from tiles on disk (cached by the system) to a volume on disk."""
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        write_tree(root / "tiles", scan)
        for levels in (1, 5):
            output = root / f"volume{levels}"
            plan = plan_tree(TreeOptions(root / "tiles"), StitchOptions(output, levels=levels))
            wall, before = time.perf_counter(), cpu_s()
            stitch.run(plan)
            cpu, wall = cpu_s() - before, time.perf_counter() - wall
            covered = _covered(plan)
            volume = plan.shape[0] * plan.shape[1] * plan.shape[2]
            floor_folder = root / f"floor{levels}"
            floor_folder.mkdir()
            floor = write_files_cpu_s(floor_folder, [f.stat().st_size for f in output.rglob("*-*_*-*_*-*")])
            rows.append(
                {
                    "what": f"2 x 2 mosaic, {levels} level{'s' * (levels > 1)}",
                    "ns/voxel": cpu / volume * 1e9,
                    "ns/covered voxel": cpu / covered * 1e9,
                    "floor": "write the files",
                    "floor ns": floor / volume * 1e9,
                    "times floor": cpu / floor,
                    "reference ns": REFERENCE_NS[levels],
                    "factor": REFERENCE_NS[levels] / (cpu / volume * 1e9),
                    "factor, covered": REFERENCE_NS[levels] / (cpu / covered * 1e9),
                    "wall s": wall,
                }
            )
    return rows


def _covered(plan: stitch.StitchPlan) -> int:
    """Number of output voxels that a tile covers: voxels other than 0, as no voxel of these tiles is 0."""
    volume = PrecomputedVolume(plan.options.output)
    return sum(int(np.count_nonzero(volume.read(box))) for box in plan.blocks())


def main() -> None:
    """Run and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="64 frames of 512 x 512 a tile")
    size = (64, 512, 512) if parser.parse_args().small else (256, 1024, 1024)
    report("fuse", in_memory() + disk_to_disk(ObliqueScan(*size, 1.8, 1.8 / 2**0.5)))


if __name__ == "__main__":
    main()
