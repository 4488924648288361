"""From sections at uneven positions to a volume of evenly spaced planes.

The volume is cut into columns along z, as wide as memory allows (all of it, mostly), and these into slabs. Slabs are
rendered from the bottom up, so that each plane of the input is read once for each column and held no longer than the
slabs that need it.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gpustitch.array import CPU, Array, Device, on, to_device, to_host
from gpustitch.errors import ParameterError
from gpustitch.io.atomic import check_apart, check_free_space, check_output
from gpustitch.io.planes import Planes, check_outside, open_planes
from gpustitch.io.provenance import provenance
from gpustitch.io.pyramid_layout import DEFAULT_CHUNK, block_shape_of, check_block, checked_levels, pyramid_bytes
from gpustitch.io.pyramid_writer import IN_FLIGHT_BYTES, N_WRITERS
from gpustitch.io.sources import truncation
from gpustitch.io.volume_output import DEFAULT_LEVELS, FORMATS, VolumeOutput, format_of, open_output
from gpustitch.model import ZYX, Box, Spacing
from gpustitch.ops.pyramid import downsample
from gpustitch.ops.zplan import (
    FILLED,
    GAP,
    OUTSIDE,
    Deformation,
    ZGrid,
    ZPlan,
    deformation,
    plan_z,
    planes_within,
    runs,
)
from gpustitch.ops.zresample import deformed_planes, planes_between
from gpustitch.stages.hosted import hosted
from gpustitch.stages.parallel import checked_workers, ordered_map
from gpustitch.stages.progress import SILENT, Progress, tracked
from gpustitch.stages.shared_reads import SharedReads
from gpustitch.stages.signed import signed_too
from gpustitch.stages.similarity import listed
from gpustitch.stages.z_columns import Cut, cut_columns, slab_depth
from gpustitch.stages.z_sources import SectionsAlongZ, output_spacing, sections_along_z

_TYPES = ("uint8", "uint16", "int16", "float32")


@dataclass(frozen=True)
class RenderOptions:
    """What is rendered, and how.

    Attributes
    ----------
    input
        What :func:`gpustitch.io.planes.open_planes` opens.
    positions
        Positions in sections: CSV of :func:`gpustitch.io.z_positions.read_z_positions`, or, where they differ over each
        section, ``.npz`` of :func:`gpustitch.io.z_grids.read_z_grids`.
    output, format
        What to write; None for the format that the name asks for.
    z_spacing_um
        Distance of the planes; None for that of the input.
    spacing
        Voxel size of the input; None for what it states.
    nearest
        Take the nearer section in place of an interpolation.
    max_gap
        Widest gap between sections, in sections, that is interpolated.
    fill_gaps
        Interpolate all gaps.
    leave_out, least_weight
        Sections that are not used, as :func:`gpustitch.stages.z_sources.sections_along_z` takes them; planes at their
        place are made of the sections on either side.
    levels, chunk_shape
        Of the output, if it has any; None for its default.
    memory_bytes
        Most memory for planes of the input.
    planes
        The planes themselves, in place of those at ``input``.
    """

    input: Path
    positions: Path
    output: Path
    z_spacing_um: float | None = None
    spacing: Spacing | None = None
    nearest: bool = False
    max_gap: float = 5.0
    fill_gaps: bool = False
    leave_out: str = ""
    least_weight: float | None = None
    format: str | None = None
    levels: int | None = None
    chunk_shape: ZYX | None = None
    memory_bytes: int = 1 << 30
    n_workers: int | None = None
    n_writers: int = N_WRITERS
    overwrite: bool = False
    allow_truncated: bool = False
    device: Device = CPU
    planes: Planes | None = None


@dataclass(frozen=True)
class RenderPlan:
    """Checked work.

    Attributes
    ----------
    sections_used
        Sections of the input along z, without those left out and those at the place of another.
    sources
        What each plane is made of; a :class:`Deformation` where that differs over it.
    shape, spacing
        Of the output.
    cut
        Columns and pieces of work: each plane of the input is read once for each column.
    memory_bytes
        Most host memory that is held, about.
    """

    options: RenderOptions
    planes: Planes
    sections_used: SectionsAlongZ
    sources: ZPlan | Deformation
    grid: ZGrid
    shape: ZYX
    spacing: Spacing
    cut: Cut
    n_workers: int
    output_bytes: int
    memory_bytes: int

    @property
    def order(self) -> npt.NDArray[np.int64]:
        """Sections of the input along z."""
        return self.sections_used.series.order

    def sections(self, start: int, stop: int) -> npt.NDArray[np.int64]:
        """Planes of the input that planes ``start <= z < stop`` of the output need."""
        return _needed(self.order, self.sources, self.grid, start, stop)

    @property
    def background(self) -> tuple[int, int]:
        """Numbers of planes that are background in gaps, and that are interpolated across gaps."""
        if isinstance(self.sources, Deformation):
            return 0, 0
        kinds = self.sources.kind
        return int(np.isin(kinds, (GAP, OUTSIDE)).sum()), int((kinds == FILLED).sum())


@dataclass(frozen=True)
class RenderResult:
    """What was written, and how many planes of the input were read, again for each column."""

    path: Path
    shape: ZYX
    spacing: Spacing
    n_read: int


def plan(options: RenderOptions) -> RenderPlan:
    """Open the planes and positions and check everything before the output is touched.

    Raises
    ------
    ParameterError
        If an option is out of range, the input does not state its voxel size and none is given, or holds numbers
        that are not rendered.
    LayoutError
        If there are more or fewer positions than planes.
    InputMissingError, DamagedInputError
        If an input is not there or cannot be read.
    OutputExistsError, OutputError
        If the output exists, cannot be created, or would not fit on the disk.
    """
    check_output(options.output, overwrite=options.overwrite)
    check_apart(options.output, [options.input, options.positions])
    check_outside(options.output, options.input, is_image=_kind(options) == "tiff")
    n_workers = checked_workers(options.n_workers)
    if not options.max_gap > 0:
        raise ParameterError(f"--max-gap is a number of sections above 0, not {options.max_gap}")
    planes = options.planes or open_planes(options.input, allow_truncated=options.allow_truncated)
    if planes.dtype.name not in _TYPES:
        raise ParameterError(f"planes of {', '.join(_TYPES)} are rendered; {planes.name} holds {planes.dtype}")
    spacing, step = output_spacing(planes, options.spacing, options.z_spacing_um)
    used = sections_along_z(options.positions, planes.shape[0], planes.name, options.leave_out, options.least_weight)
    first, last = float(used.series.positions.min()), float(used.series.positions.max())
    grid = ZGrid(first, step, planes_within(last - first, step))
    shape = (grid.n_planes, planes.shape[1], planes.shape[2])
    # Before anything is made for each plane: with a wrong unit there are billions.
    block, output_bytes = _output(options, shape, planes.dtype)
    check_free_space(options.output, output_bytes)
    order, sources = used.series.order, _sources(options, planes, used, grid)
    depth = slab_depth(shape, block, itemsize := planes.dtype.itemsize)
    # Two slabs at a time are under way; their planes are held with those stored with them.
    groups = max(
        len(np.unique(_needed(order, sources, grid, z, min(z + depth, shape[0])) // planes.depth))
        for z in range(0, shape[0], depth)
    )
    held = 2 * groups * planes.depth
    cut = cut_columns(shape, block, itemsize, held, options.memory_bytes)
    items_bytes = 3 * (n_workers + 1) * math.prod(cut.item) * itemsize
    memory_bytes = held * math.prod(cut.column) * itemsize + items_bytes + IN_FLIGHT_BYTES
    return RenderPlan(options, planes, used, sources, grid, shape, spacing, cut, n_workers, output_bytes, memory_bytes)


def run(plan: RenderPlan, progress: Progress = SILENT) -> RenderResult:
    """Read, resample and write.

    Raises
    ------
    DamagedInputError
        If a plane cannot be read.
    OutputError, DeviceError
        If the output cannot be written or the device fails; nothing is left of the output then.
    """
    options, used = plan.options, plan.sections_used
    if options.planes is None and (ends_early := truncation(options.input)):
        progress.warn(ends_early)
    if used.left_out:
        progress.note(f"left out as asked: sections {listed(used.left_out)}")
    if used.doubled:
        progress.warn(f"left out, at the place of another: sections {listed(used.doubled)}")
    background, filled = plan.background
    if background:
        progress.warn(
            f"{background} of {plan.shape[0]} planes are background: they lie in gaps wider than {options.max_gap:g} "
            "sections (--fill-gaps interpolates there)"
        )
    if filled:
        progress.warn(f"{filled} of {plan.shape[0]} planes are interpolated across gaps wider than {options.max_gap:g}")
    in_order = _kind(options) == "tiff"
    with open_output(
        options.output,
        plan.shape,
        plan.planes.dtype,
        plan.spacing,
        downsample=signed_too(hosted(downsample, options.device)),
        format=options.format,
        levels=options.levels,
        chunk_shape=options.chunk_shape,
        sidecar=_sidecar(plan),
        overwrite=options.overwrite,
        n_writers=options.n_writers,
    ) as output:
        render = functools.partial(_render, plan, None if in_order else output)
        items = ordered_map(render, _items(plan), plan.n_workers, in_flight=plan.n_workers + 1)
        n_read = 0
        for item in tracked(items, progress, "render", plan.cut.n_items, "blocks"):
            n_read += item.n_read
            if in_order:
                _write(output, item)
    return RenderResult(options.output, plan.shape, plan.spacing, n_read)


@dataclass(frozen=True)
class _Item:
    """A box of the output and the planes that it is made of, read together with other boxes; then its voxels."""

    box: Box
    column: Box
    reads: SharedReads
    voxels: npt.NDArray[Any] | None = None
    n_read: int = 0


def _items(plan: RenderPlan) -> Iterator[_Item]:
    """All boxes: column after column, and in each from the first plane to the last."""
    for column in plan.cut.columns():
        boxes = plan.cut.pieces(column)
        groups = (_groups(plan, box) for box in boxes)
        reads = SharedReads(functools.partial(_read, plan, column), Counter(itertools.chain.from_iterable(groups)))
        for box in boxes:
            yield _Item(box, column, reads)


def _groups(plan: RenderPlan, box: Box) -> list[int]:
    """Groups of planes stored together that a box is made of."""
    return np.unique(plan.sections(box.start[0], box.stop[0]) // plan.planes.depth).tolist()  # type: ignore[no-any-return]


def _read(plan: RenderPlan, column: Box, group: int) -> npt.NDArray[Any]:
    """Planes that are stored together, cut to the column."""
    depth = plan.planes.depth
    _, rows, columns = column.slices()
    return plan.planes.read(group * depth, min((group + 1) * depth, plan.planes.shape[0]), rows, columns)


def _render(plan: RenderPlan, output: VolumeOutput | None, item: _Item) -> _Item:
    """The item with its voxels; or, where they are written here, without."""
    numbers, depth = plan.sections(item.box.start[0], item.box.stop[0]).tolist(), plan.planes.depth
    n_read, voxels = 0, None
    if numbers:
        groups = _groups(plan, item.box)
        read, n_read = item.reads.take(groups)
        first = item.box.start[1] - item.column.start[1]
        rows = slice(first, first + item.box.shape[1])
        voxels = _resampled(plan, item.box, [read[i // depth][i % depth, rows] for i in numbers])
        del read
        item.reads.give_back(groups)
    done = dataclasses.replace(item, voxels=voxels, n_read=n_read)
    if output is None:
        return done
    _write(output, done)
    return dataclasses.replace(done, voxels=None)


def _resampled(plan: RenderPlan, box: Box, sections: Sequence[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    device = plan.options.device
    z, rows, columns = box.slices()
    with on(device):
        there: list[Array] = [to_device(section, device) for section in sections]
        if isinstance(plan.sources, Deformation):
            low, high = plan.grid.positions(z.start, z.stop)[[0, -1]]
            first = plan.sources.needed(float(low), float(high)).start
            return to_host(
                deformed_planes(
                    there, plan.sources, plan.grid, first_section=first, planes=z, rows=rows, columns=columns,
                    nearest=plan.options.nearest,
                )
            )  # fmt: skip
        _, lower, upper = plan.sources.slab(z.start, z.stop)
        return to_host(planes_between(there, lower, upper, plan.sources.weight[z]))


def _write(output: VolumeOutput, item: _Item) -> None:
    if item.voxels is None:
        output.skip(item.box)
    else:
        output.write(item.box, item.voxels)


def _kind(options: RenderOptions) -> str:
    return options.format or format_of(options.output)


def _sources(options: RenderOptions, planes: Planes, used: SectionsAlongZ, grid: ZGrid) -> ZPlan | Deformation:
    """What the planes are made of."""
    if used.grids is None:
        limits, fill_gaps = options.max_gap, options.fill_gaps
        return plan_z(used.series, grid, limits=limits, fill_gaps=fill_gaps, nearest=options.nearest)
    return deformation(
        used.series,
        planes.shape[1:],
        limits=math.inf if options.fill_gaps else options.max_gap,
        row_centers=used.grids.row_centers,
        column_centers=used.grids.column_centers,
    )


def _output(options: RenderOptions, shape: ZYX, dtype: np.dtype[Any]) -> tuple[ZYX, int]:
    """Least block that the output takes, and its size in bytes."""
    kind = _kind(options)
    if kind not in FORMATS:
        raise ParameterError(f"the format of a volume is one of {', '.join(FORMATS)}, not {kind}")
    if kind == "precomputed" and dtype.kind == "i":
        raise ParameterError(f"precomputed volumes are not written of {dtype}; choose --format ome-zarr or tiff")
    if kind == "tiff":
        return (1, shape[1], shape[2]), math.prod(shape) * dtype.itemsize
    levels = checked_levels(DEFAULT_LEVELS if options.levels is None else options.levels)
    block = block_shape_of(levels, options.chunk_shape or DEFAULT_CHUNK)
    check_block(block, shape, dtype)
    return block, pyramid_bytes(shape, dtype, levels)


def _needed(
    order: npt.NDArray[np.int64], sources: ZPlan | Deformation, grid: ZGrid, start: int, stop: int
) -> npt.NDArray[np.int64]:
    """Planes of the input, along z or in their own order as the sources count them, for a range of planes."""
    if isinstance(sources, ZPlan):
        return sources.slab(start, stop)[0]
    low, high = grid.positions(start, stop)[[0, -1]]
    return order[sources.needed(float(low), float(high))]


def _sidecar(plan: RenderPlan) -> dict[str, Any]:
    options = plan.options
    files = [path for path in (options.input, options.positions) if path.is_file()]
    content = {
        **provenance({key: value for key, value in vars(options).items() if key != "planes"}, files),
        "first_plane_at_section": plan.grid.first,
        "plane_distance_in_sections": plan.grid.step,
        "sections_left_out": sorted([*plan.sections_used.left_out, *plan.sections_used.doubled]),
    }
    if isinstance(plan.sources, ZPlan):
        content["background_planes"] = runs(np.isin(plan.sources.kind, (GAP, OUTSIDE)))
        content["planes_across_gaps"] = runs(plan.sources.kind == FILLED)
    return content
