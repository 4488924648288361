"""Positions of spoilt series against the truth, the plugin and doing nothing; their intervals; faults that are none.

Each series is planes that `gpustitch z-spacing` would read (:mod:`bench.section_cases`). It goes the way of the command
with default options. `python -m bench.bench_zspacing_cases [FIRST_SEED [NUMBER]]` takes other seeds.
"""

from __future__ import annotations

import os
import sys
import warnings
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.common import report
from bench.section_cases import CASES, MAX_LAG, Series
from gpustitch.io.planes.adapters import ArrayPlanes
from gpustitch.model.arrays import Floats
from gpustitch.sections.model import EstimateOptions
from gpustitch.sections.positions.stage import ZSpacingOptions, ZSpacingResult, plan, run

FIRST_SEED, SERIES = 0, 20
# Half a 90 % interval, in standard errors.
SIGMAS = 1.645
# Intervals of a series that hold less than this part of its sections say nothing.
USELESS = 0.5


@dataclass(frozen=True)
class Figures:
    """Of one series: errors in mean spacings, root mean square, and what is said of them.

    Attributes
    ----------
    error, plugin, nothing
        Error of the default, of ``--compat``, and of the section numbers.
    cover
        Part of the sections whose 90 % interval holds the truth.
    half_interval
        Median half of an interval, in mean spacings.
    false_faults
        Sections that are said to have a fault and have none.
    is_in_order
        Whether sections come in their true order, but for places of neighbours.
    """

    error: float
    plugin: float
    nothing: float
    cover: float
    half_interval: float
    false_faults: int
    is_in_order: bool


def found(series: Series, compat: bool = False) -> ZSpacingResult:
    """What the command finds, with the plugin's arithmetic or its own."""
    asked = ZSpacingOptions(
        input=Path("sections"),
        planes=ArrayPlanes(series.planes),
        max_lag=MAX_LAG,
        device="cpu",
        n_workers=1,
        estimate=EstimateOptions(compat=compat),
    )
    return run(plan(asked))


def apart(positions: Floats, series: Series) -> tuple[Floats, float]:
    """Errors (n,) of positions in mean spacings, and the factor that brings these to them.

    Offset and scale are those nearest to the truth. Pieces have offsets of their own: nothing tells their distances.
    """
    terms = np.concatenate([positions[:, None], series.pieces[:, None] == np.unique(series.pieces)], axis=1)
    factors = np.linalg.lstsq(terms, series.positions, rcond=None)[0]
    truth = np.sort(series.positions[series.pieces == 0])
    unit = float(np.ptp(truth)) / (len(truth) - 1)
    return (terms @ factors - series.positions) / unit, float(abs(factors[0])) / unit


def rms(values: Floats) -> float:
    """Root mean square."""
    return float(np.sqrt(np.mean(values * values)))


def measured(series: Series) -> Figures:
    """The figures of a series."""
    there = found(series)
    result = there.result
    error, factor = apart(result.positions, series)
    half = SIGMAS * factor * result.uncertainty
    known = np.isfinite(half)
    named = {(fault.fault_type, int(i)) for fault in there.faults for i in fault.sections}
    true, rank = (np.argsort(np.argsort(of)) for of in (series.positions, result.positions))
    return Figures(
        rms(error),
        rms(apart(found(series, compat=True).result.positions, series)[0]),
        rms(apart(np.arange(len(error), dtype=np.float64), series)[0]),
        float(np.mean(np.abs(error[known]) <= half[known])),
        float(np.median(half[known])),
        len(named - series.faults),
        min(int(np.abs(true - of).max()) for of in (rank, len(rank) - 1 - rank)) <= 1,
    )


def one(case: str, seed: int) -> Figures:
    """The figures of the series of a case and seed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return measured(CASES[case](seed))


def row(case: str, every: list[Figures]) -> dict[str, object]:
    """A case's figures over its series."""

    def median(values: list[float]) -> float:
        return round(float(np.median(values)), 3)

    return {
        "case": case,
        "series": len(every),
        "nothing": median([of.nothing for of in every]),
        "plugin": median([of.plugin for of in every]),
        "default": median([of.error for of in every]),
        "better than nothing": sum(of.error < of.nothing for of in every),
        "than plugin": sum(of.error < of.plugin for of in every),
        "cover": round(float(np.mean([of.cover for of in every])), 3),
        "below half": sum(of.cover < USELESS for of in every),
        "half/error": round(median([of.half_interval for of in every]) / median([of.error for of in every]), 2),
        "false faults": round(float(np.mean([of.false_faults for of in every])), 2),
        "in order": sum(of.is_in_order for of in every),
    }


def main() -> int:
    """Measure all cases, print and keep the table."""
    given = [int(value) for value in sys.argv[1:]] + [FIRST_SEED, SERIES][len(sys.argv) - 1 :]
    asked = [(case, seed) for case in CASES for seed in range(given[0], given[0] + given[1])]
    with ProcessPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        every = list(pool.map(one, *zip(*asked, strict=True)))
    count = given[1]
    report("zspacing_cases", [row(case, every[i * count : (i + 1) * count]) for i, case in enumerate(CASES)])
    return 0


if __name__ == "__main__":
    sys.exit(main())
