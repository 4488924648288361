"""Shards that are written without tensorstore are what tensorstore reads, byte for byte what is noted of them."""

from __future__ import annotations

import errno
import mmap
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tensorstore as ts
from hypothesis import given, settings
from hypothesis import strategies as st

from gpustitch.errors import ParameterError
from gpustitch.io.sums import summed
from gpustitch.io.volumes.record import read_record
from gpustitch.io.write.files import direct
from gpustitch.io.write.format import Writing
from gpustitch.io.write.opening import open_output
from gpustitch.io.write.precomputed import PrecomputedWriter
from gpustitch.io.write.shards import precomputed_sharding
from gpustitch.model import Box, Spacing
from gpustitch.ops.pyramid import downsample
from tests.io.volumes.stored_volumes import ours, read
from tests.paths import on_disk

ROOT = Path(__file__).parents[4]


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """On the disk, as the file system is what counts."""
    with on_disk() as path:
        yield path


def noise(shape, dtype="uint16", seed=0):
    return (np.random.default_rng(seed).random(shape) * 60000).astype(dtype)


def by_tensorstore(path, level=0):
    spec = {"driver": "neuroglancer_precomputed", "kvstore": f"file://{path}/", "scale_index": level}
    return ts.open(spec).result().read().result()[..., 0].T


def shapes(chunk):
    """Shapes of volumes, small ones where chunks are: tensorstore takes its time for each chunk."""
    return st.tuples(st.tuples(*[st.integers(1, 30 if min(chunk) > 1 else 13)] * 3), st.just(chunk))


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from([(1, 1, 1), (2, 1, 3), (8, 8, 8), (5, 7, 3)]).flatmap(shapes),
    st.sampled_from(["uint8", "uint16", "uint32", "float32"]),
    st.integers(1, 1 << 15),
    st.floats(0, 1),
    st.integers(0, 99),
)
def test_any_volume_is_what_tensorstore_reads(shape_and_chunk, dtype, shard_bytes, empty, seed) -> None:
    """Chunks of a voxel make shards of several minishards; some chunks, minishards and files are empty."""
    shape, chunk = shape_and_chunk
    voxels = noise(shape, dtype, seed)
    coarse = np.random.default_rng(seed).random([-(-n // 4) for n in shape]) < empty
    voxels[np.kron(coarse, np.ones((4, 4, 4), bool))[tuple(slice(n) for n in shape)]] = 0
    with on_disk() as place:
        path = place / "v"
        ours(path, voxels, chunk_shape=chunk, shard_bytes=shard_bytes, writer="direct")
        for level, expected in enumerate((voxels, downsample(voxels))):
            np.testing.assert_array_equal(by_tensorstore(path, level), expected)
            np.testing.assert_array_equal(read(path, level=level), expected)


def test_noted_sizes_and_sums_are_those_of_the_files(tmp_path) -> None:
    ours(tmp_path / "v", noise((40, 33, 70)), shard_bytes=1 << 14, flush=True, writer="direct")
    record = read_record(tmp_path / "v")
    assert record is not None
    for key in ("1_1_1", "2_2_2"):
        names = sorted(file for file in (tmp_path / "v" / key).iterdir())
        files = record.levels[key]
        found = [summed(name) for name in names]
        assert [int(n) for n in files.n_bytes.ravel()] == [n for n, _ in found] and len(found) > 1
        assert [int(n) for n in files.crc32.ravel()] == [crc for _, crc in found]


def test_arrays_that_are_not_side_by_side_and_of_another_byte_order(tmp_path) -> None:
    voxels = noise((20, 24, 28))
    sharding = precomputed_sharding(voxels.shape, (8, 8, 8), 2, 1 << 20, "raw")
    layout = direct.ShardLayout({"size": voxels.shape[::-1], "chunk_sizes": [(8, 8, 8)], "sharding": sharding})
    with direct.Stream(tmp_path / "a", memory()) as stream:
        layout.write(stream, Box.of_shape(voxels.shape), voxels)
    with direct.Stream(tmp_path / "b", memory()) as stream:
        layout.write(stream, Box.of_shape(voxels.shape), np.asfortranarray(voxels.astype(">u2")))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize("at_most", [100, 4096, 5000, 100_000])
def test_a_file_written_in_small_parts_is_the_same(tmp_path, monkeypatch, at_most) -> None:
    pieces = [os.urandom(n) for n in (1, 4096, 30_000, 0, 8191, 70_001)]
    real = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, at: real(fd, data[:at_most], at))
    with direct.Stream(tmp_path / "f", memory(20)) as stream:
        for piece in pieces:
            stream.add(piece)
    assert (tmp_path / "f").read_bytes() == b"".join(pieces)
    assert (stream.n_bytes, stream.crc32) == summed(tmp_path / "f")


def test_file_systems_without_direct_writes(tmp_path, monkeypatch) -> None:
    real = os.open

    def opened(path, flags, *mode):
        if direct._PAST_CACHE and flags & direct._PAST_CACHE:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return real(path, flags, *mode)

    monkeypatch.setattr(os, "open", opened)
    voxels = noise((20, 24, 28))
    ours(tmp_path / "v", voxels, shard_bytes=1 << 13, writer="direct")
    np.testing.assert_array_equal(by_tensorstore(tmp_path / "v"), voxels)


@pytest.mark.posix
def test_a_real_limit_of_the_system_is_reported(tmp_path) -> None:
    code = (
        "import resource, numpy as np\n"
        "from tests.io.write.files.test_direct import ours, noise\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (50000, 50000))\n"
        f"ours({str(tmp_path / 'v')!r}, noise((64, 32, 32)), writer='direct')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode and "OutputError" in done.stderr and "File too large" in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("options", [{"codec": "gzip"}, {"shard_bytes": 0}, {"write_empty": True}])
def test_refuses_what_is_no_shard_of_raw_chunks(tmp_path, options) -> None:
    with pytest.raises(ParameterError, match="direct writes shards of raw chunks"):
        PrecomputedWriter(tmp_path / "v", (8, 8, 8), np.uint16, Spacing(1, 1, 1), Writing(writer="direct", **options))


@pytest.mark.parametrize(
    ("name", "writer", "message"),
    [
        ("v.zarr", "direct", "`writer` is tensorstore, not direct"),
        ("v", "fast", "`writer` is tensorstore, direct, not fast"),
        ("v.tif", "direct", "are written in one way"),
    ],
)
def test_refuses_writers_that_a_format_has_not(tmp_path, name, writer, message) -> None:
    with pytest.raises(ParameterError, match=message):
        open_output(tmp_path / name, (8, 8, 8), np.uint16, Spacing(1, 1, 1), downsample=downsample, writer=writer)
    assert not list(tmp_path.iterdir())


def memory(n_pages: int = 400) -> mmap.mmap:
    return mmap.mmap(-1, n_pages * mmap.PAGESIZE)
