"""Eight series of slices, each with a difficulty of its own, and what is right for them."""

from __future__ import annotations

import functools
import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gpustitch.demo.series.dicom import write_series
from tests.paths import temporary


@dataclass(frozen=True)
class Expected:
    """What is right for a scenario: class, spacing along the normal, planes of an even volume, warnings."""

    kind: str
    spacing_mm: float | None
    n_output: int
    codes: frozenset[str]


EXPECTED = {
    1: Expected("UNIFORM", 7 / 12, 306, frozenset({"FILE_ORDER", "POSITIONS_ROUNDED"})),
    2: Expected("RUNS_WITH_GAPS", 0.6, 593, frozenset({"GAPS"})),
    3: Expected("MISSING", 1.5, 30, frozenset({"SLICES_MISSING", "FILES_LOST"})),
    4: Expected("UNIFORM", 5 * np.cos(np.radians(20)), 20, frozenset({"SHEARED"})),
    5: Expected("VARIABLE", 2.5, 56, frozenset({"VARIABLE_SPACING"})),
    6: Expected("UNIFORM", 2.5, 20, frozenset({"SAME_INSTANCE", "FILE_ORDER"})),
    7: Expected("UNIFORM", 1.2, 24, frozenset({"SPACING_TAG_MISMATCH"})),
    8: Expected("UNKNOWN", None, 0, frozenset({"NO_SPACING"})),
}


def scenario(number: int, folder: Path, **changes: Any) -> list[Path]:
    """Write one of the eight series of ``EXPECTED``; ``changes`` are parameters of :func:`write_series`."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, content in _files(number, tuple(sorted(changes.items()))):
        paths.append(folder / name)
        paths[-1].write_bytes(content)
    return paths


@functools.lru_cache(maxsize=64)
def _files(number: int, changes: tuple[tuple[str, Any], ...]) -> list[tuple[str, bytes]]:
    """Names and contents of a series' files: many tests ask for the same ones, each of a millisecond or more."""
    along, options = SCENARIOS[number]()
    with temporary() as folder:
        paths = write_series(folder, along, **{"series": f"scenario {number}", **options, **dict(changes)})
        return [(path.name, path.read_bytes()) for path in paths]


def blocks_in_wrong_order() -> tuple[np.ndarray, dict[str, Any]]:
    """1: 306 slices, files in blocks of 6, 100, 100, 100 that are named in wrong order, positions to 0.1."""
    edges, letters = (0, 6, 106, 206, 306), "BDAC"
    blocks = enumerate(itertools.pairwise(edges))
    names = [f"{letters[b]}_{i + 1}.dcm" for b, (first, stop) in blocks for i in range(stop - first)]
    return np.arange(306) * 7 / 12, {"decimals": 1, "names": names}


def three_runs() -> tuple[np.ndarray, dict[str, Any]]:
    """2: three times 100 slices at 0.6, with gaps of 61 and 116 between."""
    run = np.arange(100) * 0.6
    return np.concatenate([run, run + 59.4 + 61, run + 2 * 59.4 + 61 + 116]), {}


def two_removed() -> tuple[np.ndarray, dict[str, Any]]:
    """3: 30 slices at 1.5, of which two files were lost."""
    kept = np.delete(np.arange(30), [9, 20])
    return kept * 1.5, {"numbers": (kept + 1).tolist()}


def tilted() -> tuple[np.ndarray, dict[str, Any]]:
    """4: 20 slices at 5 along the bed (z), gantry tilted by 20 degrees."""
    angle = np.radians(20)
    directions = ((1.0, 0.0, 0.0), (0.0, float(np.cos(angle)), float(-np.sin(angle))))
    return np.arange(20) * 5 * np.cos(angle), {"row_and_column": directions, "shear": (-float(np.tan(angle)), 0.0)}


def two_spacings() -> tuple[np.ndarray, dict[str, Any]]:
    """5: 20 slices at 2.5, then 12 at 7.5."""
    return np.concatenate([np.arange(20) * 2.5, 19 * 2.5 + np.arange(1, 13) * 7.5]), {}


def one_duplicate() -> tuple[np.ndarray, dict[str, Any]]:
    """6: 20 slices at 2.5 and a copy of one, names shuffled."""
    order = np.random.default_rng(6).permutation(21)
    return np.arange(20) * 2.5, {"duplicates": [7], "names": [f"IM{i}.dcm" for i in order]}


def oblique_sagittal() -> tuple[np.ndarray, dict[str, Any]]:
    """7: 24 slices at 1.2, oblique sagittal; SpacingBetweenSlices says 1.0."""
    row = np.array([0.2, 0.9, 0.1]) / np.linalg.norm([0.2, 0.9, 0.1])
    column = np.array([0.1, 0.05, -1.0])
    column -= (column @ row) * row
    column /= np.linalg.norm(column)
    return np.arange(24) * 1.2, {"row_and_column": (row.tolist(), column.tolist()), "spacing_between": 1.0}


def no_positions() -> tuple[np.ndarray, dict[str, Any]]:
    """8: neither position nor orientation, thickness 5."""
    return np.arange(10) * 5.0, {"row_and_column": None, "origin_mm": None, "thickness": 5.0}


SCENARIOS = dict(
    enumerate(
        (
            blocks_in_wrong_order,
            three_runs,
            two_removed,
            tilted,
            two_spacings,
            one_duplicate,
            oblique_sagittal,
            no_positions,
        ),
        start=1,
    )
)
