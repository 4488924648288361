"""How many planes are correlated at once, and how much memory that takes."""

from __future__ import annotations

import math

from gpustitch.array import Array, cpu_count, library_of
from gpustitch.sections.similarity.bands import LONGEST_OF_VECTORS, product_bytes
from gpustitch.sections.similarity.parts import PIXELS_AT_A_TIME, sample_bytes
from gpustitch.sections.similarity.similarity_rows import SEGMENT, tiles_of

# Tiles worked on together by a thread of the host: rows that were just written are then multiplied from its cache.
TILES_TOGETHER = 2


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
