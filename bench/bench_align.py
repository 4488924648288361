"""Aligning one overlap: CPU time of a link, against its steps in library calls and scikit-image's masked search.

The first reference is what the same number of points costs with SciPy's and NumPy's own calls. The second is
``phase_cross_correlation`` with masks on the whole overlap, in a process that is stopped after ``LIMIT_S`` of CPU time.
Tiles are so small that it takes seconds. Last comes the search for a pattern of the camera, beside the links of the
same tiles. All of it takes some two minutes.
"""

from __future__ import annotations

import functools
import math
import multiprocessing
import resource
import time
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
from scipy import ndimage
from skimage.registration import phase_cross_correlation

from bench.bench_correlate import SIGMA_PX, SPACING, corrcoef_27, scipy_blobs
from bench.common import best_seconds, report
from gpustitch.array import CPU
from gpustitch.io.volumes.array import ArrayVolume
from gpustitch.model import ObliqueScan
from gpustitch.oblique.align.link import link_tiles
from gpustitch.oblique.align.matching import MatchOptions
from gpustitch.oblique.align.overlaps.camera_pattern import find_still
from gpustitch.oblique.align.points import Overlap
from gpustitch.oblique.deskew.tile import ObliqueTile
from gpustitch.running.threads import Workers

SHAPE = (100, 260, 210)
# Where the moving tile is, against the stage, in voxels (z, y, x).
ERROR = (3, -4, 5)
WIDE, NARROW = (0, 140, 0), (0, 234, 0)
# Mean number of steps of the ascent from the stage position.
STEPS = 5
# Frames of the tiles in which a pattern of the camera is sought, and their sides.
N_FRAMES, FRAME = 300, 2048
LIMIT_S = 60.0


def tissue(shape: tuple[int, ...], empty_from: int | None = None) -> np.ndarray:
    """Cells of about 8 um in a smooth background, with shot noise; nothing from a column on, if one is named."""
    rng = np.random.default_rng(0)
    cells = np.zeros(shape, np.float32)
    at = tuple(rng.integers(0, n, int(np.prod(shape) / 1500)) for n in shape)
    cells[at] = rng.uniform(2e4, 2e5, len(at[0]))
    image = 300 + ndimage.gaussian_filter(cells, 2.0)
    image[:, :, empty_from if empty_from is not None else shape[2] :] = 100
    return rng.poisson(image).astype(np.uint16)


def tiles(nominal: tuple[int, int, int], empty_from: int | None = None) -> tuple[np.ndarray, np.ndarray, list[int]]:
    """Two tiles and the true place of the second."""
    place = [n + e for n, e in zip(nominal, ERROR, strict=True)]
    whole = tissue(tuple(n + max(0, p) for n, p in zip(SHAPE, place, strict=True)), empty_from)
    first = whole[: SHAPE[0], : SHAPE[1], : SHAPE[2]]
    return first, whole[tuple(slice(p, p + n) for p, n in zip(place, SHAPE, strict=True))], place


def steps_seconds(window: int, block: np.ndarray) -> float:
    """CPU seconds of one point: one search for blobs, two smoothed windows, and ``STEPS`` steps of 27 correlations."""
    half = window // 2
    centre = [n // 2 for n in block.shape]
    fixed = block[tuple(slice(c - half, c + half + 1) for c in centre)]
    moving = block[tuple(slice(c - half - 11, c + half + 12) for c in centre)]
    patch = block[tuple(slice(c - 32, c + 32) for c in centre)]

    def point() -> None:
        scipy_blobs(patch)
        f = ndimage.gaussian_filter(fixed.astype(np.float32), SIGMA_PX)
        m = ndimage.gaussian_filter(moving.astype(np.float32), SIGMA_PX)
        for _ in range(STEPS):
            corrcoef_27(f, m[10:-10, 10:-10, 10:-10])

    return best_seconds(point, repeats=3)[1]


@functools.cache
def masked_search(nominal: tuple[int, int, int], empty_from: int | None) -> tuple[float, float] | None:
    """CPU seconds of scikit-image's search, and its error in voxels; None if it was stopped at the limit."""
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_search, args=(nominal, empty_from, there))
    process.start()
    there.close()
    try:
        found: tuple[float, float] = here.recv()
    except EOFError:
        return None
    finally:
        process.join()
    return found


def _search(nominal: tuple[int, int, int], empty_from: int | None, to: Connection) -> None:
    """The stage's overlap of both tiles is searched whole, and every voxel counts."""
    first, second, place = tiles(nominal, empty_from)
    z, y, x = nominal
    fixed, moving = first[z:, y:, x:], second[: SHAPE[0] - z, : SHAPE[1] - y, : SHAPE[2] - x]
    mask = np.ones(fixed.shape, np.bool_)
    start = time.process_time()
    resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(start + LIMIT_S), resource.RLIM_INFINITY))
    shift = phase_cross_correlation(fixed, moving, reference_mask=mask, moving_mask=mask, overlap_ratio=0.3)[0]
    to.send((time.process_time() - start, float(np.abs(np.add(nominal, shift) - place).max())))


def measured(name: str, nominal: tuple[int, int, int], empty_from: int | None, options: MatchOptions) -> dict[str, Any]:
    """One case as a row."""
    first, second, place = tiles(nominal, empty_from)
    overlap = Overlap(ArrayVolume(first, SPACING), ArrayVolume(second, SPACING), nominal)
    reach = options.reach_px(nominal, 0.0)

    def link(*, may_move: bool = True) -> Any:
        rng, workers = np.random.default_rng(0), Workers(2, CPU)
        return link_tiles(overlap, ("a", "b"), options, reach, rng, workers, may_move=may_move)

    wall, cpu = best_seconds(link, repeats=3)
    believed = best_seconds(lambda: link(may_move=False), repeats=3)[1]
    found, _ = link()
    assert not found.reason, found.reason
    steps = options.sample_count * steps_seconds(options.largest_px[0], first)
    search = masked_search(nominal, empty_from)
    return {
        "case": name,
        "CPU ms/link": cpu * 1e3,
        "wall ms/link": wall * 1e3,
        "objects believed, CPU ms": believed * 1e3,
        "error (voxels)": float(np.abs(np.subtract(found.offset_px, place)).max()),
        "its points by library calls, CPU ms": steps * 1e3,
        "factor": steps / cpu,
        "masked search, CPU ms": search[0] * 1e3 if search else f"more than {LIMIT_S * 1e3:g}",
        "its factor": (search[0] if search else LIMIT_S) / cpu,
        "its error (voxels)": search[1] if search else "",
    }


class Repeated:
    """Camera frames of one periodic picture (frame, row, column), with a pattern that stands still, or none."""

    def __init__(self, picture: np.ndarray, begin: tuple[int, int], pattern: np.ndarray) -> None:
        self._picture, self._begin, self._pattern = picture, begin, pattern
        self.shape, self.dtype = (N_FRAMES, *pattern.shape), picture.dtype
        self.absent: frozenset[int] = frozenset()

    def read(self, start: int, stop: int, rows: slice = slice(None), columns: slice = slice(None)) -> np.ndarray:
        """Some frames, or parts of them."""
        n = self._picture.shape
        frames = (np.arange(start, stop) + self._begin[0]) % n[0]
        row = (np.arange(*rows.indices(self.shape[1])) + self._begin[1]) % n[1]
        column = np.arange(*columns.indices(self.shape[2])) % n[2]
        return self._picture[np.ix_(frames, row, column)] + self._pattern[rows, columns]


def pattern_measured(name: str, is_there: bool) -> dict[str, Any]:
    """The search for a pattern in four tiles of full frames, and their links without it."""
    rng = np.random.default_rng(0)
    picture = ndimage.gaussian_filter(rng.standard_normal((101, 163, 149), np.float32), 2.5, mode="wrap")
    picture = rng.poisson(300 + 60 * picture / picture.std()).astype(np.uint16)
    spots = rng.random((FRAME, FRAME)) < (1e-3 if is_there else 0)
    pattern = (spots * rng.exponential(2000, spots.shape)).astype(np.uint16)
    scan = ObliqueScan(N_FRAMES, FRAME, FRAME, 1.8, 1.8 / math.sqrt(2), 45.0)
    places = {f"{y}{x}": (180 * x, 1843 * y) for y in range(2) for x in range(2)}
    volumes = {key: ObliqueTile(Repeated(picture, place, pattern), scan) for key, place in places.items()}
    stage = {key: (frame * scan.step_um, row * 1.8, 0.0) for key, (frame, row) in places.items()}
    start = time.process_time()
    still, n_bytes = find_still(volumes, stage, 2.5)
    search = time.process_time() - start
    assert (still is not None) == is_there
    start = time.process_time()
    for a, b in (("00", "01"), ("10", "11"), ("00", "10"), ("01", "11")):
        frame, row = (q - p for p, q in zip(places[a], places[b], strict=True))
        overlap, options = Overlap(volumes[a], volumes[b], (0, row, frame)), MatchOptions()
        reach, workers = options.reach_px(overlap.offset, 0.0), Workers(2, CPU)
        rng = np.random.default_rng(0)
        link_tiles(overlap, (a, b), options, reach, rng, workers, still, may_move=True)
    links = time.process_time() - start
    return {"case": name, "CPU ms/link": links / 4 * 1e3, "search, CPU ms": search * 1e3, "read, MiB": n_bytes / 2**20}


def main() -> None:
    few = MatchOptions()
    many = MatchOptions(sample_count=100, largest_px=(51, 51, 51))
    cases = (
        ("20 points, 21^3", WIDE, None, few),
        ("100 points, 51^3", WIDE, None, many),
        ("10 % overlap, 20 points, 21^3", NARROW, None, few),
        ("10 % overlap, 100 points, 51^3 or smaller", NARROW, None, many),
        ("half of it empty, 20 points, 21^3", WIDE, SHAPE[2] // 2, few),
    )
    searches = (("camera pattern, 2048^2, none there", False), ("camera pattern, 2048^2, there", True))
    report("align", [*(measured(*case) for case in cases), *(pattern_measured(*case) for case in searches)])


if __name__ == "__main__":
    main()
