"""How many bytes of the host's memory a sweep on a device takes, stated before it begins.

That is what goes to the device and what comes back. Frames, fused ones and blocks lie on the device alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from gpustitch.array.feed import N_BUFFERS
from gpustitch.model import ZYX, Box, PlacedVolume
from gpustitch.oblique.deskew.tile import ObliqueTile
from gpustitch.oblique.destripe.correction import working_bytes
from gpustitch.oblique.stream.bands import part_axis_of
from gpustitch.oblique.stream.emission import TOGETHER_BYTES, n_buffers
from gpustitch.oblique.stream.intake import PIECE_FRAMES, READ_FRAMES

# Counts and tables on their way to a device or back.
SMALL_BYTES = 1 << 16
# Frames that other bands have left or need: read or fetched, made into one array, and copied to be sent.
_KEPT_COPIES = 3


def sent_bytes(
    tiles: Sequence[PlacedVolume],
    block_shape: ZYX,
    dtype: np.dtype[np.generic],
    factors: Sequence[ZYX],
    n_workers: int,
    band: Box,
    whole: Box,
) -> int:
    """At most the memory of a band of the ``whole`` but for files: pinned, what threads read, and what bands leave.

    Parameters
    ----------
    tiles, block_shape, dtype, factors, n_workers, band
        As in :func:`pinned_bytes`.
    whole
        The mosaic.
    """
    volumes = [tile.volume for tile in tiles if isinstance(tile.volume, ObliqueTile)]
    reading = max((working_bytes(None, v.frames, READ_FRAMES) for v in volumes), default=0)
    kept = 0
    if band != whole and part_axis_of(tiles) is None:
        kept = max((math.prod(v.frames.shape[1:]) * np.dtype(v.dtype).itemsize for v in volumes), default=0)
    pinned = pinned_bytes(tiles, block_shape, dtype, factors, n_workers, band)
    return pinned + n_workers * reading + _KEPT_COPIES * PIECE_FRAMES * kept


def pinned_bytes(
    tiles: Sequence[PlacedVolume],
    block_shape: ZYX,
    dtype: np.dtype[np.generic],
    factors: Sequence[ZYX],
    n_workers: int,
    band: Box,
) -> int:
    """At most the pinned memory of a band: frames on their way to a device, boxes with all levels on their way back.

    Parameters
    ----------
    tiles
        Placed tiles of raw frames.
    block_shape, dtype
        Of blocks of the volume.
    factors
        Voxels (z, y, x) of the finest level in one of each level, the finest first.
    n_workers
        Number of threads.
    band
        The band of the mosaic.
    """
    depth, n_rows, width = (min(n, m) for n, m in zip(block_shape, band.shape, strict=True))
    n_rows = band.shape[1]  # a device is given all of them
    together = max(1, TOGETHER_BYTES // (depth * n_rows * width * dtype.itemsize))
    shape = depth * min(together, -(-band.shape[0] // depth)), n_rows, width
    levels = (math.prod(-(-n // m) for n, m in zip(shape, factor, strict=True)) for factor in factors)
    is_whole = part_axis_of(tiles) is None
    raw = max((_raw_bytes(tile, band, is_whole=is_whole) for tile in tiles), default=0)
    return N_BUFFERS * PIECE_FRAMES * raw + n_buffers(n_workers) * sum(levels) * dtype.itemsize + SMALL_BYTES


def _raw_bytes(tile: PlacedVolume, band: Box, *, is_whole: bool) -> int:
    """At most what is read of a frame: all of it, or what lies in a band."""
    assert isinstance(tile.volume, ObliqueTile)
    (_, n_rows, n_columns), itemsize = tile.volume.frames.shape, tile.volume.frames.dtype.itemsize
    if not is_whole:
        n_rows, n_columns = min(n_rows, band.shape[1] + 2), min(n_columns, band.shape[0] + 2)
    return n_rows * n_columns * itemsize
