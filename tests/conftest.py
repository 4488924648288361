"""Tests that need a POSIX system are skipped on others; how long an example of Hypothesis takes is no failure."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, settings

# A busy machine is not a wrong result.
settings.register_profile("gpustitch", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("gpustitch")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what is marked ``posix`` where there is none."""
    if os.name == "posix":
        return
    for item in items:
        if item.get_closest_marker("posix"):
            item.add_marker(pytest.mark.skip(reason="needs a POSIX system"))
