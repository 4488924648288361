"""Stages have names in the timeline of a profiler, where there is one; on the host nothing is done."""

from __future__ import annotations

import sys
import threading
import types

import numpy as np
import pytest

from gpustitch.array import CPU, Device, on
from gpustitch.array.ranges import caller, named_range
from gpustitch.array.transfer import hosted
from gpustitch.ops.pyramid import downsample
from gpustitch.running.parts import Parts
from gpustitch.running.progress import SILENT
from tests.cuda_cpu import shim
from tests.cuda_cpu.shim_cuda import NVTX

DEVICE = Device(0, "cuda:0: emulated")


@pytest.fixture
def begun():
    NVTX.begun.clear()
    with shim.installed():
        yield NVTX.begun
    assert NVTX.depth == 0


def doubled(array, device):
    with on(device):
        return 2 * array


def test_a_block_on_a_device_has_the_name_of_its_function(begun):
    doubled(shim.asarray(np.ones(3)), DEVICE)
    with on(DEVICE, "outer"), named_range("inner"):
        doubled(shim.asarray(np.ones(3)), DEVICE)
    mine = f"{__name__}.doubled"
    assert begun == [(mine, 0), ("outer", 0), ("inner", 1), (mine, 2)]


def test_a_function_from_host_to_host_has_the_name_of_its_caller(begun):
    def halved(volume):
        return hosted(downsample, DEVICE)(volume)

    halved(np.ones((2, 2, 2), np.uint16))
    assert begun == [(f"{__name__}.{halved.__qualname__}", 0)]


def test_parts_of_a_run_are_ranges(begun):
    parts = Parts(SILENT, {"first": 1, "second": 1}, 1)
    with parts.part("first"):
        doubled(shim.asarray(np.ones(3)), DEVICE)
    with pytest.raises(ValueError, match="stops"), parts.part("second"):
        raise ValueError("stops")
    assert begun == [("first", 0), (f"{__name__}.doubled", 1), ("second", 0)]


def test_a_range_ends_after_an_error_and_threads_have_their_own(begun):
    def other():
        with named_range("of the thread"):
            pass

    with pytest.raises(ZeroDivisionError), on(DEVICE, "fails"):
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        raise ZeroDivisionError
    assert begun == [("fails", 0), ("of the thread", 0)]


@pytest.mark.parametrize("cuda", [None, types.SimpleNamespace(), types.SimpleNamespace(nvtx=object())])
def test_without_nvtx_nothing_is_done(monkeypatch, cuda):
    monkeypatch.setitem(sys.modules, "cupy", types.SimpleNamespace(cuda=cuda))
    with named_range("a"):
        pass


def test_on_the_host_nothing_is_done(monkeypatch):
    NVTX.begun.clear()
    monkeypatch.setitem(sys.modules, "cupy", None)
    with named_range("a"), on(CPU):
        pass
    assert not NVTX.begun


def test_the_name_of_a_caller():
    def inner():
        return caller(()), caller((__name__,)), caller({frame.f_globals["__name__"] for frame in frames()})

    def frames():
        frame = sys._getframe()
        while frame is not None:
            yield frame
            frame = frame.f_back

    own, further, none = inner()
    assert own == f"{__name__}.test_the_name_of_a_caller.<locals>.inner"
    assert further.startswith("_pytest.") and none == ""
