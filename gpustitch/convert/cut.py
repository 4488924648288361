"""How a volume is cut into boxes that are read, and written, one after another."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from gpustitch.io.write.pyramid_layout import morton_order
from gpustitch.io.write.shards import grid_of
from gpustitch.model import ZYX, Box
from gpustitch.running.threads import capped_workers

_PART_LESS = 16


@dataclass(frozen=True)
class Cut:
    """Boxes of ``item`` voxels of a volume of ``shape``; ``chunk`` voxels of the source are stored together."""

    shape: ZYX
    item: ZYX
    chunk: ZYX

    @property
    def n_items(self) -> int:
        """Number of boxes."""
        return math.prod(grid_of(self.shape, self.item))

    def boxes(self) -> Iterator[Box]:
        """All boxes, in the order that finishes large files soonest (a Morton curve); planes come in order."""
        whole = Box.of_shape(self.shape)
        for index in morton_order(grid_of(self.shape, self.item)):
            yield Box.of_shape(self.item, [i * n for i, n in zip(index, self.item, strict=True)]).intersect(whole)

    @property
    def reads_per_chunk(self) -> float:
        """How often a chunk of the source is read on the average: 1 where boxes consist of whole chunks."""
        total = 1.0
        for n, item, chunk in zip(self.shape, self.item, self.chunk, strict=True):
            spans = (-(-min(at + item, n) // chunk) - at // chunk for at in range(0, n, item))
            total *= sum(spans) / -(-n // chunk)
        return total


def item_shape(shape: ZYX, block: ZYX, chunk: ZYX, file: ZYX, most_voxels: int) -> ZYX:
    """Voxels (z, y, x) of a box: whole blocks of the output; whole chunks of the source, and whole files, if they fit.

    Parameters
    ----------
    shape
        The volume.
    block
        The least that the output takes.
    chunk
        Voxels of the source that are stored together.
    file
        Voxels of a file of the output.
    most_voxels
        Voxels that a box may have. A single block may have more.
    """
    item = [min(b, n) for b, n in zip(block, shape, strict=True)]
    for units in (chunk, file):
        for axis in (2, 1, 0):
            step = math.lcm(block[axis], units[axis])
            # From what is reached already: a step that forgets it would give chunks up for files.
            wanted = min(shape[axis], math.lcm(item[axis], step) if item[axis] < shape[axis] else item[axis])
            item[axis] = _grown(item, axis, wanted, block[axis], most_voxels, shape)
    z, y, x = item
    return z, y, x


def numbers_of_workers(asked: int, shape: ZYX, block: ZYX, most_voxels: int) -> Iterator[int]:
    """Numbers of threads to try, most first: none has less than a block to make, nor would all blocks not fit.

    Of up to 31 each is tried; of more, a sixteenth less each time.
    """
    least = math.prod(min(b, n) for b, n in zip(block, shape, strict=True))
    n = capped_workers(asked, min(math.prod(grid_of(shape, block)), most_voxels // least))
    while n:
        yield n
        n -= max(1, n // _PART_LESS)


def _grown(item: Sequence[int], axis: int, wanted: int, block: int, most_voxels: int, shape: ZYX) -> int:
    """The length of an axis as wanted, or the most of whole blocks that fits."""
    others = math.prod(item) // item[axis]
    if others * wanted <= most_voxels:
        return wanted
    fits = min(most_voxels // others // block * block, shape[axis])
    return max(item[axis], fits)
