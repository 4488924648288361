"""The device is chosen once, and nothing falls back in silence."""

from __future__ import annotations

import gc
import sys
import threading
import time
import weakref

import numpy as np
import pytest

from gpustitch.array import (
    CPU,
    Device,
    choose_device,
    choose_devices,
    cuda_devices,
    empty,
    handed_over,
    on,
    resident,
    to_device,
    to_host,
    transfer,
)
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
    assert choose_device("auto") == Device(0, "cuda:0: Fake 100", 80 << 30)


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


def test_the_memory_of_a_device_can_be_limited(cupy):
    assert choose_device("cuda", 1 << 30).memory_bytes == 1 << 30
    choose_device("cuda")
    assert cupy.limits == [1 << 30, 0], "without a limit an earlier one is lifted"
    with pytest.raises(ParameterError, match="`device_memory_bytes`"):
        choose_device("auto", 0)


def test_a_limit_that_the_caller_has_set_stays(cupy):
    pool = cupy.get_default_memory_pool()
    pool.set_limit(5000)
    assert choose_device("cuda").memory_bytes == 5000
    assert choose_device("cuda", 9000).memory_bytes == 5000
    assert pool.get_limit() == 5000
    assert choose_device("cuda", 3000).memory_bytes == pool.get_limit() == 3000
    assert choose_device("auto").memory_bytes == pool.get_limit() == 5000, "the caller's, not none"
    choose_device("cuda", 3000)
    pool.set_limit(4000)
    assert choose_device("cuda").memory_bytes == pool.get_limit() == 4000
    pool.set_limit(0)
    assert choose_device("cuda").memory_bytes == 80 << 30
    assert pool.get_limit() == 0


def test_host_arrays_stay_where_they_are():
    array = np.arange(3)
    assert to_host(array) is array
    assert to_device(array, CPU) is array
    assert resident(array, array) is array
    with on(CPU):
        assert empty((2, 3), np.uint8, CPU).shape == (2, 3)


@pytest.mark.parametrize("size", [3, 100_000])
def test_moves_to_the_chosen_device_and_back(size, cupy):
    array = np.arange(size)
    moved = to_device(array, Device(0, ""))
    assert isinstance(moved, fake.FakeArray)
    assert cupy.selected == [0]
    np.testing.assert_array_equal(to_host(moved), array)
    np.testing.assert_array_equal(to_device(moved, CPU), array)
    assert isinstance(empty((2, 3), np.uint8, Device(0, "")), fake.FakeArray)


def test_arrays_arrive_packed_and_in_native_byte_order(cupy):
    moved = to_device(np.arange(12, dtype=">u2").reshape(3, 4)[:, ::2], Device(0, ""))
    assert moved.host.flags.c_contiguous
    assert moved.dtype == np.dtype("uint16")
    assert moved.dtype.isnative
    np.testing.assert_array_equal(moved.host, [[0, 2], [4, 6], [8, 10]])


def test_a_thread_works_on_its_own_stream_and_waits_for_it(cupy):
    device = Device(1, "")
    with on(device), on(device):
        assert cupy.selected == [1, 1]
        assert cupy.streams[0].waits == 0
        thread = threading.Thread(target=_work_on, args=(device,))
        thread.start()
        thread.join()
    assert [(stream.non_blocking, stream.waits) for stream in cupy.streams] == [(True, 2), (True, 1)]


def test_work_begins_after_what_the_caller_has_asked_for(cupy):
    callers = fake.FakeStream()
    cupy.cuda.get_current_stream = lambda: callers
    with on(Device(0, "")):
        assert cupy.streams[0].waited_for == [callers]
        cupy.cuda.get_current_stream = lambda: cupy.streams[0]
        with on(Device(0, "")):
            assert cupy.streams[0].waited_for == [callers], "not for itself"
    assert callers.recorded == 1


def test_what_is_handed_over_is_freed_after_its_reader(cupy):
    reader, array, alive = fake.FakeStream(), fake.FakeArray(np.zeros(3)), []
    there = weakref.ref(array)
    reader.synchronize = lambda: alive.append(there() is not None)
    cupy.cuda.get_current_stream = lambda: reader
    with handed_over(array):
        del array
        assert alive == []
    assert alive == [True]
    assert there() is None
    with pytest.raises(ValueError, match="of its own"), handed_over(fake.FakeArray(np.zeros(3))):
        raise ValueError("of its own")
    assert len(alive) == 2, "also after an error"
    with handed_over(np.zeros(3)):
        pass
    assert len(alive) == 2, "on the host nobody waits"


def test_a_turn_that_is_over_leaves_its_stream_to_the_next(cupy):
    # CuPy keeps freed memory for the stream that it was made on: one for each thread would keep that of all of them.
    with pytest.raises(ValueError, match="of its own"), on(Device(0, "")):
        raise ValueError("of its own")
    for _ in range(4):
        thread = threading.Thread(target=_work_on, args=(Device(0, ""),))
        thread.start()
        thread.join()
    assert [stream.waits for stream in cupy.streams] == [5], "also after the error"
    _work_on(Device(1, ""))
    assert len(cupy.streams) == 2, "a stream belongs to one device"


def _work_on(device):
    with on(device):
        pass


def test_few_threads_are_on_a_device_at_once_and_one_may_nest(cupy):
    device, inside, most = Device(0, ""), [], []

    def work():
        with on(device), on(device):
            inside.append(1)
            most.append(len(inside))
            time.sleep(0.01)
            inside.pop()

    threads = [threading.Thread(target=work) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(most) == 12
    assert max(most) <= 3


def test_too_little_memory_names_the_limit(cupy):
    with (
        pytest.raises(
            DeviceError,
            match=r"may be taken \(1,000 bytes\) does not suffice: 2000 bytes wanted; raise `device_memory_bytes`",
        ),
        on(Device(0, "", 1000)),
    ):
        raise cupy.cuda.memory.OutOfMemoryError("2000 bytes wanted")


@pytest.mark.parametrize("error", [fake.FakeRuntimeError, fake.FakeBlasError])
def test_failures_of_the_driver_and_its_libraries_are_device_errors(cupy, error):
    with pytest.raises(DeviceError, match="cuda:0 failed: illegal address"), on(Device(0, "")):
        raise error("illegal address")


MISSING = "CuPy failed to load libnvrtc.so.12: OSError: libnvrtc.so.12: cannot open shared object\nfile"


def test_a_missing_compiler_is_a_device_error_of_one_line_that_names_the_extra(cupy):
    expected = r"cuda:0 failed: CuPy failed to load libnvrtc.so.12: .* object file; pip install 'gpustitch\[cuda12\]'"
    with pytest.raises(DeviceError, match=expected) as caught, on(Device(0, "")):
        raise RuntimeError(MISSING)
    assert "\n" not in str(caught.value)


def test_what_a_compiler_says_of_other_kernels_is_a_device_error(cupy):
    with pytest.raises(DeviceError, match="cuda:0 failed: no such architecture"), on(Device(0, "")):
        raise cupy.cuda.compiler.CompileException("no such architecture")


def test_other_errors_are_left_alone(cupy):
    with pytest.raises(RuntimeError, match="of its own"), on(Device(0, "")):
        raise RuntimeError("of its own")


def test_resident_arrays_are_moved_once_and_go_with_the_original(cupy):
    like, host = fake.FakeArray(np.zeros(1)), np.arange(5)
    moved = resident(host, like)
    assert isinstance(moved, fake.FakeArray)
    assert resident(host, like) is moved
    assert len(transfer._residents) == 1
    del host
    gc.collect()
    other = np.arange(6)
    np.testing.assert_array_equal(resident(other, like).host, other)
    assert len(transfer._residents) == 1, "what nobody can ask for any more is given back"


def test_without_pinned_memory_arrays_still_come_back(cupy, monkeypatch):
    def refuse(*_):
        raise cupy.cuda.runtime.CUDARuntimeError("no pinned memory")

    monkeypatch.setattr(sys.modules["cupyx"], "empty_pinned", refuse)
    array = np.arange(100_000)
    np.testing.assert_array_equal(to_host(to_device(array, Device(0, ""))), array)


@pytest.fixture
def three(monkeypatch):
    """Three devices."""
    monkeypatch.setitem(sys.modules, "cupy", fake.make(devices=["A", "B", "C"]))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


@pytest.mark.parametrize("spec", ["cuda:0,cuda:1", "cuda:2, cuda:0", "cuda:1,cuda:0,cuda:2"])
@pytest.mark.parametrize("visible", [None, "5,3,9", "GPU-a,GPU-b,MIG-c,GPU-d"])
def test_each_process_sees_its_device_under_the_number_of_the_first(spec, visible, three, monkeypatch):
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    device = choose_devices(spec)
    numbers = [int(name.strip().removeprefix("cuda:")) for name in spec.split(",")]
    assert (device.index, *device.others) == tuple(numbers) and str(device) == spec.replace(" ", "")
    assert [why.split(": ")[1] for why in device.why.split("; ")] == ["ABC"[n] for n in numbers]
    seen = [one["CUDA_VISIBLE_DEVICES"].split(",") for one in device.environments()]
    names = ["0", "1", "2"] if visible is None else visible.split(",")
    assert [order[device.index] for order in seen] == [names[n] for n in numbers]
    assert all(sorted(order) == sorted(names[: len(order)]) for order in seen)


@pytest.mark.parametrize("spec", ["cuda:0,cuda:0", "cuda:0,cpu", "auto,cuda:1", "cuda,cuda:1", ",", "cuda:0,"])
def test_several_devices_are_different_cuda_ones(spec, three):
    with pytest.raises(ParameterError, match="cuda:0,cuda:1"):
        choose_devices(spec)


def test_one_device_where_one_computes(three):
    with pytest.raises(ParameterError, match="give one of them"):
        choose_device("cuda:0,cuda:1")
    with pytest.raises(DeviceError, match="there are 3 CUDA devices"):
        choose_devices("cuda:0,cuda:3")
    assert choose_device("cuda:1").environments() == () == CPU.environments()
