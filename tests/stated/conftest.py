"""Garbage is collected before each measurement of these tests: it is to be looked for in what they made themselves."""

from __future__ import annotations

import gc

import pytest


@pytest.fixture(scope="module", autouse=True)
def little_to_look_through() -> None:
    """Leave out of collections what a worker made before: late in a run each of them took most of a second."""
    gc.collect()
    gc.freeze()
