"""Random series whose positions are written with a count of digits, not of decimals, and what is true of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from gpustitch.slices.model import SliceHeader, SliceSeries
from tests.slices.slice_headers import AXIAL

# How programs write numbers: so many significant digits, 32 bits, so many characters.
STYLES: dict[str, Callable[[float], str]] = {
    "%.5g": lambda v: f"{v:.5g}",
    "%.6g": lambda v: f"{v:.6g}",
    "%.7g": lambda v: f"{v:.7g}",
    "float32": lambda v: str(np.float32(v)),
    "float32 as double": lambda v: str(float(np.float32(v))),
    "8 characters": lambda v: next(text for d in range(8, -1, -1) if len(text := f"{v:.{d}f}") <= 8),
}


@dataclass(frozen=True)
class Written:
    """A series and what is true: distance of slices, planes of the grid, greatest error as a part of the distance."""

    series: SliceSeries
    style: str
    spacing: float
    n_output: int
    coarse: float


def quantum_of_text(text: str) -> float:
    """Value of the last decimal of a number as written."""
    return float(Decimal(1).scaleb(int(Decimal(text).as_tuple().exponent)))


def series_of_texts(places: Sequence[Sequence[str]], directions: Sequence[Sequence[float]] = AXIAL) -> SliceSeries:
    """A series with positions (x, y, z) as written."""
    headers = tuple(
        SliceHeader(
            Path(f"f{k:05d}.dcm"), 0, (64, 48), tuple(float(v) for v in place),
            tuple(quantum_of_text(v) for v in place), tuple(directions[0]), tuple(directions[1]), (0.7, 0.5),
            number=k + 1, instance=f"1.2.{k}",
        )
        for k, place in enumerate(places)
    )  # fmt: skip
    return SliceSeries("digits", "dicom", headers, key={"SeriesInstanceUID": "1.2.3"})


def drawn_digits(seed: int, *, n_lost: int = 0, is_oblique: bool | None = None) -> Written:
    """An even series that crosses a power of ten, along z or obliquely, with some slices lost."""
    rng = np.random.default_rng(seed)
    style = str(rng.choice(list(STYLES)))
    spacing = float(rng.choice([0.3125, 0.625, 0.4, 0.7, rng.uniform(0.01, 3), 10 ** rng.uniform(-2, 0.5)]))
    n = int(rng.integers(20, 400))
    decade = float(rng.choice([10, 100, 1000])) * rng.choice([-1, 1])
    first = decade - spacing * n * rng.uniform(0, 1)
    row, column = AXIAL
    if is_oblique or (is_oblique is None and rng.random() < 0.3):
        row, column, _ = Rotation.random(None, rng).as_matrix().round(9).tolist()
    normal = np.cross(row, column)
    steps = np.delete(np.arange(n), rng.choice(np.arange(1, n - 1), n_lost, replace=False))
    beside = rng.uniform(-250, 250, 3)
    true = beside - (beside @ normal) * normal + (first + spacing * steps)[:, None] * normal
    texts = [[STYLES[style](v) for v in place] for place in true.tolist()]
    series = series_of_texts(texts, (row, column))
    written = np.array([header.position_mm for header in series.headers])
    coarse = float(np.abs((written - true) @ normal).max()) / spacing
    return Written(series, style, spacing, n, coarse)


def with_texts(series: SliceSeries, k: int, texts: Sequence[str]) -> SliceSeries:
    """The series with the position of one slice written otherwise."""
    headers = list(series.headers)
    place, quantum = tuple(float(v) for v in texts), tuple(quantum_of_text(v) for v in texts)
    headers[k] = dataclasses.replace(headers[k], position_mm=place, quantum_mm=quantum)
    return dataclasses.replace(series, headers=tuple(headers))
