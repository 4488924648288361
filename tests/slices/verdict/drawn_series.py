"""Random series of slice headers with known truth."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

import numpy as np
from scipy.spatial.transform import Rotation

from gpustitch.slices.model import SliceHeader, SliceSeries
from tests.slices.slice_headers import AXIAL, series_of
from tests.slices.slice_positions import positions_of

KINDS = ("UNIFORM", "UNIFORM", "COARSE", "MISSING", "RUNS_WITH_GAPS", "VARIABLE", "IRREGULAR")


@dataclass
class Drawn:
    """A series and what is true of it; ``codes`` are those that must be there, ``no_codes`` those that must not."""

    series: SliceSeries
    kind: str
    spacing: float
    n_slices: int
    n_output: int | None
    shear: tuple[float, float]
    codes: set[str] = field(default_factory=set)
    no_codes: set[str] = field(default_factory=set)


def drawn(seed: int) -> Drawn | None:
    """A series as a scanner might write it; None where its class is not defined."""
    rng = np.random.default_rng(seed)
    kind = str(rng.choice(KINDS))
    spacing = float(np.exp(rng.uniform(np.log(0.1), np.log(12))))
    if kind != "COARSE" and rng.random() < 0.25:
        spacing = float(rng.choice([0.5, 0.625, 1, 1.25, 2, 2.5, 3, 5, 10]))
    truly = "UNIFORM" if kind == "COARSE" else kind
    true, n_output = positions_of(truly, spacing, int(rng.integers(8, 200)), rng)
    row, column = _directions(rng)
    normal = np.cross(row, column)
    decimals = _decimals(kind, spacing, normal, rng)
    if decimals is None:
        return None
    shear = (float(np.tan(np.deg2rad(rng.uniform(-30, 30)))), 0.0) if rng.random() < 0.3 else (0.0, 0.0)
    numbers, number_code = _numbers(kind, true, spacing, rng)
    names = rng.permutation(len(true)) if rng.random() < 0.5 else np.arange(len(true))
    series = series_of(
        true,
        directions=(row, column),
        origin_mm=rng.uniform(-300, 300, 3),
        shear=shear,
        decimals=decimals,
        numbers=numbers,
        names=names.tolist(),
    )
    if _is_undefined(kind, series, normal, true, spacing):
        return None
    found = Drawn(series, truly, spacing, len(true), n_output, shear)
    is_shuffled = not (np.diff(names) > 0).all()
    (found.codes if is_shuffled else found.no_codes).add("FILE_ORDER")
    if number_code:
        found.codes.add(number_code)
    extent = float(true[-1] - true[0])
    if abs(shear[0]) > 2e-3 + 2 * 10.0**-decimals / extent:
        found.codes.add("SHEARED")
    elif not shear[0]:
        found.no_codes.add("SHEARED")
    if kind == "UNIFORM" and (row == AXIAL[0]).all() and not shear[0] and round(spacing, decimals) == spacing:
        found.no_codes.add("POSITIONS_ROUNDED")
    if kind == "COARSE":
        found.codes.add("POSITIONS_ROUNDED")
    elif rng.random() < 0.3:
        _duplicate(found, rng)
    return found


def pixels_equal(one: SliceHeader, other: SliceHeader) -> bool:
    """Pixels are told by the first letters of the file's name: a copy is called as its original, with an x."""
    return one.path.name.split("x")[0] == other.path.name.split("x")[0]


def _directions(rng):
    """Axial, or any orientation, written with many decimals."""
    if rng.random() < 0.4:
        return tuple(np.array(v) for v in AXIAL)
    row, column, _ = Rotation.random(None, rng).as_matrix()
    return np.round(row, 8), np.round(column, 8)


def _decimals(kind, spacing, normal, rng):
    """So that the error along the normal is a fifth of the spacing at most (an eighth of one that changes), or more."""
    size = 0.5 * np.abs(normal).sum()
    if kind == "COARSE":
        fits = [d for d in range(3) if 0.3 * spacing < size * 10.0**-d < 1.2 * spacing]
    else:
        most = 0.12 if kind == "VARIABLE" else 0.2
        fits = [d for d in range(7) if size * 10.0**-d < most * spacing]
    return int(rng.choice(fits)) if fits else None


def _numbers(kind, true, spacing, rng):
    """InstanceNumber and what it says of holes."""
    n = len(true)
    up = np.arange(1, n + 1)
    code = ""
    if kind == "MISSING" and rng.random() < 0.5:
        up, code = np.rint(true / spacing).astype(int) + 1, "FILES_LOST"
    elif kind in ("MISSING", "RUNS_WITH_GAPS"):
        code = "NEVER_ACQUIRED"
    if rng.random() < 0.5:
        up = up.max() + 1 - up
    if kind != "COARSE" and rng.random() < 0.2:
        return [None] * n, ""
    return up.tolist(), code


def _is_undefined(kind, series, normal, true, spacing):
    """Whether slices are at one place, or holes are too many or too wide to be some missing slices.

    Coarse positions with as many slices at each place as at any other could be those of several volumes.
    """
    along = np.sort([np.dot(header.position_mm, normal) for header in series.headers])
    if kind == "COARSE":
        return len(set(np.unique(along, return_counts=True)[1])) == 1
    gaps, steps = np.diff(along), np.rint(np.diff(true) / spacing)
    if gaps.min() <= 1e-3 * np.median(gaps):
        return True
    if kind != "MISSING":
        return False
    wide = steps > 1
    in_row = (wide[2:] & wide[1:-1] & wide[:-2]).any()
    return bool(steps.max() > 5 or wide.sum() > max(1, 0.2 * len(steps)) or in_row)


def _duplicate(found: Drawn, rng) -> None:
    """Add copies of a few slices: the same instance, or one of its own with equal pixels."""
    headers = list(found.series.headers)
    for i in rng.choice(len(headers), min(3, len(headers) - 2), replace=False):
        name = headers[i].path.with_name(f"{headers[i].path.name}x")
        copy = dataclasses.replace(headers[i], path=name)
        found.codes.add("SAME_INSTANCE")
        if rng.random() < 0.5:
            copy = dataclasses.replace(copy, instance=f"{copy.instance}.9")
            found.codes.add("SAME_SLICE")
        headers.append(copy)
    if all(header.instance.endswith(".9") for header in headers[found.n_slices :]):
        found.codes.discard("SAME_INSTANCE")
    # Copies come right after their originals, so that names stay in the order of positions.
    headers.sort(key=lambda header: header.path.name)
    found.series = dataclasses.replace(found.series, headers=tuple(headers))
