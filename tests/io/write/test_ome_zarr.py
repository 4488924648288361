"""Writing OME-Zarr images."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest
import tensorstore as ts

from gpustitch.errors import OutputError, OutputExistsError, ParameterError
from gpustitch.io.volumes.ome_zarr import OmeZarrVolume
from gpustitch.io.write.format import Writing
from gpustitch.io.write.ome_zarr import OmeZarrWriter
from gpustitch.io.write.pyramid_layout import level_shape
from gpustitch.model import Box, Spacing, level_factors
from gpustitch.ops.pyramid import downsample
from tests.levels import levels_of
from tests.paths import ROOT

SPACING = Spacing(2.0, 0.5, 0.25)
STYLES = {
    "0.5": {},
    "0.5 sharded": {"shard_bytes": 4096},
    "0.5 plain": {"shard_bytes": 0},
    "0.5 lz4": {"codec": "lz4"},
    "0.5 gzip": {"codec": "gzip", "shard_bytes": 4096},
    "0.5 none": {"codec": "none"},
    "0.4 lz4": {"version": "0.4", "codec": "lz4"},
    "0.4 gzip": {"version": "0.4", "codec": "gzip"},
    "0.5 raw": {"compression": 0},
    "0.4": {"version": "0.4"},
    "0.4 raw": {"version": "0.4", "compression": 0},
}


def noise(shape, dtype=np.uint16, seed=0):
    return np.random.default_rng(seed).integers(1, 256 if dtype == np.uint8 else 65536, shape).astype(dtype)


def write(path, volume, boxes=None, **options):
    options = {"downsample": downsample, "levels": 3, "chunk_shape": (8, 8, 8), "flush": False, **options}
    with OmeZarrWriter(path, volume.shape, volume.dtype, SPACING, Writing(**options)) as writer:
        for box in writer.blocks() if boxes is None else boxes:
            writer.write(box, volume[box.slices()])
    return path


def coarse_of(volume):
    """The voxels of level 1."""
    return list(levels_of(volume, SPACING, 2))[1]


def read(path, level=0):
    volume = OmeZarrVolume(path, level)
    return volume.read(Box.of_shape(volume.shape))


def store_of(path, level=0, version=3):
    driver = "zarr3" if version == 3 else "zarr"
    return ts.open({"driver": driver, "kvstore": f"file://{path}/{level}/"}).result()


@pytest.mark.parametrize("shape", [(16, 24, 8), (1, 1, 1), (17, 9, 41), (1, 30, 5), (33, 1, 1)])
@pytest.mark.parametrize("style", STYLES)
def test_every_level_is_read_back(tmp_path, shape, style):
    volume = noise(shape)
    write(tmp_path / "v.zarr", volume, **STYLES[style])
    for level, expected in enumerate(levels_of(volume, SPACING, 3)):
        np.testing.assert_array_equal(read(tmp_path / "v.zarr", level), expected)


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32", "float32", "float64"])
def test_voxels_of_every_type_are_read_back(tmp_path, dtype, style):
    volume = noise((10, 21, 9), np.dtype(dtype))
    write(tmp_path / "v", volume, **STYLES[style])
    ours = OmeZarrVolume(tmp_path / "v", 1)
    assert ours.dtype == dtype and ours.levels == 3
    np.testing.assert_array_equal(read(tmp_path / "v", 1), coarse_of(volume))


def test_metadata_of_version_0_5(tmp_path):
    write(tmp_path / "brain.ome.zarr", noise((20, 33, 47)), shard_bytes=0)
    group = json.loads((tmp_path / "brain.ome.zarr" / "zarr.json").read_text())
    assert group["zarr_format"] == 3 and group["node_type"] == "group"
    ome = group["attributes"]["ome"]
    assert ome["version"] == "0.5"
    (image,) = ome["multiscales"]
    assert image["name"] == "brain"
    assert image["axes"] == [{"name": a, "type": "space", "unit": "micrometer"} for a in "zyx"]
    assert [data["path"] for data in image["datasets"]] == ["0", "1", "2"]
    assert image["datasets"][0]["coordinateTransformations"] == [
        {"type": "scale", "scale": [2.0, 0.5, 0.25]},
        {"type": "translation", "translation": [1.0, 0.25, 0.125]},
    ]
    assert image["datasets"][2]["coordinateTransformations"] == [
        {"type": "scale", "scale": [2.0, 2.0, 1.0]},
        {"type": "translation", "translation": [1.0, 1.0, 0.5]},
    ]
    for level in range(3):
        store = store_of(tmp_path / "brain.ome.zarr", level)
        assert store.domain.labels == ("z", "y", "x") and store.shape == level_shape(
            (20, 33, 47), level_factors(SPACING, 3)[level]
        )
        codecs = store.spec().to_json()["metadata"]["codecs"]
        assert codecs[1]["configuration"]["cname"] == "zstd"


def test_metadata_of_version_0_4(tmp_path):
    volume = noise((20, 33, 47))
    write(tmp_path / "v", volume, version="0.4")
    assert json.loads((tmp_path / "v" / ".zgroup").read_text()) == {"zarr_format": 2}
    (image,) = json.loads((tmp_path / "v" / ".zattrs").read_text())["multiscales"]
    assert image["version"] == "0.4" and len(image["datasets"]) == 3
    assert json.loads((tmp_path / "v" / "0" / ".zarray").read_text())["dimension_separator"] == "/"
    np.testing.assert_array_equal(store_of(tmp_path / "v", 0, 2).read().result(), volume)
    assert not list((tmp_path / "v").rglob("zarr.json"))


def test_zarr_python_reads_what_is_written(tmp_path):
    zarr = pytest.importorskip("zarr")
    volume = noise((20, 33, 47))
    for style, options in STYLES.items():
        path = write(tmp_path / style, volume, **options)
        root = zarr.open_group(path, mode="r")
        np.testing.assert_array_equal(root["0"][:], volume)
        np.testing.assert_array_equal(root["1"][:], coarse_of(volume))


def test_shards_hold_many_chunks(tmp_path):
    volume = noise((32, 32, 32))
    write(tmp_path / "v", volume, shard_bytes=40_000, levels=1)
    files = [file for file in (tmp_path / "v" / "0" / "c").rglob("*") if file.is_file()]
    assert len(files) == 2
    store = store_of(tmp_path / "v")
    assert store.chunk_layout.read_chunk.shape == (8, 8, 8)
    assert store.chunk_layout.write_chunk.shape == (16, 32, 32)
    assert OmeZarrVolume(tmp_path / "v").chunk_shape == (8, 8, 8)


def test_zero_chunks_need_no_file(tmp_path):
    volume = noise((32, 16, 16))
    volume[8:24] = 0
    path = tmp_path / "v"
    with OmeZarrWriter(
        path, volume.shape, volume.dtype, SPACING, Writing(levels=2, chunk_shape=(8, 8, 8), shard_bytes=0)
    ) as writer:
        writer.skip(Box((8, 0, 0), (16, 16, 16)))
        writer.write(Box((0, 0, 0), (8, 16, 16)), volume[:8])
        writer.write(Box((24, 0, 0), (32, 16, 16)), volume[24:])
    np.testing.assert_array_equal(read(path), volume)
    np.testing.assert_array_equal(read(path, 1), coarse_of(volume))
    assert sum(file.is_file() for file in (path / "0" / "c").rglob("*")) == 8


def test_a_volume_is_there_whole_or_not_at_all(tmp_path):
    old, new = noise((8, 8, 8)), noise((8, 8, 8), seed=1)
    options = {"downsample": downsample, "overwrite": True}
    with (
        pytest.raises(ZeroDivisionError),
        OmeZarrWriter(tmp_path / "v", (8, 8, 8), "uint16", SPACING, Writing(**options)),
    ):
        raise ZeroDivisionError
    assert not list(tmp_path.iterdir())
    write(tmp_path / "v", old)
    with pytest.raises(OutputExistsError, match="`overwrite`"):
        write(tmp_path / "v", new)
    with (
        pytest.raises(ZeroDivisionError),
        OmeZarrWriter(tmp_path / "v", (8, 8, 8), "uint16", SPACING, Writing(**options)),
    ):
        raise ZeroDivisionError
    np.testing.assert_array_equal(read(tmp_path / "v"), old)
    write(tmp_path / "v", new, overwrite=True)
    np.testing.assert_array_equal(read(tmp_path / "v"), new)


@pytest.mark.posix
def test_a_killed_writer_leaves_no_volume_and_the_next_one_replaces_what_it_left(tmp_path):
    code = (
        "import os, signal, numpy as np\n"
        "from gpustitch.io.write.format import Writing\n"
        "from gpustitch.io.write.ome_zarr import OmeZarrWriter\n"
        "from gpustitch.model import Box, Spacing\n"
        "writing = Writing(levels=1, chunk_shape=(32, 32, 32), shard_bytes=0)\n"
        f"writer = OmeZarrWriter({str(tmp_path / 'v')!r}, (64, 32, 32), 'uint16', Spacing(1, 1, 1), writing)\n"
        "writer.write(Box((0, 0, 0), (32, 32, 32)), np.ones((32, 32, 32), np.uint16))\n"
        "writer._in_flight.wait_for_all()\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT)
    assert done.returncode == -signal.SIGKILL
    assert [entry.name for entry in tmp_path.iterdir()] == [".v.partial"]
    write(tmp_path / "v", noise((8, 8, 8)))
    assert [entry.name for entry in tmp_path.iterdir()] == ["v"]


@pytest.mark.posix
def test_what_the_system_says_is_reported(tmp_path):
    resource = pytest.importorskip("resource")
    code = (
        "import resource, signal\n"
        "from tests.io.volumes.test_ome_zarr import write, noise\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))\n"
        f"write({str(tmp_path / 'v')!r}, noise((32, 32, 32)), chunk_shape=(32, 32, 32), levels=1)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode != 0 and "OutputError" in done.stderr and "File too large" in done.stderr
    assert not list(tmp_path.iterdir())
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 5000


def test_a_full_disk_is_reported(tmp_path, monkeypatch):
    def full(self, level, box, voxels, *, may_refer):
        promise, future = ts.Promise.new()
        promise.set_exception(ValueError("RESOURCE_EXHAUSTED: Failed to write [os_error_code='28']"))
        return SimpleNamespace(copy=future, commit=future)

    monkeypatch.setattr(OmeZarrWriter, "_store", full)
    with pytest.raises(OutputError, match=r"v: the disk is full"):
        write(tmp_path / "v", noise((8, 8, 8)))
    assert not list(tmp_path.iterdir())


def test_bytes_in_flight_are_bounded(tmp_path, monkeypatch):
    volume, most, real = noise((64, 8, 8)), [], OmeZarrWriter._store

    def slow(self, level, box, voxels, *, may_refer):
        time.sleep(0.01)
        return real(self, level, box, voxels, may_refer=may_refer)

    monkeypatch.setattr(OmeZarrWriter, "_store", slow)
    with OmeZarrWriter(
        tmp_path / "v",
        volume.shape,
        volume.dtype,
        SPACING,
        Writing(levels=1, chunk_shape=(8, 8, 8), in_flight_bytes=2048, n_writers=1, shard_bytes=0),
    ) as writer:
        for box in writer.blocks():
            writer.write(box, volume[box.slices()])
            most.append(writer._in_flight.n_bytes)
    assert max(most) <= 2048
    np.testing.assert_array_equal(read(tmp_path / "v"), volume)


def test_flushes_every_file(tmp_path, monkeypatch, synced):
    flushed, real = [], os.fsync
    monkeypatch.setattr(os, "fsync", lambda descriptor: (flushed.append(1), real(descriptor)))
    path = write(tmp_path / "v", noise((16, 8, 8)), levels=1, flush=True, shard_bytes=0)
    assert len(flushed) == len([path.parent, path, *path.rglob("*")])
    assert sum(file.is_file() for file in path.rglob("*")) == 5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"version": "0.3"}, "0.5 or 0.4"),
        ({"compression": 10}, "from 0"),
        ({"version": "0.4", "shard_bytes": 4096}, "no shards"),
        ({"shard_bytes": -1}, "shard_bytes"),
        ({"codec": "jpeg"}, "codec"),
        ({"levels": 0}, "levels"),
        ({"n_writers": 0}, "writers"),
    ],
)
def test_refuses_options_out_of_range(tmp_path, options, message):
    with pytest.raises(ParameterError, match=message):
        write(tmp_path / "v", noise((8, 8, 8)), **options)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("dtype", [np.int32, np.bool_, np.complex64])
def test_types_that_it_does_not_hold_are_refused(tmp_path, dtype):
    with pytest.raises(ParameterError, match="`dtype` of a volume is one of"):
        write(tmp_path / "v", noise((8, 8, 8), dtype))
