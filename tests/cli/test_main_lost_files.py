"""Every command that reads volumes refuses one that has lost files, and names them; none writes anything."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from gpustitch.cli.main import app
from gpustitch.io.planes.opening import open_planes
from gpustitch.io.write.opening import open_output
from gpustitch.model import Spacing
from gpustitch.ops.pyramid import downsample
from gpustitch.sections.positions.file import ZPositions, write_z_positions
from tests.io.volumes.stored_volumes import array

LOST = "1 of 8 files of chunks are missing"
NOTED = "1 of 8 files of chunks are not there"


def write(path, voxels, **options):
    shared = {"downsample": downsample, "levels": 2, "chunk_shape": (16, 16, 16), "shard_bytes": 0, "flush": False}
    with open_output(path, voxels.shape, voxels.dtype, Spacing(1, 1, 1), **shared | options) as output:
        for box in output.blocks():
            output.write(box, voxels[box.slices()])
    return path


@pytest.fixture
def tree(tmp_path):
    """Two tiles that overlap by half; the second has lost a chunk."""
    whole = np.random.default_rng(0).integers(1, 2000, (32, 48, 32), np.uint16)
    for y in (0, 160):
        write(tmp_path / "tiles" / "0" / f"0_{y}" / "0", whole[:, y // 10 : y // 10 + 32])
    (tmp_path / "tiles/0/0_160/0/1_1_1/0-16_16-32_16-32").unlink()
    unknown = np.full(32, np.nan)
    write_z_positions(tmp_path / "z.csv", ZPositions(np.arange(32.0), np.arange(32), unknown, unknown))
    return tmp_path


def call(*arguments: Any) -> tuple[int, str]:
    result = CliRunner().invoke(app, [*map(str, arguments)])
    return result.exit_code, " ".join(result.output.split())


def runs(tree):
    """Command lines that read the damaged tile, by name."""
    tile, out = tree / "tiles/0/0_160/0", tree / "out"
    return {
        "info": (tile,),
        "oblique-align": ("--input", tree / "tiles", "--output", out),
        "oblique2stitched": ("--input", tree / "tiles", "--output", out, "--levels", 1),
        "similarity": (tile, f"{out}.npz", "--range", 3),
        "z-spacing": (tile, "--output", f"{out}.csv", "--range", 3),
        "z-render": (tile, tree / "z.csv", out, "--levels", 1, "--device", "cpu"),
    }


@pytest.mark.parametrize("name", ["info", "oblique-align", "oblique2stitched", "similarity", "z-spacing", "z-render"])
def test_a_lost_chunk_is_refused(tree, name):
    code, said = call(name, *runs(tree)[name])
    assert code == 5 and LOST in said and "0-16_16-32_16-32" in said, said
    assert name == "info" or "--allow-missing" in said
    assert sorted(path.name for path in tree.iterdir()) == ["tiles", "z.csv"]


def test_info_names_the_damaged_tile_and_fails(tree):
    code, said = call("info", tree / "tiles")
    assert code == 5 and f"DAMAGED: {tree}/tiles/0/0_160/0/1_1_1: {LOST}" in said
    assert "0_0_0: volume of 32 x 32 x 32 voxels (z, y, x); all 9 files of chunks are there" in said
    assert "1 of 2 tiles are damaged" in said


def test_info_looks_at_all_levels(tree):
    tile = tree / "tiles/0/0_0/0"
    code, said = call("info", tile)
    assert code == 0 and "all 9 files of chunks are there" in said
    (tile / "2_2_2/0-16_0-16_0-16").unlink()
    code, said = call("info", tile)
    assert code == 5 and "2_2_2 has none of its 1 files of chunks" in said
    assert call("oblique2stitched", "--input", tile, "--output", tree / "s", "--levels", 1)[0] == 0


@pytest.mark.parametrize("name", ["oblique-align", "oblique2stitched", "similarity", "z-spacing", "z-render"])
def test_what_is_missing_is_told_when_it_is_allowed(tree, name):
    code, said = call(name, *runs(tree)[name], "--allow-missing")
    assert NOTED in said, said
    assert code == 0 or name == "oblique-align", said  # these tiles are too small to be aligned


@pytest.mark.parametrize("name", ["info", "oblique-align", "oblique2stitched", "similarity", "z-spacing", "z-render"])
def test_a_volume_without_its_description_is_no_missing_tile(tree, name):
    (tree / "tiles/0/0_160/0/info").unlink()
    code, said = call(name, *runs(tree)[name], *([] if name == "info" else ["--allow-missing"]))
    assert code == 5 and f"{tree}/tiles/0/0_160/0 has lost info" in said, said


def test_what_is_missing_is_kept_in_the_provenance(tree):
    assert call("oblique2stitched", *runs(tree)["oblique2stitched"], "--allow-missing")[0] == 0
    assert NOTED in json.loads((tree / "out/gpustitch.json").read_text())["missing"][0]
    stitched = open_planes(tree / "out").read(0, 32)
    expected = np.random.default_rng(0).integers(1, 2000, (32, 48, 32), np.uint16)
    expected[16:, 32:, :16] = 0
    np.testing.assert_array_equal(stitched, expected)


def test_a_zarr_array_of_another_program_says_what_has_no_file(tree):
    array(tree / "foreign", np.random.default_rng(0).integers(1, 99, (16, 16, 16), np.uint16))
    (tree / "foreign/c/0/0/1").unlink()
    code, said = call("info", tree / "foreign")
    assert code == 0 and "1 of 8 files of chunks are not there: they are empty or lost" in said
    code, said = call("similarity", tree / "foreign", tree / "s.npz", "--range", 3)
    assert code == 0 and NOTED in said
