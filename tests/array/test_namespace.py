"""The array decides which library works on it."""

from __future__ import annotations

import sys
import types

import numpy as np
import pytest

from gpustitch.array import CPU, library_of, namespace, scipy_of, skimage_of, to_device, to_host
from gpustitch.array.transfer import taken
from gpustitch.errors import DeviceError
from gpustitch.io.planes.adapters import ArrayPlanes
from gpustitch.io.volumes.array import ArrayVolume
from gpustitch.model import Box, Spacing
from tests.array.fake_cupy import FakeArray


class OfThisModule(np.ndarray):
    """A subclass defined here is a NumPy array all the same."""


def device_array(shape=(2,)):
    return FakeArray(np.zeros(shape))


@pytest.mark.parametrize(
    "owners",
    [
        (),
        (1, 2.5, None, "text"),
        (np.zeros(3),),
        (np.zeros(3), 4, np.float32(2)),
        (np.zeros(3).view(OfThisModule),),
    ],
)
def test_numpy_owns_its_arrays_and_what_nobody_owns(owners):
    assert library_of(*owners) == "numpy"
    assert namespace(*owners) is np


def test_a_memory_map_is_a_numpy_array(tmp_path):
    assert library_of(np.memmap(tmp_path / "m", np.uint8, "w+", shape=(3,))) == "numpy"


def test_cupy_owns_its_arrays(cupy):
    assert library_of(device_array(), None, 3) == "cupy"
    assert namespace(device_array()) is cupy


def test_a_numpy_scalar_beside_a_device_array_is_no_mixture():
    assert library_of(device_array(), np.float32(1.5), np.int64(3)) == "cupy"


def test_mixed_libraries_raise():
    with pytest.raises(TypeError, match="mixed"):
        namespace(np.zeros(2), device_array())


@pytest.mark.parametrize("protocol", ["ufunc__", "_", "interface__", "cuda", "dlpack"])
def test_arrays_of_other_libraries_raise(protocol):
    name = {"cuda": "__cuda_array_interface__", "dlpack": "__dlpack__", "_": "__array__"}
    foreign = type("Foreign", (), {name.get(protocol, f"__array_{protocol}"): None})
    foreign.__module__ = "sparse.coo"
    with pytest.raises(TypeError, match=r"not on those of sparse; numpy.asarray"):
        library_of(np.zeros(3), foreign())


@pytest.mark.parametrize(
    ("array", "said"), [(np.ma.masked_array([1, 2], [0, 1]), "masked"), (np.zeros((2, 2)).view(np.matrix), "matrix")]
)
def test_arrays_that_are_not_what_they_are_taken_for_are_refused_by_name(array, said):
    for call in (library_of, namespace, taken, to_host, ArrayPlanes, lambda a: ArrayVolume(a, Spacing(1, 1, 1))):
        with pytest.raises(TypeError, match=said):
            call(array)
    with pytest.raises(TypeError, match=said):
        to_device(array, CPU)


def test_scipy_and_skimage_come_with_their_submodules():
    a = np.zeros((4, 4))
    assert scipy_of(a).__name__ == "scipy"
    assert scipy_of(a).ndimage.gaussian_filter(a, 1).shape == a.shape
    assert scipy_of(a).fft.rfft(a).shape == (4, 3)
    assert skimage_of(a).__name__ == "skimage"
    assert callable(skimage_of(a).filters.threshold_otsu)


def test_device_arrays_get_the_counterparts_of_scipy_and_skimage(monkeypatch):
    for root, children in (("cupyx", ("scipy", "scipy.ndimage", "scipy.fft")),
                           ("cucim", ("skimage", "skimage.filters", "skimage.feature"))):  # fmt: skip
        for name in ("", *children):
            full = f"{root}.{name}" if name else root
            monkeypatch.setitem(sys.modules, full, types.ModuleType(full))
    assert scipy_of(device_array()).__name__ == "cupyx.scipy"
    assert skimage_of(device_array()).__name__ == "cucim.skimage"


def test_without_cucim_the_error_says_what_brings_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "cucim", None)
    for name in ("cucim.skimage", "cucim.skimage.filters"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    with pytest.raises(DeviceError, match=r"cuCIM is not installed \(pip install 'gpustitch\[cuda12\]'.*`device` cpu"):
        skimage_of(device_array())


class Lazy:
    """Such as an array of zarr or dask: sliced without being read, an array of NumPy when asked."""

    def __init__(self, host):
        self._host, self.shape, self.ndim, self.dtype = host, host.shape, host.ndim, host.dtype

    def __getitem__(self, key):
        return Lazy(self._host[key])

    def __array__(self, dtype=None, copy=None):
        return np.array(self._host, dtype)


class Exported:
    """Such as a tensor of PyTorch: known by DLPack alone."""

    def __init__(self, host, kind=1):
        self._host, self._kind = host, kind

    def __dlpack__(self, **asked):
        return self._host.__dlpack__(**asked)

    def __dlpack_device__(self):
        return self._kind, 0


@pytest.mark.parametrize("kind", [Lazy, Exported])
def test_arrays_of_other_libraries_are_taken_at_the_door(kind):
    host = np.arange(24).reshape(2, 3, 4)
    for call in (taken, to_host, lambda a: to_device(a, CPU)):
        found = call(kind(host))
        assert type(found) is np.ndarray
        np.testing.assert_array_equal(found, host)


def test_lazy_arrays_are_planes_and_volumes():
    host = np.arange(24).reshape(2, 3, 4)
    np.testing.assert_array_equal(ArrayPlanes(Lazy(host)).read(1, 2), host[1:])
    found = ArrayVolume(Lazy(host), Spacing(1, 1, 1)).read(Box((0, 1, 0), (2, 4, 4)))
    np.testing.assert_array_equal(found[:, :2], host[:, 1:])


def test_arrays_that_lie_on_a_device_stay_there(cupy):
    class Numba:
        __cuda_array_interface__ = {"version": 3}  # noqa: RUF012

    cupy.from_dlpack = lambda array: FakeArray(array._host)
    assert isinstance(taken(Numba()), FakeArray)
    assert isinstance(taken(Exported(np.zeros(3), kind=2)), FakeArray)
    array = device_array()
    assert taken(array) is array
    with pytest.raises(TypeError, match="kind 10; move it"):
        taken(Exported(np.zeros(3), kind=10))
