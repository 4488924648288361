"""Chunks read from their files, against tensorstore."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tensorstore as ts

from gpustitch.errors import DamagedInputError
from gpustitch.io.volumes.precomputed import PrecomputedVolume
from gpustitch.model import Box


def written(folder: Path, encoding: str = "raw", offset: tuple[int, int, int] = (7, 0, 3)) -> np.ndarray:
    """A volume of 21 x 13 x 9 voxels (x, y, z) in chunks of 8 x 4 x 5, written by tensorstore; the array (z, y, x)."""
    values = np.random.default_rng(0).integers(1, 65536, (9, 13, 21), dtype=np.uint16)
    scale = {"size": [21, 13, 9], "voxel_offset": offset, "chunk_size": [8, 4, 5], "resolution": [4, 4, 4]}
    spec = {
        "driver": "neuroglancer_precomputed",
        "kvstore": {"driver": "file", "path": f"{folder}/"},
        "multiscale_metadata": {"type": "image", "data_type": "uint16", "num_channels": 1},
        "scale_metadata": {**scale, "encoding": encoding},
    }
    if encoding == "png":
        spec["scale_metadata"]["png_level"] = 6
    store = ts.open(spec, create=True).result()
    store[ts.d["channel"][0]].translate_to[0].transpose([2, 1, 0]).write(values).result()
    return values


@pytest.mark.parametrize("encoding", ["raw", "png"])
def test_any_box_is_read_as_it_was_written(tmp_path: Path, encoding: str) -> None:
    values = written(tmp_path, encoding)
    volume = PrecomputedVolume(tmp_path)
    random = np.random.default_rng(1)
    for _ in range(50):
        a, b = np.sort(random.integers(0, np.array([10, 14, 22]), (2, 3)), axis=0)
        box = Box(tuple(a), tuple(b))
        np.testing.assert_array_equal(volume.read(box), values[box.slices()])
    beyond = volume.read(Box((-2, -1, -3), (10, 15, 25)))
    np.testing.assert_array_equal(beyond[2:11, 1:14, 3:24], values)
    assert np.count_nonzero(beyond) == values.size


def test_what_is_read_may_be_changed(tmp_path: Path) -> None:
    values = written(tmp_path)
    volume = PrecomputedVolume(tmp_path)
    box = Box((0, 0, 0), (5, 4, 8))
    volume.read(box)[:] = 0
    np.testing.assert_array_equal(volume.read(box), values[:5, :4, :8])


def test_a_missing_chunk_is_an_error_or_zero_as_asked_for_and_a_short_one_an_error(tmp_path: Path) -> None:
    values = written(tmp_path, offset=(0, 0, 0))
    folder = tmp_path / json.loads((tmp_path / "info").read_text())["scales"][0]["key"]
    (folder / "8-16_4-8_0-5").unlink()
    with pytest.raises(DamagedInputError, match="1 of 24 files of chunks are missing, such as 8-16_4-8_0-5"):
        PrecomputedVolume(tmp_path)
    volume = PrecomputedVolume(tmp_path, allow_missing=True)
    assert volume.n_missing == 1
    assert not volume.read(Box((0, 4, 8), (5, 8, 16))).any()
    np.testing.assert_array_equal(volume.read(Box((0, 4, 16), (5, 8, 21))), values[:5, 4:8, 16:])
    short = folder / "0-8_0-4_0-5"
    short.write_bytes(short.read_bytes()[:-2])
    with pytest.raises(DamagedInputError, match="has 318 bytes but a chunk"):
        volume.read(Box((0, 0, 0), (1, 1, 1)))
    short.write_bytes(b"")
    with pytest.raises(DamagedInputError, match="has 0 bytes"):
        volume.read(Box((0, 0, 0), (1, 1, 1)))
    short.unlink()
    with pytest.raises(DamagedInputError, match="cannot be read: No such file"):
        volume.read(Box((0, 0, 0), (1, 1, 1)))
