"""The demo of an acquisition: makes a phantom, runs the pipeline on it, and measures the result against the truth."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

from gpustitch.array import Device
from gpustitch.demo.phantom import stage as phantom
from gpustitch.demo.phantom.stage import SIZES, PhantomOptions, PhantomPlan
from gpustitch.demo.phantom.truth import PhantomSpec, Truth
from gpustitch.demo.score import brain as evaluate
from gpustitch.demo.score import pictures
from gpustitch.demo.score.brain import EvaluateOptions, Evaluation, Figure, Solved
from gpustitch.demo.score.compare import Footing
from gpustitch.demo.score.destriping import NONE, TUNED, measure_destriping
from gpustitch.demo.score.pictures import PictureOptions
from gpustitch.errors import ParameterError
from gpustitch.io.atomic import check_free_space, check_output, os_errors
from gpustitch.io.provenance import plain
from gpustitch.io.volumes.precomputed import PrecomputedVolume
from gpustitch.oblique.align import stage as align
from gpustitch.oblique.align.matching import MatchOptions
from gpustitch.oblique.align.stage import AlignOptions
from gpustitch.oblique.destripe.correction import Correction, Method
from gpustitch.oblique.destripe.wavelet_options import WaveletOptions
from gpustitch.oblique.pipeline import stage as pipeline
from gpustitch.oblique.pipeline.options import FLAT, TILES, PipelineOptions
from gpustitch.oblique.pipeline.stage import PipelineResult
from gpustitch.running.progress import SILENT, Progress
from gpustitch.running.threads import checked_workers

PHANTOM, STITCHED, PICTURES, REPORT = "phantom", "stitched", "pictures", "report.json"

# pystripe's filter as one tunes it by hand to these frames, which are far narrower than 2048 columns.
BY_HAND = WaveletOptions(sigma1=3, sigma2=4, wavelet="db4", threshold=600, crossover=150)
# Small windows, as one tunes them by hand to overlaps of some 50 voxels.
MATCHING = MatchOptions(sample_count=100, window_px=(21, 21, 21))


@dataclass(frozen=True)
class DemoOptions:
    """Options of the demo of an acquisition.

    Parameters
    ----------
    folder
        Folder for ``phantom/``, ``stitched/``, ``pictures/`` and ``report.json``.
    spec
        The phantom.
    overwrite
        Replace these four if they exist; nothing else in the folder is touched.
    device, device_memory_bytes
        Where the pipeline computes (:func:`gpustitch.array.choose_device`). The host makes the phantom.
    """

    folder: Path
    spec: PhantomSpec = field(default_factory=lambda: SIZES["small"])
    n_workers: int | None = None
    overwrite: bool = False
    device: str | Device = "auto"
    device_memory_bytes: int | None = None


@dataclass(frozen=True)
class DemoPlan:
    """The phantom to make; everything else follows from the phantom."""

    options: DemoOptions
    phantom: PhantomPlan


@dataclass(frozen=True)
class DemoResult:
    """The figures, the pipeline's result, and the duration of each part in s."""

    evaluation: Evaluation
    stitched: PipelineResult
    seconds: dict[str, float]
    report: Path
    overview: Path


def spec_of(size: str, *, seed: int = 1, pixel_error: float = 0.01, stage_error_um: float = 5.0) -> PhantomSpec:
    """The phantom of the size with this name.

    Raises
    ------
    ParameterError
        If there is no such size, or another argument is out of range.
    """
    if size not in SIZES:
        raise ParameterError(f"`size` is one of {', '.join(SIZES)}, not {size!r}")
    if seed < 0:
        raise ParameterError(f"`seed` must not be negative, not {seed}")
    return replace(SIZES[size], seed=seed, pixel_error=pixel_error, stage_error_um=stage_error_um)


def plan(options: DemoOptions) -> DemoPlan:
    """Refuse an impossible demo before anything is written.

    Raises
    ------
    OutputExistsError, OutputError
        If an output exists (without ``overwrite``), the folder cannot be written, or the disk is too small.
    """
    checked_workers(options.n_workers)
    check_output(options.folder, overwrite=options.overwrite, is_whole=False)
    making = phantom.plan(PhantomOptions(options.folder / PHANTOM, options.spec, options.overwrite, options.n_workers))
    # Six times the frames: frames, tiles (slanted, in boxes) and the stitched volume with its pyramid.
    check_free_space(options.folder, 6 * making.output_bytes)
    return DemoPlan(options, making)


def run(plan: DemoPlan, progress: Progress = SILENT) -> DemoResult:
    """Make the phantom, stitch it, measure, draw, and write the report."""
    options = plan.options
    clock = _Clock()
    truth = phantom.run(plan.phantom, progress)
    clock.lap("phantom")
    stitched = pipeline.run(pipeline.plan(pipeline_options(truth, options)), progress)
    clock.lap("pipeline")
    measuring = evaluate_options(truth, stitched, options)
    evaluation = evaluate.run(evaluate.plan(measuring), progress)
    evaluation = replace(evaluation, alignment=measure_alignment(measuring, stitched, options, progress))
    corrections = judged_corrections(stitched.correction)
    if truth.spec.stripe_strength > 0:
        n_workers = checked_workers(options.n_workers)
        judged = measure_destriping(truth, corrections, n_workers=n_workers, progress=progress)
        evaluation = replace(evaluation, destriping=judged)
    clock.lap("evaluation")
    folder = options.folder / PICTURES
    with os_errors(folder):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    shown = {f"{method} by default": corrections[method] for method in ("wavelet", "lightsheet")}
    overview = pictures.draw(PictureOptions(measuring, shown, folder))
    clock.lap("pictures")
    report = options.folder / REPORT
    evaluation.write(report, seconds=clock.seconds, spec=plain(options.spec))
    return DemoResult(evaluation, stitched, clock.seconds, report, overview)


def pipeline_options(truth: Truth, options: DemoOptions) -> PipelineOptions:
    """The pipeline's options for a phantom: nominal sizes, as a user would state them."""
    spec = truth.spec
    return PipelineOptions(
        truth.channel(),
        options.folder / STITCHED,
        x_step_um=spec.step_um,
        y_voxel_um=spec.pixel_um,
        angle_deg=spec.angle_deg,
        correction=destriping(truth),
        negative_y=spec.negative_y,
        rotate_90=evaluate.CHUNGLAB_ROTATE_90 if spec.chunglab else 0,
        flip_ud=evaluate.CHUNGLAB_FLIP_UD if spec.chunglab else False,
        keep_tiles=True,
        device=options.device,
        device_memory_bytes=options.device_memory_bytes,
        n_workers=options.n_workers,
        overwrite=options.overwrite,
    )


def destriping(truth: Truth) -> Correction:
    """The correction of the phantom's frames, without the flat field: the pipeline's default of the wavelet method.

    The camera's offset is stated, as a user states the sizes of voxels.
    """
    by_default = PipelineOptions(truth.channel(), Path(STITCHED)).correction
    return replace(
        by_default, method="wavelet" if truth.spec.stripe_strength > 0 else "none", dark=truth.spec.sensor.dark
    )


def judged_corrections(used: Correction) -> dict[str, Correction]:
    """Corrections to compare, by name: none, by hand, the one that the demo's run used, and lightsheet by default."""
    methods: dict[str, Method] = {NONE: "none", TUNED: "wavelet", "lightsheet": "lightsheet"}
    others = {name: replace(used, method=method, wavelet=BY_HAND) for name, method in methods.items()}
    return {NONE: others[NONE], TUNED: others[TUNED], "wavelet": used, "lightsheet": others["lightsheet"]}


def evaluate_options(truth: Truth, stitched: PipelineResult, options: DemoOptions) -> EvaluateOptions:
    """Options to measure a stitched phantom."""
    if stitched.alignment is None:
        solved = Solved({tile.name: (0.0, 0.0, 0.0) for tile in truth.tiles}, None, None)
    else:
        solved = Solved.read(stitched.alignment, stitched.volume)
    flat = stitched.output / FLAT
    tiles = stitched.output / TILES
    return EvaluateOptions(truth, stitched.volume, solved, flat, tiles, n_workers=options.n_workers)


def measure_alignment(
    measured: EvaluateOptions, stitched: PipelineResult, options: DemoOptions, progress: Progress = SILENT
) -> dict[str, tuple[Figure, ...]]:
    """Figures of the run's own alignment, by the pipeline's default options, and of its tiles aligned by tuned ones."""
    truth = measured.truth
    aligning = AlignOptions(
        stitched.output / TILES,
        matching=MATCHING,
        negative_y=truth.spec.negative_y,
        allow_unaligned=True,
        n_workers=options.n_workers,
        device=options.device,
        device_memory_bytes=options.device_memory_bytes,
    )
    progress.note("Aligning the tiles by tuned options")
    found = align.run(align.plan(aligning))
    size, placement = found.voxel_size, found.placement
    tuned = Solved(placement.origin_px, size.estimate_um, size.uncertainty_um, placement.sigma_px)
    y_um = {"default": PrecomputedVolume(measured.volume).spacing.y_um, TUNED: found.spacing.y_um}
    return {
        name: tuple(evaluate.alignment_figures(Footing(truth, solved.origin_px, y_um[name]), solved)[0])
        for name, solved in {"default": measured.solved, TUNED: tuned}.items()
    }


class _Clock:
    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.seconds[name] = round(now - self._last, 2)
        self._last = now
