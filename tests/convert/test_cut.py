"""How volumes are cut for converting."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from gpustitch.convert.cut import Cut, item_shape, numbers_of_workers

lengths = st.tuples(*[st.integers(1, 40)] * 3)
units = st.tuples(*[st.integers(1, 12)] * 3)


def reads_of(cut: Cut) -> float:
    """How often chunks are read, by counting them."""
    grid = [-(-n // c) for n, c in zip(cut.shape, cut.chunk, strict=True)]
    counts = np.zeros(grid, int)
    for box in cut.boxes():
        parts = zip(box.start, box.stop, cut.chunk, strict=True)
        counts[tuple(slice(a // n, -(-b // n)) for a, b, n in parts)] += 1
    return float(counts.mean())


@settings(max_examples=80)
@given(lengths, units, units, units, st.integers(1, 20_000))
def test_boxes_are_whole_blocks_and_fit(shape, block, chunk, file, most) -> None:
    item = item_shape(shape, block, chunk, file, most)
    least = [min(b, n) for b, n in zip(block, shape, strict=True)]
    assert math.prod(item) <= max(most, math.prod(least))
    assert all(i % b == 0 or i == n for i, b, n in zip(item, block, shape, strict=True))
    cut = Cut(shape, item, chunk)
    covered = np.zeros(shape, int)
    for box in cut.boxes():
        covered[box.slices()] += 1
    assert (covered == 1).all() and len(list(cut.boxes())) == cut.n_items
    assert cut.reads_per_chunk == np.float64(reads_of(cut)).round(9) or abs(cut.reads_per_chunk - reads_of(cut)) < 1e-9


@settings(max_examples=60)
@given(lengths, units, units, units)
def test_with_memory_enough_each_chunk_is_read_once(shape, block, chunk, file) -> None:
    assert Cut(shape, item_shape(shape, block, chunk, file, math.prod(shape)), chunk).reads_per_chunk == 1


@settings(max_examples=40)
@given(lengths, units, st.integers(1, 20_000))
def test_slabs_of_planes_stay_in_order(shape, chunk, most) -> None:
    whole = (1, shape[1], shape[2])
    cut = Cut(shape, item_shape(shape, whole, chunk, whole, most), chunk)
    starts = [box.start for box in cut.boxes()]
    assert starts == sorted(starts) and all(start[1:] == (0, 0) for start in starts)


@settings(max_examples=80)
@given(st.integers(1, 10**9), lengths, units, st.integers(0, 50_000))
def test_few_numbers_of_workers_are_tried(asked, shape, block, most) -> None:
    tried = list(numbers_of_workers(asked, shape, block, most))
    n_blocks, least = Cut(shape, block, block).n_items, math.prod(np.minimum(block, shape).tolist())
    assert tried[0] <= min(asked, n_blocks) and (tried[0] == 1 or tried[0] * least <= most)
    assert tried == sorted(set(tried), reverse=True) and tried[-1] == 1
    assert tried[0] > 31 or len(tried) == tried[0]
    assert len(tried) < 400


def test_as_many_workers_as_asked_for_where_there_is_work() -> None:
    assert list(numbers_of_workers(4, (100, 100, 100), (10, 10, 10), 10**9)) == [4, 3, 2, 1]
