"""Percentile bins and the fit: CPU per pixel and frame, against a copy of the frames and other ways to the bins.

The reference program takes about 150 ms of CPU per frame of 1 Mpixel (143 ns per pixel and frame). At 1024 bins it
holds 26 kB per pixel. Both figures were measured in other runs, on 2 cores of an EPYC.
"""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from bench.common import best_seconds, memcpy_bytes_per_s, report
from gpustitch.io.frames.dcimg_writer import write_dcimg
from gpustitch.oblique.flat.fit import FlatOptions, fit_flat
from gpustitch.oblique.flat.histogram import count_between, histogram, histogram_percentile, percentile_bin
from gpustitch.oblique.flat.options import IlluminationOptions
from gpustitch.oblique.flat.stage import plan, run

REFERENCE_NS = 143.0
N_BINS, WIDTH, BACKGROUND, PERCENTILE = 1024, 4, 150, 95.0


def tissue(n_frames: int, rows: int, columns: int) -> np.ndarray[Any, Any]:
    """Frames of noise that is brightest in the middle."""
    rng = np.random.default_rng(0)
    light = 400 * (1 - 0.5 * (np.linspace(-1, 1, columns) ** 2))
    return rng.poisson(np.broadcast_to(light, (n_frames, rows, columns))).astype(np.uint16) + np.uint16(100)


def row(what: str, seconds: tuple[float, float], size: int, floor_s: float) -> dict[str, Any]:
    """A line of the table; the floor is one pass of memcpy over the frames."""
    wall, cpu = seconds
    ns = cpu / size * 1e9
    return {
        "what": what,
        "cpu ns/pixel/frame": ns,
        "wall ns/pixel/frame": wall / size * 1e9,
        "ms per Mpixel frame": ns * 1.048576,
        "x memcpy": cpu / floor_s,
        "faster than reference": REFERENCE_NS / ns,
    }


def bisected(frames: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Bins by bisection, as in gpustitch."""
    count, bins = np.empty(frames.shape[1:], np.int32), np.empty(frames.shape[1:], np.int32)
    count_between(frames, count, BACKGROUND, N_BINS * WIDTH)
    percentile_bin(frames, count, bins, PERCENTILE, N_BINS, WIDTH, BACKGROUND)
    return bins


def by_histogram(frames: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Bins by a histogram, the definition of the operation."""
    counts = np.zeros((*frames.shape[1:], N_BINS), np.uint16)
    histogram(frames, counts, BACKGROUND, WIDTH)
    bins = np.empty(frames.shape[1:], np.int32)
    histogram_percentile(counts, bins, PERCENTILE)
    return bins


def by_sorting(frames: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """A selection per pixel, for the rank alone: without the background's share of each pixel."""
    values = np.ascontiguousarray(frames.reshape(len(frames), -1).T)
    return np.partition(values, round(PERCENTILE / 100 * len(frames)), axis=1)


def main() -> None:
    """Measure, print, store."""
    rate = memcpy_bytes_per_s()
    rows = []
    for n_frames, height in ((64, 64), (256, 32), (1024, 16)):
        frames = tissue(n_frames, height, 2048)
        floor_s = frames.nbytes / rate
        rows.append(
            row(
                f"bins by bisection, {n_frames} frames",
                best_seconds(functools.partial(bisected, frames)),
                frames.size,
                floor_s,
            )
        )
    few = tissue(256, 4, 2048)
    assert (bisected(few) == by_histogram(few)).all()
    floor_s = few.nbytes / rate
    rows.append(
        row("bins by histogram (definition)", best_seconds(lambda: by_histogram(few), repeats=2), few.size, floor_s)
    )
    rows.append(row("np.partition of each pixel", best_seconds(lambda: by_sorting(few), repeats=2), few.size, floor_s))

    light = np.broadcast_to(tissue(1, 1, 2048)[0] // WIDTH, (2048, 2048)).astype(np.int32)
    seconds = best_seconds(lambda: fit_flat(light, np.full_like(light, 256), FlatOptions()), repeats=2)
    rows.append(row("fit of 2048 x 2048, as of 256 frames", seconds, 256 * light.size, 512 * light.size / rate))

    with tempfile.TemporaryDirectory() as folder:
        frames = tissue(192, 1024, 1024)
        write_dcimg(Path(folder) / "a.dcimg", frames, len(frames), frames.shape[1:])
        options = IlluminationOptions((Path(folder) / "a.dcimg",), Path(folder) / "flat.tiff", overwrite=True)
        work = plan(options)
        seconds = best_seconds(lambda: run(work), repeats=2)
        rows.append(row(f"all of it, DCIMG to TIFF, {len(frames)} frames", seconds, frames.size, frames.nbytes / rate))
        rows[-1]["planned MiB"] = work.peak_bytes / 2**20
    report("illumination", rows)


if __name__ == "__main__":
    main()
