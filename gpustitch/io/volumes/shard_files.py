"""The files of the shards of a precomputed scale: which there must be if no chunk is absent.

A chunk's number is the compressed Morton code of its place. A hash of the number says in which shard the chunk lies.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from gpustitch.io.volumes.presence import Index
from gpustitch.model import Box

Words = npt.NDArray[np.uint32]
_NAME = re.compile(r"[0-9a-f]+\.shard")
_C1, _C2, _C3 = np.uint32(0x239B961B), np.uint32(0xAB0E9789), np.uint32(0x38B34AE5)


class ShardNames:
    """Names of the shards that hold the chunks of a scale, a :class:`gpustitch.io.volumes.presence.Naming`.

    Shards count along one axis, in the order of their numbers.

    Parameters
    ----------
    scale
        The scale's description in the volume's ``info``.
    """

    def __init__(self, scale: dict[str, Any]) -> None:
        self._size = [int(n) for n in scale["size"]]
        self._chunk = [int(n) for n in scale["chunk_sizes"][0]]
        self._grid = [-(-n // c) for n, c in zip(self._size, self._chunk, strict=True)]
        self._sharding = scale["sharding"]
        n_digits = -(-int(self._sharding["shard_bits"]) // 4)
        self._names = [f"{shard:0{n_digits}x}.shard" for shard in np.unique(self._shards()).tolist()]
        self.axes = [{name: i for i, name in enumerate(self._names)}]

    def _shards(self) -> npt.NDArray[np.uint64]:
        """For each chunk, in the order of a grid (x, y, z), the number of its shard."""
        hashed = morton_codes(self._grid) >> np.uint64(self._sharding["preshift_bits"])
        if self._sharding["hash"] == "murmurhash3_x86_128":
            hashed = murmur(hashed)
        mask = np.uint64((1 << int(self._sharding["shard_bits"])) - 1)
        return np.asarray(hashed >> np.uint64(self._sharding["minishard_bits"]) & mask)

    @functools.cached_property
    def _members(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """The chunks, those of a shard in a row, and where the row of each shard begins, with the end of the last."""
        shards = self._shards()
        order = np.argsort(shards, kind="stable")
        starts = np.flatnonzero(np.diff(shards[order], prepend=shards[order[:1]] + np.uint64(1)))
        return order, np.append(starts, shards.size)

    def chunks(self, index: Index) -> Iterator[Box]:
        """The voxels of each chunk in a shard."""
        order, starts = self._members
        whole = Box.of_shape(self._size[::-1])
        for place in order[starts[index[0]] : starts[index[0] + 1]].tolist():
            at = np.unravel_index(place, self._grid)
            corner = [int(i) * n for i, n in zip(at, self._chunk, strict=True)]
            yield Box.of_shape(self._chunk[::-1], corner[::-1]).intersect(whole)

    def split(self, name: str) -> tuple[Sequence[str], int] | None:
        """As :class:`gpustitch.io.volumes.presence.Naming` says."""
        return ((name,), 1) if _NAME.fullmatch(name) else None

    def name(self, index: Index, kind: int = 1) -> str:
        """As :class:`gpustitch.io.volumes.presence.Naming` says."""
        return self._names[index[0]]


def morton_codes(grid: Sequence[int]) -> npt.NDArray[np.uint64]:
    """Compressed Morton codes of all places of a grid (x, y, z): bits of each in turn, as far as an axis needs them."""
    code = np.zeros(1, np.uint64)
    for part in morton_parts(grid):
        code = np.bitwise_or.outer(code, part)
    return code.ravel()


def morton_parts(grid: Sequence[int]) -> list[npt.NDArray[np.uint64]]:
    """What each place along each axis (x, y, z) of a grid adds to the codes of :func:`morton_codes`."""
    lengths = [(n - 1).bit_length() for n in grid]
    taken = 0
    parts = [np.zeros(n, np.uint64) for n in grid]
    for bit in range(max(lengths)):
        for part, length in zip(parts, lengths, strict=True):
            if bit < length:
                numbers = np.arange(part.size, dtype=np.uint64)
                part |= (numbers >> np.uint64(bit) & np.uint64(1)) << np.uint64(taken)
                taken += 1
    return parts


def murmur(numbers: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """The first 8 bytes of MurmurHash3_x86_128, without seed, of each number's 8 bytes."""
    low, high = (numbers & np.uint64(0xFFFFFFFF)).astype(np.uint32), (numbers >> np.uint64(32)).astype(np.uint32)
    h1 = _rotated(low * _C1, 15) * _C2 ^ np.uint32(8)
    h2 = _rotated(high * _C2, 16) * _C3 ^ np.uint32(8)
    # The other two quarters hold nothing but the number of bytes.
    h1 = h1 + h2 + np.uint32(16)
    h2, h3 = h2 + h1, np.uint32(8) + h1
    h1, h2, h3 = _mixed(h1), _mixed(h2), _mixed(h3)
    h1 = h1 + h2 + h3 + h3
    return h1.astype(np.uint64) | (h2 + h1).astype(np.uint64) << np.uint64(32)


def _rotated(words: Words, bits: int) -> Words:
    return words << np.uint32(bits) | words >> np.uint32(32 - bits)


def _mixed(words: Words) -> Words:
    words = (words ^ words >> np.uint32(16)) * np.uint32(0x85EBCA6B)
    words = (words ^ words >> np.uint32(13)) * np.uint32(0xC2B2AE35)
    return words ^ words >> np.uint32(16)
