"""Slice series: judging, and resampling from DICOM files to volumes, against reading and writing alone."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import dcmread
from pydicom.datadict import DicomDictionary

from bench.bench_z_render import best_in_turn
from bench.common import report
from gpustitch.array import cpu_count
from gpustitch.demo.series.dicom import write_series
from gpustitch.io.write.opening import open_output
from gpustitch.model import Box, Spacing
from gpustitch.ops.pyramid import downsample, signed_too
from gpustitch.regrid.plan import planes_over
from gpustitch.running.threads import ordered_map
from gpustitch.slices.dicom.pixels import DicomPlanes
from gpustitch.slices.model import SliceStack
from gpustitch.slices.verdict.stage import judge
from gpustitch.slices.volume.stage import ResampleOptions, plan, run

_SLICES, _SIDE = 1000, 512
# Files of headers alone, and how many tags each has: as many as CT of large makers.
_HEADERS, _TAGS = 600, 100
_SPACING = Spacing(583.0, 500.0, 500.0)
_OUTPUTS = (
    ("v.nii", None, None),
    ("v.nii", None, 0.4),
    ("v.nii.gz", None, None),
    ("v.tif", None, None),
    ("v", 1, None),
    ("v", None, None),
    ("v.zarr", None, None),
)


def write_head(folder: Path) -> None:
    """Write CT slices 7/12 mm apart, positions rounded to 0.1 mm; noise of 12 bits, as in air and tissue."""
    rng = np.random.default_rng(0)

    def pixels(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        inside = np.hypot(x - 115, y - 108) < 90
        return np.where(inside, 1040, 200) + rng.normal(0, 20, inside.shape) - 1024

    write_series(
        folder, np.arange(_SLICES) * 7 / 12, shape=(_SIDE, _SIDE), pixel_spacing_mm=(0.5, 0.5), decimals=1,
        pixels=pixels, intercept=-1024.0, dtype="uint16", edit=twelve_bits,
    )  # fmt: skip


def twelve_bits(data: Any, _number: int) -> None:
    """Store 12 bits as scanners store CT; rescaled values are int16."""
    data.BitsStored, data.HighBit = 12, 11


def write_headers(folder: Path) -> list[Path]:
    """Write CT slices of few pixels and many tags."""
    values = {"LO": "SOMETHING", "SH": "A", "DS": "1.25", "IS": "3", "DA": "20200101", "TM": "101010.5", "CS": "YES"}
    known = [
        (tag, vr) for tag, (vr, count, _, retired, _) in sorted(DicomDictionary.items())
        if vr in values and count == "1" and not retired and tag >> 16 in (0x0008, 0x0010, 0x0018, 0x0020, 0x0040)
    ]  # fmt: skip

    def edit(data: Any, _number: int) -> None:
        step = len(known) // _TAGS
        for tag, vr in known[::step]:
            if tag not in data and len(data) < _TAGS:
                data.add_new(tag, vr, values[vr])

    return write_series(folder, np.arange(_HEADERS) * 0.625, shape=(64, 64), edit=edit)


def headers_row(folder: Path) -> dict[str, Any]:
    """Judging a folder of headers, beside a loop that lets pydicom read the same headers and does nothing else."""
    paths = write_headers(folder)

    def read() -> None:
        for path in paths:
            dcmread(path, stop_before_pixels=True)

    loop, ours = best_in_turn(read, partial(judged, folder))
    return {
        "what": f"judged, {_HEADERS} headers of {_TAGS} tags",
        "seconds": ours[0],
        "cpu_seconds": ours[1],
        "pydicom_seconds": loop[0],
        "pydicom_cpu_seconds": loop[1],
        "of_pydicom_cpu": ours[1] / loop[1],
    }


def copied(stack: SliceStack, target: Path, levels: int | None, n_planes: int) -> None:
    """The floor: read all slices, and write as many planes as the result has, with the same reader and writer."""
    planes = DicomPlanes(stack.series, stack.order)
    shape = (n_planes, *planes.shape[1:])

    def taken(box: Box) -> tuple[Box, np.ndarray]:
        at = np.arange(box.start[0], box.stop[0]) * planes.shape[0] // n_planes
        voxels = planes.read(int(at[0]), int(at[-1]) + 1)
        return box, voxels if len(voxels) == len(at) else voxels[at - at[0]]

    with open_output(target, shape, planes.dtype, _SPACING, downsample=signed_too(downsample), levels=levels,
                     overwrite=True) as output:  # fmt: skip
        slabs = Box.of_shape(shape).blocks((output.block_shape[0], *planes.shape[1:]))
        for box, voxels in ordered_map(taken, slabs, cpu_count(), in_flight=cpu_count() + 1):
            output.write(box, voxels)


def bytes_copied(folder: Path, target: Path) -> None:
    """Copy the bytes of all files, one after another, into one file, without reading headers or voxels."""
    with target.open("wb", buffering=0) as file:
        for path in sorted(folder.iterdir()):
            file.write(path.read_bytes())


def resampled(stack: SliceStack, target: Path, levels: int | None, spacing_mm: float | None) -> None:
    """From a verdict to a volume."""
    run(plan(ResampleOptions((), target, spacing_mm, stack=stack, levels=levels, overwrite=True)))


def judged(folder: Path) -> SliceStack:
    """From a folder to the verdict."""
    (stack,) = judge([folder])
    return stack


def seconds(function: Callable[[], Any]) -> float:
    """Wall-clock seconds of one call."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def rows(folder: Path | None) -> list[dict[str, Any]]:
    """Judging, then resampling to each format."""
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        here = Path(temporary)
        write_head(here / "in")
        first = seconds(partial(judged, here / "in"))
        ((wall, cpu),) = best_in_turn(partial(judged, here / "in"))
        found = [{"what": f"judged, {_SLICES} slices", "seconds": wall, "cpu_seconds": cpu, "first_seconds": first}]
        found.append(headers_row(here / "headers"))
        stack = judged(here / "in")
        for name, levels, spacing in _OUTPUTS:
            target = here / name
            more = "" if spacing is None else f" at {spacing} mm"
            n_planes = _SLICES if spacing is None else planes_over(float(np.ptp(stack.positions_mm)), spacing)
            floor, plain, ours = best_in_turn(
                partial(copied, stack, target, levels, n_planes),
                partial(bytes_copied, here / "in", here / "bytes"),
                partial(resampled, stack, target, levels, spacing),
                repeats=3,
            )
            found.append(
                {
                    "what": f"resampled{more} to {name}, levels {levels or 'default'}",
                    "seconds": ours[0],
                    "cpu_seconds": ours[1],
                    "ns_per_voxel": ours[0] / (n_planes * _SIDE**2) * 1e9,
                    "read_write_seconds": floor[0],
                    "read_write_cpu_seconds": floor[1],
                    "bytes_seconds": plain[0],
                    "of_read_write": floor[0] / ours[0],
                }
            )
    return found


def main(folder: Path | None) -> None:
    """Measure, print, store."""
    report("slices", rows(folder))


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
