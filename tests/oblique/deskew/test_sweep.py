"""The sweep and the lazy tile where frames are absent or cannot be read."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpustitch.errors import DamagedInputError
from gpustitch.io.frames.readable import Readable
from gpustitch.model import Box, ObliqueScan
from gpustitch.oblique.deskew.deoblique import deoblique
from gpustitch.oblique.deskew.sweep import Sweep, Work
from gpustitch.oblique.deskew.tile import ObliqueTile
from gpustitch.oblique.destripe.correction import Correction
from gpustitch.oblique.destripe.lightsheet import LightsheetOptions
from gpustitch.running.progress import SILENT
from gpustitch.running.threads import Workers

CORRECTION = Correction("lightsheet", lightsheet=LightsheetOptions(5, 7), dark=20.0)


class Holed:
    """Frames in memory: absent ones are zeros, broken ones raise."""

    def __init__(self, frames, absent=(), broken=()):
        self.frames, self.shape, self.dtype = frames, frames.shape, frames.dtype
        self.absent, self.broken = frozenset(absent), frozenset(broken)

    def read(self, start, stop, rows=slice(None), columns=slice(None)):
        for number in range(start, stop):
            assert number not in self.absent
            if number in self.broken:
                raise DamagedInputError(f"frame {number} is broken")
        return self.frames[start:stop, rows, columns].copy()


class Array:
    """A sink that fills an array."""

    def __init__(self, shape, dtype):
        self.voxels = np.zeros(shape, dtype)
        self._lock = threading.Lock()

    def write(self, box, voxels, release=None):
        with self._lock:
            self.voxels[box.slices()] = voxels
        if release is not None:
            release()

    def skip(self, box):
        pass

    def missing(self, box):
        yield box


def swept(frames, scan, correction, block_shape):
    dtype = correction.result_type(frames.dtype) if correction else frames.dtype
    sink = Array(scan.shape, dtype)
    Sweep(Work(frames, scan, correction, dtype, block_shape, Workers(2)), sink).run(SILENT)
    return sink.voxels


@st.composite
def losses(draw):
    n = draw(st.integers(1, 30))
    numbers = st.sets(st.integers(0, n - 1), max_size=5)
    return n, draw(numbers), draw(numbers)


@settings(max_examples=40)
@given(
    losses(),
    st.sampled_from([1.0, 1.8 / 2**0.5, 1.28, 0.4, 3.0]),
    st.sampled_from([(4, 4, 4), (3, 8, 16), (64, 64, 64)]),
    st.sampled_from([None, CORRECTION]),
    st.sampled_from([np.uint8, np.uint16, np.float32]),
)
def test_a_volume_with_holes_is_the_whole_volume_times_the_mask(case, step, block_shape, correction, dtype):
    n, absent, broken = case
    values = np.random.default_rng(n).integers(1, 256, (n, 6, 7)).astype(dtype)
    scan = ObliqueScan(n, 6, 7, 1.8, step)
    corrected = values if correction is None else np.stack([correction.apply(frame) for frame in values])
    whole = deoblique(corrected, Box.of_shape(scan.shape), scan.shear)
    cover = ObliqueScan(n, 6, 7, 1.8, step, absent=tuple(absent | broken)).coverage
    expected = whole * cover.mask(Box.of_shape(scan.shape))

    frames = Readable(Holed(values, absent, broken - absent), skips=True)
    np.testing.assert_array_equal(swept(frames, scan, correction, block_shape), expected)
    assert frames.absent == absent | broken and set(frames.unreadable) == broken - absent

    tile = ObliqueTile(Readable(Holed(values, absent, broken - absent), skips=True), scan, correction)
    np.testing.assert_array_equal(tile.read(Box.of_shape(scan.shape)), expected)
    assert tile.coverage == cover


@pytest.mark.parametrize("correction", [None, CORRECTION])
def test_an_unreadable_frame_stops_where_it_is_not_to_be_skipped(correction):
    frames = Readable(Holed(np.ones((9, 6, 7), np.uint16), (), {4}))
    scan = ObliqueScan(9, 6, 7, 1.8, 1.28)
    with pytest.raises(DamagedInputError, match="frame 4 is broken"):
        swept(frames, scan, correction, (4, 4, 4))
    with pytest.raises(DamagedInputError, match="frame 4 is broken"):
        ObliqueTile(frames, scan, correction).read(Box.of_shape(scan.shape))
    assert not frames.absent
