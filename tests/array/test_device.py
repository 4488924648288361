"""The device is chosen once, and nothing falls back in silence."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from gpustitch.array import Device, choose_device, cuda_devices, to_device, to_host
from gpustitch.errors import DeviceError, ParameterError
from tests.array import fake_cupy as fake


@pytest.mark.parametrize("spec", ["", "gpu", "cuda:", "cuda:x", "cuda:-1", "cpu:0", "auto:1", "CPU", " cpu", "cuda:0 "])
def test_unknown_devices_are_refused(spec, cupy):
    with pytest.raises(ParameterError, match="cuda:N"):
        choose_device(spec)


def test_cpu_needs_no_cupy(no_cupy):
    device = choose_device("cpu")
    assert not device.is_cuda
    assert "as asked" in device.why


def test_auto_without_cupy_is_the_cpu_and_says_why(no_cupy):
    device = choose_device("auto")
    assert not device.is_cuda
    assert "pip install" in device.why


def test_cuda_without_cupy_is_an_error_that_names_the_extra(no_cupy):
    with pytest.raises(DeviceError, match=r"gpustitch\[cuda12\]"):
        choose_device("cuda")


def test_auto_takes_the_first_device(cupy):
    assert choose_device("auto") == Device(0, "cuda:0: Fake 100")


def test_a_device_that_is_not_there_is_an_error_with_the_count(cupy):
    with pytest.raises(DeviceError, match="there are 1 CUDA devices"):
        choose_device("cuda:1")


def test_what_the_driver_says_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", fake.make(driver_error="driver version is insufficient"))
    with pytest.raises(DeviceError, match="insufficient"):
        choose_device("cuda:0")
    assert "insufficient" in choose_device("auto").why


def test_a_driver_without_devices(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", fake.make(devices=()))
    assert cuda_devices() == ([], "the CUDA driver reports no device")
    with pytest.raises(DeviceError, match="reports no device"):
        choose_device("cuda")


def test_devices_are_described(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", fake.make(devices=("A", "B")))
    devices, reason = cuda_devices()
    assert [(d.index, d.name, d.memory_bytes, d.capability) for d in devices] == [
        (0, "A", 80 << 30, "9.0"),
        (1, "B", 80 << 30, "9.0"),
    ]
    assert reason == ""
    assert choose_device("cuda:1").index == 1


def test_host_arrays_stay_where_they_are():
    array = np.arange(3)
    assert to_host(array) is array
    assert to_device(array, Device(None, "")) is array


def test_moves_to_the_chosen_device_and_back(cupy):
    array = np.arange(3)
    moved = to_device(array, Device(0, ""))
    assert isinstance(moved, fake.FakeArray)
    assert cupy.selected == [0]
    assert to_host(moved) is array
    assert to_device(moved, Device(None, "")) is array
