"""The layout of a precomputed volume with its pyramid: levels, chunks, blocks, the ``info`` file."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gpustitch.errors import ParameterError
from gpustitch.model import ZYX, Box, Spacing, level_factors

DEFAULT_CHUNK: ZYX = (64, 64, 64)
DEFAULT_LEVELS = 5
# Every worker holds several blocks at once.
_LARGEST_BLOCK_BYTES = 1 << 29
# Greatest size of a chunk along an axis: sums of such sizes are exact in 64 bits.
_MOST = (1 << 31) - 1


def precomputed_info(
    shape: ZYX,
    dtype: npt.DTypeLike,
    spacing: Spacing,
    levels: int,
    chunk_shape: ZYX = DEFAULT_CHUNK,
    origin_um: tuple[float, float, float] | None = None,
) -> dict[str, Any]:
    """The ``info`` of a raw precomputed image of one channel; its levels are those of :func:`level_factors`.

    ``origin_um`` is the centre (z, y, x) of the first voxel, None for a corner at 0. Offsets count from corners. Each
    level begins at the whole voxel of its own that lies nearest, so that none is shown further off than half of its
    voxels.
    """
    scales = []
    corner = [0.0] * 3
    if origin_um is not None:
        corner = [at / um - 0.5 for at, um in zip(origin_um[::-1], spacing.zyx_um[::-1], strict=True)]
    for factor in level_factors(spacing, levels):
        of_xyz = factor[::-1]
        scales.append(
            {
                "chunk_sizes": [list(chunk_shape[::-1])],
                "encoding": "raw",
                "key": "_".join(map(str, of_xyz)),
                "resolution": [v * n for v, n in zip(spacing.xyz_nm, of_xyz, strict=True)],
                "size": list(level_shape(shape, factor)[::-1]),
                "voxel_offset": [round(at / n) for at, n in zip(corner, of_xyz, strict=True)],
            }
        )
    return {
        "@type": "neuroglancer_multiscale_volume",
        "type": "image",
        "data_type": np.dtype(dtype).name,
        "num_channels": 1,
        "scales": scales,
    }


def level_shape(shape: ZYX, factor: ZYX) -> ZYX:
    """Shape (z, y, x) of a level whose voxels span ``factor`` voxels of the volume; lengths round up."""
    z, y, x = (-(-n // f) for n, f in zip(shape, factor, strict=True))
    return z, y, x


def coarser(box: Box, factor: ZYX) -> Box:
    """The voxels of a level of this ``factor`` that a box of whole blocks makes."""
    z, y, x = (a // f for a, f in zip(box.start, factor, strict=True))
    return Box((z, y, x), level_shape(box.stop, factor))


def block_shape_of(factors: Sequence[ZYX], chunk_shape: Sequence[int] = DEFAULT_CHUNK) -> ZYX:
    """Smallest block (z, y, x) of whole chunks and whole voxels of every level."""
    z, y, x = (math.lcm(n, f) for n, f in zip(triple(chunk_shape, "chunk_shape"), factors[-1], strict=True))
    return z, y, x


def chunk_within(shape: ZYX, chunk_shape: Sequence[int]) -> ZYX:
    """A chunk of which no axis is longer than the power of two that holds the volume's: there are as many chunks.

    Who writes or reads a chunk holds all of it, the part beyond the volume too.
    """
    z, y, x = (
        min(c, 1 << (n - 1).bit_length()) for n, c in zip(shape, triple(chunk_shape, "chunk_shape"), strict=True)
    )
    return z, y, x


def check_block(block_shape: ZYX, shape: ZYX, dtype: npt.DTypeLike) -> None:
    """Raise ParameterError if a block of a volume of this shape is too large to be held several times."""
    held = math.prod(min(b, n) for b, n in zip(block_shape, shape, strict=True)) * np.dtype(dtype).itemsize
    if held > _LARGEST_BLOCK_BYTES:
        raise ParameterError(
            f"with these `levels` and this `chunk_shape` a block takes {held / 1e9:.1f} GB of memory; "
            "give fewer `levels`, or a `chunk_shape` of powers of two"
        )


def check_given(
    path: Path, box: Box, voxels: npt.NDArray[Any] | None, block_shape: ZYX, shape: ZYX, dtype: np.dtype[Any]
) -> None:
    """Raise ParameterError unless a box of the volume at ``path`` is of whole blocks, and voxels, if any, fit it."""
    for start, stop, block, size in zip(box.start, box.stop, block_shape, shape, strict=True):
        if start % block or (stop % block and stop != size) or not 0 <= start < stop <= size:
            raise ParameterError(
                f"{path} is written in whole blocks of {block_shape} voxels (z, y, x) of {shape}, which {box} is not"
            )
    if voxels is not None and (voxels.shape != box.shape or voxels.dtype != dtype):
        raise ParameterError(
            f"{path} takes {dtype} voxels of shape {box.shape} for {box}, not {voxels.dtype} of shape {voxels.shape}"
        )


def pyramid_bytes(shape: ZYX, dtype: npt.DTypeLike, factors: Sequence[ZYX]) -> int:
    """Bytes of a whole volume with all its levels, uncompressed."""
    return sum(math.prod(level_shape(shape, factor)) for factor in factors) * np.dtype(dtype).itemsize


def checked_levels(levels: int) -> int:
    """``levels``, or ParameterError unless it is from 1 to 16."""
    if not isinstance(levels, int | np.integer) or not 1 <= levels <= 16:
        raise ParameterError(f"`levels` must be a whole number from 1 to 16, not {levels!r}")
    return int(levels)


def triple(values: Sequence[int], name: str, least: int = 1) -> ZYX:
    """Three whole numbers (z, y, x); ParameterError names the parameter unless each is from ``least`` to 2^31 - 1."""
    try:
        found = tuple(int(v) for v in values)
        is_whole = all(int(v) == v for v in values)
    except (TypeError, ValueError, OverflowError):
        found, is_whole = (), False
    if len(found) != 3 or not is_whole or min(found) < least or max(found) > _MOST:
        raise ParameterError(
            f"`{name}` must be three whole numbers (z, y, x) of at least {least}, below 2^31, not {values!r:.60}"
        )
    z, y, x = found
    return z, y, x


def morton_order(grid: ZYX) -> Iterator[ZYX]:
    """Indices of a grid in the order of a Morton (z-order) curve."""

    def walk(corner: ZYX, size: int) -> Iterator[ZYX]:
        if any(c >= n for c, n in zip(corner, grid, strict=True)):
            return
        if size == 1:
            yield corner
            return
        half = size // 2
        for octant in range(8):
            z, y, x = (c + half * (octant >> bit & 1) for c, bit in zip(corner, (2, 1, 0), strict=True))
            yield from walk((z, y, x), half)

    yield from walk((0, 0, 0), 1 << (max(grid) - 1).bit_length())
