"""Box algebra against sets of voxels."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpustitch.model import Box

corners = st.tuples(*[st.integers(-6, 6)] * 3)
offsets = st.tuples(*[st.integers(-4, 4)] * 3)
boxes = st.builds(Box, corners, corners)
solid = st.builds(Box.of_shape, st.tuples(*[st.integers(1, 5)] * 3), corners)


def voxels(box):
    return set(itertools.product(*(range(a, b) for a, b in zip(box.start, box.stop, strict=True))))


@given(boxes)
def test_shape_and_size_count_voxels(box):
    assert box.size == len(voxels(box)) == np.prod(box.shape)
    assert box.is_empty == (not voxels(box))


@given(st.tuples(*[st.integers(0, 5)] * 3), corners)
def test_of_shape_has_the_shape_and_the_start(shape, start):
    box = Box.of_shape(shape, start)
    assert (box.shape, box.start) == (shape, start)


@given(boxes, boxes)
def test_intersect_and_contains_are_those_of_sets(a, b):
    assert voxels(a.intersect(b)) == voxels(a) & voxels(b)
    assert a.contains(b) == (voxels(b) <= voxels(a))


@given(boxes, offsets)
def test_shift_moves_every_voxel_and_back(box, offset):
    moved = {tuple(p + d for p, d in zip(v, offset, strict=True)) for v in voxels(box)}
    assert voxels(box.shift(offset)) == moved
    assert box.shift(offset).shift([-d for d in offset]) == box


@given(solid, st.tuples(*[st.integers(0, 3)] * 3))
def test_pad_grows_both_sides_and_shrinks_back(box, halo):
    assert box.pad(halo).shape == tuple(n + 2 * h for n, h in zip(box.shape, halo, strict=True))
    assert box.pad(halo).pad([-h for h in halo]) == box


@given(solid, boxes)
def test_slices_cut_the_box_out_of_an_array(whole, part):
    inside = whole.intersect(part)
    array = np.zeros(whole.shape, bool)
    array[inside.slices(whole.start)] = True
    found = {tuple(int(i) + o for i, o in zip(index, whole.start, strict=True)) for index in np.argwhere(array)}
    assert found == voxels(inside)


def test_slices_never_wrap_around():
    with pytest.raises(ValueError, match="begins before"):
        Box((-1, 0, 0), (2, 2, 2)).slices()
    assert np.zeros((9, 9, 9))[Box((8, 0, 0), (3, 9, 9)).slices((5, 0, 0))].size == 0


@given(boxes, st.tuples(*[st.integers(1, 5)] * 3))
def test_blocks_cover_every_voxel_once_and_are_aligned(box, shape):
    blocks = list(box.blocks(shape))
    assert sum(block.size for block in blocks) == box.size
    assert set().union(*map(voxels, blocks)) == voxels(box)
    for block in blocks:
        assert not block.is_empty
        for first, last, n in zip(block.start, block.stop, shape, strict=True):
            assert first // n == (last - 1) // n, "a block lies in one cell of the grid"
    assert blocks == sorted(blocks, key=lambda block: block.start)


def test_numpy_integers_become_plain_ones():
    box = Box.of_shape(np.array([1, 2, 3]), np.array([0, 0, 1]))
    assert all(type(v) is int for v in (*box.start, *box.stop))
    assert hash(box) == hash(Box((0, 0, 1), (1, 2, 4)))


def test_a_box_has_three_axes():
    with pytest.raises(ValueError):
        Box.of_shape((1, 2))
