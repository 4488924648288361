"""Real size: what 10 TB of camera files will take, and a volume of more than 2**32 voxels from end to end.

The files are sparse: they have all of their length, and almost nothing on the disk. Frames are black but for marks in a
few of them, the first and the last included, at places known in the volume. The bench fails if a mark is elsewhere.
"""

from __future__ import annotations

import math
import shutil
import struct
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from bench.common import report
from gpustitch.io.frames import dcimg_writer
from gpustitch.io.volumes.opening import open_volume
from gpustitch.model import Box
from gpustitch.oblique.fuse.options import StitchOptions
from gpustitch.oblique.pipeline import stage as pipeline
from gpustitch.oblique.pipeline.options import PipelineOptions

SIDE, PIXEL_UM = 2048, 1.8
STEP_UM = PIXEL_UM / math.sqrt(2)  # a column for each frame: a pixel is a voxel
TILES, N_FRAMES = (1, 10, 6), 20_000  # along x, y, z: 10 TB
MARKED, MARKS = 1100, (0, 517, 1099)  # frames of the run from end to end, and those that have a mark
_MARK = 40_000


def sparse_dcimg(path: Path, n_frames: int) -> int:
    """A file of black frames without footers; the offset of its first frame."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        small = Path(folder, "small.dcimg")
        dcimg_writer.write_dcimg(small, [np.zeros((SIDE, SIDE), np.uint16)], 1, (SIDE, SIDE))
        with small.open("rb") as file:
            header = bytearray(file.read(4096))
    (session,) = struct.unpack_from("<I", header, 0x28)
    (data,) = struct.unpack_from("<Q", header, session + 96)
    first = session + data
    size = first + n_frames * SIDE * SIDE * 2
    struct.pack_into("<IIIIQQQ", header, 0x20, 1, n_frames, session, 0, size, 0, size)
    struct.pack_into("<Q", header, session, size - session)
    struct.pack_into("<I", header, session + 60, n_frames)
    struct.pack_into("<I", header, session + 124, 0)  # no footer
    with path.open("wb") as file:
        file.write(header[:first])
        file.truncate(size)
    return first


def options_of(channel: Path, out: Path, **changed: Any) -> PipelineOptions:
    """A run without flat and destriping, whose frames stand upright."""
    stitch = StitchOptions(out, levels=7)
    options = PipelineOptions(
        channel, out, STEP_UM, PIXEL_UM, stitch=stitch, preset="plain", correct_flat=False, **changed
    )
    return replace(options, correction=replace(options.correction, method="none"))


def ten_terabytes(folder: Path) -> dict[str, Any]:
    """Plan the run over 60 tiles, and say how long that takes and what it foretells."""
    n_x, n_y, n_z = TILES
    for x, y, z in np.ndindex(n_x, n_y, n_z):
        steps = x * N_FRAMES * STEP_UM * 0.9, y * SIDE * PIXEL_UM * 0.9, z * SIDE * PIXEL_UM / math.sqrt(2) * 0.9
        names = [f"{round(10 * um)}" for um in steps]
        sparse_dcimg(folder / names[0] / f"{names[0]}_{names[1]}" / f"{names[2]}.dcimg", N_FRAMES)
    begin = time.perf_counter()
    planned = pipeline.plan(options_of(folder, folder.with_name("out"), dry_run=True, memory_bytes=64 << 30))
    foreseen = planned.foreseen
    return {
        "part": "plan of 10 TB",
        "wall_s": time.perf_counter() - begin,
        "frames": sum(job.scan.n_frames for job in planned.tiles),
        "voxels": math.prod(foreseen.volume.shape),
        "files": sum(foreseen.volume.n_files),
        "disk_bytes": foreseen.disk_bytes,
        "memory_bytes": foreseen.memory_bytes,
    }


def end_to_end(folder: Path) -> dict[str, Any]:
    """Make a volume of more than 2**32 voxels, and look for the marks."""
    path = folder / "0" / "0_0" / "0.dcimg"
    first = sparse_dcimg(path, MARKED)
    corners = [(row, column) for row in (0, SIDE - 1) for column in (0, SIDE - 1)]
    with path.open("r+b") as file:
        for frame in MARKS:
            for number, (row, column) in enumerate(corners):
                file.seek(first + ((frame * SIDE + row) * SIDE + column) * 2)
                file.write(struct.pack("<H", _MARK + 10 * frame + number))
    out = folder.with_name("out")
    begin = time.perf_counter()
    result = pipeline.run(pipeline.plan(options_of(folder, out)))
    seconds = time.perf_counter() - begin
    volume = open_volume(result.volume)
    for frame in MARKS:
        for number, (row, column) in enumerate(corners):
            at = (column, row, frame + column)  # (z, y, x): the sheet leans by a voxel for each column
            found = int(volume.read(Box.of_shape((1, 1, 1), at))[0, 0, 0])
            if found != (_MARK + 10 * frame + number) % 65536:
                raise SystemExit(f"frame {frame}, row {row}, column {column}: {found} at {at}")
    voxels = math.prod(result.stitched.shape)
    assert voxels > 1 << 32
    return {
        "part": "from end to end",
        "wall_s": seconds,
        "frames": MARKED,
        "voxels": voxels,
        "files": sum(1 for file in result.volume.rglob("*") if file.is_file()),
        "ns_per_pixel": seconds / (MARKED * SIDE * SIDE) * 1e9,
    }


def main() -> None:
    """Do both, and print the figures."""
    work = Path(tempfile.mkdtemp(prefix="bench-real-size-"))
    try:
        report("real_size", [ten_terabytes(work / "large"), end_to_end(work / "long")])
    finally:
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    main()
