"""How many planes are read and correlated at once, and how much memory that takes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from gpustitch.array import Array, cpu_count, library_of
from gpustitch.sections.similarity.bands import LONGEST_OF_VECTORS, product_bytes
from gpustitch.sections.similarity.parts import PIXELS_AT_A_TIME, sample_bytes
from gpustitch.sections.similarity.similarity_rows import SEGMENT, tiles_of

# Tiles worked on together by a thread of the host: rows that were just written are then multiplied from its cache.
TILES_TOGETHER = 2
# Bytes of planes read at a time: enough for a disk, few enough that the first product begins soon.
_CHUNK_BYTES = 32 << 20
# Where memory is scarce: blocks of fewer planes are slow, and with fewer chunks nothing is read ahead.
_LEAST_BLOCK, _LEAST_HELD = 4, 2


def default_block(max_lag: int) -> int:
    """Planes correlated at once: enough for quick products, few enough to compute little beyond the band."""
    return 64 if max_lag <= LONGEST_OF_VECTORS else 48


def groups_of(shape: tuple[int, int], like: Array) -> list[slice]:
    """Tiles of a plane worked on together: some on the host, all on a device."""
    tiles = tiles_of(shape)[0]
    together = TILES_TOGETHER if library_of(like) == "numpy" else tiles
    return [slice(start, min(start + together, tiles)) for start in range(0, tiles, together)]


def peak_bytes(shape: tuple[int, int], max_lag: int, *, block: int | None = None, some_excluded: bool = False) -> int:
    """Most memory that ``BandedCorrelation`` holds, in bytes, besides the planes pushed and their masks.

    Parameters
    ----------
    shape, max_lag, block
        As of :class:`gpustitch.sections.similarity.banded.BandedCorrelation`.
    some_excluded
        Whether pixels are excluded in some planes and not in others.

    Notes
    -----
    Rows of whole planes take (max_lag + block) * pixels * 4 bytes, and one byte more a pixel where pixels are excluded.
    Whole planes of uint8 take a quarter. If other planes follow these, it is as if pixels were excluded.
    """
    block = block or default_block(max_lag)
    n_rows = max_lag + block
    tiles, width = tiles_of(shape)
    rows = n_rows * tiles * width * (5 if some_excluded else 4)
    sums = cpu_count() * product_bytes(max_lag, block, TILES_TOGETHER, width) + 80 * block * n_rows
    if some_excluded:
        sums += 7 * 16 * block * n_rows + 6 * n_rows * width * 4 + 40 * tiles * width
    return rows + sums + block * (sample_bytes(shape) + 200 * -(-math.prod(shape) // SEGMENT)) + 24 * PIXELS_AT_A_TIME


def sizes_to_try(
    n: int, chunk: int | None, depth: int, block: int, n_workers: int, plane_bytes: int
) -> Iterator[tuple[int, int, int]]:
    """Planes of a block, planes of a chunk and chunks held, to be tried: the preferred ones first.

    Parameters
    ----------
    n, chunk, depth
        Planes there are, planes of a chunk if that is asked for, and planes that are stored together.
    block, n_workers, plane_bytes
        Planes of a block at most, threads that read, and bytes of a plane of a chunk.
    """
    is_asked_for = chunk is not None
    # Planes stored together are decoded once if they are read together.
    chunk = chunk or -(-max(1, min(block, _CHUNK_BYTES // plane_bytes)) // depth) * depth
    chunk, held = min(chunk, n), min(n_workers, n) + 1
    yield block, chunk, held
    while block > _LEAST_BLOCK:
        block = max(_LEAST_BLOCK, block // 2)
        yield block, chunk, held
    while held > _LEAST_HELD:
        held -= 1
        yield block, chunk, held
    while chunk > 1 and not is_asked_for:
        chunk //= 2
        yield block, chunk, held


def plane_bytes(
    read: tuple[int, int], dtype: np.dtype[Any], factors: tuple[int, int], shape: tuple[int, int], *, is_exact: bool
) -> tuple[int, int]:
    """Bytes of a plane of a chunk, both as it is read and as it is compared; bytes that a worker needs on the way.

    ``read`` and ``shape`` are rows and columns before and after averaging blocks of ``factors``; ``is_exact`` says
    that planes of the type are compared as they are.
    """
    pixels = math.prod(read)
    read_bytes = pixels * dtype.itemsize
    if factors == (1, 1):
        return read_bytes + (0 if is_exact else 4 * pixels), 0
    # Used pixels, their values and their sums over rows, then sums and means of blocks.
    at_work = pixels * (4 + dtype.itemsize) + 16 * shape[0] * read[1] + 32 * math.prod(shape)
    return read_bytes + 8 * math.prod(shape), at_work
