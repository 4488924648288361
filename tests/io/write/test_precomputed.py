"""Writing and reading precomputed volumes."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tensorstore as ts

from gpustitch.errors import DamagedInputError, InputMissingError, OutputError, OutputExistsError, ParameterError
from gpustitch.io.volumes.precomputed import PrecomputedVolume
from gpustitch.io.volumes.record import RECORD
from gpustitch.io.volumes.sidecar import SIDECAR
from gpustitch.io.write.format import Writing
from gpustitch.io.write.precomputed import PrecomputedWriter
from gpustitch.io.write.pyramid_layout import level_shape
from gpustitch.model import Box, Coverage, ObliqueScan, Spacing
from tests.paths import DATA, ROOT

SPACING = Spacing(1.2727922, 1.8, 1.28)


def halved(volume, factors=(2, 2, 2)):
    """The rounded mean of each cell, apart from the operation that the stages pass in."""
    even = np.pad(volume, [(0, -n % f) for n, f in zip(volume.shape, factors, strict=True)], mode="edge").astype(
        np.float64
    )
    mean = even.reshape([m for n, f in zip(even.shape, factors, strict=True) for m in (n // f, f)]).mean((1, 3, 5))
    return (np.rint(mean) if volume.dtype.kind == "u" else mean).astype(volume.dtype)


def noise(shape, dtype=np.uint16, seed=0):
    return np.random.default_rng(seed).integers(1, 256 if dtype == np.uint8 else 65536, shape).astype(dtype)


def small(**how):
    """Writing of small chunks, which need no device to be halved."""
    return Writing(**{"downsample": halved, "chunk_shape": (8, 8, 8), **how})


def write(path, volume, boxes=None, **options):
    options = {"downsample": halved, "levels": 3, "chunk_shape": (8, 8, 8), "flush": False, **options}
    with PrecomputedWriter(path, volume.shape, volume.dtype, SPACING, Writing(**options)) as writer:
        for box in writer.blocks() if boxes is None else boxes:
            writer.write(box, volume[box.slices()])
    return path


def read(path, level=0):
    volume = PrecomputedVolume(path, level)
    return volume.read(Box.of_shape(volume.shape))


def assert_pyramid(path, volume, levels):
    for level in range(levels):
        np.testing.assert_array_equal(read(path, level), volume)
        volume = halved(volume)


@pytest.mark.parametrize("shape", [(16, 24, 8), (1, 1, 1), (17, 9, 41), (1, 30, 5), (33, 1, 1)])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32", "float32"])
def test_every_level_is_read_back(tmp_path, shape, dtype):
    volume = noise(shape, np.dtype(dtype))
    assert_pyramid(write(tmp_path / "v", volume), volume, 3)


@pytest.mark.parametrize("chunk", [(8, 8, 8), (4, 16, 8), (5, 7, 6), (64, 64, 64)])
def test_any_chunk_size(tmp_path, chunk):
    volume = noise((30, 25, 43))
    assert_pyramid(write(tmp_path / "v", volume, chunk_shape=chunk), volume, 3)


def test_more_levels_than_there_are_voxels(tmp_path):
    volume = noise((5, 9, 3))
    write(tmp_path / "v", volume, levels=7)
    assert_pyramid(tmp_path / "v", volume, 7)
    assert PrecomputedVolume(tmp_path / "v", 6).shape == (1, 1, 1)


def test_order_size_and_threads_do_not_matter(tmp_path):
    """Nothing is lost at the end; blockfs loses blocks when it is closed under load, without an error."""
    volume = noise((40, 24, 50))
    boxes = list(Box.of_shape(volume.shape).blocks((16, 24, 8)))
    np.random.default_rng(1).shuffle(boxes)
    options = {"downsample": halved, "levels": 4, "chunk_shape": (8, 8, 8), "in_flight_bytes": 10_000}
    with (
        PrecomputedWriter(tmp_path / "v", volume.shape, volume.dtype, SPACING, Writing(**options)) as writer,
        ThreadPoolExecutor(6) as pool,
    ):
        list(pool.map(lambda box: writer.write(box, volume[box.slices()]), boxes))
    assert_pyramid(tmp_path / "v", volume, 4)


@pytest.mark.parametrize(("shard_bytes", "n_files"), [(0, 5**3 + 3**3 + 2**3), (8192, 3**3 + 2**3 + 1)])
def test_every_file_is_written_once(tmp_path, monkeypatch, shard_bytes, n_files):
    written, real = [], PrecomputedWriter._store

    def store(self, level, box, voxels, *, may_refer):
        written.append((level, box))
        return real(self, level, box, voxels, may_refer=may_refer)

    monkeypatch.setattr(PrecomputedWriter, "_store", store)
    volume = noise((40, 40, 40))
    write(tmp_path / "v", volume, shard_bytes=shard_bytes)
    assert len(written) == len(set(written)) == n_files
    assert len([file for file in (tmp_path / "v").glob("*_*/*") if file.is_file()]) == n_files
    assert_pyramid(tmp_path / "v", volume, 3)


def test_blocks_come_in_an_order_that_keeps_little_unfinished(tmp_path, monkeypatch):
    volume = noise((64, 64, 64))
    with PrecomputedWriter(
        tmp_path / "v", volume.shape, volume.dtype, SPACING, small(levels=4, shard_bytes=0)
    ) as writer:
        boxes, most = list(writer.blocks()), 0
        for box in boxes:
            writer.write(box, volume[box.slices()])
            most = max(most, len(writer._unfinished._pending))
    assert sorted(box.start for box in boxes) == list(itertools.product(range(0, 64, 8), repeat=3))
    assert most == 3


def test_skipped_zero_and_missing_blocks_are_zero(tmp_path):
    volume = noise((32, 16, 16))
    volume[8:24] = 0
    with PrecomputedWriter(
        tmp_path / "v", volume.shape, volume.dtype, SPACING, small(levels=3, shard_bytes=0)
    ) as writer:
        writer.write(Box((0, 0, 0), (8, 16, 16)), volume[:8])
        writer.write(Box((8, 0, 0), (16, 16, 16)), volume[8:16])
        writer.skip(Box((16, 0, 0), (24, 16, 8)))
        writer.write(Box((24, 0, 0), (32, 16, 16)), volume[24:])
    assert_pyramid(tmp_path / "v", volume, 3)
    assert len(list((tmp_path / "v" / "1_1_1").iterdir())) == 8


def test_an_empty_volume_has_no_chunks(tmp_path):
    write(tmp_path / "v", np.zeros((20, 20, 20), np.uint16))
    assert not list((tmp_path / "v" / "1_1_1").iterdir())
    assert not read(tmp_path / "v", 2).any()


def test_the_pyramid_is_that_of_the_reference(tmp_path):
    data = np.load(DATA / "pyramid_70x133x129.npz")
    theirs = json.loads(str(data["params"]))["info"]
    with PrecomputedWriter(
        tmp_path / "v",
        (70, 133, 129),
        np.uint16,
        Spacing(1.272, 1.8, 1.272),
        small(levels=3, chunk_shape=None, shard_bytes=0),
    ) as writer:
        for box in writer.blocks():
            writer.write(box, data["level1"][box.slices()])
    ours = json.loads((tmp_path / "v" / "info").read_text())
    for our_scale, their_scale in zip(ours["scales"], theirs["scales"], strict=True):
        assert our_scale == their_scale
    np.testing.assert_array_equal(read(tmp_path / "v"), data["level1"])
    difference = read(tmp_path / "v", 1).astype(int) - data["level2"]
    assert np.abs(difference[:, :, :-1]).max() == 1  # theirs is the floor; its last x block is lost


def test_tensorstore_and_cloud_volume_agree(tmp_path):
    volume = noise((20, 33, 47))
    write(tmp_path / "v", volume, levels=2)
    cloudvolume = pytest.importorskip("cloudvolume")
    for level in range(2):
        other = cloudvolume.CloudVolume(f"file://{tmp_path}/v", mip=level, progress=False, fill_missing=True)
        np.testing.assert_array_equal(np.asarray(other[:])[..., 0].T, read(tmp_path / "v", level))
        spec = {"driver": "neuroglancer_precomputed", "kvstore": f"file://{tmp_path}/v/", "scale_index": level}
        store = ts.open(spec).result()
        np.testing.assert_array_equal(store.read().result()[..., 0].T, read(tmp_path / "v", level))
        expected = [v * 2**level for v in SPACING.xyz_nm]
        np.testing.assert_allclose(np.asarray(other.resolution, float), expected, rtol=0.01)
        np.testing.assert_allclose([unit.multiplier for unit in store.dimension_units[:3]], expected)
        assert PrecomputedVolume(tmp_path / "v", level).spacing.xyz_nm == pytest.approx(expected)


def test_boxes_partly_outside_are_zero_there(tmp_path):
    volume = noise((20, 12, 15))
    reader = PrecomputedVolume(write(tmp_path / "v", volume))
    padded = np.pad(volume, 6)
    for box in (Box((-6, -6, -6), (26, 18, 21)), Box((3, -2, 9), (5, 4, 21)), Box((50, 0, 0), (52, 3, 3))):
        expected = np.zeros(box.shape, np.uint16)
        if box.start[0] < 26:
            expected[...] = padded[box.slices((-6, -6, -6))]
        np.testing.assert_array_equal(reader.read(box), expected)


def test_coverage_comes_from_the_sidecar(tmp_path):
    scan = ObliqueScan(12, 5, 9, 1.8, 1.5)
    sidecar = {
        "scan": {"n_frames": 12, "n_rows": 5, "n_columns": 9, "pixel_um": 1.8, "step_um": 1.5, "angle_deg": 45.0}
    }
    path = write(tmp_path / "v", noise(scan.shape), sidecar=sidecar)
    assert PrecomputedVolume(path).coverage == scan.coverage
    assert PrecomputedVolume(path, 1).coverage == Coverage(*level_shape(scan.shape, (2, 2, 2))[::-1])
    (path / SIDECAR).unlink()
    with pytest.raises(DamagedInputError, match=f"has lost {SIDECAR}; .* remove {RECORD} too"):
        PrecomputedVolume(path)
    (path / RECORD).unlink()
    assert PrecomputedVolume(path).coverage == Coverage(*scan.shape[::-1])


def test_a_volume_is_there_whole_or_not_at_all(tmp_path):
    volume = noise((16, 16, 16))
    with (
        pytest.raises(ZeroDivisionError),
        PrecomputedWriter(tmp_path / "v", volume.shape, volume.dtype, SPACING, Writing(downsample=halved)) as writer,
    ):
        writer.write(Box.of_shape(volume.shape), volume)
        assert not (tmp_path / "v").exists()
        raise ZeroDivisionError
    assert not list(tmp_path.iterdir())


def test_an_existing_volume_is_kept_until_the_new_one_is_whole(tmp_path):
    old, new = noise((8, 8, 8)), noise((8, 8, 8), seed=1)
    write(tmp_path / "v", old)
    with pytest.raises(OutputExistsError, match="`overwrite`"):
        write(tmp_path / "v", new)
    with (
        pytest.raises(ZeroDivisionError),
        PrecomputedWriter(tmp_path / "v", old.shape, old.dtype, SPACING, Writing(downsample=halved, overwrite=True)),
    ):
        raise ZeroDivisionError
    np.testing.assert_array_equal(read(tmp_path / "v"), old)
    write(tmp_path / "v", new, overwrite=True)
    np.testing.assert_array_equal(read(tmp_path / "v"), new)


def test_a_failed_write_is_raised_and_leaves_nothing(tmp_path, monkeypatch):
    def full(self, level, box, voxels, *, may_refer):
        raise ValueError("Error writing, [os_error_code='28']")

    monkeypatch.setattr(PrecomputedWriter, "_store", full)
    with pytest.raises(OutputError, match=r"v: the disk is full"):
        write(tmp_path / "v", noise((8, 8, 8)))
    assert not list(tmp_path.iterdir())


def test_a_failed_write_stops_the_writes_after_it(tmp_path, monkeypatch):
    monkeypatch.setattr(PrecomputedWriter, "_store", lambda self, level, box, voxels, may_refer: 1 // 0)
    volume, failed = noise((64, 8, 8)), threading.Event()
    with (
        pytest.raises(OutputError, match="could not be written"),
        PrecomputedWriter(
            tmp_path / "v", volume.shape, volume.dtype, SPACING, small(levels=1, shard_bytes=0)
        ) as writer,
    ):
        writer.write(Box.of_shape((8, 8, 8)), volume[:8], failed.set)
        writer._in_flight.wait_for_all()
        writer.write(Box.of_shape((8, 8, 8), (8, 0, 0)), volume[8:16])
    assert not failed.is_set()


@pytest.mark.posix
def test_a_real_limit_of_the_system_is_reported(tmp_path):
    resource = pytest.importorskip("resource")
    code = (
        "import resource, numpy as np\n"
        "from tests.io.write.test_precomputed import write, noise\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))\n"
        f"write({str(tmp_path / 'v')!r}, noise((32, 32, 32)), chunk_shape=(32, 32, 32), levels=1)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert (
        done.returncode != 0 and "v" in done.stderr and "OutputError" in done.stderr and "File too large" in done.stderr
    )
    assert not list(tmp_path.iterdir())
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 5000


def test_bytes_in_flight_are_bounded(tmp_path, monkeypatch):
    volume, most = noise((64, 8, 8)), []
    gate, real = threading.Event(), PrecomputedWriter._store

    def slow(self, level, box, voxels, *, may_refer):
        gate.wait(0.02)
        return real(self, level, box, voxels, may_refer=may_refer)

    monkeypatch.setattr(PrecomputedWriter, "_store", slow)
    with PrecomputedWriter(
        tmp_path / "v",
        volume.shape,
        volume.dtype,
        SPACING,
        small(levels=1, in_flight_bytes=2048, n_writers=1, shard_bytes=0),
    ) as writer:
        for box in writer.blocks():
            writer.write(box, volume[box.slices()])
            most.append(writer._in_flight.n_bytes)
    assert max(most) <= 2048
    np.testing.assert_array_equal(read(tmp_path / "v"), volume)


def test_release_is_called_when_the_array_is_written(tmp_path):
    released = []
    with PrecomputedWriter(tmp_path / "v", (8, 8, 8), np.uint16, SPACING, small(levels=1)) as writer:
        writer.write(Box.of_shape((8, 8, 8)), noise((8, 8, 8)), lambda: released.append(1))
    assert released == [1]


@pytest.mark.parametrize(
    ("box", "shape", "message"),
    [
        (Box((0, 0, 0), (4, 16, 16)), (4, 16, 16), "whole blocks"),
        (Box((4, 0, 0), (16, 16, 16)), (12, 16, 16), "whole blocks"),
        (Box((0, 0, 0), (24, 16, 16)), (24, 16, 16), "whole blocks"),
        (Box((0, 0, 0), (8, 16, 16)), (8, 16, 8), "of shape"),
    ],
)
def test_refuses_boxes_that_are_not_blocks(tmp_path, box, shape, message):
    with (
        pytest.raises(ParameterError, match=message),
        PrecomputedWriter(tmp_path / "v", (20, 16, 16), np.uint16, SPACING, small(levels=1)) as writer,
    ):
        writer.write(box, np.ones(shape, np.uint16))


def test_refuses_a_block_given_twice_or_of_another_type(tmp_path):
    options = {"downsample": halved, "levels": 1, "chunk_shape": (8, 8, 8)}
    box = Box.of_shape((8, 8, 8))
    with (
        pytest.raises(ParameterError, match="written before"),
        PrecomputedWriter(tmp_path / "v", (8, 8, 8), np.uint16, SPACING, Writing(**options)) as writer,
    ):
        writer.skip(box)
        writer.write(box, noise((8, 8, 8)))
    with (
        pytest.raises(ParameterError, match="uint16 voxels"),
        PrecomputedWriter(tmp_path / "v", (8, 8, 8), np.uint16, SPACING, Writing(**options)) as writer,
    ):
        writer.write(box, noise((8, 8, 8), np.uint8))


@pytest.mark.parametrize(
    "options", [{"levels": 0}, {"levels": 17}, {"chunk_shape": (0, 8, 8)}, {"n_writers": 0}, {"chunk_shape": (8, 8)}]
)
def test_refuses_options_out_of_range(tmp_path, options):
    with pytest.raises(ParameterError):
        PrecomputedWriter(tmp_path / "v", (8, 8, 8), np.uint16, SPACING, Writing(**{"downsample": halved, **options}))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("shape", "dtype"), [((0, 8, 8), np.uint16), ((8, 8, 8), np.int64)])
def test_refuses_volumes_that_cannot_be_stored(tmp_path, shape, dtype):
    with pytest.raises(ParameterError):
        PrecomputedWriter(tmp_path / "v", shape, dtype, SPACING, Writing(downsample=halved))


def test_flushes_every_file(tmp_path, monkeypatch, synced):
    flushed, real = [], os.fsync
    monkeypatch.setattr(os, "fsync", lambda descriptor: (flushed.append(1), real(descriptor)))
    write(tmp_path / "v", noise((16, 8, 8)), levels=1, flush=True, shard_bytes=0)
    assert len(flushed) == 2 + 1 + 1 + 2 + 1  # files, the folders that hold them, and the folder of the volume


def test_folders_that_are_no_volume_are_refused(tmp_path):
    with pytest.raises(InputMissingError, match="no file"):
        PrecomputedVolume(tmp_path)
    (tmp_path / "info").write_bytes(b"\xff" * 4000)
    with pytest.raises(DamagedInputError, match="does not describe") as refusal:
        PrecomputedVolume(tmp_path)
    assert len(str(refusal.value)) < len(str(tmp_path)) + 200
    path = write(tmp_path / "v", noise((8, 8, 8)), shard_bytes=0)
    with pytest.raises(ParameterError, match="levels 0 to 2"):
        PrecomputedVolume(path, 3)
    chunk = next((path / "1_1_1").iterdir())
    chunk.write_bytes(chunk.read_bytes()[:-1])
    with pytest.raises(DamagedInputError, match="1023 bytes"):
        read(path)
    (path / SIDECAR).write_text('{"scan": {"n_frames": 2}}')
    with pytest.raises(DamagedInputError, match="does not describe a scan"):
        PrecomputedVolume(path)
    (path / SIDECAR).write_text(
        json.dumps({"scan": {"n_frames": 2, "n_rows": 8, "n_columns": 8, "pixel_um": 1, "step_um": 1}})
    )
    with pytest.raises(DamagedInputError, match="remove it"):
        PrecomputedVolume(path)
    for text in ("{", "[]", "{}", '{"scales": [], "num_channels": 1}'):
        (path / "info").write_text(text)
        with pytest.raises(DamagedInputError, match="info"):
            PrecomputedVolume(path)
