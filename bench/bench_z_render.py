"""Resampling sections along z: the operation alone, and from a file to a volume, against reading and writing."""

from __future__ import annotations

import csv
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from bench.common import best_seconds, memcpy_bytes_per_s, report
from gpustitch.array import cpu_count
from gpustitch.io.planes.opening import open_planes
from gpustitch.io.write.opening import open_output
from gpustitch.model import Box, Spacing
from gpustitch.ops.pyramid import downsample
from gpustitch.regrid.plan import ZGrid, deformation, plan_z, planes_within, sorted_series
from gpustitch.regrid.zresample import deformed_planes, planes_between
from gpustitch.running.threads import ordered_map
from gpustitch.sections.render.stage import RenderOptions, plan, run

_SHAPE = (400, 1024, 1024)
_SPACING = Spacing(0.05, 0.01, 0.01)


def positions_of(n: int) -> npt.NDArray[np.float64]:
    """Uneven positions from 0 to n - 1."""
    along = np.cumsum(np.random.default_rng(0).uniform(0.4, 1.6, n))
    return (along - along[0]) / (along[-1] - along[0]) * (n - 1)


def op_rows() -> list[dict[str, Any]]:
    """The operation on one thread, in memory."""
    copy_ns = 1e9 / memcpy_bytes_per_s()
    positions = positions_of(66)
    series = sorted_series(positions)
    grid = ZGrid(0, 1, planes_within(65, 1))
    made = plan_z(series, grid)
    bent = sorted_series(positions[:, None, None] + np.random.default_rng(1).uniform(-0.2, 0.2, (66, 4, 4)))
    rows = []
    for dtype in ("uint8", "uint16", "int16", "float32"):
        planes = np.random.default_rng(2).integers(0, 128, (66, 512, 512)).astype(dtype)
        size = grid.n_planes * planes[0].size
        between = best_seconds(lambda p=planes: planes_between(list(p), made.lower, made.upper, made.weight))[0]
        shape = deformation(bent, (512, 512))
        sections = [planes[i] for i in bent.order]
        local = best_seconds(lambda s=sections, d=shape: deformed_planes(s, d, grid), repeats=2)[0]
        coordinates = np.interp(grid.positions(), positions, np.arange(66.0))[:8, None, None]
        where = np.broadcast_arrays(coordinates, *np.ogrid[:1, :512, :512][1:])
        usual = best_seconds(lambda p=planes, w=where: ndimage.map_coordinates(p, w, order=1), repeats=1)[0]
        rows.append(
            {
                "what": f"{dtype}, one thread",
                "ns_per_voxel": between / size * 1e9,
                "local_ns_per_voxel": local / size * 1e9,
                "map_coordinates_ns": usual / (8 * 512 * 512) * 1e9,
                "copy_ns": copy_ns * planes.itemsize,
            }
        )
    return rows


def copied(source: Path, target: Path, levels: int | None) -> None:
    """The floor: read all planes and write them unchanged, in blocks, with the same reader and writer."""
    planes = open_planes(source)
    with open_output(target, planes.shape, planes.dtype, _SPACING, downsample=downsample, levels=levels,
                     overwrite=True) as output:  # fmt: skip
        depth = output.block_shape[0]
        slabs = Box.of_shape(planes.shape).blocks((depth, *(_rows(output.block_shape[1], planes), planes.shape[2])))
        read = ordered_map(lambda box: (box, planes.read(*_range(box))), slabs, cpu_count())
        for box, voxels in read:
            output.write(box, voxels)


def rendered(options: RenderOptions) -> None:
    """From file to volume."""
    run(plan(options))


def best_in_turn(*functions: Callable[[], None], repeats: int = 4) -> list[tuple[float, float]]:
    """Least wall-clock and CPU seconds of each function; functions run in turn, as other programs run too."""
    seconds: list[list[tuple[float, float]]] = [[] for _ in functions]
    for _ in range(repeats):
        for function, taken in zip(functions, seconds, strict=True):
            wall, cpu = time.perf_counter(), time.process_time()
            function()
            taken.append((time.perf_counter() - wall, time.process_time() - cpu))
    return [(min(wall for wall, _ in taken), min(cpu for _, cpu in taken)) for taken in seconds]


def _rows(block: int, planes: Any) -> int:
    rows: int = planes.shape[1]
    return rows if block >= rows else max(1, 256 // block) * block


def _range(box: Box) -> tuple[int, int, slice, slice]:
    z, y, x = box.slices()
    return z.start, z.stop, y, x


def file_rows(folder: Path | None) -> list[dict[str, Any]]:
    """From a file of planes to volumes."""
    rows = []
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        here = Path(temporary)
        source, table = here / "in.npy", here / "z.csv"
        np.save(source, np.random.default_rng(0).integers(0, 65536, _SHAPE, np.uint16))
        with table.open("w", newline="") as file:
            csv.writer(file).writerows([("z-index", "mapping"), *enumerate(positions_of(_SHAPE[0]).tolist())])
        n_voxels = np.prod(_SHAPE)
        for name, levels in (("v", 1), ("v", None), ("v.zarr", 1), ("v.tif", None)):
            target = here / name
            options = RenderOptions(source, table, target, spacing=_SPACING, levels=levels, overwrite=True)
            floor, ours = best_in_turn(partial(copied, source, target, levels), partial(rendered, options))
            rows.append(
                {
                    "what": f"400 x 1024 x 1024 uint16 to {name}, levels {levels or 'default'}",
                    "ns_per_voxel": ours[0] / n_voxels * 1e9,
                    "cpu_ns_per_voxel": ours[1] / n_voxels * 1e9,
                    "read_write_ns": floor[0] / n_voxels * 1e9,
                    "read_write_cpu_ns": floor[1] / n_voxels * 1e9,
                    "of_read_write": floor[0] / ours[0],
                }
            )
    return rows


def main(folder: Path | None) -> None:
    """Measure, print, store."""
    report("z_render", op_rows() + file_rows(folder))


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
