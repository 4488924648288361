from __future__ import annotations

import numpy as np
import pytest

from gpustitch.io.volumes.array import ArrayVolume
from gpustitch.model import Box, ObliqueScan
from gpustitch.oblique.align.overlaps.camera import CameraView
from gpustitch.oblique.deskew.tile import ObliqueTile


class Stack:
    absent: frozenset[int] = frozenset()

    def __init__(self, array: np.ndarray, absent: tuple[int, ...] = ()) -> None:
        self.array, self.shape, self.dtype, self.absent = array, array.shape, array.dtype, frozenset(absent)

    def read(self, start: int, stop: int, rows: slice = slice(None), columns: slice = slice(None)) -> np.ndarray:
        return self.array[start:stop, rows, columns]


class Upright:
    """A volume that can be read in its own grid only."""

    def __init__(self, tile: ObliqueTile) -> None:
        self.read, self.coverage, self.spacing, self.dtype = tile.read, tile.coverage, tile.spacing, tile.dtype


def tile(step: float, absent: tuple[int, ...] = (), is_raw: bool = False) -> tuple[np.ndarray, CameraView]:
    """A tile of frames that change linearly from frame to frame, which interpolation does not blur."""
    rng = np.random.default_rng(0)
    frames = np.arange(23)[:, None, None] * rng.integers(1, 9, (6, 70)) + rng.integers(0, 1000, (6, 70))
    stack = Stack(frames.astype(np.uint16), absent)
    volume = ObliqueTile(stack, ObliqueScan(*frames.shape, 1.8, step))
    return stack.array, CameraView(volume if is_raw else Upright(volume))


@pytest.mark.parametrize("step", [1.8 / 2**0.5, 1.8 / 2**1.5, 0.9, 1.1, 2.0])
@pytest.mark.parametrize("absent", [(), (7,), (0, 11, 12)])
def test_along_the_sheet_a_tile_is_its_frames(step: float, absent: tuple[int, ...]) -> None:
    frames, view = tile(step, absent)
    box = Box((2, 1, 0), (66, 6, 23))
    voxels, covered = view.read(box), view.coverage.mask(box)
    expected = frames[:, 1:6, 2:66].transpose(2, 1, 0)
    # A voxel between frames is rounded to a count before it is interpolated again.
    assert np.abs(voxels - expected.astype(np.float64))[covered].max() <= 1
    assert not covered[:, :, list(absent)].any() and covered.any()
    is_whole = step in (1.8 / 2**0.5, 1.8 / 2**1.5)
    lost = len(absent) if is_whole else len({a + d for a in (-1, *absent, 23) for d in (-1, 0, 1)} & set(range(23)))
    assert (~covered[0, 0]).sum() == lost


def test_what_lies_outside_is_zero_and_not_covered() -> None:
    _, view = tile(1.1)
    outside = Box((-2, -1, -3), (3, 2, 4))
    voxels, covered = view.read(outside), view.coverage.mask(outside)
    assert voxels.shape == outside.shape and not covered[:2].any() and not covered[..., :3].any()
    assert not voxels[:2].any() and not voxels[:, :1].any() and not voxels[..., :3].any()


def test_a_box_is_its_own_view() -> None:
    array = np.arange(4 * 5 * 6, dtype=np.uint16).reshape(4, 5, 6)
    _, slanted = tile(1.28)
    view = CameraView(ArrayVolume(array, slanted.spacing))
    assert view.dtype == np.uint16 and np.array_equal(view.read(Box.of_shape(array.shape)), array)


@pytest.mark.parametrize("step", [1.8 / 2**0.5, 1.1])
def test_raw_frames_are_read_as_they_are(step: float) -> None:
    frames, view = tile(step, (7,), is_raw=True)
    box = Box((2, 1, 0), (66, 6, 23))
    assert view.dtype == np.uint16 and view.coverage.absent == (7,)
    assert np.array_equal(view.read(box), frames[:, 1:6, 2:66].transpose(2, 1, 0))
