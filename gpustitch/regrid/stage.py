"""From a stack of planes to a volume of evenly spaced planes, block by block in bounded memory.

The volume is cut into columns along z, and each column into slabs. A column is as wide as memory allows, mostly the
whole plane. Slabs are made from the first plane to the last. Each column reads a plane of the source once, and holds it
until no slab needs it. A slab that only copies planes reads them all at once; a neighbour that interpolates may read
its outer planes again.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gpustitch.array import CPU, Array, Device, on, to_device, to_host
from gpustitch.io.planes.format import Planes
from gpustitch.io.write.format import VolumeOutput
from gpustitch.io.write.in_flight import IN_FLIGHT_BYTES
from gpustitch.model import ZYX, Box
from gpustitch.regrid.columns import Cut, cut_columns, slab_depth
from gpustitch.regrid.empty_pixels import with_empty, without_data
from gpustitch.regrid.plan import EXACT, Deformation, ZGrid, ZPlan
from gpustitch.regrid.plane_shift import PlaneShifts, shifted_planes
from gpustitch.regrid.shared_reads import SharedReads
from gpustitch.regrid.zresample import deformed_planes, planes_between
from gpustitch.running.progress import SILENT, Progress, tracked
from gpustitch.running.threads import capped_workers, ordered_map

RENDERED_TYPES = ("uint8", "uint16", "int16", "float32")


@dataclass(frozen=True)
class Making:
    """The parameters of making a volume.

    Attributes
    ----------
    planes
        The source.
    order
        int64: numbers of the source's planes in their order along z, for a :class:`Deformation`.
    sources
        The sections of each plane; a :class:`Deformation` if positions differ over a section.
    grid
        Positions of the volume's planes.
    nearest
        With a deformation: take the nearer of two sections.
    shifts
        Sideways shifts of the planes; None for no shift.
    background
        Value of voxels without data.
    no_data
        Value of pixels without data, and the other end of their range, of each of the source's planes; None for a plane
        that has none. Empty if no plane has any. Voxels that would mix such a pixel with others have that value.
    device
        Where planes are interpolated.
    """

    planes: Planes
    order: npt.NDArray[np.int64]
    sources: ZPlan | Deformation
    grid: ZGrid
    nearest: bool = False
    shifts: PlaneShifts | None = None
    background: float = 0.0
    no_data: Sequence[tuple[float, float] | None] = ()
    device: Device = CPU

    @property
    def shape(self) -> ZYX:
        """Shape (z, y, x) of the volume."""
        rows, columns = self.planes.shape[1:] if self.shifts is None else self.shifts.shape
        return self.grid.n_planes, rows, columns

    def sections(self, start: int, stop: int) -> npt.NDArray[np.int64]:
        """Numbers, int64, of the source's planes that the planes ``start <= z < stop`` of the volume need.

        The numbers ascend for a :class:`ZPlan`. For a :class:`Deformation` they follow the sections along z.
        """
        if isinstance(self.sources, ZPlan):
            return self.sources.slab(start, stop)[0]
        low, high = self.grid.positions(start, stop)[[0, -1]]
        return self.order[self.sources.needed(float(low), float(high))]

    def groups(self, box: Box) -> list[int]:
        """Numbers of the groups that a box needs; a group holds planes that are stored together."""
        return np.unique(self.sections(box.start[0], box.stop[0]) // self.planes.depth).tolist()  # type: ignore[no-any-return]

    def copied(self, box: Box, column: Box) -> slice | None:
        """The source planes that a box copies, if one read can fetch them; None otherwise."""
        if not isinstance(self.sources, ZPlan) or self.shifts is not None or self.planes.depth > 1:
            return None
        z = box.slices()[0]
        lower = self.sources.lower[z]
        follow = (self.sources.plane_origin[z] == EXACT).all() and (np.diff(lower) == 1).all()
        return slice(int(lower[0]), int(lower[-1]) + 1) if follow and box.shape[1:] == column.shape[1:] else None

    def window(self, box: Box) -> tuple[slice, slice]:
        """Rows and columns of the source that a box may need."""
        if self.shifts is None:
            return box.slices()[1:]
        return self.shifts.window(box.slices()[1:], self.planes.shape[1:])


@dataclass(frozen=True)
class Blocks:
    """A volume cut into pieces of work.

    Attributes
    ----------
    making
        The volume to cut.
    cut
        The columns and pieces.
    n_workers
        Threads that make pieces.
    memory_bytes
        Approximate bound on host memory.
    """

    making: Making
    cut: Cut
    n_workers: int
    memory_bytes: int


def cut_blocks(making: Making, block: ZYX, memory_bytes: int, n_workers: int) -> Blocks:
    """Cut a volume so that planes of the source take at most ``memory_bytes``, or columns are one block wide."""
    shape, planes = making.shape, making.planes
    is_real = making.shifts is not None or any(making.no_data)
    itemsize = max(4, planes.dtype.itemsize) if is_real else planes.dtype.itemsize
    depth = slab_depth(shape, block, itemsize)
    slabs = (Box((z, 0, 0), (min(z + depth, shape[0]), *shape[1:])) for z in range(0, shape[0], depth))
    # Two slabs at a time are under way, and whole groups of planes are held for them.
    held = 2 * max(len(making.groups(slab)) for slab in slabs) * planes.depth
    cut = cut_columns(shape, block, itemsize, held, memory_bytes)
    n_workers = capped_workers(n_workers, cut.n_items)
    items_bytes = 3 * (n_workers + 1) * math.prod(cut.item) * itemsize
    held_bytes = held * math.prod(cut.column) * itemsize
    return Blocks(making, cut, n_workers, held_bytes + items_bytes + IN_FLIGHT_BYTES)


def write_blocks(blocks: Blocks, output: VolumeOutput, *, in_order: bool, progress: Progress = SILENT) -> int:
    """Read, resample and write; return the number of planes read, counted for each column.

    Raises
    ------
    DamagedInputError
        If a plane cannot be read.
    OutputError, DeviceError
        If the output cannot be written or the device fails.
    """
    render = functools.partial(_render, blocks.making, None if in_order else output)
    items = ordered_map(render, _items(blocks), blocks.n_workers, in_flight=blocks.n_workers + 1)
    n_read = 0
    for item in tracked(items, progress, "render", blocks.cut.n_items, "blocks"):
        n_read += item.n_read
        if in_order:
            _write(output, item)
    return n_read


@dataclass(frozen=True)
class _Item:
    """A box of the output, the reads that it shares with boxes of its column, and its voxels once made."""

    box: Box
    column: Box
    reads: SharedReads
    voxels: npt.NDArray[Any] | None = None
    n_read: int = 0


def _items(blocks: Blocks) -> Iterator[_Item]:
    """All boxes: column after column, each column from the first plane to the last."""
    making = blocks.making
    for column in blocks.cut.columns():
        boxes = blocks.cut.pieces(column)
        groups = (making.groups(box) for box in boxes if making.copied(box, column) is None)
        reads = SharedReads(functools.partial(_read, making, column), Counter(itertools.chain.from_iterable(groups)))
        for box in boxes:
            yield _Item(box, column, reads)


def _read(making: Making, column: Box, group: int) -> npt.NDArray[Any]:
    """The planes of a group, cut to the rows and columns that the column needs."""
    depth = making.planes.depth
    rows, columns = making.window(column)
    return making.planes.read(group * depth, min((group + 1) * depth, making.planes.shape[0]), rows, columns)


def _render(making: Making, output: VolumeOutput | None, item: _Item) -> _Item:
    """The item with its voxels; with an ``output``, write the voxels and return the item without them."""
    numbers, depth = making.sections(item.box.start[0], item.box.stop[0]).tolist(), making.planes.depth
    n_read, voxels = 0, None
    copied = making.copied(item.box, item.column)
    if copied is not None:
        voxels, n_read = making.planes.read(copied.start, copied.stop, *making.window(item.box)), len(numbers)
    elif numbers:
        groups = making.groups(item.box)
        read, n_read = item.reads.take(groups)
        rows, window = making.window(item.box)[0], making.window(item.column)[0]
        part = slice(rows.start - window.start, rows.stop - window.start)
        voxels = _resampled(making, item.box, [read[i // depth][i % depth, part] for i in numbers])
        del read
        item.reads.give_back(groups)
    elif making.background:
        voxels = np.full(item.box.shape, making.background, making.planes.dtype)
    done = dataclasses.replace(item, voxels=voxels, n_read=n_read)
    if output is None:
        return done
    _write(output, done)
    return dataclasses.replace(done, voxels=None)


def _resampled(making: Making, box: Box, sections: Sequence[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    """The voxels of a box, from the sections that it needs."""
    z, rows, columns = box.slices()
    with on(making.device):
        there: list[Array] = [to_device(section, making.device) for section in sections]
        if isinstance(making.sources, Deformation):
            low, high = making.grid.positions(z.start, z.stop)[[0, -1]]
            first = making.sources.needed(float(low), float(high)).start
            return to_host(
                deformed_planes(
                    there, making.sources, making.grid, first_section=first, planes=z, rows=rows, columns=columns,
                    nearest=making.nearest,
                )
            )  # fmt: skip
        numbers, lower, upper = making.sources.slab(z.start, z.stop)
        weight, shifts = making.sources.weight[z], making.shifts
        empty = [making.no_data[i] for i in numbers.tolist()] if making.no_data else []
        kept, is_empty = without_data(there, empty)
        if shifts is not None:
            # Planes are shifted before rounding, so that voxels are rounded once.
            kept = [section.astype(np.float32) for section in kept]
        made = planes_between(kept, lower, upper, weight)
        dtype = np.dtype(np.float32) if is_empty else making.planes.dtype
        if shifts is not None:
            made = shifted_planes(made, making.window(box), shifts, box, making.background, dtype)
        if is_empty:
            made = with_empty(made, there, empty, (lower, upper, weight), is_moved=shifts is not None)
        if making.background:
            for k in np.flatnonzero(lower < 0).tolist():
                made[k] = making.background
        return to_host(made)


def _write(output: VolumeOutput, item: _Item) -> None:
    if item.voxels is None:
        output.skip(item.box)
    else:
        output.write(item.box, item.voxels)
