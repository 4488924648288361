"""What one pass asks of a device for a frame: transfers, bytes, launches, waits. Counted, not timed; no GPU is needed.

A tile of small frames is streamed with ``cuda`` on the stand-in for CuPy: once with n frames, once with 2n. The
difference is that of n frames without what a run costs once. Both are repeated with twice the rows: what grows with
the rows, calls or bytes, is scaled to 2048. Bytes that do are scaled to 2048 columns too, and calls for blocks of the
volume to the slabs of 64 planes that these columns make. As many blocks are made together as would be of 2048 rows.

The stand-in checks each launch and leaves it out: no count depends on what bodies compute, as a test says.
Each function of CuPy counts as one launch, though some take several. On a device the program makes the same calls. What
is *staged* goes up through a copy that the calling thread makes first, all else from pinned memory. What comes down *in
the way* is copied by a stream that also computes, and goes on only after that.
"""

from __future__ import annotations

import math
import sys
import tempfile
import unittest.mock
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from bench.common import report
from gpustitch.array import choose_device
from gpustitch.model import ObliqueScan, PlacedVolume
from gpustitch.oblique.deskew.tile import ObliqueTile
from gpustitch.oblique.destripe.correction import Correction
from gpustitch.oblique.destripe.wavelet_options import WaveletOptions
from gpustitch.oblique.fuse.options import StitchOptions
from gpustitch.oblique.mosaic.placing import PlacedMosaic
from gpustitch.oblique.stream import emission, stage
from tests.cuda_cpu.module import settings
from tests.cuda_cpu.shim import COUNTS, installed

# Columns of four slabs of blocks, and the frames that a block is wide.
N_FRAMES, ROWS, COLUMNS = 128, 24, 256
SLAB, WIDTH = 64, 128
LEVELS, SIDE = 5, 2048
PIXEL_UM = 1.8
# The methods as the pipeline uses them: the guarded notch as frames choose it, pystripe's filter, the light sheet.
METHODS = {
    "none": Correction(dark=100),
    "wavelet": Correction("wavelet", WaveletOptions(notch_length_px=512, level=5), dark=100),
    "pystripe": Correction("wavelet", WaveletOptions(32, 64, level=4), dark=100),
    "lightsheet": Correction("lightsheet", dark=100),
}
# Parts of the pass, by the function of the streaming engine that asks; those of blocks grow with the frames.
OF_BLOCKS = "upright, levels"
PARTS = {
    ("lane", "load"): "read, correct",
    ("lane", "advance"): "read, correct",
    ("intake", "load"): "read, correct",
    ("sweep", "_fuse_rows"): "fuse",
    ("sweep", "_turn_rows"): "turn",
    ("emission", "_emit_together"): OF_BLOCKS,
}
KINDS = {
    "uploads": "uploads", "downloads": "downloads", "bodies": "launches of bodies", "calls": "launches of CuPy's own",
    "waits": "waits inside", "ends": "waits at ends", "frees": "waits for buffers", "backs": "waits for voxels",
}  # fmt: skip
OF_BYTES = {"uploads": "MiB up", "staged": "MiB staged", "downloads": "MiB down", "behind": "MiB down in the way"}
MIB = 1 << 20

Key = TypeVar("Key", bound=tuple[str, ...])


class Frames:
    """Frames in memory: smooth tissue, stripes along the rows, noise, and none saturated."""

    absent: frozenset[int] = frozenset()

    def __init__(self, n_frames: int, rows: int, columns: int) -> None:
        rng = np.random.default_rng(0)
        y, x = np.arange(rows)[:, None], np.arange(columns)
        tissue = 1000 + 300 * np.sin(y / 40) * np.cos(x / 23) + 100 * rng.random((rows, 1))
        few = [tissue + rng.normal(0, 20, tissue.shape) for _ in range(8)]
        self._few = np.array(few).clip(1, 60_000).astype(np.uint16)
        self.shape, self.dtype = (n_frames, rows, columns), self._few.dtype

    def read(self, start: int, stop: int, rows: slice = slice(None), columns: slice = slice(None)) -> npt.NDArray[Any]:
        """Frames ``start <= f < stop``: eight in turn."""
        return self._few[np.arange(start, stop) % len(self._few)][:, rows, columns]


@dataclass(frozen=True)
class Counted:
    """Counts and bytes of a run, by kind and part, and the counts of each place in the code."""

    numbers: dict[tuple[str, str], float]
    n_bytes: dict[tuple[str, str], float]
    places: dict[tuple[str, str, str], float]

    def less(self, other: Counted) -> Counted:
        """What this run has more."""
        return Counted(
            _less(self.numbers, other.numbers), _less(self.n_bytes, other.n_bytes), _less(self.places, other.places)
        )


def _less(counts: dict[Key, float], others: dict[Key, float]) -> dict[Key, float]:
    return {key: counts.get(key, 0) - others.get(key, 0) for key in {**counts, **others}}


def part_of(module: str, function: str) -> str | None:
    """The part of the pass that a function of the streaming engine belongs to; None for other functions."""
    room, _, name = module.rpartition(".")
    return PARTS.get((name, function)) if room == "gpustitch.oblique.stream" else None


def counted(
    correction: Correction, n_frames: int, shape: tuple[int, int] = (ROWS, COLUMNS), *, executes: bool = False
) -> Counted:
    """One pass over a tile of so many frames of ``shape``, with a flat; bodies run if it ``executes`` them."""
    frames = Frames(n_frames, *shape)
    scan = ObliqueScan(*frames.shape, PIXEL_UM, PIXEL_UM / math.sqrt(2))
    flat = np.linspace(0.7, 1, shape[1], dtype=np.float32) * np.ones((shape[0], 1), np.float32)
    volume = ObliqueTile(frames, scan, replace(correction, flat=flat))
    mosaic = PlacedMosaic((PlacedVolume("tile", volume, (0.0, 0.0, 0.0)),), volume.spacing)
    # Blocks of 2048 rows that are made together; as many of few rows.
    together = max(1, emission.TOGETHER_BYTES // (2 * SLAB * SIDE * WIDTH))
    limit = together * 2 * SLAB * shape[0] * WIDTH
    with (
        tempfile.TemporaryDirectory() as folder,
        installed(),
        settings(executes=executes),
        unittest.mock.patch.object(emission, "TOGETHER_BYTES", limit),
    ):
        options = StitchOptions(Path(folder) / "volume", levels=LEVELS, n_workers=2, device=choose_device("cuda"))
        with COUNTS.counted(part_of):
            stage.run(stage.plan(mosaic, options))
    return Counted(dict(COUNTS.numbers), dict(COUNTS.bytes), dict(COUNTS.places))


def per_frame(correction: Correction, n_frames: int = N_FRAMES, shape: tuple[int, int] = (ROWS, COLUMNS)) -> Counted:
    """What each frame of 2048 x 2048 pixels costs in the middle of a run."""
    rows, columns = shape
    few = of_frames(correction, n_frames, (rows, columns))
    more = of_frames(correction, n_frames, (2 * rows, columns)).less(few)  # of as many rows again

    def scaled(key: tuple[str, ...], at_few: float, of_rows: float, *, is_bytes: bool) -> float:
        slabs = SIDE / columns if key[1] == OF_BLOCKS else 1.0
        wider = SIDE / columns if is_bytes else slabs
        return ((at_few - of_rows) * slabs + of_rows * SIDE / rows * wider) / n_frames

    return Counted(
        {key: scaled(key, n, more.numbers[key], is_bytes=False) for key, n in few.numbers.items()},
        {key: scaled(key, n, more.n_bytes[key], is_bytes=True) for key, n in few.n_bytes.items()},
        {key: scaled(key, n, more.places[key], is_bytes=False) for key, n in few.places.items()},
    )


def launches_of_batch(found: Counted) -> float:
    """Launches for each batch of 16 frames, given what each frame costs."""
    return 16 * sum(n for (kind, _), n in found.numbers.items() if kind in ("bodies", "calls"))


def of_frames(correction: Correction, n_frames: int, shape: tuple[int, int]) -> Counted:
    """What so many frames cost more in a run of twice as many."""
    return counted(correction, 2 * n_frames, shape).less(counted(correction, n_frames, shape))


def rows_of(method: str, found: Counted) -> list[dict[str, Any]]:
    """A line for each part of the pass, and one for all."""
    rows = []
    for part in [*dict.fromkeys(PARTS.values()), "all"]:
        parts = {of for _, of in (*found.numbers, *found.n_bytes)} if part == "all" else {part}
        row: dict[str, Any] = {"method": method, "part": part}
        for kind, name in KINDS.items():
            row[name] = sum(found.numbers.get((kind, of), 0) for of in parts)
        for kind, name in OF_BYTES.items():
            row[name] = sum(found.n_bytes.get((kind, of), 0) for of in parts) / MIB
        rows.append(row)
    return rows


def main() -> None:
    """Count all methods, or those that the arguments name; then print the places that ask most too."""
    rows, chosen = [], sys.argv[1:] or list(METHODS)
    for method in chosen:
        found = per_frame(METHODS[method])
        rows += rows_of(method, found)
        if sys.argv[1:]:
            for (kind, part, place), n in sorted(found.places.items(), key=lambda item: -item[1])[:60]:
                print(f"{n:10.3f}  {kind:10} {part:16} {place}")
    if chosen == list(METHODS):
        report("device_counts", rows)
    else:
        print(rows)


if __name__ == "__main__":
    main()
