"""Pixels without data stay what they are; no voxel mixes them with others."""

from __future__ import annotations

import numpy as np
import pytest

from gpustitch.regrid.empty_pixels import with_empty, without_data
from gpustitch.regrid.zresample import planes_between

N, SHAPE = 5, (7, 9)


def drawn(rng, dtype):
    """Sections, some of which hold their own value of pixels without data, or a range of these."""
    sections, empty = [], []
    for _ in range(N):
        section = rng.integers(100, 200, SHAPE).astype(dtype)
        low = int(rng.integers(2, 50)) * (1 if np.dtype(dtype).kind == "u" else -1)
        high = low + int(rng.integers(0, 3))
        section[rng.random(SHAPE) < 0.2] = low
        section[rng.random(SHAPE) < 0.1] = high
        sections.append(section)
        first, last = (low, high) if rng.random() < 0.5 else (high, low)
        empty.append(None if rng.random() < 0.2 else (float(first), float(last)))
    return sections, empty


def plan(rng):
    lower = rng.integers(-1, N - 1, 12)
    weight = np.where(lower < 0, 0, rng.choice([0.0, 1e-3, 0.3, 0.999], 12)).astype(np.float32)
    return lower, np.where(lower < 0, -1, lower + (weight > 0)), weight


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32"])
@pytest.mark.parametrize("seed", range(4))
def test_a_voxel_is_mixed_from_data_alone(dtype, seed):
    rng = np.random.default_rng(seed)
    sections, empty = drawn(rng, dtype)
    lower, upper, weight = plan(rng)
    marked, is_empty = without_data(sections, empty)
    assert is_empty
    made = with_empty(
        planes_between(marked, lower, upper, weight), sections, empty, (lower, upper, weight), is_moved=False
    )
    plain = planes_between(sections, lower, upper, weight)
    assert made.dtype == dtype
    masks = [
        np.zeros(SHAPE, bool) if e is None else (s >= min(e)) & (s <= max(e))
        for s, e in zip(sections, empty, strict=True)
    ]
    for k, (low, high, w) in enumerate(zip(lower, upper, weight, strict=True)):
        if low < 0 or not w:
            assert (made[k] == (sections[low] if low >= 0 else 0)).all()
            continue
        hidden = masks[low] | masks[high]
        stated = empty[low] if empty[low] is not None else empty[high]
        assert (made[k][~hidden] == plain[k][~hidden]).all()
        assert (made[k][hidden] == (0 if stated is None else stated[0])).all()


@pytest.mark.parametrize("empty", [[], [None] * N, [(3000.0, 3000.0)] * N])
def test_sections_full_of_data_are_left_alone(empty):
    sections = [np.full(SHAPE, 7, np.int16)] * N
    kept, is_empty = without_data(sections, empty)
    assert not is_empty and all(one is other for one, other in zip(kept, sections, strict=True))
