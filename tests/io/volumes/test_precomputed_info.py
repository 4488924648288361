"""What an ``info`` may say of shards: numbers of 64 bits in all, and no more."""

from __future__ import annotations

from typing import Any

import pytest

from gpustitch.io.volumes.precomputed_info import checked_info

SHARDING = {"@type": "neuroglancer_uint64_sharded_v1", "hash": "identity", "preshift_bits": 3}


def info(minishard_bits: int, shard_bits: int) -> dict[str, Any]:
    sharding = SHARDING | {"minishard_bits": minishard_bits, "shard_bits": shard_bits}
    scale = {
        "key": "1_1_1",
        "resolution": [1, 1, 1],
        "size": [64, 64, 64],
        "chunk_sizes": [[32, 32, 32]],
        "encoding": "raw",
        "sharding": sharding,
    }
    return {"num_channels": 1, "data_type": "uint8", "scales": [scale]}


@pytest.mark.parametrize("bits", [(0, 0), (6, 15), (0, 64), (64, 0), (30, 34)])
def test_numbers_of_64_bits_are_taken(bits: tuple[int, int]) -> None:
    assert checked_info(info(*bits))["scales"][0]["sharding"]["shard_bits"] == bits[1]


@pytest.mark.parametrize("bits", [(1, 64), (30, 35), (64, 64)])
def test_longer_numbers_are_refused(bits: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="more than 64 bits"):
        checked_info(info(*bits))
