"""Measures a stitched phantom against the truth; every figure comes from the files that the run wrote."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import scipy

from gpustitch.demo.phantom.truth import Truth
from gpustitch.demo.score.compare import Footing
from gpustitch.demo.score.errors import flat_rmse, position_errors
from gpustitch.demo.score.volume import (
    CellFigures,
    SeamFigures,
    StripeFigures,
    measure_cells,
    measure_seams,
    measure_stripes,
)
from gpustitch.errors import InputMissingError, ParameterError
from gpustitch.io.atomic import atomic_file
from gpustitch.io.frames.dcimg import DcimgFrames
from gpustitch.io.frames.opening import Oriented
from gpustitch.io.images.files import read_image
from gpustitch.io.volumes.opening import open_volume
from gpustitch.io.volumes.precomputed import PrecomputedVolume
from gpustitch.model import Frames, Volume
from gpustitch.oblique.mosaic.file import read_alignment
from gpustitch.oblique.mosaic.folders import find_volume_mosaic
from gpustitch.running.progress import SILENT, Progress
from gpustitch.running.threads import checked_workers

# The pipeline's preset that turns a phantom's frames upright.
CHUNGLAB_ROTATE_90 = 3
CHUNGLAB_FLIP_UD = True
MOST_CHANGED = 0.03  # of the median cell's intensity
# Half width of a 95 % interval in standard errors; how often right intervals do not miss their target.
_HALF_95, _RIGHT_BY_CHANCE = 1.96, 0.99
REPORT_SCHEMA = 1  # of report.json


@dataclass(frozen=True)
class Solved:
    """The result of alignment: tile positions (z, y, x) in mosaic voxels by name, and the estimated pixel size.

    ``sigma_px`` are the standard errors of positions, for the tiles of which they are stated.
    """

    origin_px: Mapping[str, tuple[float, float, float]]
    pixel_estimate_um: float | None
    pixel_uncertainty_um: float | None
    sigma_px: Mapping[str, tuple[float, float, float]] = field(default_factory=dict)

    @classmethod
    def read(cls, alignment: Path, volume: Path) -> Solved:
        """The result in an alignment file, in voxels of a stitched volume."""
        found = read_alignment(alignment)
        placement = found.placement(PrecomputedVolume(volume).spacing)
        size = found.voxel_size_estimate_um, found.voxel_size_uncertainty_um
        return cls(placement.origin_px, *size, placement.sigma_px)


@dataclass(frozen=True)
class EvaluateOptions:
    """A phantom and the outputs for one of its channels.

    ``flat`` is None if no flat field was estimated. ``tiles`` is the folder of the single tiles' volumes, None if they
    were not kept. Without ``tiles``, destriping's remains at tile borders count as seams.
    """

    truth: Truth
    volume: Path
    solved: Solved
    flat: Path | None = None
    tiles: Path | None = None
    channel: int = 0
    destriped: bool = True
    n_workers: int | None = None


@dataclass(frozen=True)
class EvaluatePlan:
    """The options, and the positions that the solution gives the mosaic's voxels."""

    options: EvaluateOptions
    footing: Footing
    n_workers: int


@dataclass(frozen=True)
class Figure:
    """One figure of the evaluation; ``passed`` is None where there is no target."""

    name: str
    value: float
    unit: str
    target: str = ""
    passed: bool | None = None
    note: str = ""


@dataclass(frozen=True)
class Evaluation:
    """All figures, a record for each tile, and figures of each way of destriping and of aligning by its name."""

    figures: tuple[Figure, ...]
    tiles: tuple[Mapping[str, Any], ...]
    destriping: Mapping[str, tuple[Figure, ...]] = field(default_factory=dict)
    alignment: Mapping[str, tuple[Figure, ...]] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Whether no target is missed."""
        parts = (self.figures, *self.destriping.values(), *self.alignment.values())
        return all(figure.passed is not False for part in parts for figure in part)

    def figure(self, name: str) -> Figure:
        """The figure of that name; KeyError if there is none."""
        return {figure.name: figure for figure in self.figures}[name]

    def write(self, path: Path, *, overwrite: bool = True, **more: Any) -> None:
        """Write the figures as JSON."""
        record = {
            "schema": REPORT_SCHEMA,
            "passed": self.passed,
            "figures": [_json(figure) for figure in self.figures],
            "destriping": {name: [_json(figure) for figure in part] for name, part in self.destriping.items()},
            "alignment": {name: [_json(figure) for figure in part] for name, part in self.alignment.items()},
            "tiles": self.tiles,
        }
        with atomic_file(path, overwrite=overwrite) as partial:
            partial.write_text(json.dumps({**record, **more}, indent=1) + "\n", encoding="utf-8")


def plan(options: EvaluateOptions) -> EvaluatePlan:
    """Open the outputs to measure.

    Raises
    ------
    InputMissingError, DamagedInputError
        If the volume, the flat or a solved position is missing or cannot be read.
    ParameterError
        If the phantom has no such channel.
    """
    if not 0 <= options.channel < options.truth.spec.n_channels:
        raise ParameterError(
            f"the phantom has {options.truth.spec.n_channels} channels, so none of number {options.channel}"
        )
    if options.flat is not None and not options.flat.is_file():
        raise InputMissingError(f"{options.flat} is missing: there is no flat field to evaluate")
    volume = PrecomputedVolume(options.volume)
    footing = Footing(options.truth, options.solved.origin_px, volume.spacing.y_um)
    footing.solved_px()
    return EvaluatePlan(options, footing, checked_workers(options.n_workers))


def run(plan: EvaluatePlan, progress: Progress = SILENT) -> Evaluation:
    """Measure everything."""
    options, footing = plan.options, plan.footing
    volume = PrecomputedVolume(options.volume)
    scene = options.truth.scene(options.channel)
    figures, tiles = alignment_figures(footing, options.solved)
    if options.flat is not None:
        error = flat_rmse(read_image(options.flat), options.truth.spec.flat())
        figures.append(Figure("flat-field RMSE", 100 * error, "%", "<= 2", error <= 0.02))
    if options.truth.spec.stripe_strength > 0 and options.destriped:
        progress.note("Measuring stripes in raw frames and in the stitched volume")
        figures += stripe_figures(measure_stripes(footing, volume, scene, raw_frames(options.truth, options.channel)))
    figures += cell_figures(measure_cells(footing, volume, scene, plan.n_workers, progress))
    progress.note("Measuring steps across tile borders")
    figures += seam_figures(measure_seams(footing, volume, scene, _tile_volumes(options), plan.n_workers))
    return Evaluation(tuple(figures), tuple(tiles))


def _tile_volumes(options: EvaluateOptions) -> dict[str, Volume] | None:
    if options.tiles is None:
        return None
    return {tile.name: open_volume(tile.path) for tile in find_volume_mosaic(options.tiles).tiles}


def raw_frames(truth: Truth, channel: int) -> dict[str, Frames]:
    """Upright raw frames of every tile by name."""
    frames: dict[str, Frames] = {}
    for tile in truth.tiles:
        file = DcimgFrames(truth.channel(channel) / tile.path)
        frames[tile.name] = Oriented(file, CHUNGLAB_ROTATE_90, CHUNGLAB_FLIP_UD) if truth.spec.chunglab else file
    return frames


def alignment_figures(footing: Footing, solved: Solved) -> tuple[list[Figure], list[dict[str, Any]]]:
    """Errors of tile positions and of the y voxel size, and whether what is stated of them holds; tiles as records."""
    figures, tiles = position_figures(footing)
    figures.append(interval_figure(footing, solved.sigma_px))
    return figures + pixel_figures(footing.truth, solved), tiles


def interval_figure(footing: Footing, sigma_px: Mapping[str, tuple[float, float, float]]) -> Figure:
    """How many positions, along each axis, lie within the 95 % interval that their standard error states.

    So few are a miss as chance leaves in one of a hundred mosaics whose intervals are right.
    """
    name = "positions within their stated 95 %"
    stated = [n for n, tile in enumerate(footing.truth.tiles) if tile.name in sigma_px]
    if not stated:
        return Figure(name, math.nan, "%", note="no standard errors are stated")
    errors = position_errors(footing.solved_px(), footing.true_px(), footing.spacing_um).error_px[stated]
    sigma = np.array([sigma_px[footing.truth.tiles[n].name] for n in stated])
    held = float(np.mean(np.abs(errors) <= _HALF_95 * sigma))
    # Errors relative to the mean of all tiles: those of one tile follow from the others.
    n_free = 3 * max(1, len(stated) - 1)
    least = 1 - float(scipy.stats.binom.ppf(_RIGHT_BY_CHANCE, n_free, 0.05)) / n_free
    worst = f"worst standard error {float(sigma.max()):.2g} voxel"
    return Figure(
        name, 100 * held, "%", f">= {100 * least:.0f}", held >= least - 1e-9, f"{errors.size} of them; {worst}"
    )


def position_figures(footing: Footing) -> tuple[list[Figure], list[dict[str, Any]]]:
    """Errors of the tile positions: figures, and one record for each tile."""
    errors = position_errors(footing.solved_px(), footing.true_px(), footing.spacing_um)
    tiles = [
        {
            "tile": tile.name,
            "solved_px": list(footing.origin_px[tile.name]),
            "error_px": errors.error_px[n].tolist(),
            "error_um": errors.error_um[n].tolist(),
        }
        for n, tile in enumerate(footing.truth.tiles)
    ]
    median_um, median_px = float(np.median(errors.distance_um)), float(np.median(errors.distance_px))
    worst_um, worst_px = float(errors.distance_um.max()), float(errors.distance_px.max())
    stage = np.array([tile.true_um for tile in footing.truth.tiles]) - stage_um(footing.truth)
    stage -= stage.mean(axis=0)
    before = float(np.median(np.linalg.norm(stage, axis=1)))
    return [
        Figure("stage error, median", before, "um", note="what alignment had to find"),
        Figure(
            "tile position error, median", median_um, "um", "<= 0.3 um or 0.25 voxel",
            median_um <= 0.3 or median_px <= 0.25, f"{median_px:.3f} voxel",
        ),
        Figure("tile position error, worst", worst_px, "voxel", "<= 0.75", worst_px <= 0.75, f"{worst_um:.3f} um"),
    ], tiles  # fmt: skip


def stage_um(truth: Truth) -> np.ndarray[Any, np.dtype[np.float64]]:
    """The stage's position of each tile, (n, 3) as x, y, z in the truth's frame."""
    return np.array([truth.nominal_um(tile) for tile in truth.tiles], np.float64)


def pixel_figures(truth: Truth, solved: Solved) -> list[Figure]:
    """Error of the estimated y voxel size."""
    if solved.pixel_estimate_um is None:
        return []
    true = truth.spec.true_pixel_um
    error = 100 * (solved.pixel_estimate_um / true - 1)
    stated = math.nan if solved.pixel_uncertainty_um is None else 100 * solved.pixel_uncertainty_um / true
    nominal = f"nominal {100 * (truth.spec.pixel_um / true - 1):+.2f} %, stated uncertainty {stated:.2f} %"
    if truth.spec.stage_error_um == 0:
        return [Figure("y voxel size error", error, "%", "within 0.2", abs(error) <= 0.2, nominal)]
    return [
        Figure("y voxel size error", error, "%", f"within stated {stated:.2f}", abs(error) <= stated, nominal),
    ]


def stripe_figures(stripes: StripeFigures) -> list[Figure]:
    """Factors by which stripe energy and all row-to-row error energy fell."""
    down = _ratio(stripes.pattern_before, stripes.pattern_after)
    rows = _ratio(stripes.rows_before, stripes.rows_after)
    before, after = 100 * stripes.rows_before**0.5, 100 * stripes.rows_after**0.5
    return [
        Figure(
            "stripe energy, down by", down, "x", ">= 10", down >= 10,
            f"{stripes.pattern_before:.3f} of the made stripes in raw frames, {stripes.pattern_after:.4f} stitched",
        ),
        Figure("row-to-row error energy, down by", rows, "x", note=f"{before:.2f} % RMS raw, {after:.2f} % stitched"),
    ]  # fmt: skip


def _ratio(before: float, after: float) -> float:
    return before / after if after > 0 else math.inf


def cell_figures(cells: CellFigures, *, most_changed: float = MOST_CHANGED) -> list[Figure]:
    """Recall, precision, centroid error and kept brightness of cells, which may change by ``most_changed``."""
    matches = cells.matches
    distance = matches.distance_um
    median, most = (float(np.quantile(distance, q)) if len(distance) else math.nan for q in (0.5, 0.95))
    kept = float(np.median(cells.kept)) if len(cells.kept) else math.nan
    low, high = np.quantile(cells.kept, (0.05, 0.95)) if len(cells.kept) else (math.nan, math.nan)
    return [
        Figure("cell recall", 100 * matches.recall, "%", ">= 98", matches.recall >= 0.98, f"of {cells.n_true} cells"),
        Figure(
            "cell precision", 100 * matches.precision, "%", ">= 95", matches.precision >= 0.95,
            f"of {cells.n_found} found",
        ),
        Figure("cell centroid error, median", median, "um", "<= 1", median <= 1, f"95 % within {most:.2f} um"),
        Figure(
            "cell intensity kept", 100 * kept, "%", f"{100 * (1 - most_changed):.0f} to {100 * (1 + most_changed):.0f}",
            abs(kept - 1) <= most_changed,
            f"90 % of cells between {100 * low:.0f} and {100 * high:.0f} %",
        ),
    ]  # fmt: skip


def seam_figures(seams: SeamFigures) -> list[Figure]:
    """The worst and the typical step across tile borders; no figures without borders inside other tiles."""
    if not len(seams.steps):
        return []
    steps = np.abs(seams.steps)
    worst, typical = float(steps.max()), float(np.median(steps))
    return [
        Figure(
            "seam step, worst patch", 100 * worst, "%", "<= 1", worst <= 0.01,
            f"median {100 * typical:.2f} %, {len(steps)} patches",
        )
    ]  # fmt: skip


def _json(figure: Figure) -> dict[str, Any]:
    record = asdict(figure)
    record["value"] = figure.value if math.isfinite(figure.value) else None
    return record
