"""Parts of two volumes are never taken for one."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gpustitch.errors import DamagedInputError
from gpustitch.io.volumes.opening import open_volume
from gpustitch.io.write.format import Writing
from gpustitch.io.write.ome_zarr import OmeZarrWriter
from gpustitch.io.write.precomputed import PrecomputedWriter
from gpustitch.model import Box, Spacing

SHAPE = (4, 8, 8)


def write(writer: Callable[..., Any], path: Path, value: int) -> None:
    """A volume of one value, of several chunks."""
    with writer(
        path, SHAPE, np.uint16, Spacing(1, 1, 1), Writing(levels=1, chunk_shape=(4, 4, 4), overwrite=True, flush=False)
    ) as output:
        for box in output.blocks():
            output.write(box, np.full(box.shape, value, np.uint16))


@pytest.mark.parametrize("writer", [PrecomputedWriter, OmeZarrWriter])
@pytest.mark.parametrize("calls", (1, 3, 6))
def test_a_reader_of_a_volume_that_is_replaced_meanwhile_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writer: Callable[..., Any], calls: int
) -> None:
    path, left = tmp_path / "v", calls
    write(writer, path, 1)
    volume = open_volume(path)

    def replace(name: str) -> Callable[..., Any]:
        real = getattr(os, name)

        def counted(*args: Any, **more: Any) -> Any:
            nonlocal left
            left -= 1
            if left == 0:
                write(writer, path, 2)
            return real(*args, **more)

        return counted

    with monkeypatch.context() as patched:  # at any system call of a read
        for name in ("stat", "preadv", "fstat"):
            patched.setattr(os, name, replace(name))
        try:
            found = volume.read(Box.of_shape(SHAPE))
        except DamagedInputError as error:
            assert str(path) in str(error)
            assert left <= 0
        else:
            assert (found == 1).all()
    if left > 0:
        write(writer, path, 2)
    with pytest.raises(DamagedInputError, match=r"was replaced, changed or removed|cannot be read"):
        volume.read(Box.of_shape(SHAPE))
    assert (open_volume(path).read(Box.of_shape(SHAPE)) == 2).all()


@pytest.mark.parametrize("writer", [PrecomputedWriter, OmeZarrWriter])
def test_a_reader_of_a_volume_that_is_gone_reads_no_zeros(tmp_path: Path, writer: Callable[..., Any]) -> None:
    write(writer, tmp_path / "v", 0)  # chunks of zeros have no files
    volume = open_volume(tmp_path / "v")
    assert not volume.read(Box.of_shape(SHAPE)).any()
    shutil.rmtree(tmp_path / "v")
    with pytest.raises(DamagedInputError, match="removed while it was read"):
        volume.read(Box.of_shape(SHAPE))
