"""Fixtures of a machine with and without CuPy."""

from __future__ import annotations

import sys
import types

import numpy as np
import pytest

from gpustitch.array import body, launch, transfer
from gpustitch.array import kernel as kernel_function
from tests.array import fake_cupy as fake

kernel_module = sys.modules[kernel_function.__module__]


def _forget():
    for cache in (launch._compiled, launch._check, body.entry_points):
        cache.cache_clear()
    transfer._of_thread.__dict__.clear()
    transfer._idle_streams.clear()


@pytest.fixture
def cupy(monkeypatch):
    """A fake CuPy with one device."""
    module = fake.make()
    monkeypatch.setitem(sys.modules, "cupy", module)
    pinned = types.ModuleType("cupyx")
    pinned.empty_pinned = np.empty
    monkeypatch.setitem(sys.modules, "cupyx", pinned)
    _forget()
    yield module
    _forget()


@pytest.fixture
def no_cupy(monkeypatch):
    """No CuPy, whatever is installed."""
    monkeypatch.setitem(sys.modules, "cupy", None)


@pytest.fixture
def registry(monkeypatch):
    """An empty registry of kernels for the test's own twins."""
    monkeypatch.setattr(kernel_module, "_REGISTRY", {})
