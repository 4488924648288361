"""The shards that a precomputed scale must have, against those that tensorstore writes."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tensorstore as ts
from hypothesis import given, settings
from hypothesis import strategies as st

from gpustitch.errors import DamagedInputError
from gpustitch.io.volumes.opening import open_volume
from gpustitch.io.volumes.shard_files import ShardNames
from tests.io.volumes.stored_volumes import MISSING, folder, read, scale_of

shardings = st.fixed_dictionaries(
    {
        "@type": st.just("neuroglancer_uint64_sharded_v1"),
        "hash": st.sampled_from(["identity", "murmurhash3_x86_128"]),
        "preshift_bits": st.integers(0, 3),
        "minishard_bits": st.integers(0, 2),
        "shard_bits": st.integers(0, 6),
        "minishard_index_encoding": st.sampled_from(["raw", "gzip"]),
        "data_encoding": st.sampled_from(["raw", "gzip"]),
    }
)


def sharded(path, sharding, shape, encoding="raw"):
    """A sharded volume without zeros, written by tensorstore."""
    scale = scale_of(shape, 4, (2, 2, 2), (0, 0, 0), encoding) | {"sharding": sharding}
    info = {"type": "image", "data_type": "uint16", "num_channels": 1, "@type": "neuroglancer_multiscale_volume"}
    path.mkdir(parents=True)
    (path / "info").write_text(json.dumps({**info, "scales": [scale]}))
    voxels = np.random.default_rng(0).integers(1, 200, shape, np.uint16)
    spec = {"driver": "neuroglancer_precomputed", "kvstore": {"driver": "file", "path": f"{path}/"}}
    store = ts.open(spec, context=ts.Context({"file_io_sync": False})).result()
    store[ts.d["channel"][0]].transpose([2, 1, 0]).write(voxels).result()
    return voxels, scale


@settings(max_examples=25, deadline=None)
@given(shardings, st.tuples(*[st.integers(1, 9)] * 3), st.data())
def test_a_lost_shard_is_an_error(sharding, shape, data):
    with folder() as path:
        voxels, scale = sharded(path, sharding, shape)
        files = sorted(file.name for file in (path / "4").iterdir())
        assert sorted(ShardNames(scale).axes[0]) == files
        np.testing.assert_array_equal(read(path), voxels)
        lost = data.draw(st.integers(0, len(files) - 1))
        (path / "4" / files[lost]).unlink()
        with pytest.raises(DamagedInputError, match=f"1 of {len(files)} {MISSING}|has none of its 1 files"):
            open_volume(path)
        assert open_volume(path, allow_missing=True).n_missing == 1
        for chunk in ShardNames(scale).chunks((lost,)):
            voxels[chunk.slices()] = 0
        np.testing.assert_array_equal(read(path, allow_missing=True), voxels)
