"""A process that was forked where tensorstore was used is told so, and ends by no abort."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import gpustitch as gs
from gpustitch.errors import ResourceError
from gpustitch.io import forked

VOXELS = np.arange(2 * 3 * 4, dtype=np.uint16).reshape(2, 3, 4)
pytestmark = pytest.mark.posix


@pytest.fixture
def as_in_a_child(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Makes this process look like one that was forked from it; a true child might stop at locks of other threads."""
    return lambda: monkeypatch.setattr(os, "getpid", lambda: 1)


@pytest.mark.parametrize("name", ["v.zarr", "v"])
@pytest.mark.parametrize("does", ["write", "open", "read"])
def test_a_forked_process_is_told(tmp_path: Path, as_in_a_child: Callable[[], None], name: str, does: str) -> None:
    path = gs.write(tmp_path / name, VOXELS, (1, 1, 1))
    volume = gs.open_volume(path)
    np.testing.assert_array_equal(volume[...], VOXELS)
    as_in_a_child()
    calls: dict[str, Callable[[], object]] = {
        "write": lambda: gs.write(tmp_path / f"again_{name}", VOXELS, (1, 1, 1)),
        "open": lambda: gs.open_volume(path),
        "read": lambda: volume[...],
    }
    with pytest.raises(ResourceError, match="spawn"):
        calls[does]()
    assert not (tmp_path / f"again_{name}").exists()


def test_a_process_of_its_own_is_not_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forked, "_users", set())
    for _ in range(2):
        forked.uses_tensorstore()
    assert forked._users == {os.getpid()}
