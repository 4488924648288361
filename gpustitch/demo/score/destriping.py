"""Destriping judged on frames of one tile, whose truth is known: what each correction leaves, and what it harms.

A correction sees whole frames, as in the pipeline. Stripes, tissue and background are compared in frames, and cells in
de-obliqued ones. Tissue is compared in counts, for a method may leave none of it.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import numpy.typing as npt
import scipy

from gpustitch.demo.phantom.specimen import Scene, render, render_cells, render_tissue, with_blobs
from gpustitch.demo.phantom.truth import TileTruth, Truth
from gpustitch.demo.score.brain import MOST_CHANGED, Figure, cell_figures, raw_frames
from gpustitch.demo.score.compare import Footing, calm_tissue
from gpustitch.demo.score.errors import RowProfile, mean_profile, stripe_energy
from gpustitch.demo.score.volume import measure_cells
from gpustitch.model import Frames
from gpustitch.model.arrays import Bools, Floats32
from gpustitch.oblique.deskew.tile import ObliqueTile
from gpustitch.oblique.destripe.correction import Correction
from gpustitch.running.progress import SILENT, Progress, tracked
from gpustitch.running.threads import ordered_map

NONE, TUNED = "none", "tuned"
STRIPES, TISSUE, RECALL, PRECISION = "stripes left", "tissue error", "cell recall", "cell precision"
KEPT, BACKGROUND, SPREAD, ZEROS = "cell intensity kept", "background, median", "background, spread", "tissue that is 0"

# Frames, and from the middle of each the rows and columns, in which cells are looked for.
_CELL_WINDOW = (64, 160, 256)
_COMPARED_FRAMES = 8
_SEGMENT_PX = 48
# Noise of single pixels is no error of destriping: differences are averaged over so many rows and columns.
_MEAN_PX = (3, 9)
_LEAST_SHARE = 0.5
_LEAST_DOWN = 10.0
# What an image should be whose background is kept, and one with cells alone.
_IDEALS = {False: render, True: render_cells}
# How much the intensity of cells may change. Cells alone are for counting: what is beside them takes some of it.
_MOST_CHANGED = {False: MOST_CHANGED, True: 0.1}


@dataclass(frozen=True)
class KnownFrames:
    """The truth of some frames (frames, rows, columns): light as it should be, calm tissue, and the stripes' gain.

    ``ideal`` is the specimen in counts, float32, ``cells`` what cells add to it. ``calm`` is where tissue is alone.
    """

    ideal: Floats32
    cells: Floats32
    calm: Bools
    gain: Floats32


@dataclass(frozen=True)
class Background:
    """Counts left in calm tissue: median and standard deviation of the pixels, and the share of zeros."""

    median: float
    spread: float
    zeros: float


@dataclass(frozen=True)
class StripesLeft:
    """RMS of the known stripes over the rows, in counts: as made, and what of them is left."""

    made: float
    left: float


def measure_destriping(
    truth: Truth,
    corrections: Mapping[str, Correction],
    *,
    channel: int = 0,
    n_workers: int = 1,
    progress: Progress = SILENT,
) -> dict[str, tuple[Figure, ...]]:
    """Figures of each correction by name, on frames of the first tile; the first name must be `NONE`.

    The corrections `NONE` and `TUNED` have no targets here: the whole run judges the second.
    """
    tile, scene = truth.tiles[0], truth.scene(channel)
    n_frames = min(truth.spec.n_frames, _CELL_WINDOW[0])
    first = (truth.spec.n_frames - n_frames) // 2
    raw = raw_frames(truth, channel)[tile.name].read(first, first + n_frames)
    chosen = np.unique(np.linspace(0, n_frames - 1, _COMPARED_FRAMES).astype(int))
    known = known_frames(truth, tile, scene, first + chosen)
    ideals = {is_alone: functools.cache(partial(ideal, scene)) for is_alone, ideal in _IDEALS.items()}
    figures: dict[str, tuple[Figure, ...]] = {}
    error_of_none = math.nan
    for name, correction in tracked(corrections.items(), progress, "Judging destriping", len(corrections), "methods"):
        is_alone = correction.method == "lightsheet"
        frames = np.stack(list(ordered_map(correction.apply, raw, n_workers)))
        compared = frames[chosen].astype(np.float32)
        if is_alone:
            of_tissue = _background_figures(background_left(compared, known))
        else:
            error = tissue_error(compared, known)
            error_of_none = error if name == NONE else error_of_none
            of_tissue = [_tissue_figure(error, error_of_none)]
        part, volume = _de_obliqued(truth, tile, frames, first)
        removed = scene.tissue if is_alone else 0.0
        cells = measure_cells(part, volume, scene, n_workers, SILENT, ideal_of=ideals[is_alone], removed=removed)
        judged = [_stripe_figure(stripes_left(compared, known, is_alone=is_alone)), *of_tissue]
        weighed = cell_figures(cells, most_changed=_MOST_CHANGED[is_alone])
        judged += [figure for figure in weighed if figure.name in (KEPT, RECALL, PRECISION)]
        has_targets = name not in (NONE, TUNED)
        figures[name] = tuple(f if has_targets else replace(f, target="", passed=None) for f in judged)
    return figures


def known_frames(truth: Truth, tile: TileTruth, scene: Scene, numbers: npt.NDArray[np.int64]) -> KnownFrames:
    """The truth of the tile's frames of these numbers."""
    spec = truth.spec
    parts = [truth.lattice(tile).part((n, 0, 0), (n + 1, spec.n_rows, spec.n_columns)) for n in numbers.tolist()]
    tissue = np.concatenate([render_tissue(scene, part) for part in parts])
    ideal = np.concatenate([with_blobs(t[None].copy(), scene, p) for t, p in zip(tissue, parts, strict=True)])
    cells = np.concatenate([render_cells(scene, part) for part in parts])
    gain = tile.stripes.gain(numbers, spec.n_columns)
    return KnownFrames(ideal, cells, calm_tissue(scene, tissue, ideal), gain)


def stripes_left(image: Floats32, known: KnownFrames, *, is_alone: bool = False) -> StripesLeft:
    """How much of the known stripes is left in frames (frames, rows, columns) of counts, over calm tissue.

    ``is_alone`` says that cells should be alone there, their background removed.
    """
    ideal = known.cells if is_alone else known.ideal
    found = _profiles(image - ideal, known.calm)
    made = _profiles(known.ideal * (known.gain - 1), known.calm)
    number = sum(int(rows.sum()) for _, rows in made)
    energy = sum(float(np.square(profile[rows]).sum()) for profile, rows in made)
    rms = math.sqrt(energy / number) if number else math.nan
    return StripesLeft(rms, rms * math.sqrt(stripe_energy(found, made)))


def tissue_error(image: Floats32, known: KnownFrames) -> float:
    """RMS difference from the ideal in calm tissue, averaged over 3 x 9 pixels, as a fraction of the mean ideal."""
    size = (0, *_MEAN_PX)
    share = scipy.ndimage.uniform_filter(known.calm.astype(np.float32), size, mode="constant")
    difference = np.where(known.calm, image - known.ideal, np.float32(0))
    mean = scipy.ndimage.uniform_filter(difference, size, mode="constant") / np.maximum(share, 1e-6)
    counted = known.calm & (share > _LEAST_SHARE)
    if not counted.any():
        return math.nan
    return float(np.sqrt(np.square(mean[counted], dtype=np.float64).mean()) / known.ideal[counted].mean())


def background_left(image: Floats32, known: KnownFrames) -> Background:
    """Counts over the cells alone in calm tissue, where an image without background is 0."""
    left = (image - known.cells)[known.calm]
    if not left.size:
        return Background(math.nan, math.nan, math.nan)
    return Background(float(np.median(left)), float(left.std()), float((image[known.calm] == 0).mean()))


def _profiles(values: Floats32, calm: Bools) -> list[RowProfile]:
    """Row profiles of each frame and segment of columns alone: stripes begin at a column and change with the frame."""
    n_columns = values.shape[2]
    edges = np.linspace(0, n_columns, max(1, n_columns // _SEGMENT_PX) + 1).astype(int)
    segments = [np.s_[n : n + 1, :, a:b] for n in range(len(values)) for a, b in itertools.pairwise(edges.tolist())]
    return [mean_profile(values[at], calm[at]) for at in segments]


class _InMemory:
    """Corrected frames as `gpustitch.model.Frames`."""

    absent: frozenset[int] = frozenset()

    def __init__(self, frames: npt.NDArray[np.generic]) -> None:
        self._frames = frames
        n, rows, columns = frames.shape
        self.shape, self.dtype = (n, rows, columns), frames.dtype

    def read(
        self, start: int, stop: int, rows: slice = slice(None), columns: slice = slice(None)
    ) -> npt.NDArray[np.generic]:
        return self._frames[start:stop, rows, columns]


def _de_obliqued(
    truth: Truth, tile: TileTruth, frames: npt.NDArray[np.generic], first: int
) -> tuple[Footing, ObliqueTile]:
    """The middle of corrected frames from number ``first`` on, de-obliqued with the true geometry, and its place."""
    shape = [min(n, most) for n, most in zip(frames.shape, _CELL_WINDOW, strict=True)]
    row, column = ((n - m) // 2 for n, m in zip(frames.shape[1:], shape[1:], strict=True))
    spec = replace(truth.spec, n_frames=shape[0], n_rows=shape[1], n_columns=shape[2])
    x, y, z = truth.lattice(tile).point_of(np.array([first, row, column]))[0].tolist()
    part = replace(truth, spec=spec, tiles=(replace(tile, true_um=(x, y, z)),))
    seen: Frames = _InMemory(frames[:, row : row + shape[1], column : column + shape[2]])
    return Footing(part, {tile.name: (0.0, 0.0, 0.0)}, spec.true_pixel_um), ObliqueTile(seen, spec.scan)


def _stripe_figure(stripes: StripesLeft) -> Figure:
    most = stripes.made / math.sqrt(_LEAST_DOWN)
    down = (stripes.made / stripes.left) ** 2 if stripes.left > 0 else math.inf
    note = f"RMS over the rows, {stripes.made:.1f} as made: energy down by {down:.3g} x"
    return Figure(STRIPES, stripes.left, "counts", f"<= {most:.1f}", stripes.left <= most, note)


def _tissue_figure(error: float, error_of_none: float) -> Figure:
    target = f"< {100 * error_of_none:.2f}"
    return Figure(TISSUE, 100 * error, "%", target, error < error_of_none, "RMS; the target is that of none")


def _background_figures(left: Background) -> list[Figure]:
    return [
        Figure(BACKGROUND, left.median, "counts"),
        Figure(SPREAD, left.spread, "counts"),
        Figure(ZEROS, 100 * left.zeros, "%"),
    ]
