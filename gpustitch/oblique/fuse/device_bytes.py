"""Device memory of fusing a block: :mod:`gpustitch.array.stated`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gpustitch.array.stated import Shaped, states
from gpustitch.oblique.fuse.fuse import BlockPlan, fuse_block

_OF_TILE_BYTES = 256


@states(fuse_block)
def fuse_block_bytes(plan: BlockPlan, voxels: Mapping[int, Shaped], gains: Mapping[int, Any] | None = None) -> int:
    """The block, and tables of each tile: for each plane, for each row, and some numbers."""
    (itemsize,) = {array.dtype.itemsize for array in voxels.values()}
    tables = 0 if plan.tables is None else sum(table.nbytes for table in vars(plan.tables).values())
    return plan.box.size * itemsize + 2 * tables + _OF_TILE_BYTES * len(voxels)
