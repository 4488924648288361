"""Fusion of a folder that ended early goes on: the same bytes, and only what lacks is made."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gpustitch.errors import OutputError, OutputExistsError
from gpustitch.io.partial import work_place
from gpustitch.io.write.ome_zarr import OmeZarrWriter
from gpustitch.io.write.opening import open_output
from gpustitch.io.write.precomputed import PrecomputedWriter
from gpustitch.model import Spacing
from gpustitch.oblique.fuse.jobs import run_resumed
from gpustitch.oblique.fuse.options import StitchOptions, TreeOptions
from gpustitch.oblique.fuse.stage import plan_tree
from gpustitch.ops.pyramid import downsample
from tests.oblique.pipeline.test_one_pass import Heard


@pytest.fixture
def tree(tmp_path: Path) -> TreeOptions:
    """Two tiles that overlap along y."""
    rng = np.random.default_rng(0)
    for y in (0, 500):
        voxels = rng.integers(1, 60000, (40, 70, 60)).astype(np.uint16)
        folder = tmp_path / "tiles" / "0" / f"0_{y}" / "0"
        with open_output(folder, voxels.shape, np.uint16, Spacing(1, 1, 1), downsample=downsample, levels=1) as out:
            for box in out.blocks():
                out.write(box, voxels[box.slices()])
    return TreeOptions(tmp_path / "tiles")


def options_of(output: Path, **changed: Any) -> StitchOptions:
    return StitchOptions(output, levels=2, chunk_shape=(16, 16, 16), shard_bytes=1 << 14, **changed)


def contents(folder: Path) -> dict[str, bytes]:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """A disk with room for so many more files as the list says."""
    room = [1 << 30]
    for writer in (PrecomputedWriter, OmeZarrWriter):
        store = writer._store

        def stored(self: Any, *given: Any, _store: Any = store, **more: Any) -> Any:
            room[0] -= 1
            if room[0] < 0:
                raise OSError(errno.ENOSPC, "No space left on device")
            return _store(self, *given, **more)

        monkeypatch.setattr(writer, "_store", stored)
    yield room


@pytest.mark.parametrize("name", ["out", "out.zarr"])
def test_an_ended_fusion_goes_on(tree: TreeOptions, tmp_path: Path, full: list[int], name: str) -> None:
    output = tmp_path / name
    run_resumed(plan_tree(tree, options_of(output)))
    expected = contents(output)
    output.rename(tmp_path / "whole")
    for n_files in (5, 9):
        full[0] = n_files
        with pytest.raises(OutputError, match="the disk is full"):
            run_resumed(plan_tree(tree, options_of(output)), heard := Heard())
        assert any("is kept in" in line for line in heard.warnings)
    full[0] = 1 << 30
    result = run_resumed(plan_tree(tree, options_of(output)), heard := Heard())
    assert any("continuing an unfinished run" in note for note in heard.notes) and result.path == output
    n_written = (1 << 30) - full[0]
    assert n_written <= len([file for file in expected if "json" not in file]) - 10
    assert contents(output) == expected and not work_place(output).exists()


def test_another_fusion_does_not_go_on(tree: TreeOptions, tmp_path: Path, full: list[int]) -> None:
    options = options_of(tmp_path / "out")
    full[0] = 5
    with pytest.raises(OutputError):
        run_resumed(plan_tree(tree, options))
    full[0] = 1 << 30
    with pytest.raises(OutputExistsError, match=r"`y_voxel_um` was None and is 1\.1"):
        run_resumed(plan_tree(replace(tree, y_voxel_um=1.1), options))
    run_resumed(plan_tree(replace(tree, y_voxel_um=1.1), replace(options, restart=True)))
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("out")] == ["out"]
