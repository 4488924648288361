"""Volumes of ours and zarr arrays of other programs that have lost files."""

from __future__ import annotations

import itertools
import json
import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpustitch.errors import DamagedInputError
from gpustitch.io.volumes.opening import open_volume
from gpustitch.io.volumes.record import RECORD
from gpustitch.model import Box
from gpustitch.ops.pyramid import downsample
from tests.io.volumes.stored_volumes import MISSING, array, change_scales, folder, half_empty, ours, read

OURS = [
    ("v", {"shard_bytes": 0}),
    ("v", {"chunk_shape": (4, 4, 4), "shard_bytes": 1024}),
    ("v", {"chunk_shape": (4, 4, 4), "shard_bytes": 1024, "codec": "gzip"}),
    ("v.zarr", {"shard_bytes": 0}),
    ("v.zarr", {"version": "0.4"}),
    ("v.zarr", {"chunk_shape": (4, 4, 4), "shard_bytes": 1024, "compression": 0}),
]
kinds = pytest.mark.parametrize(("name", "options"), OURS)


@kinds
def test_chunks_of_zeros_need_no_file(tmp_path, name, options):
    voxels = half_empty()
    ours(tmp_path / name, voxels, **options)
    volume = open_volume(tmp_path / name)
    assert volume.n_missing == 0 and volume.n_files == 14
    np.testing.assert_array_equal(read(tmp_path / name), voxels)
    ours(tmp_path / f"zeros_{name}", np.zeros_like(voxels), **options)
    for level in (0, 1):
        assert not read(tmp_path / f"zeros_{name}", level=level).any()
    (tmp_path / name / RECORD).unlink()
    if name == "v.zarr":
        with pytest.raises(DamagedInputError, match=f"has lost {RECORD}"):
            open_volume(tmp_path / name)
    else:
        with pytest.raises(DamagedInputError, match=f"13 of 27 {MISSING}"):
            open_volume(tmp_path / name)
    np.testing.assert_array_equal(read(tmp_path / name, allow_missing=True), voxels)


@settings(max_examples=15, deadline=None)
@given(st.sampled_from(OURS), st.data())
def test_a_copy_of_ours_that_lost_files_is_an_error(kind, data):
    name, options = kind
    with folder() as parent:
        path, voxels = parent / name, half_empty()
        ours(path, voxels, sidecar={}, **options)
        files = sorted(file for file in path.rglob("*") if file.is_file())
        lost = data.draw(st.lists(st.sampled_from(files), min_size=1, unique=True))
        for file in lost:
            file.unlink()
        errors = 0
        for level, expected in enumerate((voxels, downsample(voxels))):
            try:
                np.testing.assert_array_equal(read(path, level=level), expected)
            except OSError:
                errors += 1
        # Without its record a precomputed volume is refused only where chunks have no file.
        assert errors or lost == [path / RECORD]


def test_a_level_of_ours_opened_alone_is_held_to_the_record(tmp_path):
    ours(tmp_path / "v.zarr", half_empty(), shard_bytes=0)
    np.testing.assert_array_equal(read(tmp_path / "v.zarr" / "1"), downsample(half_empty()))
    (tmp_path / "v.zarr/1/c/1/0/0").unlink()
    with pytest.raises(DamagedInputError, match=MISSING):
        open_volume(tmp_path / "v.zarr" / "1")
    open_volume(tmp_path / "v.zarr")


def test_files_that_were_not_written_with_the_volume_are_refused(tmp_path):
    ours(tmp_path / "v", half_empty(), shard_bytes=0)
    shutil.copy(tmp_path / "v/1_1_1/0-8_0-8_0-8", tmp_path / "v/1_1_1/8-16_8-16_0-8")
    with pytest.raises(DamagedInputError, match="8-16_8-16_0-8, which was not written with the volume"):
        open_volume(tmp_path / "v")
    change_scales(tmp_path / "v", chunk_sizes=[[8, 8, 16]])
    with pytest.raises(DamagedInputError, match="grid"):
        open_volume(tmp_path / "v", allow_missing=True)


# zarr of other programs: files may be absent, so they are counted


arrays = st.one_of(
    st.fixed_dictionaries({"driver": st.just("zarr"), "separator": st.sampled_from("./")}),
    st.fixed_dictionaries(
        {"separator": st.sampled_from("./"), "encoding": st.sampled_from(["default", "v2"]), "sharded": st.booleans()}
    ),
)


@settings(max_examples=20, deadline=None)
@given(arrays, st.sampled_from([0, 7]), st.data())
def test_absent_chunks_of_foreign_zarr_are_counted(layout, fill, data):
    voxels = np.random.default_rng(2).integers(8, 200, (9, 13, 18), np.uint16)
    with folder() as path:
        array(path, voxels, fill=fill, **layout)
        files = sorted(f for f in path.rglob("*") if f.is_file() and f.name not in ("zarr.json", ".zarray"))
        assert len(files) == 12
        lost = data.draw(st.lists(st.sampled_from(files), unique=True))
        for file in lost:
            file.unlink()
        if len(lost) == 12:
            with pytest.raises(DamagedInputError, match="none of its 12 files"):
                open_volume(path)
            return
        volume = open_volume(path)
        assert (volume.n_missing, volume.n_files) == (len(lost), 12)
        found = volume.read(Box.of_shape(voxels.shape))
        np.testing.assert_array_equal(found, np.where(found == fill, fill, voxels))
        chunks = itertools.product(*(range(0, n, 8) for n in voxels.shape))
        assert sum((found[z : z + 8, y : y + 8, x : x + 8] == fill).all() for z, y, x in chunks) == len(lost)


@settings(max_examples=15, deadline=None)
@given(arrays, st.booleans(), st.sampled_from([0, 1, 5, 11]))
def test_the_other_separator_is_an_error(layout, allow_missing, n_right):
    """All files, or all but some, are named with the other separator than the one described."""
    voxels = np.random.default_rng(2).integers(1, 200, (9, 13, 18), np.uint16)
    with folder() as path, folder() as other:
        array(path, voxels, **layout)
        array(other, voxels, **layout | {"separator": "./".replace(layout["separator"], "")})
        for place in (path, other):
            found = [f for f in sorted(place.rglob("*")) if f.is_file() and f.name not in ("zarr.json", ".zarray")]
            for file in found[n_right:] if place == path else found[:n_right]:
                file.unlink()
        shutil.copytree(other, path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("zarr.json", ".zarray"))
        with pytest.raises(DamagedInputError, match="such as"):
            open_volume(path, allow_missing=allow_missing)


def test_an_array_that_states_no_fill_value_must_be_whole(tmp_path):
    array(tmp_path / "v", np.ones((9, 13, 18), np.uint16), driver="zarr", fill=None)
    open_volume(tmp_path / "v")
    (tmp_path / "v/0/0/0").unlink()
    with pytest.raises(DamagedInputError, match=f"1 of 12 {MISSING}, such as 0/0/0"):
        open_volume(tmp_path / "v")


def test_a_group_without_arrays_is_an_error(tmp_path):
    (tmp_path / "zarr.json").write_text('{"zarr_format": 3, "node_type": "group", "attributes": {}}')
    with pytest.raises(DamagedInputError, match="describes no OME-Zarr image"):
        open_volume(tmp_path)
    axes = [{"name": name, "type": "space"} for name in "zyx"]
    image = {"axes": axes, "datasets": [{"path": "0", "coordinateTransformations": []}]}
    group = {"zarr_format": 3, "node_type": "group", "attributes": {"ome": {"version": "0.5", "multiscales": [image]}}}
    (tmp_path / "zarr.json").write_text(json.dumps(group))
    with pytest.raises(DamagedInputError, match="there is no zarr array"):
        open_volume(tmp_path)
