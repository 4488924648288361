"""Frames that are read into memory that is there are those that a new array would have, whatever lies in between."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpustitch.errors import DamagedInputError, ParameterError
from gpustitch.io.frames.opening import Oriented, Slice, Spread
from gpustitch.io.frames.readable import Readable
from gpustitch.model import read_into


class Plain:
    """Frames in memory, of which some cannot be read."""

    absent: frozenset[int] = frozenset()

    def __init__(self, shape, damaged=()):
        self.values = np.random.default_rng(0).integers(1, 65535, shape, np.uint16)
        self.shape, self.dtype, self._damaged = shape, self.values.dtype, set(damaged)

    def read(self, start, stop, rows=slice(None), columns=slice(None)):
        if self._damaged.intersection(range(start, stop)):
            raise DamagedInputError("frame cannot be read")
        return self.values[start:stop, rows, columns]


class Into(Plain):
    """The same, read into memory too."""

    def read_into(self, start, stop, rows, columns, out):
        out[...] = self.read(start, stop, rows, columns)


def layers(kind, turn, flip, first, gaps, skips):
    """Frames with a gap, turned, of which a range is taken; one may be damaged."""
    frames = kind((9, 7, 5), (4,) if skips else ())
    if gaps:
        frames = Spread(frames, frozenset({2, 3}), 11)
    return Readable(Slice(Oriented(frames, turn, flip), first), skips=skips)


@settings(max_examples=80, deadline=None)
@given(
    st.sampled_from([Plain, Into]), st.integers(0, 3), st.booleans(), st.integers(0, 2), st.booleans(), st.booleans(),
    st.integers(0, 6), st.integers(0, 6), st.sampled_from([slice(None), slice(1, 4), slice(0, 5, 2)]),
)  # fmt: skip
def test_what_is_read_into_memory_is_what_is_read(kind, turn, flip, first, gaps, skips, start, stop, rows):
    start, stop = sorted((start, stop))
    expected = layers(kind, turn, flip, first, gaps, skips).read(start, stop, rows)
    frames, out = layers(kind, turn, flip, first, gaps, skips), np.full_like(expected, 7)
    read_into(frames, start, stop, rows, slice(None), out)
    np.testing.assert_array_equal(out, expected)
    assert frames.unreadable.keys() <= {*range(9)} and bool(frames.unreadable) <= skips
    # The same into memory in the order in which frames lie.
    frames = layers(kind, turn, flip, first, gaps, skips)
    room = np.full_like(frames.layout.stored(expected), 7, order="C")
    read_into(frames, start, stop, rows, slice(None), frames.layout.upright(room))
    np.testing.assert_array_equal(frames.layout.upright(room), expected)


@pytest.mark.parametrize("turn", range(4))
@pytest.mark.parametrize("flip", [False, True])
def test_memory_in_the_order_of_the_layout_is_filled_without_turning(turn, flip, monkeypatch):
    source, filled = Into((9, 7, 5)), []
    frames = layers(lambda *_: source, turn, flip, 0, False, False)
    expected = frames.read(2, 6, slice(1, 4))
    room = np.zeros_like(frames.layout.stored(expected), order="C")
    monkeypatch.setattr(source, "read_into", lambda *given: filled.append(given) or Into.read_into(source, *given))
    read_into(frames, 2, 6, slice(1, 4), slice(None), frames.layout.upright(room))
    ((*_, out),) = filled
    assert out.flags.c_contiguous and np.shares_memory(out, room)
    np.testing.assert_array_equal(frames.layout.upright(room), expected)
    turned = np.rot90(source.values[2:6], turn, axes=(1, 2))
    np.testing.assert_array_equal((turned[:, ::-1] if flip else turned)[:, 1:4], expected)


@pytest.mark.parametrize("make", [Slice, lambda frames: Spread(frames, frozenset(), 9)])
def test_frames_that_are_not_there_are_refused(make):
    with pytest.raises(ParameterError, match="are not among"):
        read_into(make(Into((9, 7, 5))), 5, 10, slice(None), slice(None), np.empty((5, 7, 5), np.uint16))
