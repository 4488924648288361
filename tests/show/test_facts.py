"""What ``info --json`` says: the same as the lines, in JSON's types."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import gpustitch as gs
from gpustitch.demo.phantom.stage import make_phantom
from gpustitch.demo.phantom.truth import PhantomSpec
from gpustitch.errors import DamagedInputError, GpustitchError, InputMissingError, ParameterError
from gpustitch.io.images.files import write_tiff
from gpustitch.io.write.channels import join_channels
from gpustitch.show.describe import described
from gpustitch.show.facts import exit_code_of, facts
from gpustitch.show.held import InfoOptions
from tests.e2e.commands import run


def of(*paths: Path) -> list[dict]:
    found = facts(InfoOptions(tuple(paths)))
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    return found["paths"]


@pytest.fixture(scope="module")
def truth(tmp_path_factory):
    return make_phantom(
        tmp_path_factory.mktemp("phantom"), PhantomSpec(n_frames=6, n_rows=16, n_columns=12, n_channels=2)
    )


def test_raw_tiles_have_their_places_and_shapes(truth):
    (found,) = of(truth.channel())
    lines = "\n".join(described(InfoOptions((truth.channel(),))))
    assert found["kind"] == "tiles" and found["grid"] == [2, 2, 1] and found["missing_um"] == []
    for tile in found["tiles"]:
        assert tile["kind"] == "frames" and tile["dtype"] == "uint16" and len(tile["stage_um"]) == 3
        count, rows, columns = tile["shape"]
        assert f"{tile['name']}: {count} frames of {rows} x {columns}" in lines
        assert all(detail in lines for detail in tile["details"])


def test_channels_hold_their_tiles(truth):
    (found,) = of(truth.channel().parent)
    assert found["kind"] == "channels" and len(found["channels"]) == 2
    assert all(len(channel["tiles"]) == 4 for channel in found["channels"])


@pytest.mark.parametrize(("name", "dtype"), [("v.zarr", "uint16"), ("v", "uint8"), ("f.zarr", "float32")])
def test_a_volume_has_shape_type_spacing_and_levels(tmp_path, name, dtype):
    volume = np.arange(5 * 6 * 7).reshape(5, 6, 7).astype(dtype)
    path = gs.write(tmp_path / name, volume, spacing_um=(3.0, 2.0, 1.5))
    (found,) = of(path)
    lines = " ".join(described(InfoOptions((path,))))
    assert found["dtype"] == dtype and dtype in lines
    assert found["shape"] == [5, 6, 7]
    if found["kind"] == "volume":
        assert found["spacing_um"] == [3.0, 2.0, 1.5]
        assert len(found["level_shapes"]) == found["levels"] and f"{found['levels']} levels" in lines
        assert found["missing_files"] == 0


def test_frames_that_are_missing_are_an_error_with_what_is_there(tmp_path):
    for number in (0, 1, 3):
        write_tiff(tmp_path / f"{number}.tif", np.full((4, 5), number, np.uint8))
    (found,) = of(tmp_path)
    assert found["shape"] == [4, 4, 5] and found["exit_code"] == DamagedInputError.exit_code
    assert "2" in found["error"]


def test_what_cannot_be_read_is_told_and_the_rest_is_read_all_the_same(tmp_path):
    write_tiff(tmp_path / "a.tif", np.full((4, 5), 1, np.uint8))
    (tmp_path / "b.txt").write_text("no")
    (tmp_path / "c.json").write_text("{")
    found = of(tmp_path / "none", tmp_path / "a.tif", tmp_path / "b.txt", tmp_path / "c.json")
    assert [each.get("exit_code") for each in found] == [
        InputMissingError.exit_code, None, DamagedInputError.exit_code, DamagedInputError.exit_code
    ]  # fmt: skip
    assert found[1]["shape"] == [1, 4, 5]
    assert exit_code_of({"paths": found}) == InputMissingError.exit_code
    assert exit_code_of({"paths": found[1:2]}) == 0


def test_the_exit_code_is_that_of_the_lines(tmp_path):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("no")
    (tmp_path / "b.json").write_text("{}")
    for number in (0, 1, 3):
        (tmp_path / "gap").mkdir(exist_ok=True)
        write_tiff(tmp_path / "gap" / f"{number}.tif", np.full((4, 5), number, np.uint8))
    codes = {}
    for name in ("notes", "b.json", "gap", "none", "none*"):
        with pytest.raises(GpustitchError) as told:
            list(described(InfoOptions((tmp_path / name,))))
        (found,) = of(tmp_path / name)
        assert (found["exit_code"], found["error"]) == (told.value.exit_code, str(told.value)), name
        codes[name] = found["exit_code"]
    assert codes["notes"] == ParameterError.exit_code and codes["gap"] == DamagedInputError.exit_code


def test_the_command_prints_json_alone_on_standard_output(tmp_path):
    write_tiff(tmp_path / "a.tif", np.full((4, 5), 1, np.uint8))
    result = run("info", tmp_path / "a.tif", tmp_path / "none", "--json")
    assert result.exit_code == InputMissingError.exit_code
    assert [each["path"] for each in json.loads(result.stdout)["paths"]] == [
        str(tmp_path / n) for n in ("a.tif", "none")
    ]
    machine = json.loads(run("info", "--json").stdout)["machine"]
    assert machine["cpus"] >= 1 and "numpy" in machine["packages"]


def test_an_image_of_several_channels_is_told_by_each(tmp_path):
    volume = np.arange(5 * 6 * 7, dtype=np.uint16).reshape(5, 6, 7)
    for name in ("Ex_488_Em_525", "Ex_561_Em_600"):
        gs.write(tmp_path / f"{name}.zarr", volume, spacing_um=(3.0, 2.0, 1.5))
    joined = join_channels([tmp_path / f"{n}.zarr" for n in ("Ex_488_Em_525", "Ex_561_Em_600")], tmp_path / "all.zarr")
    (found,) = of(joined)
    assert [one["name"] for one in found["volumes"]] == ["Ex_488_Em_525 channel 1", "Ex_561_Em_600 channel 2"]
    assert all(one["shape"] == [5, 6, 7] and one["missing_files"] == 0 for one in found["volumes"])
    lines = list(described(InfoOptions((joined,))))
    assert "2 volumes" in lines[0] and sum("volume of 5 x 6 x 7" in line for line in lines) == 2


def test_an_output_of_the_pipeline_has_its_volume_and_those_beside_it(tmp_path):
    voxels = np.arange(5 * 6 * 7, dtype=np.uint16).reshape(5, 6, 7)
    for name in ("volume", "volume.zarr"):
        gs.write(tmp_path / name, voxels, spacing_um=(3.0, 2.0, 1.5))
    (found,) = of(tmp_path)
    assert found["kind"] == "pipeline output" and found["volume"]["path"] == str(tmp_path / "volume")
    assert list(found["volumes_beside"]) == ["volume.zarr"]
    shapes = [one["shape"] for one in (found["volume"], *found["volumes_beside"].values())]
    assert shapes == [[5, 6, 7]] * 2
    told = [line.split(":")[0] for line in described(InfoOptions((tmp_path,))) if " volume of " in line]
    assert sorted(told) == [str(tmp_path / "volume"), str(tmp_path / "volume.zarr")]
