"""The record of files: what our writers leave, and a record that is damaged itself."""

from __future__ import annotations

import json

import numpy as np
import pytest

from gpustitch.errors import DamagedInputError
from gpustitch.io.volumes.record import RECORD, RECORD_KEY, Files, read_record, write_record
from gpustitch.io.write.opening import open_output
from gpustitch.model import Spacing
from gpustitch.ops.pyramid import downsample


def written(folder, **options):
    """A volume of 3 x 2 x 1 files at level 0, of which the corner (2, 1, 0) holds zeros only."""
    voxels = np.ones((40, 32, 16), np.uint8)
    voxels[32:, 16:] = 0
    shared = {"downsample": downsample, "levels": 2, "chunk_shape": (16, 16, 16), "flush": False}
    with open_output(folder, voxels.shape, voxels.dtype, Spacing(1, 1, 1), **shared | options) as output:
        for box in output.blocks():
            output.write(box, voxels[box.slices()])
    return folder


@pytest.mark.parametrize(
    ("name", "options", "levels"),
    [
        ("v", {"shard_bytes": 0}, ("1_1_1", "2_2_2")),
        ("v.zarr", {"shard_bytes": 0}, ("0", "1")),
        ("v.zarr", {"version": "0.4"}, ("0", "1")),
        ("v.zarr", {"chunk_shape": (8, 8, 8), "shard_bytes": 4096}, ("0", "1")),
    ],
)
def test_the_record_names_exactly_the_files_that_exist(tmp_path, name, options, levels):
    folder = written(tmp_path / name, **options)
    record = read_record(folder)
    expected = np.ones((3, 2, 1), bool)
    expected[2, 1] = False
    assert tuple(record.written) == levels
    assert np.array_equal(record.written[levels[0]], expected)
    # Shards are as large on all levels: those of 4 x 2 chunks hold all of level 1.
    n_files = 1 if options.get("shard_bytes") else 2
    assert np.array_equal(record.written[levels[1]], np.ones((n_files, 1, 1), bool))
    for level, flags in record.written.items():
        files = [file for file in (folder / level).rglob("*") if file.is_file()]
        assert sum(file.name not in ("zarr.json", ".zarray") for file in files) == flags.sum()
    assert {*record.files, RECORD} == {file.name for file in folder.iterdir() if file.is_file()}


def files_there(flags):
    return Files(flags, np.zeros(flags.shape, np.uint64), np.zeros(flags.shape, np.uint32))


def test_a_million_files_take_little_room(tmp_path):
    flags = np.add.outer(np.add.outer(np.arange(100), np.zeros(100)), np.arange(100)) % 150 > 20
    write_record(tmp_path, {"0": files_there(flags)})
    assert (tmp_path / RECORD).stat().st_size < 20_000
    assert np.array_equal(read_record(tmp_path).written["0"], flags)


def test_without_a_record_there_is_none_unless_it_is_due(tmp_path):
    assert read_record(tmp_path) is None
    with pytest.raises(DamagedInputError, match=f"has lost {RECORD}"):
        read_record(tmp_path, is_due=True)


def test_an_ome_zarr_image_names_its_record(tmp_path):
    folder = written(tmp_path / "v.zarr")
    assert json.loads((folder / "zarr.json").read_text())["attributes"][RECORD_KEY] == RECORD


@pytest.mark.parametrize(
    "change", [{"schema": 2}, {"schema": None}, {"schema": True}, {"levels": []}, {"files": ["lost"]}, {"files": 3}]
)
def test_a_damaged_record_is_refused(tmp_path, change):
    write_record(tmp_path, {"0": files_there(np.ones((2, 2, 2), bool))})
    record = json.loads((tmp_path / RECORD).read_text())
    (tmp_path / RECORD).write_text(json.dumps(record | change))
    with pytest.raises(DamagedInputError):
        read_record(tmp_path)


@pytest.mark.parametrize("number", [1, 2])
def test_a_record_may_call_its_schema_version_as_the_first_ones_did(tmp_path, number):
    write_record(tmp_path, {"0": files_there(np.ones((2, 2, 2), bool))})
    record = json.loads((tmp_path / RECORD).read_text())
    assert record.pop("schema") == 1
    (tmp_path / RECORD).write_text(json.dumps({"version": number, **record}))
    if number == 1:
        assert read_record(tmp_path).written["0"].all()
        return
    with pytest.raises(DamagedInputError, match="of schema 2"):
        read_record(tmp_path)


@pytest.mark.parametrize(
    "change", [{"n_files": 7}, {"grid": [3, 3, 1]}, {"grid": [2, 2]}, {"written": "AAAA"}, {"written": "?"}]
)
def test_a_damaged_level_of_a_record_is_refused(tmp_path, change):
    write_record(tmp_path, {"0": files_there(np.ones((2, 2, 2), bool))})
    record = json.loads((tmp_path / RECORD).read_text())
    record["levels"]["0"] |= change
    (tmp_path / RECORD).write_text(json.dumps(record))
    with pytest.raises(DamagedInputError, match="no record of a volume's files"):
        read_record(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", "\xff"])
def test_a_file_that_is_no_record_is_refused(tmp_path, text):
    (tmp_path / RECORD).write_bytes(text.encode("latin-1"))
    with pytest.raises(DamagedInputError, match="no record of a volume's files"):
        read_record(tmp_path)
