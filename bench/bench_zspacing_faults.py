"""Thresholds of the fault finder: what it names and misses in series whose faults are known, measured again.

Rows are as those of :mod:`bench.bench_zspacing_model`. A figure is a number of sections or pairs: those named without
reason, or the share of true ones that is found. Several thresholds stand behind each row: :func:`without_effect` says
which of them none of the rows depends on.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType

import numpy as np

from bench.bench_zspacing_model import MAX_LAG, SEEDS, Sort, waves
from bench.common import report
from gpustitch.model.arrays import Floats
from gpustitch.sections.faults import damage, find, losses, qualities
from gpustitch.sections.faults.find import find_faults
from gpustitch.sections.positions.band import band_of
from gpustitch.sections.positions.estimate import estimate_positions

N, STRUCTURES, FEW = 120, 1500, 150
# Most names without reason in a series, one in a hundred sections and a little, and least share of true ones named.
MOST_WRONG, LEAST_FOUND = 1.5, 0.7
# Series without faults that are looked at together.
TOGETHER = 4
# Factors that thresholds are changed by, to see which rows depend on them.
FACTORS = (1 / 3, 3.0)
# Sorts of series without faults, and with some.
SOUND = ("none", "waves", "fading", "slow losses", "noise", "few structures")
FAULTY = (
    "damaged", "damaged run", "gaps", "wide gap", "duplicates", "copies", "rounded copies", "swapped", "swapped blocks",
    "together",
)  # fmt: skip
# No thresholds but constants of statistics, sizes of windows and bins, and numbers of rounds.
_NO_THRESHOLDS = ("MAD_TO_SIGMA", "MEDIAN_ERROR", "QUALITY_WINDOW", "_ROUNDS", "_SPACING_WINDOW", "_STEP", "_BIN")
_MODULES = (find, damage, losses, qualities)


@dataclass(frozen=True)
class Faulty:
    """A series: half strip, positions found, and its true faults as (type, section) of each section concerned."""

    half_strip: Floats
    positions: Floats
    truth: frozenset[tuple[str, int]]

    @property
    def named(self) -> set[tuple[str, int]]:
        """What the finder names, a section at a time."""
        found = find_faults(self.half_strip, self.positions)
        return {(fault.fault_type, int(i)) for fault in found for i in fault.sections}


@functools.lru_cache(maxsize=64)
def series(fault: str, seed: int) -> Faulty:
    """A series with a sort of fault, or of a sort that has none."""
    rng = np.random.default_rng(seed)
    spacing = np.maximum(rng.normal(1, 0.15, N), 0.3)
    truth: set[tuple[str, int]] = set()
    if fault == "waves":
        spacing = waves(N, 0.5, 1.7, 2.0, seed) * rng.uniform(0.9, 1.1, N)
    if fault in ("gaps", "wide gap"):
        for i, width in ((40, 3.0), (80, 4.0)) if fault == "gaps" else ((60, 16.0),):
            spacing[i] = width
            truth |= {("missing", i - 1), ("missing", i)}
    if fault in ("duplicates", "copies", "rounded copies"):
        for i in (30, 70, 100):
            spacing[i] = 0.0
            truth |= {("duplicate", i - 1), ("duplicate", i)}
    if fault == "together":
        spacing[[40, 70]] = 3.0, 0.0
        truth |= {("missing", 39), ("missing", 40), ("duplicate", 69), ("duplicate", 70)}
    planes = _planes(np.cumsum(spacing), rng, FEW if fault == "few structures" else STRUCTURES)
    if fault == "fading":
        planes *= np.geomspace(1, 0.4, N)[:, None]
    if fault == "slow losses":
        for i in (25, 60, 95):
            planes *= (1 - 0.6 * np.exp(-np.square(np.arange(N) - i) / 72))[:, None]
    noise = {"noise": 0.9, "rounded copies": 0.9, "few structures": 0.6}.get(fault, 0.25)
    planes = planes + noise * rng.standard_normal(planes.shape)
    damaged = {"damaged": (20, 51, 52, 90), "damaged run": range(50, 65), "together": (20, 36, 74)}
    if fault in damaged:
        for i in damaged[fault]:
            planes[i] = 0.3 * planes[i] + rng.standard_normal(planes.shape[1])
            truth.add(("damaged", i))
    if fault in ("swapped", "together"):
        for i in (30, 80) if fault == "swapped" else (100,):
            planes[[i, i + 2]] = planes[[i + 2, i]]
            truth |= {("swapped", k) for k in range(i, i + 3)}
    if fault == "swapped blocks":
        planes[50:60] = np.roll(planes[50:60], 5, axis=0)
        truth |= {("swapped", k) for k in range(50, 60)}
    if fault in ("copies", "rounded copies"):
        for _, i in sorted(truth):
            planes[i] = planes[i - 1] if ("duplicate", i - 1) in truth else planes[i]
    strip = band_of(np.corrcoef(planes), MAX_LAG)[: MAX_LAG + 1].T
    if fault == "rounded copies":
        strip = np.minimum(strip, 1) - 1e-6 * rng.random(strip.shape)
    return Faulty(strip, estimate_positions(strip).positions, frozenset(truth))


def _planes(truth: Floats, rng: np.random.Generator, structures: int = STRUCTURES) -> Floats:
    """Planes (n, structures) of a texture of three scales at positions (n,)."""
    squared = np.square(np.subtract.outer(truth, truth))
    texture = sum(share**2 * np.exp(-squared / (4 * length**2)) for share, length in ((0.6, 2), (0.8, 5), (1.0, 12)))
    # Two sections at one place make it singular, but for a little noise.
    root = np.linalg.cholesky(texture / 2.0 + 1e-6 * np.eye(len(truth)))
    planes: Floats = root @ rng.standard_normal((len(truth), structures))
    return planes


def wrong(fault: str, seed: int, together: int = 1) -> float:
    """Sections that are named without reason in a series, on average."""
    every = [series(fault, together * seed + part) for part in range(together)]
    return float(np.mean([len(made.named - made.truth) for made in every]))


def found(fault: str, seed: int) -> float:
    """Share of the true faults' sections that are named."""
    made = series(fault, seed)
    return len(made.named & made.truth) / max(len(made.truth), 1)


def sorts() -> Iterator[Sort]:
    """All sorts of series."""
    for fault in SOUND:
        name = f"no faults, {fault}: named, mean of {TOGETHER}"
        yield Sort(name, lambda s, f=fault: wrong(f, s, TOGETHER), MOST_WRONG, False)
    for fault in FAULTY:
        yield Sort(f"{fault}: share found", lambda s, f=fault: found(f, s), LEAST_FOUND, True)
        yield Sort(f"{fault}: others named", lambda s, f=fault: wrong(f, s), MOST_WRONG, False)


def thresholds() -> Iterator[tuple[ModuleType, str]]:
    """Numbers of the fault finder that decide something."""
    for module in _MODULES:
        for name, value in vars(module).items():
            if name.isupper() and name not in _NO_THRESHOLDS and isinstance(value, int | float):
                yield module, name


def without_effect(seeds: range) -> list[str]:
    """Thresholds that may be a third and three times what they are, and no row finds or names anything else.

    One seed takes two minutes of CPU time. Some have no effect: these sorts of series do not show what they are for.
    """
    every = [series(sort, seed) for sort in (*SOUND, *FAULTY) for seed in seeds]
    usual = [made.named for made in every]
    idle = []
    for module, name in thresholds():
        value = getattr(module, name)
        try:
            changed = False
            for factor in FACTORS:
                setattr(module, name, type(value)(value * factor) or value)
                changed = changed or any(made.named != names for made, names in zip(every, usual, strict=True))
        finally:
            setattr(module, name, value)
        if not changed:
            idle.append(f"{module.__name__.rpartition('.')[2]}.{name}")
    return idle


def main() -> int:
    """Measure all, print and keep the table; 1 if a row does not hold."""
    rows = [sort.row(range(SEEDS)) for sort in sorts()]
    report("zspacing_faults", rows)
    print("thresholds without effect:", ", ".join(without_effect(range(3))))
    return 0 if all(row["holds"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
