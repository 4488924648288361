"""Voxels of other types."""

from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import pytest

from gpustitch.convert.values import as_type, changed_text

TYPES = ("uint8", "uint16", "int16", "uint32", "int32", "float32", "float64")


def members(dtype: str, seed: int) -> np.ndarray:
    """Values of the whole range of a type, its limits, halves, and what is no number."""
    rng = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "f":
        values = [rng.uniform(-1e5, 1e5, 50), rng.integers(-5, 300, 20) + 0.5, [np.nan, np.inf, -np.inf, 0, 1e30]]
        return np.concatenate(values).astype(dtype)
    of = np.iinfo(dtype)
    return np.concatenate([rng.integers(of.min, of.max, 50, endpoint=True), [of.min, of.max, 0]]).astype(dtype)


def due(value: float | int, dtype: np.dtype) -> tuple[float | int, bool]:
    """The value of a type of whole numbers by exact arithmetic, and whether it counts as changed."""
    if value != value:
        return 0, True
    limits = np.iinfo(dtype)
    if value in (np.inf, -np.inf):
        return int(limits.max if value > 0 else limits.min), True
    nearest = round(Fraction(value))  # halves to even
    return min(max(nearest, int(limits.min)), int(limits.max)), not limits.min <= nearest <= limits.max


@pytest.mark.parametrize(("given", "wanted"), itertools.product(TYPES, [t for t in TYPES if t[0] != "f"]))
def test_whole_numbers_are_the_nearest_ones(given: str, wanted: str) -> None:
    values = members(given, seed=len(given + wanted))
    found, n_changed = as_type(values, np.dtype(wanted))
    exact = [due(value, np.dtype(wanted)) for value in values.tolist()]
    assert found.dtype == wanted and found.tolist() == [value for value, _ in exact]
    assert n_changed == sum(changed for _, changed in exact)


@pytest.mark.parametrize("given", TYPES)
def test_floats_keep_what_is_no_number(given: str) -> None:
    values = members(given, 3)
    found, n_changed = as_type(values, np.dtype(np.float32))
    np.testing.assert_array_equal(found, values.astype(np.float32))
    assert n_changed == 0
    far, n_changed = as_type(np.array([1e300, -1e300, np.inf, 1.0]), np.dtype(np.float32))
    assert np.isfinite(far[:2]).all() and far[0] > 3e38 and far[1] < -3e38 and np.isinf(far[2])
    assert n_changed == 2 and "2 voxels" in changed_text(n_changed, np.dtype(np.float32))


def test_the_same_type_is_not_copied() -> None:
    values = np.ones((2, 3), np.uint16)
    assert as_type(values, np.dtype(np.uint16))[0] is values
