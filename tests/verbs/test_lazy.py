"""Lazy frames and volumes answer as arrays do."""

from __future__ import annotations

import dask.array
import numpy as np
import pytest

from gpustitch.io.planes.adapters import ArrayPlanes
from gpustitch.io.volumes.array import ArrayVolume
from gpustitch.model import Box, Spacing
from gpustitch.verbs.lazy import LazyFrames, LazyVolume
from tests.verbs.libraries import texture


class Counted(ArrayVolume):
    """A volume that counts the voxels it was asked for."""

    asked = 0

    def read(self, box):
        self.asked += box.size
        return super().read(box)


@pytest.fixture
def array():
    return texture((7, 11, 13))


@pytest.fixture
def volume(array):
    return Counted(array, Spacing(2.0, 1.0, 0.5))


def random_key(rng):
    """Up to three whole numbers and slices with any ends and steps, maybe with an ellipsis."""
    keys = []
    for n in (7, 11, 13)[: rng.integers(1, 4)]:
        if rng.random() < 0.3:
            keys.append(int(rng.integers(-n, n)))
        else:
            ends = [None if rng.random() < 0.3 else int(rng.integers(-n - 2, n + 2)) for _ in range(2)]
            keys.append(slice(*ends, int(rng.choice([1, 1, 2, 3, -1, -2]))))
    if rng.random() < 0.3:
        keys.insert(int(rng.integers(0, len(keys) + 1)), ...)
    return tuple(keys)


@pytest.mark.parametrize("seed", range(4))
def test_lazy_parts_are_those_of_the_array(array, volume, seed):
    rng = np.random.default_rng(seed)
    both = [LazyVolume(volume), LazyFrames(ArrayPlanes(array))]
    for _ in range(100):
        key = random_key(rng)
        for lazy in both:
            found = lazy[key]
            np.testing.assert_array_equal(found, array[key], err_msg=str(key))
            assert np.asarray(found).dtype == array.dtype


def test_lazy_reads_no_more_than_the_hull_of_what_is_asked(volume):
    lazy = LazyVolume(volume)
    assert volume.asked == 0
    lazy[2:4, 5, ::6]
    assert volume.asked == 2 * 1 * 13
    lazy[3:3]
    assert volume.asked == 2 * 1 * 13


@pytest.mark.parametrize(
    "key", [7, -8, (0, 0, 0, 0), [0, 1], np.array([True] * 7), True, 1.0, "a", None, (slice(None), [1])]
)
def test_lazy_refuses_other_indices(volume, key):
    with pytest.raises(IndexError):
        LazyVolume(volume)[key]


def test_lazy_is_an_array_to_numpy_dask_and_loops(array, volume):
    lazy = LazyVolume(volume)
    assert (lazy.shape, lazy.ndim, lazy.size, lazy.nbytes, len(lazy)) == ((7, 11, 13), 3, 1001, 2002, 7)
    np.testing.assert_array_equal(np.asarray(lazy), array)
    assert np.asarray(lazy, np.float32).dtype == np.float32
    with pytest.raises(ValueError, match="copy"):
        np.asarray(lazy, copy=False) if np.lib.NumpyVersion(np.__version__) >= "2.0.0" else lazy.__array__(copy=False)
    np.testing.assert_array_equal(np.stack(list(lazy)), array)
    volume.asked = 0
    chunked = dask.array.from_array(lazy, chunks=5)
    assert volume.asked == 0
    np.testing.assert_array_equal(chunked[1:6, :, ::2].compute(), array[1:6, :, ::2])


def test_lazy_volumes_are_volumes(array, volume):
    lazy = LazyVolume(volume, (10.0, 20.0, 30.0))
    assert lazy.spacing_um == (2.0, 1.0, 0.5)
    assert lazy.coverage.shape == lazy.shape
    outside = lazy.read(Box((-1, 0, 0), (1, 11, 13)))
    np.testing.assert_array_equal(outside, np.concatenate([np.zeros((1, 11, 13)), array[:1]]))
    assert "2 x 1 x 0.5 um" in repr(lazy)


def test_lazy_volumes_go_into_xarray_with_coordinates(array, volume):
    found = LazyVolume(volume, (10.0, 20.0, 30.0)).to_xarray(chunks=4)
    assert found.dims == ("z", "y", "x")
    np.testing.assert_allclose(found.coords["z"], 10 + 2.0 * np.arange(7))
    np.testing.assert_allclose(found.coords["x"], 30 + 0.5 * np.arange(13))
    assert found.coords["x"].attrs["units"] == "um"
    at = found.sel(z=14.0, y=23.0, x=32.0)
    assert int(at.compute()) == array[2, 3, 4]
