"""Errors of the system say whether something cannot be looked at, or cannot be written."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from gpustitch.errors import InputMissingError, OutputError
from gpustitch.io.failures import failure


@pytest.mark.parametrize("depth", [1, 2])
def test_what_a_folder_hides_is_no_failed_output(tmp_path: Path, monkeypatch, depth: int) -> None:
    """Root sees everything, so that the system's answer is pretended."""
    place = tmp_path / "hidden" / "more" / "v.npy"
    hidden, real = place.parents[depth - 1], os.access
    place.parent.mkdir(parents=True)
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != hidden and real(path, mode))
    found = failure(PermissionError(errno.EACCES, "Permission denied", str(place)))
    assert isinstance(found, InputMissingError) and found.exit_code == 4
    assert str(found) == f"{place}: no permission to look into {hidden}"


def test_what_may_be_looked_at_cannot_be_written(tmp_path: Path) -> None:
    for number in (errno.EACCES, errno.EPERM, errno.ENOSPC):
        found = failure(OSError(number, os.strerror(number), str(tmp_path / "v")))
        assert isinstance(found, OutputError)
    assert isinstance(failure(PermissionError(errno.EACCES, "Permission denied")), OutputError)
