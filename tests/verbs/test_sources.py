"""Arrays of any library are taken for what they are, or refused by name."""

from __future__ import annotations

import numpy as np
import pytest

import gpustitch as gs
from gpustitch.array import CPU
from gpustitch.errors import ParameterError
from gpustitch.io.planes.adapters import ArrayPlanes
from gpustitch.model import Box, Spacing
from gpustitch.verbs.sources import ArraySource, array_of, device_of, frames_of, planes_of, volume_of
from tests.cuda_cpu import shim
from tests.verbs.libraries import LIBRARIES, in_library, on_host, texture


class OnDevice:
    """What PyTorch and numba make: an array of another library on a CUDA device."""

    def __init__(self, array):
        self._array, self.shape, self.dtype, self.ndim = array, array.shape, array.dtype, array.ndim

    @property
    def __cuda_array_interface__(self):
        return self._array.__cuda_array_interface__

    def __getitem__(self, key):
        return OnDevice(self._array[key])


class OnHost:
    """An array of another library in host memory."""

    def __init__(self, array):
        self._array, self.shape, self.dtype, self.ndim = array, array.shape, array.dtype, array.ndim

    def __array__(self, dtype=None, copy=None):
        return np.array(self._array, dtype)

    def __getitem__(self, key):
        return OnHost(self._array[key])


@pytest.mark.parametrize("library", LIBRARIES)
def test_sources_read_the_same_of_every_library(library):
    array = texture((5, 6, 7))
    with in_library(library, array) as (there,):
        np.testing.assert_array_equal(on_host(array_of(there), library), array)
        np.testing.assert_array_equal(frames_of(there).read(1, 4, slice(2, 5)), array[1:4, 2:5])
        np.testing.assert_array_equal(planes_of(there).read(0, 5), array)
        volume = volume_of(there, (1.0, 2.0, 3.0))
        np.testing.assert_array_equal(on_host(volume[1:3, ::2], library), array[1:3, ::2])
        np.testing.assert_array_equal(volume.read(Box((3, -2, 0), (6, 3, 9))), _padded(array))
        assert device_of(there).is_cuda == (library == "cupy")


def _padded(array):
    out = np.zeros((3, 5, 9), array.dtype)
    out[:2, 2:, :7] = array[3:5, :3]
    return out


def test_sources_of_other_libraries_on_a_device_are_not_taken_for_numpy():
    array = texture((5, 6, 7))
    with shim.installed() as cupy:
        there = OnDevice(cupy.asarray(array))
        assert device_of(there).is_cuda
        np.testing.assert_array_equal(on_host(gs.downsample(there), "cupy"), gs.downsample(array))
        np.testing.assert_array_equal(on_host(volume_of(there, (1.0, 1.0, 1.0))[2], "cupy"), array[2])
    assert device_of(OnHost(array)) == CPU
    np.testing.assert_array_equal(gs.downsample(OnHost(array)), gs.downsample(array))


@pytest.mark.parametrize(
    "verb",
    [
        gs.destripe,
        gs.downsample,
        gs.flat_field,
        gs.similarity,
        gs.z_positions,
        lambda a: gs.deskew(a, 1.0, 1.0),
        lambda a: gs.render(a, np.arange(len(a))),
        lambda a: gs.align(a, np.asarray(a)),
        lambda a: gs.stitch([a], [(0, 0, 0)], (1, 1, 1)),
        lambda a: gs.write("never.zarr", a, (1, 1, 1)),
    ],
)
@pytest.mark.parametrize("refused", ["masked", "matrix", "list", "None"])
def test_sources_refuse_what_would_be_mistaken(verb, refused):
    array = texture((4, 5, 6))
    given = {
        "masked": np.ma.masked_less(array, 9),
        "matrix": np.matrix(array[0]),
        "list": array.tolist(),
        "None": [None],
    }[refused]
    with pytest.raises(TypeError):
        verb(given)


def test_array_source_copies():
    array = texture((3, 4, 5))
    read = ArraySource(array, Spacing(1, 1, 1)).read(Box((0, 0, 0), (3, 4, 5)))
    read[:] = 0
    assert array.any()


def test_volume_of_an_array_needs_its_spacing():
    with pytest.raises(ParameterError, match="spacing_um"):
        volume_of(texture((3, 4, 5)))
    planes = ArrayPlanes(texture((3, 4, 5)))
    assert planes_of(planes) is planes
