"""How a volume made plane by plane is cut into pieces of work, so that planes of its source are read once."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from gpustitch.model import ZYX, Box

# Voxels made at once: enough to be worth a thread's while, few enough to be in memory several times.
_ITEM_BYTES = 1 << 25
_MOST_PLANES = 64


@dataclass(frozen=True)
class Cut:
    """Columns along z, each of the planes of the source read once for each of them, and pieces of them.

    Attributes
    ----------
    shape
        Of the volume (z, y, x).
    column
        Rows and columns of a column.
    item
        Shape of a piece: those of a column are taken from the first plane to the last.
    """

    shape: ZYX
    column: tuple[int, int]
    item: ZYX

    def columns(self) -> Iterator[Box]:
        """The columns; those at the end of an axis are smaller."""
        return Box.of_shape(self.shape).blocks((self.shape[0], *self.column))

    def pieces(self, column: Box) -> list[Box]:
        """The pieces of a column in order."""
        return list(column.blocks(self.item))

    @property
    def n_columns(self) -> int:
        """Number of columns."""
        return math.prod(-(-n // c) for n, c in zip(self.shape[1:], self.column, strict=True))

    @property
    def n_items(self) -> int:
        """Number of pieces in all columns."""
        return sum(len(self.pieces(column)) for column in self.columns())


def slab_depth(shape: ZYX, block: ZYX, itemsize: int) -> int:
    """Planes of a piece of work: those of a block, or, where a block is one plane, so many that they are some MB."""
    if block[0] > 1:
        return block[0]
    return max(1, min(_MOST_PLANES, _ITEM_BYTES // (shape[1] * shape[2] * itemsize)))


def cut_columns(shape: ZYX, block: ZYX, itemsize: int, held: int, memory_bytes: int) -> Cut:
    """Columns as wide as memory allows, mostly the whole volume, and pieces of whole blocks.

    Parameters
    ----------
    shape
        Of the volume.
    block
        What is written at once, at least. A block of whole planes is not cut.
    itemsize
        Bytes of a voxel.
    held
        Planes of the source that are held at a time.
    memory_bytes
        Most memory for them; exceeded where one block takes more.
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
    """The length in whole blocks, one at least."""
    return min(most, max(1, length // block) * block)
