"""Downsampling by two, and a volume with five levels to written chunks."""

from __future__ import annotations

import itertools
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.common import best_seconds, disk_write_bytes_per_s, memcpy_bytes_per_s, report
from gpustitch.io.write.format import Writing
from gpustitch.io.write.precomputed import PrecomputedWriter
from gpustitch.model import Box, Spacing
from gpustitch.ops.pyramid import downsample


def reshaped_mean(volume: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Downsampling with the usual NumPy expression."""
    z, y, x = (n // 2 for n in volume.shape)
    mean = volume.reshape(z, 2, y, 2, x, 2).mean((1, 3, 5), dtype=np.float32)
    return np.rint(mean).astype(volume.dtype)


def written(volume: npt.NDArray[Any], levels: int, path: Path, writer: str = "tensorstore") -> None:
    """Write the volume by boxes of two whole files, as large runs do."""
    with PrecomputedWriter(
        path, volume.shape, volume.dtype, Spacing(1, 1, 1), Writing(levels=levels, overwrite=True, writer=writer)
    ) as output:
        for box in Box.of_shape(volume.shape).blocks((256, 256, 512)):
            output.write(box, volume[box.slices()])


def main(folder: Path | None) -> None:
    """Measure, print, store."""
    rng = np.random.default_rng(0)
    copy_ns = 2e9 / memcpy_bytes_per_s()
    rows: list[dict[str, Any]] = [
        {"what": "floor: memcpy of a voxel", "cpu_ns_per_voxel": copy_ns},
        {"what": "floor: rewriting one large file", "cpu_ns_per_voxel": 2e9 / disk_write_bytes_per_s(folder)},
    ]
    for shape in ((64, 64, 64), (64, 256, 128), (65, 255, 127)):
        for dtype in (np.uint16, np.float32):
            block = rng.integers(0, 65536, shape).astype(dtype)
            ns = best_seconds(lambda block=block: downsample(block), repeats=20)[1] / block.size * 1e9
            row = {"what": f"downsample {shape} {np.dtype(dtype)}", "cpu_ns_per_voxel": ns, "of_memcpy": ns / copy_ns}
            if all(n % 2 == 0 for n in shape):
                usual = best_seconds(lambda block=block: reshaped_mean(block), repeats=5)[1] / block.size * 1e9
                row |= {"reference_cpu_ns": usual, "factor": usual / ns}
            rows.append(row)
    labels = rng.integers(0, 4, (64, 256, 128)).astype(np.uint32)
    for method in ("max", "mode", "stride"):
        ns = best_seconds(partial(downsample, labels, method), repeats=10)[1] / labels.size * 1e9
        rows.append({"what": f"downsample by {method} {labels.shape} uint32", "cpu_ns_per_voxel": ns})
    volume = rng.integers(0, 65536, (256, 512, 512), np.uint16)
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        path = Path(temporary) / "v"
        for levels, writer in itertools.product((1, 5), ("tensorstore", "direct")):
            wall, cpu = best_seconds(partial(written, volume, levels, path, writer), repeats=3)
            rows.append(
                {
                    "what": f"to shards on the disk, {levels} levels, {writer}",
                    "cpu_ns_per_voxel": cpu / volume.size * 1e9,
                    "wall_ns_per_voxel": wall / volume.size * 1e9,
                }
            )
    report("pyramid", rows)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
