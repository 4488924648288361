from __future__ import annotations

import json
import shutil
import struct
from pathlib import Path

import imagecodecs
import numpy as np
import pytest

from gpustitch.errors import DamagedInputError, InputMissingError, ParameterError
from gpustitch.io.volumes.blockfs import BlockfsVolume
from gpustitch.model import Box, Spacing
from tests.paths import DATA

REFERENCE = DATA / "blockfs_70x133x129"
SPACING = Spacing(1.272, 1.8, 1.272)


def write_blockfs(folder, volume, block=4, *, n_files=2, stored_in=None):
    """A blockfs directory by the format's description; blocks that are all zero are left out."""
    folder.mkdir(parents=True)
    counts = [-(-n // block) for n in volume.shape]
    strides = (counts[1] * counts[2], counts[2], 1)
    names = [str((stored_in or folder) / f"precomputed.blockfs.{i}") for i in range(n_files)]
    files = [bytearray() for _ in names]
    entries = {}
    for k, j, i in np.ndindex(*counts):
        part = volume[tuple(slice(n * block, (n + 1) * block) for n in (k, j, i))]
        number = k * strides[0] + j * strides[1] + i
        if part.any():
            packed = imagecodecs.blosc_encode(np.ascontiguousarray(part).tobytes(), compressor="zstd", level=5)
            entries[number] = (len(files[number % n_files]), len(packed))
            files[number % n_files] += packed
    text = {f"{a}BlockSize": block for a in "XYZ"} | {"NOffsetBits": 21, "NSizeBits": 14, "DType": volume.dtype.name}
    text |= {f"{a}Extent": n for a, n in zip("ZYX", volume.shape, strict=True)}
    text |= {f"{a}Stride": n for a, n in zip("ZYX", strides, strict=True)}
    text |= {"BlockFilenames": names, "Compression": "zstd", "CompressionLvl": 5, "Version": "1.0.0"}
    encoded = json.dumps(text).encode()
    table = bytearray(5 * (max(entries, default=-1) + 1))
    for number, (offset, size) in entries.items():
        table[5 * number : 5 * number + 5] = (offset + (size << 21)).to_bytes(5, "little")
    head = b"BlockFS\0" + struct.pack("<II", len(encoded), 16 + len(encoded))
    (folder / "precomputed.blockfs").write_bytes(head + encoded + table)
    for i, content in enumerate(files):
        (folder / f"precomputed.blockfs.{i}").write_bytes(content)


@pytest.fixture
def volume(rng=np.random.default_rng(5)):
    voxels = rng.integers(0, 65536, (9, 6, 11), dtype=np.uint16)
    voxels[:4, :4, 4:8] = 0
    voxels[8:] = 0
    return voxels


def test_a_directory_without_any_block_is_refused(tmp_path):
    write_blockfs(tmp_path / "v", np.zeros((4, 5, 6), np.uint16))
    with pytest.raises(DamagedInputError, match="names no block that was written"):
        BlockfsVolume(tmp_path / "v", SPACING)


def test_a_directory_written_by_blockfs_is_read_exactly():
    volume = BlockfsVolume(REFERENCE, SPACING)
    voxels = volume.read(Box.of_shape(volume.shape))
    written = np.load(DATA / "pyramid_70x133x129.npz")["level1"]
    assert voxels.dtype == written.dtype
    np.testing.assert_array_equal(voxels, written)


@pytest.mark.parametrize(
    "box",
    [Box((0, 0, 0), (9, 6, 11)), Box((3, 3, 3), (5, 5, 9)), Box((-2, 5, 10), (12, 8, 13)), Box((1, 2, 3), (2, 3, 4))],
)
def test_any_box_is_what_the_array_has_there_and_zero_outside(tmp_path, volume, box):
    write_blockfs(tmp_path / "v", volume)
    padded = np.pad(volume, 5)
    assert np.array_equal(BlockfsVolume(tmp_path / "v", SPACING).read(box), padded[box.shift((5, 5, 5)).slices()])


def test_a_box_outside_and_an_empty_box(tmp_path, volume):
    write_blockfs(tmp_path / "v", volume)
    opened = BlockfsVolume(tmp_path / "v", SPACING)
    assert not opened.read(Box((50, 0, 0), (52, 3, 3))).any()
    assert opened.read(Box((3, 3, 3), (3, 9, 9))).shape == (0, 6, 6)


def test_a_volume_of_one_voxel(tmp_path):
    write_blockfs(tmp_path / "v", np.full((1, 1, 1), 65535, np.uint16), n_files=1)
    assert BlockfsVolume(tmp_path / "v", SPACING).read(Box.of_shape((1, 1, 1))).item() == 65535


def test_a_volume_that_was_moved_is_found_beside_its_directory(tmp_path, volume):
    write_blockfs(tmp_path / "v", volume, stored_in=Path("/no/longer/there"))
    assert np.array_equal(BlockfsVolume(tmp_path / "v", SPACING).read(Box.of_shape(volume.shape)), volume)


def test_the_voxel_size_comes_from_info_beside_it(tmp_path, volume):
    write_blockfs(tmp_path / "v" / "1_1_1", volume)
    scales = [{"key": "2_2_2", "resolution": [9, 9, 9]}, {"key": "1_1_1", "resolution": [1280, 1800, 1272.5]}]
    (tmp_path / "v" / "info").write_text(json.dumps({"num_channels": 1, "scales": scales}))
    for path in ("v", "v/1_1_1", "v/1_1_1/precomputed.blockfs"):
        assert BlockfsVolume(tmp_path / path).spacing.zyx_um == (1.2725, 1.8, 1.28)


def test_without_info_the_voxel_size_must_be_given(tmp_path, volume):
    write_blockfs(tmp_path / "v", volume)
    with pytest.raises(ParameterError, match="voxel size"):
        BlockfsVolume(tmp_path / "v")


def test_what_is_not_a_blockfs_directory_is_named(tmp_path, volume):
    with pytest.raises(InputMissingError, match="nothing"):
        BlockfsVolume(tmp_path / "nothing", SPACING)
    (tmp_path / "precomputed.blockfs").write_bytes(b"something else, longer than a header")
    with pytest.raises(DamagedInputError, match="not a blockfs directory"):
        BlockfsVolume(tmp_path, SPACING)
    (tmp_path / "precomputed.blockfs").write_bytes(b"BlockFS\0" + struct.pack("<II", 2, 18) + b"{}")
    with pytest.raises(DamagedInputError, match="XBlockSize"):
        BlockfsVolume(tmp_path, SPACING)


def test_a_missing_or_damaged_file_of_blocks_is_named(tmp_path, volume):
    write_blockfs(tmp_path / "v", volume)
    whole = BlockfsVolume(tmp_path / "v", SPACING)
    blocks = tmp_path / "v" / "precomputed.blockfs.0"
    content = blocks.read_bytes()
    for damaged in (content[:-10], b"\xff" * len(content)):
        blocks.write_bytes(damaged)
        with pytest.raises(DamagedInputError, match=r"precomputed\.blockfs\.0"):
            whole.read(Box.of_shape(whole.shape))
    shutil.move(blocks, tmp_path / "elsewhere")
    with pytest.raises(InputMissingError, match=r"precomputed\.blockfs\.0"):
        BlockfsVolume(tmp_path / "v", SPACING)
