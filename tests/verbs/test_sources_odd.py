"""Arrays laid out in any way are taken for what they hold; odd arguments are refused by the name of the parameter."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import tensorstore
import xarray

import gpustitch as gs
from gpustitch.errors import GpustitchWarning
from tests.verbs.libraries import texture

STACK = texture((12, 30, 32))
IMAGE = texture((64, 64))


class Becoming:
    """What can become an array, and nothing else."""

    def __init__(self, array):
        self._array = array

    def __array__(self, dtype=None, copy=None):
        return np.array(self._array, dtype)


class Exchanged:
    """An array of a library that offers DLPack alone, as PyTorch does on a CPU."""

    def __init__(self, array):
        self._array, self.shape, self.dtype, self.ndim = array, array.shape, array.dtype, array.ndim

    def __dlpack__(self, **how):
        return self._array.__dlpack__(**how)

    def __dlpack_device__(self):
        return self._array.__dlpack_device__()

    def __getitem__(self, key):
        return Exchanged(self._array[key])


class OwnTypes(Exchanged):
    """An array of a library whose types are not NumPy's, as PyTorch's and tensorstore's are."""

    def __init__(self, array):
        super().__init__(array)
        self.dtype = f"library.{array.dtype}"

    def __getitem__(self, key):
        return OwnTypes(self._array[key])


def frozen(array):
    """A copy that cannot be written."""
    copy = array.copy()
    copy.setflags(write=False)
    return copy


LAYOUTS = {
    "Fortran": np.asfortranarray,
    "other byte order": lambda a: a.astype(a.dtype.newbyteorder()),
    "backwards": lambda a: np.ascontiguousarray(a[::-1])[::-1],
    "every other": lambda a: np.repeat(a, 2, axis=-1)[..., ::2],
    "read-only": frozen,
    "subclass": lambda a: a.view(type("Own", (np.ndarray,), {})),
    "becoming": Becoming,
    "exchanged": Exchanged,
    "own types": OwnTypes,
    "tensorstore": lambda a: tensorstore.array(a),
    "xarray": lambda a: xarray.DataArray(a, dims=tuple("zyx")[-a.ndim :]),
}
# What a call makes of its array, to compare.
CALLS = {
    "downsample": lambda a: gs.downsample(a),
    "deskew": lambda a: np.asarray(gs.deskew(a, 1.8, 1.28)),
    "destripe": lambda a: gs.destripe(a, sigma=8),
    "similarity": lambda a: gs.similarity(a, 3).half_strip,
    "stitch": lambda a: gs.stitch([a], [(0, 0, 0)], (1, 1, 1))[...],
    "render": lambda a: gs.render(a, np.arange(12.0) * 1.5),
    "align": lambda a: np.array(gs.align(a, a).offset_px),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_sources_of_any_layout_hold_the_same(layout, call, dtype):
    array = STACK.astype(dtype)
    np.testing.assert_array_equal(CALLS[call](LAYOUTS[layout](array)), CALLS[call](array))


@pytest.mark.parametrize("scale", [1.0, 1e-41])
@pytest.mark.parametrize("call", CALLS)
def test_settings_of_numpy_change_nothing(call, scale):
    array = (STACK * np.float64(scale)).astype(np.float32)
    expected = CALLS[call](array)
    with np.errstate(all="raise"):
        found = CALLS[call](array)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", ["v", "v.zarr", "v.tif"])
def test_sources_of_any_layout_are_written_alike(layout, name, tmp_path):
    path = gs.write(tmp_path / name, LAYOUTS[layout](STACK), np.array([1, 2, 3]))
    np.testing.assert_array_equal(np.asarray(gs.open_volume(path)), STACK)


def test_open_output_of_the_other_byte_order_takes_its_own(tmp_path):
    kind = np.dtype("uint16").newbyteorder()
    with gs.open_output(tmp_path / "v.zarr", STACK.shape, kind, (1, 1, 1)) as output:
        for box in output.blocks():
            output.write(box, np.ascontiguousarray(STACK[box.slices()]))
    np.testing.assert_array_equal(np.asarray(gs.open_volume(tmp_path / "v.zarr")), STACK)
    coarse = gs.open_volume(tmp_path / "v.zarr", level=1)
    np.testing.assert_array_equal(np.asarray(coarse), gs.downsample(STACK))


@pytest.mark.parametrize("dtype", ["float16", "bool", "complex64", "int64", "uint64", "object", "U3", "datetime64[s]"])
@pytest.mark.parametrize("call", ["downsample", "deskew", "destripe", "stitch", "render"])
def test_sources_of_other_types_are_refused_by_name(call, dtype):
    array = np.zeros((12, 40, 40), dtype)
    with pytest.raises((gs.GpustitchError, TypeError), match=str(array.dtype).replace("[", r"\[")):
        CALLS[call](array)


@pytest.mark.parametrize("shape", [(), (5,), (0, 4, 5), (4, 5, 0), (2, 3, 4, 5)])
@pytest.mark.parametrize("call", CALLS)
def test_sources_of_other_shapes_are_refused(call, shape):
    with pytest.raises((gs.GpustitchError, TypeError)):
        CALLS[call](np.ones(shape, np.uint16))


CALIBRATION = {"pixel_um": 1.8, "step_um": 1.28}
ODD = {
    "spacing_um": [lambda v: gs.write("never.zarr", STACK, v), [(-1, 1, 1), (1, 1), 1.0, "111", (1, np.nan, 1)]],
    "positions_um": [lambda v: gs.stitch([STACK], v, (1, 1, 1)), [None, "abc", [(0, 0)], [(0, 0, 1j)]]],
    "levels": [lambda v: gs.write("never.zarr", STACK, (1, 1, 1), levels=v), ["3", 2.0, 0, 99]],
    "chunk_shape": [lambda v: gs.write("never.zarr", STACK, (1, 1, 1), chunk_shape=v), [64, "abc", (1, 2), (0, 1, 1)]],
    "sigma": [lambda v: gs.destripe(IMAGE, sigma=v), ["8", (1, 2, 3), np.ones(3), -3, np.nan]],
    "level": [lambda v: gs.destripe(IMAGE, sigma=8, level=v), [2.5, "2", True, 99]],
    "rotate_90": [lambda v: gs.deskew(STACK, **CALIBRATION, rotate_90=v), [1.5, "1", None]],
    "start": [lambda v: gs.deskew(STACK, **CALIBRATION, start=v), [2.5, "2", -1, 99]],
    "correction": [lambda v: gs.deskew(STACK, **CALIBRATION, correction=v), [{"dark": 3}, IMAGE, 5]],
    "step_um": [lambda v: gs.deskew(STACK, 1.8, v), [-1.28, 0, np.nan, 1e9]],
    "max_lag": [lambda v: gs.similarity(STACK, v), [0, 99, 2.5, "3"]],
    "z_spacing": [lambda v: gs.render(STACK, np.arange(12), v), [0, -1, np.nan]],
    "positions": [lambda v: gs.render(STACK, v), ["abc", np.arange(12) * 1j, [None] * 12, np.arange(11)]],
    "leave_out": [lambda v: gs.render(STACK, np.arange(12), leave_out=v), [[-1], [12], "5", [1.5]]],
    "max_gap": [lambda v: gs.render(STACK, np.arange(12), max_gap=v), [-1, np.nan]],
    "last_to_first": [lambda v: gs.stitch([STACK], [(0, 0, 0)], (1, 1, 1), last_to_first=v), [-1, 0, np.nan]],
    "flat": [lambda v: gs.destripe(IMAGE, flat=v), [np.zeros((64, 64)), np.ones((3, 3)), np.full((64, 64), np.nan)]],
}  # fmt: skip


@pytest.mark.parametrize("name, k", [(name, k) for name, (_, values) in ODD.items() for k in range(len(values))])
def test_odd_arguments_are_refused_by_name(name, k, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    call, values = ODD[name]
    with pytest.raises((gs.GpustitchError, TypeError), match=name.partition("_")[0]):
        call(values[k])
    assert not list(tmp_path.iterdir())


def test_a_spacing_that_contradicts_a_volume_is_refused():
    volume = gs.deskew(STACK, **CALIBRATION)
    for call in (
        lambda: gs.stitch([volume], [(0, 0, 0)], (9, 9, 9)),
        lambda: gs.align(volume, volume, spacing_um=(9, 9, 9)),
    ):
        with pytest.raises(gs.GpustitchError, match="spacing_um"):
            call()


def test_render_says_that_sections_lie_at_one_place():
    with pytest.warns(GpustitchWarning, match="2 sections lie at the place of another"):
        gs.render(STACK[:5], [0, 1, 1, 1, 2])


def test_computed_volumes_go_to_other_processes():
    volume = gs.stitch([STACK, STACK], [(0, 0, 0), (0, 0, 20)], (1, 1, 1))
    np.testing.assert_array_equal(np.asarray(pickle.loads(pickle.dumps(volume))), np.asarray(volume))
