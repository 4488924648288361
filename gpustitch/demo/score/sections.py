"""Measures the found positions of a simulated series, and the rendered volume, against the truth."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gpustitch.demo.score.brain import Figure
from gpustitch.demo.series.simulate import SimulatedSeries, SimulationOptions, simulate_series, texture_of
from gpustitch.demo.series.texture import LayeredTexture
from gpustitch.errors import ParameterError
from gpustitch.io.planes.opening import open_planes
from gpustitch.model.arrays import Floats
from gpustitch.regrid.plan import ZGrid, plan_z, planes_within, sorted_series
from gpustitch.running.progress import SILENT, Progress
from gpustitch.running.threads import checked_workers, ordered_map
from gpustitch.sections.faults.find import FAULT_TYPES, SectionFault
from gpustitch.sections.model import EstimateOptions
from gpustitch.sections.positions.estimate import estimate_positions
from gpustitch.sections.positions.file import ZPositions, read_z_positions
from gpustitch.sections.similarity.banded import BandedCorrelation
from gpustitch.sections.similarity.stage import DEFAULT_MAX_LAG

# Half width of a 90 % interval in standard errors.
_NINETY_PERCENT = 1.645
# Planes made at a time for series that are not stored.
_CHUNK = 16
# Series made at the same time: each holds a few dozen planes.
_MOST_AT_ONCE = 4
# Types of fault that must be found. A gap of one section differs too little from uneven spacing for a promise.
_PROMISED = ("constant", "damaged", "duplicate", "swapped")


@dataclass(frozen=True)
class SectionEvaluateOptions:
    """A series and its outputs: stack, table of positions, rendered volume, and the named faults.

    Errors of one series are long waves: either most of its sections lie within their intervals, or few. Therefore
    ``n_more`` further series, of other seeds, also count how often true positions lie within their intervals.
    """

    series: SimulatedSeries
    sections: Path
    positions: Path
    volume: Path
    faults: tuple[SectionFault, ...]
    max_gap: float = 5.0
    n_more: int = 7
    n_workers: int | None = None


@dataclass(frozen=True)
class Affine:
    """The straight line that brings positions closest to the truth; similarity determines neither offset nor scale."""

    slope: float
    offset: float

    @classmethod
    def fit(cls, positions: Floats, truth: Floats) -> Affine:
        """The least-squares line."""
        slope, offset = np.polyfit(positions, truth, 1)
        return cls(float(slope), float(offset))

    def at(self, positions: Floats) -> Floats:
        """Positions in the truth's frame."""
        return self.slope * positions + self.offset


@dataclass(frozen=True)
class FaultCount:
    """Faults of one type: number of true faults, number found whole, and number of sections named wrongly."""

    fault_type: str
    n_true: int
    n_found: int
    n_wrong: int

    @property
    def recall(self) -> float:
        """Share of the true faults that were found."""
        return self.n_found / self.n_true if self.n_true else 1.0


def run(options: SectionEvaluateOptions, progress: Progress = SILENT) -> tuple[Figure, ...]:
    """Measure everything, with the positions and planes of the written files."""
    z, series = read_z_positions(options.positions), options.series
    more = [replace(series.options, seed=series.options.seed + 1 + k) for k in range(options.n_more)]
    progress.note("Measuring positions, faults and planes against the truth")
    measured = [*position_figures(series, z), *fault_figures(series, options.faults), *texture_figures(options, z)]
    progress.start("Intervals of other series", len(more), "series")
    inside = [within_intervals(series, z)]
    # Making planes takes most of the time, and a series makes its planes one after another.
    n_workers = min(checked_workers(options.n_workers), _MOST_AT_ONCE)
    try:
        for other, z_of_other in ordered_map(_estimated, more, n_workers):
            inside.append(within_intervals(other, z_of_other))
            progress.advance()
    finally:
        progress.finish()
    return (*measured, *coverage_figures(inside))


def position_figures(series: SimulatedSeries, z: ZPositions) -> list[Figure]:
    """Errors of positions and of spacings, as recorded and as estimated, each after the best affine map."""
    recorded = np.arange(len(series), dtype=np.float64)
    sound = ~np.isin(np.arange(len(series)), sorted(series.faulty("damaged") | series.faulty("constant")))
    before, after = (_position_errors(series, positions) for positions in (recorded, z.positions))
    steps_before, steps_after = (_spacing_errors(series, positions) for positions in (recorded, z.positions))
    first, last = _rms(before), _rms(after)
    middle = float(np.median(np.abs(steps_after)))
    return [
        Figure("position error as recorded, RMS", first, "sections", note="number of the section as its position"),
        Figure(
            "position error, RMS", last, "sections", "<= half of the above", last <= first / 2,
            f"{last / first:.2f} of it; undamaged sections {_rms(after[sound]):.3f}, worst {np.abs(after).max():.2f}",
        ),
        Figure("spacing error as recorded, RMS", _rms(steps_before), "sections"),
        Figure("spacing error, RMS", _rms(steps_after), "sections", note=f"median {middle:.3f}"),
    ]  # fmt: skip


def fault_figures(series: SimulatedSeries, found: Sequence[SectionFault]) -> list[Figure]:
    """Recall and false alarms of each type of fault."""
    figures = []
    for count in fault_counts(series, found):
        is_promised = count.fault_type in _PROMISED
        wrong = count.n_wrong / len(series)
        if count.n_true:
            figures.append(
                Figure(
                    f"{count.fault_type}: found", 100 * count.recall, "%", ">= 95" if is_promised else "",
                    count.recall >= 0.95 if is_promised else None, f"{count.n_found} of {count.n_true}",
                )
            )  # fmt: skip
        figures.append(
            Figure(
                f"{count.fault_type}: false alarms", 100 * wrong, "%", "<= 1" if is_promised else "",
                wrong <= 0.01 if is_promised else None, f"{count.n_wrong} of {len(series)} sections",
            )
        )  # fmt: skip
    return figures


def fault_counts(series: SimulatedSeries, found: Sequence[SectionFault]) -> list[FaultCount]:
    """Named faults against true faults; a fault is found if all its sections are named with its type."""
    counts = []
    for fault_type in FAULT_TYPES:
        named = {i for fault in found if fault.fault_type == fault_type for i in fault.sections}
        true = [set(fault.sections) for fault in series.faults if fault.fault_type == fault_type]
        counts.append(
            FaultCount(fault_type, len(true), sum(s <= named for s in true), len(named - series.faulty(fault_type)))
        )  # fmt: skip
    return counts


def within_intervals(series: SimulatedSeries, z: ZPositions) -> npt.NDArray[np.bool_]:
    """Whether each true position is within its 90 % interval, for the sections with an interval."""
    fit = Affine.fit(z.positions, series.positions)
    error = np.abs(fit.at(z.positions) - series.positions)
    known = np.isfinite(z.uncertainty)
    return np.asarray(error <= _NINETY_PERCENT * fit.slope * z.uncertainty)[known]


def coverage_figures(inside: Sequence[npt.NDArray[np.bool_]]) -> list[Figure]:
    """Share of true positions within their intervals: for the first (the shown) series, and the mean of all series.

    Errors of one series are long waves: its sections are within their intervals together or not at all. The mean of a
    few series is itself uncertain. Only a mean off by more than twice its standard error misses its target.
    """
    shares = [100 * float(one.mean()) if one.size else 0.0 for one in inside]
    mean = float(np.mean(shares))
    error = float(np.std(shares, ddof=1) / np.sqrt(len(shares))) if len(shares) > 1 else 0.0
    within = 85 - 2 * error <= mean <= 95 + 2 * error
    return [
        Figure("true positions within 90 % intervals", shares[0], "%", note="of this series; errors are long waves"),
        Figure(
            f"the same, mean of {len(shares)} series", mean, "%", "85 to 95, give or take 2 s.e.", within,
            f"standard error {error:.1f}; from {min(shares):.1f} to {max(shares):.1f} % of a series",
        ),
    ]  # fmt: skip


def _estimated(options: SimulationOptions) -> tuple[SimulatedSeries, ZPositions]:
    """The series of other options, and positions found with the commands' defaults."""
    series = simulate_series(options)
    compared = BandedCorrelation((options.rows, options.columns), min(DEFAULT_MAX_LAG, options.number - 1))
    strips = [compared.push(planes) for planes in series.chunks(_CHUNK)]
    half_strip = np.concatenate([*strips, compared.finish()])
    found = estimate_positions(half_strip, EstimateOptions(max_lag=half_strip.shape[1] - 1))
    return series, ZPositions(found.positions, found.order, found.uncertainty, found.weights)


def texture_figures(options: SectionEvaluateOptions, z: ZPositions) -> list[Figure]:
    """Errors of planes against the true, noiseless texture at their depth: as recorded, as rendered, and at best.

    The best is the same interpolation of the same sections, damaged ones included, at their true positions.
    """
    series, truth = options.series, options.series.positions
    numbers = np.arange(len(series), dtype=np.float64)
    recorded = texture_errors(series, _read(options.sections), Affine.fit(numbers, truth).at(numbers))
    volume = open_planes(options.volume)
    planes = z.positions.min() + np.arange(volume.shape[0])
    rendered = texture_errors(series, _read(options.volume), Affine.fit(z.positions, truth).at(planes))
    depths, at_best = _interpolated(options)
    best = texture_errors(series, at_best, depths)
    first, last, least = (100 * _rms(errors) for errors in (recorded, rendered, best))
    return [
        Figure("texture error as recorded, RMS", first, "%", note=_median(recorded)),
        Figure(
            "texture error as rendered, RMS", last, "%", "< the above", last < first,
            f"{_median(rendered)}; at the true positions {least:.4g} ({_median(best)})",
        ),
    ]  # fmt: skip


def texture_errors(series: SimulatedSeries, planes: Iterable[npt.NDArray[Any]], depths: Floats) -> Floats:
    """RMS difference between planes, at best brightness and contrast, and the true texture, relative to its contrast.

    The error is ``sqrt(1 - r**2)`` with their correlation r: 0 for the exact texture, 1 for a plane without any of it.
    """
    texture = true_texture(series.options)
    return np.array([_unlike(plane, texture.at(float(z))) for plane, z in zip(planes, depths, strict=True)])


def true_texture(options: SimulationOptions) -> LayeredTexture:
    """The texture of a simulated series, by position; ParameterError if its correlation length changes along z."""
    if options.correlation_change != 0:
        raise ParameterError("the true texture is known only if its correlation length is the same at every depth")
    return texture_of(options)


def _unlike(plane: npt.NDArray[Any], texture: npt.NDArray[np.float32]) -> float:
    """``sqrt(1 - r**2)`` with the correlation r of two images; 1 if an image is constant or r is negative."""
    a, b = plane.astype(np.float64), texture.astype(np.float64)
    a -= a.mean()
    b -= b.mean()
    scale = float(np.sqrt((a * a).sum() * (b * b).sum()))
    r = float((a * b).sum()) / scale if scale > 0 else 0.0
    return float(np.sqrt(max(0.0, 1 - max(r, 0.0) ** 2)))


def _interpolated(options: SectionEvaluateOptions) -> tuple[Floats, Iterator[npt.NDArray[Any]]]:
    """Depths of planes one nominal spacing apart, and the planes interpolated at the true positions."""
    ordered = sorted_series(options.series.positions)
    grid = ZGrid(0.0, 1.0, planes_within(float(ordered.positions[-1]), 1.0))
    sources = plan_z(ordered, grid, limits=options.max_gap)

    def planes() -> Iterator[npt.NDArray[Any]]:
        sections = open_planes(options.sections)
        for lower, upper, weight in zip(sources.lower, sources.upper, sources.weight, strict=True):
            if lower < 0:
                yield np.zeros(sections.shape[1:])
                continue
            a, b = (sections.read(int(i), int(i) + 1)[0].astype(np.float64) for i in (lower, upper))
            yield a + float(weight) * (b - a)

    return grid.positions(), planes()


def _read(path: Path) -> Iterator[npt.NDArray[Any]]:
    """The planes (rows, columns) of a stack, one after another; planes stored together are read together."""
    planes = open_planes(path)
    for start in range(0, planes.shape[0], planes.depth):
        yield from planes.read(start, min(start + planes.depth, planes.shape[0]))


def _position_errors(series: SimulatedSeries, positions: Floats) -> Floats:
    """Errors (n,) after the best affine map, in nominal spacings."""
    return Affine.fit(positions, series.positions).at(positions) - series.positions


def _spacing_errors(series: SimulatedSeries, positions: Floats) -> Floats:
    """Errors of the distances between sections that truly follow one another."""
    return np.diff(_position_errors(series, positions)[np.argsort(series.rank)])


def _rms(values: Floats) -> float:
    """Root of the mean square."""
    return float(np.sqrt(np.mean(np.square(values))))


def _median(errors: Floats) -> str:
    """The median of errors in words, in percent."""
    return f"median {100 * float(np.median(errors)):.4g}"
