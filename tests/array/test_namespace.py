"""The array decides which library works on it."""

from __future__ import annotations

import sys
import types

import numpy as np
import pytest

from gpustitch.array import library_of, namespace, scipy_of, skimage_of
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
        (np.ma.masked_array([1]),),
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


def test_arrays_of_other_libraries_raise():
    class Foreign:
        __array_ufunc__ = None

    Foreign.__module__ = "sparse.coo"
    with pytest.raises(TypeError, match="sparse"):
        library_of(Foreign())


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
