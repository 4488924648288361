"""Constants by which the estimator of section positions judges its model: what they are held against, measured again.

Each row is a sort of series and a figure of it: the least, the median and the largest value over fresh seeds, and the
constant that it must be above or below.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from bench.common import report
from gpustitch.model.arrays import Floats
from gpustitch.sections.model import EstimateOptions
from gpustitch.sections.positions.band import band_of
from gpustitch.sections.positions.solve import EXPLAINED, fitted, share_left
from gpustitch.sections.positions.state import Problem
from gpustitch.sections.texture.trend import OF_WAVES, unsteadiness

SEEDS = 10
MAX_LAG = 10


def textured(spacing: Floats, seed: int, patches: int = 1500) -> tuple[Floats, Floats]:
    """Positions (n,) at spacings (n,), and similarities (n, n) of sections through a texture of three scales."""
    rng = np.random.default_rng(seed)
    truth = np.cumsum(spacing)
    squared = np.square(np.subtract.outer(truth, truth))
    texture = sum(share**2 * np.exp(-squared / (4 * length**2)) for share, length in ((0.6, 2), (0.8, 5), (1.0, 12)))
    covariance = texture / 2.0 + 0.06 * np.eye(len(truth))
    return truth, np.corrcoef(np.linalg.cholesky(covariance) @ rng.standard_normal((len(truth), patches)))


def waves(n: int, low: float, high: float, periods: float, seed: int) -> Floats:
    """Spacings (n,) that swing between two values."""
    phase = np.random.default_rng(seed).uniform(0, 2 * np.pi)
    swing = np.sin(2 * np.pi * periods * np.arange(n) / n + phase)
    return (low + high) / 2 + (high - low) / 2 * swing


def steady(n: int, ratio: float, seed: int) -> Floats:
    """Spacings (n,) that grow by a factor on the whole, and scatter by a fifth."""
    scatter = np.random.default_rng(seed).uniform(0.8, 1.2, n)
    grown: Floats = np.geomspace(1 / np.sqrt(ratio), np.sqrt(ratio), n) * scatter
    return grown


def contradictory(seed: int, pair_error: float, offset: float, length: float, n: int = 200) -> tuple[Floats, Floats]:
    """Positions (n,) in waves of thickness, and similarities (n, n) that no process has.

    They fall slowly. Each pair has an error of its own, and sections are off their place across the plane: near ones
    lose more of their similarity by that than distance takes.
    """
    rng = np.random.default_rng(seed)
    swing = np.sin(2 * np.pi * (rng.uniform(2, 3) * np.arange(n) / n + rng.uniform()))
    truth = np.cumsum((1.3 + 0.9 * swing) * rng.uniform(0.7, 1.3, n))
    matrix = 0.9 * np.exp(-((np.abs(np.subtract.outer(truth, truth)) / length) ** 0.8))
    place = offset * rng.standard_normal((n, 2))
    matrix *= np.exp(-np.square(place[:, None] - place).sum(axis=2))
    error = pair_error * rng.standard_normal((n, n))
    matrix = np.clip(matrix * (1 + (error + error.T) / np.sqrt(2)), -1, 0.9999)
    np.fill_diagonal(matrix, 1)
    return truth, matrix


def share_left_of(similarity: Floats) -> float:
    """What is left of the residuals at the positions found, of those at the section numbers."""
    n = len(similarity)
    one = np.ones(n)
    problem = Problem(band_of(similarity, MAX_LAG), EstimateOptions(), np.arange(n) * 1.0, one, one, None)
    return share_left(problem, fitted(problem, None)[0])


@dataclass(frozen=True)
class Sort:
    """A sort of series, the figure of one by its seed, and the constant that all must be above or below."""

    name: str
    figure: Callable[[int], float]
    limit: float
    is_above: bool

    def row(self, seeds: range) -> dict[str, object]:
        """The figures of some seeds, against the constant."""
        found = [self.figure(seed) for seed in seeds]
        asked = f"{'above' if self.is_above else 'below'} {self.limit:g}"
        holds = min(found) > self.limit if self.is_above else max(found) < self.limit
        least, middle, most = (round(float(v), 3) for v in (min(found), np.median(found), max(found)))
        return {"series": self.name, "least": least, "median": middle, "most": most, "asked": asked, "holds": holds}


def sorts() -> Iterator[Sort]:
    """All sorts of series."""
    for low, high, periods in ((0.5, 1.7, 2.0), (0.45, 2.0, 3.0), (0.7, 1.4, 4.0)):
        name = f"unsteadiness, {periods:g} waves of spacing, {low:g} to {high:g}"
        yield Sort(name, lambda s, a=(low, high, periods): unsteadiness(waves(160, *a, s)), OF_WAVES, True)
    for ratio in (2.0, 3.0, 6.0):
        name = f"unsteadiness, spacing that grows {ratio:g} times"
        yield Sort(name, lambda s, r=ratio: unsteadiness(steady(160, r, s)), OF_WAVES, False)
    for cv in (0.1, 0.35):
        yield Sort(
            f"residuals left, texture, spacing scatters by {cv:g}", lambda s, c=cv: _uneven(c, s), EXPLAINED, False
        )
    for pair_error, offset in ((0.01, 0.0), (0.0, 0.1)):
        name = f"residuals left, waves; pairs off by {pair_error:g}, sections by {offset:g} across"
        values = (pair_error, offset, 20.0)
        yield Sort(name, lambda s, v=values: share_left_of(contradictory(s, *v)[1]), EXPLAINED, False)
    name = "residuals left, sections off by 0.4 across: distance along z tells nothing"
    yield Sort(name, lambda s: share_left_of(contradictory(s, 0.0, 0.4, 40.0, 100)[1]), EXPLAINED, True)


def _uneven(cv: float, seed: int) -> float:
    spacing = np.maximum(np.random.default_rng(1000 + seed).normal(1, cv, 120), 0.1)
    return share_left_of(textured(spacing, seed)[1])


def main() -> int:
    """Measure all, print and keep the table; 1 if a constant does not part the sorts."""
    rows = [sort.row(range(SEEDS)) for sort in sorts()]
    report("zspacing_model", rows)
    return 0 if all(row["holds"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
