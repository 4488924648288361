"""Random series that hold several volumes, with known truth, and single volumes that look a little like it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from gpustitch.slices.model import SliceSeries, SliceStack
from tests.slices.slice_headers import AXIAL, series_of
from tests.slices.slice_positions import positions_of
from tests.slices.verdict.drawn_series import _directions

SEVERAL = ("shifted", "jittered", "moved", "passes", "thick_thin", "halves", "doubled", "crossed", "lost")
SINGLE = (
    "plain",
    "rotations",
    "stations",
    "turns",
    "packages",
    "multiband",
    "runs",
    "variable",
    "missing",
    "irregular",
)
# Names of splits whose value may change from volume to volume.
TELLING = ("acquisition", "echo", "b-value", "gradient", "image-type", "kernel", "kvp", "contrast", "time")
SPACINGS = (0.5, 0.625, 0.8, 1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 5.0)


@dataclass(frozen=True)
class DrawnParts:
    """A series; its volumes as (spacing, number of slices); whether something tells them apart; the last decimal."""

    series: SliceSeries
    kind: str
    volumes: tuple[tuple[float, int], ...]
    is_told: bool
    quantum: float

    def has(self, spacing: float | None, error: float | None) -> bool:
        """Whether a spacing is that of a volume."""
        slack = (error or 0.0) + 1e-6
        return spacing is not None and any(
            abs(spacing - true) <= slack + 2e-3 * true + 2 * self.quantum / n for true, n in self.volumes
        )

    def is_named(self, stack: SliceStack) -> bool:
        """Whether one of the ways that are told makes the volumes."""
        true = sorted((n, spacing) for spacing, n in self.volumes)
        for parting in stack.partings:
            found = sorted((len(part.members), part.fit.spacing_mm) for part in parting.parts)
            if len(found) == len(true) and all(
                n == m and abs(a - b) <= 0.01 * b + 2 * self.quantum / n
                for (n, a), (m, b) in zip(found, true, strict=True)
            ):
                return True
        return False


def drawn_parts(seed: int, kind: str | None = None) -> DrawnParts:
    """Several volumes in one series."""
    rng = np.random.default_rng([77, seed])
    kind = kind or str(rng.choice(SEVERAL))
    spacing = float(rng.choice(SPACINGS)) if rng.random() < 0.6 else float(np.exp(rng.uniform(np.log(0.3), np.log(8))))
    volumes, spacings = _VOLUMES[kind](spacing, rng)
    counts = [len(volume) for volume in volumes]
    of = np.repeat(np.arange(len(volumes)), counts)
    is_tagged = kind == "crossed" or rng.random() < 0.6
    tags = _crossed_tags(of, rng) if kind == "crossed" else _tags(of, rng) if is_tagged else {}
    extra: dict[str, object] = {}
    if kind == "halves" and (rng.random() < 0.5 or not is_tagged):
        extra["spacing_between_mm"] = round(spacings[0], 6)
    fits = [d for d in range(1, 7) if 10.0**-d < 0.1 * min(spacings)]
    decimals = int(rng.choice(fits))
    numbers, are_telling = _numbers(of, rng, equal=kind in ("shifted", "jittered", "doubled"), whole=kind != "lost")
    along = np.concatenate(volumes)
    series = _series(along, rng, tags, numbers=numbers, decimals=decimals, **extra)
    is_told = is_tagged or are_telling
    return DrawnParts(series, kind, tuple(zip(spacings, counts, strict=True)), is_told, 10.0**-decimals)


def drawn_single(seed: int, kind: str | None = None) -> SliceSeries:
    """One volume, whose tags and numbers change as those of ordinary acquisitions do."""
    rng = np.random.default_rng([78, seed])
    kind = kind or str(rng.choice(SINGLE))
    spacing = float(rng.choice(SPACINGS)) if rng.random() < 0.6 else float(np.exp(rng.uniform(np.log(0.3), np.log(8))))
    n = int(rng.integers(10, 120))
    along = spacing * np.arange(n)
    tags: dict[str, np.ndarray] = {}
    extra: dict[str, object] = {}
    numbers = np.arange(1, n + 1)
    if kind in ("variable", "missing", "irregular", "runs"):
        along, _ = positions_of({"runs": "RUNS_WITH_GAPS"}.get(kind, kind.upper()), spacing, n, rng)
        numbers = np.arange(1, len(along) + 1)
        where = np.concatenate([[0], np.cumsum(np.diff(along) > 1.4 * np.median(np.diff(along)))])
        tags["acquisition"] = where if kind in ("runs", "variable") else np.arange(len(along))
    elif kind == "rotations":
        tags["acquisition"] = np.arange(n) // int(rng.choice([2, 4, 8, 16]))
    elif kind == "stations":
        tags["acquisition"] = (np.arange(n) >= n // 2).astype(int)
        tags["time"] = tags["acquisition"]
    elif kind in ("turns", "packages", "multiband"):
        turns = int(rng.integers(2, 5))
        numbers = 1 + np.argsort(np.argsort(np.arange(n) % turns, kind="stable"), kind="stable")
        if rng.random() < 0.5:
            numbers = np.arange(1, n + 1)
        of = np.arange(n) % turns if kind != "multiband" else np.arange(n) % -(-n // turns)
        tags["acquisition-time"] = of if kind != "turns" else np.arange(n)
        if kind == "packages":
            tags["acquisition"] = of
        if kind != "turns":
            extra["spacing_between_mm"] = round(spacing, 6)
    if rng.random() < 0.5:
        tags.setdefault("acquisition-time", np.arange(len(along)))
    if rng.random() < 0.3:
        tags.setdefault("time", np.arange(len(along)) // 3)
    row, column = _directions(rng)
    way = rng.random() < 0.5
    series = series_of(
        along, directions=(row, column), origin_mm=rng.uniform(-300, 300, 3), decimals=int(rng.integers(3, 7)),
        numbers=(numbers.max() + 1 - numbers if way else numbers).tolist(), **extra,
    )  # fmt: skip
    return dataclasses.replace(series, tags={name: tuple(map(str, values)) for name, values in tags.items()})


def _stack(spacing, rng, low=8, high=60):
    return spacing * np.arange(int(rng.integers(low, high)))


def _shifted(spacing, rng):
    """Volumes a little beside one another: motion correction, a second pass."""
    first = _stack(spacing, rng)
    n = int(rng.integers(2, 6))
    shifts = np.concatenate([[0.0], np.exp(rng.uniform(np.log(0.002), np.log(0.3 * spacing), n - 1))])
    return [first + shift for shift in shifts], [spacing] * n


def _jittered(spacing, rng):
    """A second export, positions of which differ in each slice."""
    first = _stack(spacing, rng)
    most = min(0.004 * spacing, 0.01)
    return [first, first + rng.uniform(-most, most, len(first)) + 3 * most], [spacing] * 2


def _moved(spacing, rng):
    """One volume lies several slices off."""
    first = _stack(spacing, rng, 14)
    return [first, first + spacing * (int(rng.integers(1, 4)) + rng.uniform(0.2, 0.45))], [spacing] * 2


def _passes(spacing, rng):
    """Stations that overlap."""
    first, second = _stack(spacing, rng, 16), _stack(spacing, rng, 16)
    start = first[-1] - spacing * (int(rng.integers(2, 10)) + rng.choice([0.0, 0.2, 0.4, 0.7]))
    return [first, second + start], [spacing] * 2


def _thick_thin(spacing, rng):
    """Two reconstructions of one acquisition."""
    first = _stack(spacing, rng, 40, 120)
    times = float(rng.choice([2.0, 2.5, 3.0, 4.0, 5.0]))
    second = spacing * times * np.arange(int(first[-1] / (spacing * times)))
    return [first, second + rng.choice([0.0, 0.3]) * spacing], [spacing, spacing * times]


def _halves(spacing, rng):
    """Evenly between one another."""
    first = _stack(spacing, rng)
    n = int(rng.choice([2, 2, 3]))
    if rng.random() < 0.2:
        return [first, first + spacing / 3], [spacing] * 2
    return [first + spacing * k / n for k in range(n)], [spacing] * n


def _doubled(spacing, rng):
    first = _stack(spacing, rng)
    n = int(rng.integers(2, 6))
    return [first] * n, [spacing] * n


def _crossed(spacing, rng):
    """Four volumes, two tags of two values."""
    first = _stack(spacing, rng)
    return [first + k * rng.choice([0.0, 0.01, 0.1]) * spacing for k in range(4)], [spacing] * 4


def _lost(spacing, rng):
    """Volumes of one place, one of which lacks slices."""
    first = _stack(spacing, rng, 20)
    lost = np.delete(first, rng.choice(np.arange(1, len(first) - 1), int(rng.integers(1, 3)), replace=False))
    return [first, lost + rng.choice([0.0, 0.05]) * spacing], [spacing] * 2


_VOLUMES = {
    "shifted": _shifted, "jittered": _jittered, "moved": _moved, "passes": _passes, "thick_thin": _thick_thin,
    "halves": _halves, "doubled": _doubled, "crossed": _crossed, "lost": _lost,
}  # fmt: skip


def _tags(of, rng):
    """One that tells volumes apart, and perhaps others that do not."""
    values = rng.permutation(int(of.max()) + 1) + 1
    tags = {str(rng.choice(TELLING)): values[of]}
    if rng.random() < 0.5:
        tags["acquisition-time"] = np.arange(len(of))
    if rng.random() < 0.3:
        tags.setdefault("stack", np.arange(len(of)) % 2)
    return tags


def _crossed_tags(of, rng):
    one, other = rng.choice(TELLING, 2, replace=False)
    return {str(one): of // 2, str(other): of % 2}


def _numbers(of, rng, *, equal, whole):
    """InstanceNumber of each slice, and whether it tells volumes apart.

    Volume after volume, up or down, or slice after slice; slices of a volume in turns; the same numbers in each volume.
    """
    sizes = np.bincount(of)
    within = np.concatenate([np.arange(n) for n in sizes])
    kind = rng.choice(["up", "down", "turns", "again", "slices"], p=[0.5, 0.15, 0.15, 0.1, 0.1])
    if kind == "again":
        return within + 1, False
    if kind == "slices" and equal:
        return within * len(sizes) + of + 1, True
    if kind == "turns" and whole:
        within = np.concatenate([np.argsort(np.argsort(np.arange(n) % 2, kind="stable"), kind="stable") for n in sizes])
    numbers = np.concatenate([[0], np.cumsum(sizes)])[of] + within + 1
    return (numbers.max() + 1 - numbers if kind == "down" else numbers), True


def _series(along, rng, tags, *, numbers, decimals, **extra):
    """Files in the order of slices, or in any."""
    row, column = _directions(rng) if rng.random() < 0.5 else AXIAL
    names = rng.permutation(len(along)) if rng.random() < 0.3 else np.arange(len(along))
    series = series_of(
        along, directions=(row, column), origin_mm=rng.uniform(-300, 300, 3), decimals=decimals,
        numbers=numbers.tolist(), names=names.tolist(), **extra,
    )  # fmt: skip
    by_name = np.argsort(names, kind="stable")
    tags = {name: tuple(str(values[i]) for i in by_name) for name, values in tags.items()}
    return dataclasses.replace(series, tags=tags)
