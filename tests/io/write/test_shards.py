"""Files of many chunks: the boxes that our writers fill are the files that readers look for."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import tensorstore as ts
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gpustitch.io.volumes.shard_files import ShardNames
from gpustitch.io.write.format import Writing
from gpustitch.io.write.precomputed import PrecomputedWriter
from gpustitch.io.write.pyramid_layout import level_shape, morton_order
from gpustitch.io.write.shards import (
    DEFAULT_SHARD_BYTES,
    file_shape,
    fitting_shard_bytes,
    grid_of,
    order_of_shards,
    precomputed_sharding,
    shard_shape,
    straddling_bytes,
    unfinished_bytes,
)
from gpustitch.model import Box, Spacing, level_factors
from gpustitch.ops.pyramid import downsample
from tests.io.volumes.stored_volumes import folder, ours, read

shapes = st.tuples(*[st.integers(1, 70)] * 3)
chunks = st.tuples(*[st.sampled_from([1, 3, 8, 16])] * 3)

EVEN = level_factors(Spacing(1, 1, 1), 16)
spacings = pytest.mark.parametrize("spacing", [Spacing(1, 1, 1), Spacing(2, 1.3, 1.3), Spacing(0.9, 1.8, 7)])


def scale_of(shape, chunk, sharding):
    return {"size": shape[::-1], "chunk_sizes": [chunk[::-1]], "sharding": sharding}


@settings(max_examples=60, deadline=None)
@given(shapes, chunks, st.integers(0, 1 << 20))
def test_a_file_is_a_box_of_chunks_and_no_larger_than_stated(shape, chunk, shard_bytes) -> None:
    """By the definition of the format: all chunks of a box, and no others, have the number of one file."""
    file, sharding = (
        shard_shape(shape, chunk, 2, shard_bytes),
        precomputed_sharding(shape, chunk, 2, shard_bytes, "raw"),
    )
    assert all(f % c == 0 for f, c in zip(file, chunk, strict=True))
    assert file == chunk or math.prod(file) * 2 <= shard_bytes
    # The compressed Morton code, a bit of x, y and z in turn as far as each has any.
    bits = [(n - 1).bit_length() for n in grid_of(shape, chunk)[::-1]]
    index = np.indices(grid_of(shape, chunk)).reshape(3, -1)
    code, place = np.zeros(index.shape[1], np.int64), 0
    for bit in range(max(bits)):
        for number, length in zip(index[::-1], bits, strict=True):
            if bit < length:
                code |= (number >> bit & 1) << place
                place += 1
    number = code >> sharding["preshift_bits"] >> sharding["minishard_bits"]
    assert (number < 1 << sharding["shard_bits"]).all()
    box = index * np.reshape(chunk, (3, 1)) // np.reshape(file, (3, 1))
    pairs = np.unique(np.vstack([number, box]), axis=1).T.tolist()
    files = {number: tuple(box) for number, *box in pairs}
    assert len(files) == len(pairs)
    assert len(files) == len(set(files.values())) == len(ShardNames(scale_of(shape, chunk, sharding)).axes[0])
    assert math.prod(grid_of(shape, file)) == len(files)
    # The record's order is that of the numbers.
    flags = np.random.default_rng(0).random(grid_of(shape, file)) < 0.5
    expected = [flags[files[number]] for number in sorted(files)]
    np.testing.assert_array_equal(flags.ravel()[order_of_shards(shape, chunk, file)], expected)


# Up to six chunks along an axis: several files, the last ones in part. More chunks are counted above, without writing.
@settings(max_examples=10, deadline=None)
@given(
    st.tuples(*[st.integers(1, 44)] * 3),
    st.integers(1, 1 << 15),
    st.sampled_from([{"codec": "none"}, {"codec": "gzip"}, {"writer": "direct"}]),
    st.booleans(),
    st.data(),
)
def test_volumes_in_shards_are_read_back_by_all(shape, shard_bytes, options, is_sparse, data) -> None:
    cloudvolume = pytest.importorskip("cloudvolume")
    voxels = np.random.default_rng(0).integers(1, 60000, shape).astype(np.uint16)
    if is_sparse:
        corner = [data.draw(st.integers(0, n)) for n in shape]
        voxels[tuple(slice(c, None) for c in corner)] = 0
    with folder() as path:
        ours(path, voxels, shard_bytes=max(1, shard_bytes), **options)
        for level, expected in enumerate((voxels, downsample(voxels))):
            np.testing.assert_array_equal(read(path, level=level), expected)
            spec = {"driver": "neuroglancer_precomputed", "kvstore": f"file://{path}/", "scale_index": level}
            np.testing.assert_array_equal(ts.open(spec).result().read().result()[..., 0].T, expected)
            theirs = cloudvolume.CloudVolume(f"file://{path}", mip=level, progress=False, fill_missing=True)
            np.testing.assert_array_equal(np.asarray(theirs[:])[..., 0].T, expected)
        assert not list(path.rglob("*__lock*"))


def test_no_file_is_read_while_it_is_written(tmp_path) -> None:
    """A shard that is written in parts would be read and written again for each part."""

    def n_read() -> int:
        found = ts.experimental_collect_matching_metrics("/tensorstore/kvstore/file/bytes_read")
        return sum(value["value"] for metric in found for value in metric["values"])

    def ends(folder: Path) -> int:
        return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())

    before = n_read()
    voxels = np.random.default_rng(0).integers(1, 9, (40, 50, 60)).astype(np.uint16)
    ours(tmp_path / "v", voxels, shard_bytes=16_384)
    ours(tmp_path / "v.zarr", voxels, shard_bytes=16_384)
    contrast = 1.5 * ends(tmp_path / "v.zarr" / "0")  # of chunks of the finest level, when all is written
    assert n_read() - before < 8192 + contrast  # the descriptions
    scale = json.loads((tmp_path / "v" / "info").read_text())["scales"][0]
    assert scale["sharding"]["preshift_bits"] == 4 and len(list((tmp_path / "v" / "1_1_1").iterdir())) == 3 * 4 * 2


@spacings
def test_little_is_unfinished_if_blocks_come_in_order(tmp_path, spacing) -> None:
    """What is begun and not whole stays below what is foretold, for columns of blocks along a Morton curve."""
    shape, chunk, levels, shard_bytes = (64, 128, 128), (8, 8, 8), 3, 8192
    options = {"downsample": downsample, "levels": levels, "chunk_shape": chunk, "shard_bytes": shard_bytes}
    foretold = unfinished_bytes(shape, chunk, 2, level_factors(spacing, levels), shard_bytes, (64, 16, 16))
    most = 0
    with PrecomputedWriter(tmp_path / "v", shape, np.uint16, spacing, Writing(flush=False, **options)) as writer:
        for _, row, column in morton_order((1, 8, 8)):
            for block in Box((0, 16 * row, 16 * column), (64, 16 * row + 16, 16 * column + 16)).blocks((8, 16, 16)):
                writer.write(block, np.ones(block.shape, np.uint16))
                held = sum(p.voxels.nbytes for p in writer._unfinished._pending.values() if p.voxels is not None)
                most = max(most, held)
    assert 0 < most <= foretold


@spacings
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_files_on_both_sides_of_a_place_wait_for_the_other_one(tmp_path, axis, spacing) -> None:
    shape, chunk, levels, shard_bytes = (48, 96, 80), (8, 8, 8), 4, 8192
    factors = level_factors(spacing, levels)
    options = {"downsample": downsample, "levels": levels, "chunk_shape": chunk, "shard_bytes": shard_bytes}
    with PrecomputedWriter(tmp_path / "v", shape, np.uint16, spacing, Writing(flush=False, **options)) as writer:
        for place in range(8, shape[axis], 8):
            start, stop = [0, 0, 0], list(shape)
            start[axis], stop[axis] = place - 8, place
            box = Box(tuple(start), tuple(stop))
            writer.write(box, np.ones(box.shape, np.uint16))
            held = sum(p.voxels.nbytes for p in writer._unfinished._pending.values() if p.voxels is not None)
            assert held == straddling_bytes(shape, chunk, 2, factors, shard_bytes, axis, place)
    assert straddling_bytes(shape, chunk, 2, factors, shard_bytes, axis, shape[axis]) == 0


@settings(max_examples=60, deadline=None)
@given(
    st.tuples(st.one_of(st.integers(1, 3), st.integers(1, 1 << 15)), *[st.integers(1, 1 << 15)] * 2),
    st.sampled_from([1 << 20, 1 << 23, 1 << 25, 1 << 29]),
)
@example((1, 6913, 9217), 1 << 25)
def test_files_of_a_large_volume_lie_in_boxes_of_the_finest_level(shape, shard_bytes) -> None:
    chunk, levels = (64, 64, 64), 7
    shapes = [level_shape(shape, factor) for factor in EVEN[:levels]]
    files = [file_shape(shape, chunk, 2, factor, shard_bytes) for factor in EVEN[:levels]]
    counts = [math.prod(grid_of(of_level, file)) for of_level, file in zip(shapes, files, strict=True)]
    assert files[0] == shard_shape(shape, chunk, 2, shard_bytes)
    if counts[0] <= 256:  # few files stay few
        assert files == [shard_shape(of_level, chunk, 2, shard_bytes) for of_level in shapes]
        return
    # Where a level is a chunk and a bit long, each axis may have a file more than its share.
    assert sum(counts) <= counts[0] * (levels + 1) + 64
    for level, file in enumerate(files):
        # Along each axis a file lies in the box of one file of the finest level, or is a chunk, or the level is.
        for n, finest, c, whole in zip(file, files[0], chunk, shapes[level], strict=True):
            assert n << level <= finest or n == c or n >= whole


@settings(max_examples=40, deadline=None)
@given(st.tuples(*[st.integers(1, 5000)] * 3), st.tuples(*[st.integers(1, 5000)] * 3), st.integers(20, 34))
def test_smaller_files_are_chosen_where_much_would_be_unfinished(shape, front, bits) -> None:
    chosen = fitting_shard_bytes(shape, (64, 64, 64), 2, EVEN[:5], front, 1 << bits)
    assert chosen <= DEFAULT_SHARD_BYTES
    fits = unfinished_bytes(shape, (64, 64, 64), 2, EVEN[:5], chosen, front) <= 1 << bits
    assert fits or chosen <= 64**3 * 2
    if chosen < DEFAULT_SHARD_BYTES:
        assert unfinished_bytes(shape, (64, 64, 64), 2, EVEN[:5], 2 * chosen, front) > 1 << bits
    assert all(n >= 1 for factor in EVEN[:5] for n in level_shape(shape, factor))
