"""Cutting a volume into pieces of work, so that each plane of its source is read once."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from gpustitch.model import ZYX, Box

# Bytes of voxels made at once: enough to occupy a thread, few enough for several pieces in memory.
_ITEM_BYTES = 1 << 25
_MOST_PLANES = 64


@dataclass(frozen=True)
class Cut:
    """A volume cut into columns along z, and columns cut into pieces. Each column reads each source plane once.

    Attributes
    ----------
    shape
        Shape (z, y, x) of the volume.
    column
        Extent (y, x) of a column, in voxels.
    item
        Shape of a piece; the pieces of a column follow each other from the first plane to the last.
    """

    shape: ZYX
    column: tuple[int, int]
    item: ZYX

    def columns(self) -> Iterator[Box]:
        """The columns; columns at the end of an axis are smaller."""
        return Box.of_shape(self.shape).blocks((self.shape[0], *self.column))

    def pieces(self, column: Box) -> list[Box]:
        """The pieces of a column in order."""
        return list(column.blocks(self.item))

    @property
    def n_columns(self) -> int:
        """Number of columns."""
        return math.prod(-(-n // c) for n, c in zip(self.shape[1:], self.column, strict=True))

    @property
    def front_px(self) -> ZYX:
        """How far apart voxels (z, y, x) are that are made at the same time, or before a column beside them."""
        if self.n_columns == 1:
            return self.item[0], *self.shape[1:]
        is_wide = self.column[1] >= self.shape[2]
        return self.shape[0], self.column[0] if is_wide else self.shape[1], self.shape[2]

    @property
    def n_items(self) -> int:
        """Number of pieces in all columns."""
        return sum(len(self.pieces(column)) for column in self.columns())


def slab_depth(shape: ZYX, block: ZYX, itemsize: int) -> int:
    """Planes of a piece of work: as many as a block has; for blocks of one plane, so many that a piece has some MB."""
    if block[0] > 1:
        return block[0]
    return max(1, min(_MOST_PLANES, _ITEM_BYTES // (shape[1] * shape[2] * itemsize)))


def cut_columns(shape: ZYX, block: ZYX, itemsize: int, held: int, memory_bytes: int) -> Cut:
    """Cut into columns as wide as memory allows, mostly the whole volume, and pieces of whole blocks.

    Parameters
    ----------
    shape
        Shape (z, y, x) of the volume.
    block
        Shape (z, y, x) of the smallest box that the writer takes. A block of whole planes is not cut.
    itemsize
        Bytes of a voxel.
    held
        Number of source planes in memory at a time.
    memory_bytes
        Most memory for these planes; a column of one block may exceed it.
    """
    depth = slab_depth(shape, block, itemsize)
    area = memory_bytes // max(1, held * itemsize)
    rows, columns = shape[1:]
    if rows * columns > area:
        rows = _whole(area // columns, block[1], rows)
    if rows * columns > area:
        columns = _whole(area // rows, block[2], columns)
    return Cut(
        shape, (rows, columns), (depth, _whole(_ITEM_BYTES // (depth * columns * itemsize), block[1], rows), columns)
    )


def _whole(length: int, block: int, most: int) -> int:
    """The length rounded down to whole blocks: at least one block, at most ``most``."""
    return min(most, max(1, length // block) * block)
