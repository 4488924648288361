"""Files as arrays."""

from __future__ import annotations

import numpy as np
import pytest

import gpustitch as gs
from gpustitch.errors import InputMissingError
from tests.verbs.libraries import texture


def test_open_planes_and_frames_are_arrays(tmp_path):
    voxels = texture((5, 16, 17))
    np.save(tmp_path / "a.npy", voxels)
    planes = gs.open_planes(tmp_path / "a.npy")
    np.testing.assert_array_equal(planes[1:4, ::2], voxels[1:4, ::2])
    gs.write(tmp_path / "v.tif", voxels, (1, 1, 1))
    frames = gs.open_frames(tmp_path / "v.tif")
    assert (frames.shape, frames.dtype, frames.ndim, len(frames)) == (voxels.shape, voxels.dtype, 3, 5)
    assert not frames.absent
    np.testing.assert_array_equal(np.asarray(frames), voxels)


def test_open_volume_finds_that_of_a_pipeline_and_its_levels(tmp_path):
    voxels = texture((40, 70, 75))
    gs.write(tmp_path / "out" / "volume", voxels, (1, 2, 3), levels=2)
    volume = gs.open_volume(tmp_path / "out")
    np.testing.assert_array_equal(volume[3], voxels[3])
    coarse = gs.open_volume(tmp_path / "out", level=1)
    assert coarse.spacing_um == (2, 2, 3)
    np.testing.assert_array_equal(np.asarray(coarse), gs.downsample(voxels, factors=(2, 1, 1)))
    with pytest.raises(InputMissingError):
        gs.open_volume(tmp_path)
