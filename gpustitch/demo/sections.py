"""The demo of a section series: simulates a series, runs the three stages, and measures against the truth."""

from __future__ import annotations

import contextlib
import importlib.util
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from gpustitch.array import Device, choose_device
from gpustitch.demo.score import sections as section_evaluate
from gpustitch.demo.score.brain import REPORT_SCHEMA, Evaluation
from gpustitch.demo.score.sections import SectionEvaluateOptions
from gpustitch.demo.series.simulate import SimulatedSeries, SimulationOptions, simulate_series
from gpustitch.errors import ParameterError
from gpustitch.io.atomic import atomic_directory, check_free_space, check_output
from gpustitch.io.provenance import write_json
from gpustitch.io.write.format import Writing
from gpustitch.io.write.tiff import TiffVolumeWriter
from gpustitch.model import Box, Spacing
from gpustitch.running.progress import SILENT, Progress
from gpustitch.running.threads import checked_workers
from gpustitch.sections.positions import stage as z_spacing
from gpustitch.sections.positions.file import read_z_positions
from gpustitch.sections.positions.stage import ZSpacingOptions, ZSpacingResult
from gpustitch.sections.render import stage as z_render
from gpustitch.sections.render.stage import RenderOptions
from gpustitch.sections.similarity import stage as similarity
from gpustitch.sections.similarity.options import SimilarityOptions

TRUTH_SCHEMA = 1
SERIES, SECTIONS, TRUTH = "series", "sections.tif", "truth.json"
SIMILARITY, POSITIONS, PICTURE, VOLUME, REPORT = "similarity.npz", "z.csv", "z.png", "volume", "report.json"

# Sections of 50 nm and pixels of 10 nm, as in serial-section electron microscopy.
SPACING = Spacing(0.05, 0.01, 0.01)

_SMALL = SimulationOptions(
    number=400,
    rows=256,
    columns=256,
    spacing_cv=0.3,
    gaps=5,
    duplicates=5,
    near_duplicates=5,
    swaps=7,
    block_swaps=3,
    damaged=10,
    constant=2,
    brightness_cv=0.1,
    contrast_cv=0.1,
)
SIZES: dict[str, SimulationOptions] = {
    "tiny": replace(
        _SMALL, number=120, rows=96, columns=96, gaps=2, duplicates=1, near_duplicates=1, swaps=2, block_swaps=1,
        damaged=3, constant=1,
    ),
    "small": _SMALL,
    "medium": replace(
        _SMALL, number=1000, rows=512, columns=512, gaps=10, duplicates=10, near_duplicates=10, swaps=14,
        block_swaps=6, damaged=20, constant=3,
    ),
}  # fmt: skip


@dataclass(frozen=True)
class SectionDemoOptions:
    """Options of the demo of a section series.

    Parameters
    ----------
    folder
        Folder for ``series/``, ``similarity.npz``, ``z.csv``, ``z.png``, ``volume/`` and ``report.json``.
    series
        The series to simulate.
    overwrite
        Replace these outputs if they exist; nothing else in the folder is touched.
    device, device_memory_bytes
        Where the stages compute (:func:`gpustitch.array.choose_device`). The host makes the series.
    """

    folder: Path
    series: SimulationOptions = field(default_factory=lambda: SIZES["small"])
    n_workers: int | None = None
    overwrite: bool = False
    device: str | Device = "auto"
    device_memory_bytes: int | None = None


@dataclass(frozen=True)
class SectionDemoPlan:
    """The series to make; everything else follows from the series."""

    options: SectionDemoOptions
    series: SimulatedSeries


@dataclass(frozen=True)
class SectionDemoResult:
    """The figures, the outputs, and the duration of each part in s; ``picture`` is None without matplotlib."""

    evaluation: Evaluation
    seconds: dict[str, float]
    sections: Path
    positions: Path
    volume: Path
    report: Path
    picture: Path | None


def series_of(size: str, *, seed: int = 1) -> SimulationOptions:
    """The series of the size with this name; ParameterError if there is no such size or the seed is negative."""
    if size not in SIZES:
        raise ParameterError(f"`size` is one of {', '.join(SIZES)}, not {size!r}")
    if seed < 0:
        raise ParameterError(f"`seed` must not be negative, not {seed}")
    return replace(SIZES[size], seed=seed)


def plan(options: SectionDemoOptions) -> SectionDemoPlan:
    """Refuse an impossible demo before anything is written.

    Raises
    ------
    ParameterError
        If the faults do not fit into the series, or its true texture is not known at every depth.
    OutputExistsError, OutputError
        If an output exists (without ``overwrite``), the folder cannot be written, or the disk is too small.
    """
    checked_workers(options.n_workers)
    check_output(options.folder, overwrite=options.overwrite, is_whole=False)
    made = simulate_series(options.series)
    section_evaluate.true_texture(options.series)
    n, rows, columns = made.shape
    # The stack, and the volume with its pyramid; the volume may have more planes than the stack has sections.
    check_free_space(options.folder, 4 * n * rows * columns * made.dtype.itemsize)
    return SectionDemoPlan(options, made)


def run(plan: SectionDemoPlan, progress: Progress = SILENT) -> SectionDemoResult:
    """Make the series, find its positions, render it, measure, and write the report."""
    options, folder = plan.options, plan.options.folder
    seconds: dict[str, float] = {}
    sections, positions, volume = folder / SERIES / SECTIONS, folder / POSITIONS, folder / VOLUME
    picture = folder / PICTURE if importlib.util.find_spec("matplotlib") else None
    if picture is None:
        progress.note(f"{folder / PICTURE} is not drawn: it needs matplotlib, pip install 'gpustitch[report]'")
    with _timed(seconds, "series"):
        _make(plan, progress)
    with _timed(seconds, "similarity"):
        similarity.run(similarity.plan(_comparing(options, sections)), progress)
    with _timed(seconds, "z-spacing"):
        placing = ZSpacingOptions(
            folder / SIMILARITY, positions, report=picture, overwrite=options.overwrite, device=options.device
        )
        found = z_spacing.run(z_spacing.plan(placing), progress)
    with _timed(seconds, "z-render"):
        z_render.run(z_render.plan(_rendering(options, sections)), progress)
    with _timed(seconds, "evaluation"):
        n_workers = options.n_workers
        measured = SectionEvaluateOptions(plan.series, sections, positions, volume, found.faults, n_workers=n_workers)
        evaluation = Evaluation(section_evaluate.run(measured, progress), ())
    _write_report(plan, evaluation, found, seconds)
    return SectionDemoResult(evaluation, seconds, sections, positions, volume, folder / REPORT, picture)


@contextlib.contextmanager
def _timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    """Note how long the ``with`` block takes, in s."""
    start = time.perf_counter()
    yield
    seconds[name] = round(time.perf_counter() - start, 2)


def _make(plan: SectionDemoPlan, progress: Progress) -> None:
    """Write the stack as a microscope would, with the truth beside it."""
    series, options = plan.series, plan.options
    with atomic_directory(options.folder / SERIES, overwrite=options.overwrite) as folder:
        progress.start("Making the series", len(series), "sections")
        with TiffVolumeWriter(folder / SECTIONS, series.shape, series.dtype, SPACING, Writing()) as stack:
            for i, planes in enumerate(series.chunks(1)):
                stack.write(Box((i, 0, 0), (i + 1, *series.shape[1:])), planes)
                progress.advance()
        progress.finish()
        truth = {
            "voxel_size_zyx_um": SPACING.zyx_um,
            "options": series.options,
            "positions": series.positions.tolist(),
            "rank": series.rank.tolist(),
            "faults": series.faults,
            "damages": series.damages,
        }
        write_json(folder / TRUTH, truth, schema=TRUTH_SCHEMA)


def _comparing(options: SectionDemoOptions, sections: Path) -> SimilarityOptions:
    """Options of ``gpustitch similarity`` with their defaults."""
    return SimilarityOptions(
        sections,
        options.folder / SIMILARITY,
        device=choose_device(options.device, options.device_memory_bytes),
        n_workers=options.n_workers,
        overwrite=options.overwrite,
    )


def _rendering(options: SectionDemoOptions, sections: Path) -> RenderOptions:
    """Options of ``gpustitch z-render`` with their defaults."""
    return RenderOptions(
        sections,
        options.folder / POSITIONS,
        options.folder / VOLUME,
        n_workers=options.n_workers,
        overwrite=options.overwrite,
        device=choose_device(options.device, options.device_memory_bytes),
    )


def _write_report(
    plan: SectionDemoPlan, evaluation: Evaluation, found: ZSpacingResult, seconds: dict[str, float]
) -> None:
    """Write figures, errors of positions in nominal spacings, and both the found and the true faults."""
    options = plan.options
    z = read_z_positions(options.folder / POSITIONS)
    fit = section_evaluate.Affine.fit(z.positions, plan.series.positions)
    record = {
        "passed": evaluation.passed,
        "figures": [asdict(figure) for figure in evaluation.figures],
        "position_errors": (fit.at(z.positions) - plan.series.positions).tolist(),
        "faults": found.faults,
        "true_faults": plan.series.faults,
        "seconds": seconds,
        "series": plan.series.options,
    }
    write_json(options.folder / REPORT, record, schema=REPORT_SCHEMA, overwrite=True)
