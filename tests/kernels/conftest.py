"""On a real device every array of these tests is an allocation of its own, so that sanitizers see where it ends."""

from __future__ import annotations

import importlib

import pytest

from gpustitch.array import cuda_devices


@pytest.fixture(autouse=True)
def allocations_of_their_own(request: pytest.FixtureRequest):
    """No memory pool while a test that needs a GPU runs on one."""
    if request.node.get_closest_marker("gpu") is None or not cuda_devices()[0]:
        yield
        return
    cuda = importlib.import_module("cupy").cuda
    previous = cuda.get_allocator()
    cuda.set_allocator(None)
    yield
    cuda.set_allocator(previous)
