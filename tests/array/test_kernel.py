"""Kernel twins: NumPy runs the definition, device arrays launch the body, one registry holds all."""

from __future__ import annotations

import importlib
import pkgutil
import sys

import numpy as np
import pytest

import gpustitch.ops
from gpustitch.array import kernel, kernels
from gpustitch.errors import DeviceError
from tests.array.conftest import kernel_module
from tests.array.fake_cupy import FakeArray


@pytest.fixture
def bodies(tmp_path, monkeypatch):
    """A folder of CUDA sources in place of the installed ones."""
    monkeypatch.setattr(kernel_module, "_source_file", lambda name: tmp_path / name)
    return tmp_path


@pytest.fixture
def shift(registry):
    @kernel("shift.cu")
    def shift(values: np.ndarray, out: np.ndarray, offset: int, scale: float = 2.0) -> None:
        """Out = values * scale + offset."""
        out[...] = values * scale + offset

    return shift


def test_numpy_arrays_run_the_definition(shift):
    out = np.zeros(3)
    shift(np.arange(3), out, 1, scale=3.0)
    np.testing.assert_array_equal(out, [1, 4, 7])


def test_a_twin_keeps_name_and_documentation(shift):
    assert (shift.name, shift.__name__, shift.source) == ("shift", "shift", "shift.cu")
    assert shift.__doc__ == "Out = values * scale + offset."
    assert dict(kernels()) == {"shift": shift}


def test_the_registry_cannot_be_changed_from_outside(shift):
    kernels().clear()
    assert "shift" in kernels()


def test_two_twins_of_one_name_are_refused(shift):
    with pytest.raises(ValueError, match="two kernels are called shift"):
        kernel("other.cu")(shift.definition)


def test_without_a_body_a_device_array_is_an_error(shift, bodies, cupy):
    assert not shift.has_cuda_body
    with pytest.raises(DeviceError, match="no CUDA body"):
        shift(FakeArray(np.zeros(3)), FakeArray(np.zeros(3)), 1)
    assert cupy.launches == []


def test_mixed_arrays_never_launch(shift, bodies, cupy):
    (bodies / "shift.cu").write_text("body")
    with pytest.raises(TypeError, match="mixed"):
        shift(np.zeros(3), FakeArray(np.zeros(3)), 1)
    assert cupy.launches == []


def test_a_launch_passes_arguments_in_the_order_of_the_definition(shift, bodies, cupy):
    (bodies / "shift.cu").write_text("body")
    values, out = FakeArray(np.zeros((2, 3), np.uint16)), FakeArray(np.zeros((5, 103), np.float32))
    shift(scale=0.5, out=out, values=values, offset=7)
    text, name, options, grid, block, arguments = cupy.launches[0]
    assert text == '#line 1 "kernels/shift.cu"\nbody'
    assert name == "shift"
    assert "-DT=float" in options
    assert (grid, block) == ((3,), (256,)), "515 elements need 3 blocks of 256 threads"
    assert [type(a).__name__ for a in arguments] == [
        "FakeArray", "int64", "int64", "FakeArray", "int64", "int64", "int64", "float32",
    ]  # fmt: skip
    assert (arguments[0], arguments[3]) == (values, out)
    assert [int(a) for a in (*arguments[1:3], *arguments[4:7])] == [2, 3, 5, 103, 7]
    assert arguments[7] == np.float32(0.5)


def test_a_default_is_passed_too(shift, bodies, cupy):
    (bodies / "shift.cu").write_text("body")
    shift(FakeArray(np.zeros(1)), FakeArray(np.zeros(1)), 0)
    assert cupy.launches[0][5][-1] == np.float32(2.0)


@pytest.mark.parametrize(
    ("dtype", "c_type"),
    [("uint8", "unsigned char"), ("uint16", "unsigned short"), ("uint32", "unsigned int"), ("int32", "int"),
     ("int64", "long long"), ("float32", "float"), ("float64", "double")],
)  # fmt: skip
def test_the_type_of_out_is_given_to_the_compiler(dtype, c_type, shift, bodies, cupy):
    (bodies / "shift.cu").write_text("body")
    shift(FakeArray(np.zeros(1)), FakeArray(np.zeros(1, dtype)), 0)
    assert f"-DT={c_type}" in cupy.launches[0][2]


def test_types_without_a_counterpart_are_refused(shift, bodies, cupy):
    (bodies / "shift.cu").write_text("body")
    with pytest.raises(TypeError, match="complex64"):
        shift(FakeArray(np.zeros(1)), FakeArray(np.zeros(1, np.complex64)), 0)


def test_nothing_is_launched_for_an_empty_out(shift, bodies, cupy):
    (bodies / "shift.cu").write_text("body")
    shift(FakeArray(np.zeros((0, 3))), FakeArray(np.zeros((0, 3))), 0)
    assert cupy.launches == []


def test_views_are_packed_for_the_body_and_written_back(shift, bodies, cupy):
    (bodies / "shift.cu").write_text("body")
    whole = np.zeros((4, 6))
    values, out = FakeArray(np.arange(24.0).reshape(4, 6)[::2, ::3]), FakeArray(whole[1:3, ::2])

    def body(arguments):
        assert arguments[0].host.flags.c_contiguous
        assert arguments[3].host.flags.c_contiguous
        arguments[3].host[...] = 5

    cupy.on_launch = body
    shift(values, out, 0)
    assert whole.sum() == 5 * 6
    assert (whole[1:3, ::2] == 5).all()


def test_a_body_is_compiled_once(shift, bodies, cupy):
    (bodies / "shift.cu").write_text("first")
    shift(FakeArray(np.zeros(1)), FakeArray(np.zeros(1)), 0)
    (bodies / "shift.cu").write_text("second")
    shift(FakeArray(np.zeros(1)), FakeArray(np.zeros(1)), 0)
    assert [launch[0].endswith("first") for launch in cupy.launches] == [True, True]


def test_every_twin_of_the_operations_documents_itself_and_writes_out():
    for module in pkgutil.iter_modules(gpustitch.ops.__path__):
        importlib.import_module(f"gpustitch.ops.{module.name}")
    twins = kernels()
    assert "histogram" in twins
    for name, twin in twins.items():
        assert twin.source.endswith(".cu"), name
        assert twin.__doc__, name
        assert "out" in twin.definition.__annotations__, name
        assert twin.__module__ in sys.modules, name
