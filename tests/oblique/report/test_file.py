"""An output as it lies on the disk: frames that are counted as they are read."""

from __future__ import annotations

import numpy as np
import pytest

from gpustitch.oblique.report.file import CountedFrames, Reading


class Stack:
    """Frames in memory that may be read in parts along one axis."""

    absent: frozenset[int] = frozenset()

    def __init__(self, frames: np.ndarray, part_axis: int | None) -> None:
        self._frames, self.shape, self.dtype, self.part_axis = frames, frames.shape, frames.dtype, part_axis
        self.n_reads = 0

    def read(self, start: int, stop: int, rows: slice = slice(None), columns: slice = slice(None)) -> np.ndarray:
        self.n_reads += 1
        return self._frames[start:stop, rows, columns]


@pytest.mark.parametrize(("part_axis", "n_bytes"), [(0, 2 * 3 * 5 * 20), (1, 2 * 3 * 10 * 4), (None, 2 * 3 * 10 * 20)])
def test_what_a_disk_gives_is_counted(part_axis: int | None, n_bytes: int) -> None:
    frames = np.random.default_rng(0).integers(0, 99, (6, 10, 20)).astype(np.uint16)
    reading = Reading()
    counted = CountedFrames(Stack(frames, part_axis), reading)
    found = counted.read(1, 4, slice(2, 7), slice(4, 8))
    np.testing.assert_array_equal(found, frames[1:4, 2:7, 4:8])
    assert reading.n_bytes == n_bytes


def test_whole_frames_are_read_once() -> None:
    frames = np.random.default_rng(1).integers(0, 99, (6, 10, 20)).astype(np.uint16)
    source, reading = Stack(frames, None), Reading()
    counted = CountedFrames(source, reading)
    for rows in (slice(0, 3), slice(5, 9), slice(None)):
        np.testing.assert_array_equal(counted.read(0, 6, rows), frames[:, rows])
    assert source.n_reads == 6 and reading.n_bytes == frames.nbytes
