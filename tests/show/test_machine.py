"""What the machine is said to be, with and without a device."""

from __future__ import annotations

import pytest

from gpustitch.array import CPU, choose_device
from gpustitch.errors import DeviceError
from gpustitch.show import machine
from gpustitch.show.machine import describe_machine
from tests.cuda_cpu import build, shim

pytestmark = pytest.mark.skipif(bool(build.why_not()), reason=build.why_not())


def test_a_device_that_works_is_said_to():
    with shim.installed():
        said = "\n".join(describe_machine(choose_device("cuda")))
    assert "kernels compile and run" in said
    assert "commands take device cuda:0" in said


def test_a_device_on_which_nothing_compiles_is_said_not_to_work(monkeypatch):
    def fail(_):
        raise DeviceError("halve (kernels/pyramid.cu) failed: no compiler")

    monkeypatch.setattr(machine, "downsample", fail)
    with shim.installed():
        said = "\n".join(describe_machine(CPU))
    assert "DOES NOT WORK: halve (kernels/pyramid.cu) failed" in said
