"""Between which values a volume is shown."""

from __future__ import annotations

import numpy as np
import pytest

from gpustitch.ops.contrast import shown_range


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32"])
def test_voxels_without_data_do_not_count(dtype: str) -> None:
    lit = np.random.default_rng(0).integers(50, 100, 5000).astype(dtype)
    low, high = shown_range(lit)
    assert 50 <= low < high <= 99
    assert shown_range(np.concatenate([lit, np.zeros(100_000, dtype)])) == (low, high)
    if dtype == "float32":
        assert shown_range(np.concatenate([lit, np.full(9, np.nan, dtype), np.full(9, np.inf, dtype)])) == (low, high)


@pytest.mark.parametrize("value", [0, 7])
def test_voxels_of_one_value(value: int) -> None:
    low, high = shown_range(np.full((3, 4), value, np.uint16))
    assert (low, high) == ((7, 8) if value else (0, 1))
    assert shown_range(np.zeros((0,), np.uint8)) == (0, 1)
