"""How many chunks a file holds: a box of them, doubled along x, y and z in turn, as precomputed numbers its chunks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from gpustitch.errors import ParameterError
from gpustitch.io.volumes.shard_files import morton_codes
from gpustitch.io.write.pyramid_layout import block_shape_of, level_shape
from gpustitch.model import ZYX

DEFAULT_SHARD_BYTES = 1 << 25
# Files that are begun and not yet whole may take so much memory before smaller files are chosen.
MOST_UNFINISHED_BYTES = 1 << 31
# Where the finest level has more files than this, files of coarser levels lie in the same boxes of the volume.
_MANY_FILES = 256
# Chunks of a minishard, whose index a reader fetches whole.
_MINISHARD_BITS = 9


def checked_shard_bytes(shard_bytes: int) -> int:
    """``shard_bytes``, or ParameterError if it is negative."""
    if shard_bytes < 0:
        raise ParameterError(f"`shard_bytes` must be 0, for a file for each chunk, or more, not {shard_bytes}")
    return shard_bytes


def grid_of(shape: ZYX, chunk_shape: ZYX) -> ZYX:
    """Number of chunks along z, y, x."""
    z, y, x = (-(-n // c) for n, c in zip(shape, chunk_shape, strict=True))
    return z, y, x


def shard_shape(shape: ZYX, chunk_shape: ZYX, itemsize: int, shard_bytes: int) -> ZYX:
    """Voxels (z, y, x) of a file that holds about ``shard_bytes``, uncompressed, and no more than that: whole chunks.

    One chunk if ``shard_bytes`` is less.
    """
    n = _n_doublings(shape, chunk_shape, itemsize, shard_bytes)
    z, y, x = (c << bits for c, bits in zip(chunk_shape, _doublings(grid_of(shape, chunk_shape), n), strict=True))
    return z, y, x


def level_shard_bytes(shape: ZYX, chunk_shape: ZYX, itemsize: int, factor: ZYX, shard_bytes: int) -> int:
    """About how many bytes a file of a level holds; ``shape`` is the volume's, ``shard_bytes`` is stated.

    Files of all levels are alike. But in a volume of many files a coarser one would wait for large parts of the volume:
    there it holds what lies in the box of a file of the finest level, as long as that is a chunk.
    """
    finest = shard_shape(shape, chunk_shape, itemsize, shard_bytes)
    is_large = math.prod(grid_of(shape, finest)) > _MANY_FILES
    if not is_large:
        return shard_bytes
    # An axis of one chunk has no fewer on coarser levels.
    bits = _bits(grid_of(shape, chunk_shape))
    n_halved = sum(min(f.bit_length() - 1, n) for f, n in zip(factor, bits, strict=True))
    return max(shard_bytes >> n_halved, min(shard_bytes, math.prod(chunk_shape) * itemsize))


def file_shape(shape: ZYX, chunk_shape: ZYX, itemsize: int, factor: ZYX, shard_bytes: int) -> ZYX:
    """Voxels (z, y, x) of a file of the level of a ``factor``; ``shape`` is the volume's."""
    n_bytes = level_shard_bytes(shape, chunk_shape, itemsize, factor, shard_bytes)
    return shard_shape(level_shape(shape, factor), chunk_shape, itemsize, n_bytes)


def unfinished_bytes(
    shape: ZYX,
    chunk_shape: ZYX,
    itemsize: int,
    factors: Sequence[ZYX],
    shard_bytes: int,
    front_px: Sequence[float],
) -> int:
    """About how many bytes of files are begun and not whole, on all levels.

    ``front_px`` (z, y, x) is how far apart voxels of level 0 are that are made at the same time. A file that is made of
    one block, of :func:`gpustitch.io.write.pyramid_layout.block_shape_of` or a larger one, is whole at once.
    """
    total, block = 0, block_shape_of(factors, chunk_shape)
    for factor in factors:
        of_level = level_shape(shape, factor)
        file = file_shape(shape, chunk_shape, itemsize, factor, shard_bytes)
        if all(b // n % f == 0 for b, n, f in zip(block, factor, file, strict=True)):
            continue
        spans = zip(of_level, file, factor, front_px, strict=True)
        open_px = (min(n, f * math.ceil(w / (f * m))) for n, f, m, w in spans)
        total += math.prod(open_px) * itemsize
    return total


def straddling_bytes(
    shape: ZYX,
    chunk_shape: ZYX,
    itemsize: int,
    factors: Sequence[ZYX],
    shard_bytes: int,
    axis: int,
    place: int,
) -> int:
    """Bytes of the files, on all levels, that lie on both sides of ``place`` (voxels of level 0) along an axis.

    So much waits for its other side where a volume is made up to that place first.
    """
    total = 0
    for factor in factors if 0 < place < shape[axis] else ():
        of_level = level_shape(shape, factor)
        file = file_shape(shape, chunk_shape, itemsize, factor, shard_bytes)
        if place % (file[axis] * factor[axis]):
            sides = list(of_level)
            sides[axis] = min(file[axis], of_level[axis] - place // factor[axis] // file[axis] * file[axis])
            total += math.prod(sides) * itemsize
    return total


def fitting_shard_bytes(
    shape: ZYX,
    chunk_shape: ZYX,
    itemsize: int,
    factors: Sequence[ZYX],
    front_px: Sequence[float],
    most_bytes: int = MOST_UNFINISHED_BYTES,
) -> int:
    """The default size of a file, or a smaller one with which unfinished files take at most ``most_bytes``.

    Other arguments are those of :func:`unfinished_bytes`.
    """
    shard_bytes, least = DEFAULT_SHARD_BYTES, math.prod(chunk_shape) * itemsize
    while shard_bytes > least:
        if unfinished_bytes(shape, chunk_shape, itemsize, factors, shard_bytes, front_px) <= most_bytes:
            break
        shard_bytes //= 2
    return shard_bytes


def precomputed_sharding(
    shape: ZYX, chunk_shape: ZYX, itemsize: int, shard_bytes: int, encoding: str
) -> dict[str, Any]:
    """The ``sharding`` of a precomputed scale of a shape, whose files are the boxes of :func:`shard_shape`.

    ``encoding`` of chunks is ``raw`` or ``gzip``.
    """
    n = _n_doublings(shape, chunk_shape, itemsize, shard_bytes)
    inner = min(n, _MINISHARD_BITS)
    return {
        "@type": "neuroglancer_uint64_sharded_v1",
        "hash": "identity",
        "preshift_bits": inner,
        "minishard_bits": n - inner,
        "shard_bits": sum(_bits(grid_of(shape, chunk_shape))) - n,
        "minishard_index_encoding": "raw",
        "data_encoding": encoding,
    }


def order_of_shards(shape: ZYX, chunk_shape: ZYX, unit_shape: ZYX) -> npt.NDArray[np.int64]:
    """Places of a precomputed scale's files on their flat grid (z, y, x), in the order of the files' numbers."""
    z, y, x = grid_of(shape, chunk_shape)
    codes = morton_codes((x, y, z)).reshape(x, y, z).T
    firsts = codes[tuple(slice(None, None, u // c) for u, c in zip(unit_shape, chunk_shape, strict=True))]
    return np.argsort(firsts, axis=None)


def _n_doublings(shape: ZYX, chunk_shape: ZYX, itemsize: int, shard_bytes: int) -> int:
    n_chunks = shard_bytes // (math.prod(chunk_shape) * itemsize)
    return min(max(1, n_chunks).bit_length() - 1, sum(_bits(grid_of(shape, chunk_shape))))


def _bits(grid: ZYX) -> ZYX:
    z, y, x = ((n - 1).bit_length() for n in grid)
    return z, y, x


def _doublings(grid: ZYX, n: int) -> ZYX:
    """How often a box of one chunk is doubled along z, y, x until it holds ``2**n`` places of the grid."""
    left, done = list(_bits(grid)), [0, 0, 0]
    while n:
        for axis in (2, 1, 0):
            if n and left[axis]:
                left[axis] -= 1
                done[axis] += 1
                n -= 1
    return done[0], done[1], done[2]
