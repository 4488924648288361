"""Boxes that reach beyond a volume: what is there, and zeros around it."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gpustitch.model import Box
from gpustitch.ops.padded import padded

VOLUME = np.arange(1, 1 + 4 * 5 * 6, dtype=np.uint16).reshape(4, 5, 6)
START = st.tuples(*[st.integers(-9, 9)] * 3)
SIZE = st.tuples(*[st.integers(0, 12)] * 3)


@given(START, SIZE)
def test_is_its_definition_wherever_the_box_lies(start, size):
    box = Box.of_shape(size, start)
    asked = []

    def read(inside):
        asked.append(inside)
        return VOLUME[inside.slices()]

    found = padded(box, VOLUME.shape, VOLUME.dtype, read)
    z, y, x = (np.arange(a, a + n) for a, n in zip(start, size, strict=True))
    grid = np.meshgrid(z, y, x, indexing="ij")
    there = np.all([(g >= 0) & (g < n) for g, n in zip(grid, VOLUME.shape, strict=True)], axis=0)
    expected = np.where(there, VOLUME[tuple(np.clip(g, 0, n - 1) for g, n in zip(grid, VOLUME.shape, strict=True))], 0)
    assert found.dtype == VOLUME.dtype and found.shape == box.shape
    assert np.array_equal(found, expected)
    assert len(asked) == bool(there.any()) and all(not inside.is_empty for inside in asked)
