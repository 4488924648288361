"""Volumes are written block by block, whatever holds them."""

from __future__ import annotations

import numpy as np
import pytest

import gpustitch as gs
from gpustitch.errors import OutputExistsError, ParameterError
from tests.verbs.libraries import LIBRARIES, in_library, on_host, texture


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("name", ["v.zarr", "v.tif", "volume"])
def test_write_gives_back_voxels_and_spacing(library, name, tmp_path):
    voxels = texture((9, 70, 75))
    with in_library(library, voxels) as (there,):
        path = gs.write(tmp_path / name, there, spacing_um=(1, 2, 3))
    if name == "v.tif":
        np.testing.assert_array_equal(np.asarray(gs.open_frames(path)), voxels)
        return
    opened = gs.open_volume(path)
    np.testing.assert_array_equal(np.asarray(opened), voxels)
    assert opened.spacing_um == (1, 2, 3)


def test_write_of_a_lazy_volume_takes_its_spacing(tmp_path):
    volume = gs.deskew(texture((20, 12, 14)), 1.8, 1.28)
    opened = gs.open_volume(gs.write(tmp_path / "v.zarr", volume, levels=1))
    np.testing.assert_array_equal(np.asarray(opened), np.asarray(volume))
    np.testing.assert_allclose(opened.spacing_um, volume.spacing_um)
    with pytest.raises(OutputExistsError):
        gs.write(tmp_path / "v.zarr", volume)
    gs.write(tmp_path / "v.zarr", volume, overwrite=True)


def test_write_needs_the_spacing_of_an_array(tmp_path):
    with pytest.raises(ParameterError, match="spacing_um"):
        gs.write(tmp_path / "v.zarr", texture((3, 4, 5)))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("library", LIBRARIES)
def test_downsample_halves_where_the_volume_is(library):
    voxels = texture((5, 6, 7))
    with in_library(library, voxels) as (there,):
        found = on_host(gs.downsample(there), library)
    np.testing.assert_array_equal(found, gs.downsample(voxels))
    assert found.shape == (3, 3, 4)


def test_open_output_takes_blocks(tmp_path):
    voxels = texture((9, 70, 75))
    with gs.open_output(tmp_path / "v.zarr", voxels.shape, voxels.dtype, (1, 2, 3)) as output:
        for box in output.blocks():
            output.write(box, np.ascontiguousarray(voxels[box.slices()]))
    np.testing.assert_array_equal(np.asarray(gs.open_volume(tmp_path / "v.zarr")), voxels)
