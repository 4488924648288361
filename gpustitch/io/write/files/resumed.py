"""What an unfinished volume lacks: which blocks are still to come, and which coarse files are made of finished ones.

Blocks are small and files large, so a finished file may lie in an unfinished coarser one. The coarser one then gets its
voxels from the finest level's files, or from those of the coarsest level that has all of them: reading is little.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from gpustitch.io.write.files.sealing import FileStates
from gpustitch.io.write.shards import grid_of
from gpustitch.model import ZYX, Box


def feeds(
    states: Sequence[FileStates], factors: Sequence[ZYX], found: npt.NDArray[np.int8], block_shape: ZYX
) -> Iterator[tuple[int, Box]]:
    """What to read of a volume, so that coarser files that are not done get all voxels of the blocks that are done.

    ``found`` is what :func:`finished_blocks` returned.

    Yields
    ------
    tuple
        A level, and a box of whole blocks, in voxels of level 0. Its voxels go to all coarser levels.
    """
    whole = Box.of_shape(states[0].shape)
    for level, state in enumerate(states[:-1]):
        is_here = found == level
        if not is_here.any():
            continue
        n_blocks = _blocks_of_file(state, factors[level], block_shape)
        for start in np.ndindex(*(-(-n // m) for n, m in zip(found.shape, n_blocks, strict=True))):
            first = [i * m for i, m in zip(start, n_blocks, strict=True)]
            part = tuple(slice(at, at + m) for at, m in zip(first, n_blocks, strict=True))
            if is_here[part].all():
                yield level, _box(first, n_blocks, block_shape).intersect(whole)
                continue
            for at in np.argwhere(is_here[part]).tolist():
                block = [a + b for a, b in zip(first, at, strict=True)]
                yield level, _box(block, (1, 1, 1), block_shape).intersect(whole)


def finished_blocks(states: Sequence[FileStates], factors: Sequence[ZYX], block_shape: ZYX) -> npt.NDArray[np.int8]:
    """For each block the coarsest level whose files, and those of finer levels, are done; -1 if level 0 is not done."""
    found = np.full(grid_of(states[0].shape, block_shape), -1, np.int8)
    is_done = np.ones(found.shape, np.bool_)
    for level, (state, factor) in enumerate(zip(states, factors, strict=True)):
        is_done &= _are_done(state, factor, block_shape, states[0].shape)
        found[is_done] = level
    return found


def _are_done(state: FileStates, factor: ZYX, block_shape: ZYX, shape: ZYX) -> npt.NDArray[np.bool_]:
    """Whether all files of a level that hold part of a block are done, for all blocks."""
    n_open = np.pad((~state.is_done).astype(np.int64), ((1, 0), (1, 0), (1, 0)))
    ends = []
    for axis, n in enumerate(factor):
        n_open = n_open.cumsum(axis)
        starts = np.arange(0, shape[axis], block_shape[axis])
        stops = np.minimum(starts + block_shape[axis], shape[axis])
        last = -(-stops // n) - 1  # rounded up
        ends.append((last // state.unit[axis] + 1, starts // n // state.unit[axis]))
    total = np.zeros([len(stop) for stop, _ in ends], np.int64)
    for corner in np.ndindex(2, 2, 2):
        total += (-1) ** sum(corner) * n_open[np.ix_(*(end[side] for end, side in zip(ends, corner, strict=True)))]
    return np.asarray(total == 0)


def _blocks_of_file(state: FileStates, factor: ZYX, block_shape: ZYX) -> tuple[int, int, int]:
    """How many blocks make a file of a level along each axis; 1 where a file is not of whole blocks."""
    units = [n * f for n, f in zip(state.unit, factor, strict=True)]
    z, y, x = (unit // block if unit % block == 0 else 1 for unit, block in zip(units, block_shape, strict=True))
    return z, y, x


def _box(first: Sequence[int], n_blocks: Sequence[int], block_shape: ZYX) -> Box:
    shape = tuple(n * b for n, b in zip(n_blocks, block_shape, strict=True))
    return Box.of_shape((shape[0], shape[1], shape[2]), [i * b for i, b in zip(first, block_shape, strict=True)])
