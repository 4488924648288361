"""The ``info`` of a precomputed volume: every field that is used is checked here, and nowhere else."""

from __future__ import annotations

import math
from typing import Any

from gpustitch.io.checked import MOST_CHUNKS, MOST_IN_CHUNK, inside, number, rows, table, text, triple, whole

_HASHES = ("identity", "murmurhash3_x86_128")
_BITS = ("preshift_bits", "minishard_bits", "shard_bits")


def checked_info(content: Any, *, has_chunks: bool = True) -> dict[str, Any]:
    """``content`` with its scales from fine to coarse; ValueError or KeyError if it is no image of one channel.

    Unless it ``has_chunks``, only the names and resolutions of scales are looked at.
    """
    info = table(content, "it")
    if whole(info["num_channels"], "num_channels") != 1:
        raise ValueError(f"it needs exactly one channel, not {info['num_channels']}")
    text(info.get("data_type", ""), "data_type")
    if not rows(info["scales"], "scales"):
        raise ValueError("it needs at least one scale")
    for scale in info["scales"]:
        _check_scale(table(scale, "a scale"), has_chunks)
    info["scales"].sort(key=lambda scale: math.prod(map(float, scale["resolution"])))
    if len({scale["key"] for scale in info["scales"]}) < len(info["scales"]):
        raise ValueError("two scales have one key")
    if not has_chunks:
        return info
    sizes = [math.prod(scale["size"]) for scale in info["scales"]]
    if sizes != sorted(sizes, reverse=True):
        raise ValueError("a scale of coarser resolution has more voxels than a finer one")
    return info


def _check_scale(scale: dict[str, Any], has_chunks: bool) -> None:
    inside(scale["key"], "key")
    for value in rows(scale["resolution"], "resolution", 3):
        number(value, "resolution", above=0)
    if has_chunks:
        _check_chunks(scale)


def _check_chunks(scale: dict[str, Any]) -> None:
    """Check what a scale says of its chunks and shards; ValueError for what no volume has."""
    text(scale["encoding"], "encoding")
    size = triple(scale, "size", 1)
    if not rows(scale["chunk_sizes"], "chunk_sizes"):
        raise ValueError("chunk_sizes is empty")
    chunk = triple({"chunk_sizes": scale["chunk_sizes"][0]}, "chunk_sizes", 1)
    if math.prod(chunk) > MOST_IN_CHUNK:
        raise ValueError(f"a chunk of {chunk} voxels is larger than any that is read")
    if (n_chunks := math.prod(-(-n // c) for n, c in zip(size, chunk, strict=True))) > MOST_CHUNKS:
        raise ValueError(f"its {n_chunks} chunks are more than can be listed")
    if scale.get("voxel_offset") is not None:
        triple(scale, "voxel_offset", -(1 << 53))
    else:
        scale.pop("voxel_offset", None)
    if scale.get("sharding") is not None:
        sharding = table(scale["sharding"], "sharding")
        if sharding["hash"] not in _HASHES:
            raise ValueError(f"the hash of its shards is {sharding['hash']!r:.60}, not one of {', '.join(_HASHES)}")
        if sum(whole(sharding[name], name, 0, 64) for name in _BITS[1:]) > 64:
            raise ValueError("its shards and minishards have more than 64 bits")
        whole(sharding[_BITS[0]], _BITS[0], 0, 63)
