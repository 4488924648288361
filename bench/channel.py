"""A channel of four overlapping tiles with known positions, the time of each part of a run over it, and its floors.

The specimen is a periodic texture of blobs, so that making gigabytes of camera files takes seconds. Known stage errors
displace the tiles.
"""

from __future__ import annotations

import json
import math
import mmap
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from scipy import ndimage

from gpustitch.io.frames.dcimg_writer import write_dcimg
from gpustitch.running.progress import Silent

PIXEL_UM = 1.8
STEP_UM = PIXEL_UM / math.sqrt(2)
# Each tile's true position minus the stage's, in voxels (z, y, x).
ERRORS = ((0, 0, 0), (2, -3, 4), (-1, 5, -2), (3, 2, 1))
# Voxels after which the texture repeats itself, and rows that tiles share.
PERIOD, _OVERLAP = 160, 124


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


def frames(world: np.ndarray, corner: tuple[int, int, int], n_frames: int, size: int) -> Iterator[np.ndarray]:
    """Camera frames of a tile with its first voxel at ``corner``; at 45 degrees pixel (f, r, c) is (c, r, f+c)."""
    rng = np.random.default_rng([v % PERIOD for v in corner])
    z, y, x = corner
    rows = (np.arange(size) + y)[:, None] % PERIOD
    depth = np.arange(size)[None, :]
    for f in range(n_frames):
        clean = world[(depth + z) % PERIOD, rows, (f + depth + x) % PERIOD]
        yield clean + rng.integers(0, 20, clean.shape, np.uint16)


def make_channel(
    folder: Path, n_frames: int, size: int, errors: Sequence[tuple[int, int, int]] = ERRORS
) -> tuple[Path, np.ndarray]:
    """Write a tile for each of ``errors``, of frames of ``size`` x ``size`` pixels.

    Returns the folder and the tiles' true positions in voxels (z, y, x).
    """
    world = texture()
    true = []
    for number, error in enumerate(errors):
        x, y = number // 2 * 140, number % 2 * (size - _OVERLAP)
        names = round(x * STEP_UM * 10), round(y * PIXEL_UM * 10)
        place = (error[0], round(names[1] / 10 / PIXEL_UM) + error[1], round(names[0] / 10 / STEP_UM) + error[2])
        path = folder / f"{names[0]}" / f"{names[0]}_{names[1]}" / "0.dcimg"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_dcimg(path, frames(world, place, n_frames, size), n_frames, (size, size))
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
