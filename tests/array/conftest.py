"""Fixtures of a machine with and without CuPy."""

from __future__ import annotations

import sys

import pytest

from gpustitch.array import kernel as kernel_function
from tests.array import fake_cupy as fake

kernel_module = sys.modules[kernel_function.__module__]


@pytest.fixture
def cupy(monkeypatch):
    """A fake CuPy with one device."""
    module = fake.make()
    monkeypatch.setitem(sys.modules, "cupy", module)
    kernel_module._compiled.cache_clear()
    yield module
    kernel_module._compiled.cache_clear()


@pytest.fixture
def no_cupy(monkeypatch):
    """No CuPy, whatever is installed."""
    monkeypatch.setitem(sys.modules, "cupy", None)


@pytest.fixture
def registry(monkeypatch):
    """An empty registry of kernels for the test's own twins."""
    monkeypatch.setattr(kernel_module, "_REGISTRY", {})
