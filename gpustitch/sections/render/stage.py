"""From sections at uneven positions to a volume of evenly spaced planes.

:mod:`gpustitch.regrid.stage` cuts the work and does it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gpustitch.array import Device, choose_device
from gpustitch.array.transfer import hosted
from gpustitch.errors import ParameterError
from gpustitch.io.atomic import check_apart, check_free_space, check_output
from gpustitch.io.frames.opening import cautions
from gpustitch.io.planes.format import Planes
from gpustitch.io.planes.opening import check_outside, open_planes, plane_files, plane_sources
from gpustitch.io.provenance import provenance
from gpustitch.io.stacks.choice import StackChoice
from gpustitch.io.volumes.format import missing_text
from gpustitch.io.write.formats import format_for
from gpustitch.io.write.opening import open_as
from gpustitch.io.write.shards import MOST_UNFINISHED_BYTES
from gpustitch.io.write.storing import planned_file_bytes, writing_of
from gpustitch.model import ZYX, Spacing
from gpustitch.model.options import documented, option
from gpustitch.model.runs import ranges_text
from gpustitch.ops.pyramid import downsample, signed_too
from gpustitch.regrid import options as volume_options
from gpustitch.regrid.columns import Cut
from gpustitch.regrid.plan import (
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
from gpustitch.regrid.stage import RENDERED_TYPES, Blocks, Making, cut_blocks, write_blocks
from gpustitch.running import foretold
from gpustitch.running import options as shared
from gpustitch.running.foretold import Stored
from gpustitch.running.inputs import Inputs
from gpustitch.running.progress import SILENT, Progress, listed, size_text
from gpustitch.running.threads import checked_workers
from gpustitch.sections.render.file import SectionsAlongZ, output_spacing, sections_along_z


@documented
@dataclass(frozen=True)
class RenderOptions:
    """What is rendered, and how; ``planes`` stand in for those at ``input``."""

    input: Path = option(
        is_argument=True,
        metavar="IN",
        help=f"Sections: {plane_sources()}.",
    )
    positions: Path = option(
        is_argument=True,
        metavar="POSITIONS",
        help="CSV of z-spacing; or .npz with an array 'positions' (n, gy, gx), where they differ over a section.",
    )
    output: Path = volume_options.output()
    z_spacing_um: float | None = option(
        None, flag="--z-spacing", unit="um", help="Distance of the planes, um.", shown="that of IN"
    )
    spacing: Spacing | None = option(
        None, flag="--voxel-size", text="spacing", help="Voxel size of IN, um.", shown="what it states"
    )
    nearest: bool = option(False, help="Take the nearer section, unchanged; else two are interpolated.")
    max_gap: float = option(5.0, help="Widest gap, in sections, that is interpolated; wider ones stay black.")
    fill_gaps: bool = option(False, help="Interpolate all gaps.")
    leave_out: str = option(
        "",
        metavar="LIST",
        help="Sections not to use: numbers, ranges, and 'damaged' or 'constant' for those that z-spacing named so, "
        "as in 5,7-9,damaged. Planes there are interpolated between the sections on either side.",
        shown="all are used",
    )
    least_weight: float | None = option(
        None,
        help="Do not use sections whose weight in POSITIONS, 0 to 1, is less or unknown: 0.5 leaves out bad ones.",
        shown="weights are not looked at",
    )
    format: str | None = volume_options.volume_format()
    levels: int | None = volume_options.levels()
    chunk_shape: ZYX | None = volume_options.chunk_shape()
    shard_bytes: int | None = shared.shard_bytes()
    codec: str | None = shared.codec()
    writer: shared.Writer | None = shared.writer()
    write_empty: bool = shared.write_empty()
    memory_bytes: int = shared.memory(1 << 30, "Most memory for planes of IN, such as 4G.")
    n_workers: int | None = shared.n_workers()
    n_writers: int = shared.n_writers()
    overwrite: bool = shared.overwrite()
    allow_missing: bool = shared.allow_missing()
    choice: StackChoice = shared.stack_choice()
    device: str | Device = shared.device()
    device_memory_bytes: int | None = shared.device_memory()
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
    blocks
        The work, cut.
    """

    options: RenderOptions
    device: Device
    planes: Planes
    sections_used: SectionsAlongZ
    sources: ZPlan | Deformation
    grid: ZGrid
    shape: ZYX
    spacing: Spacing
    blocks: Blocks
    output_bytes: int
    file_bytes: int | None
    inputs: Inputs = Inputs()

    @property
    def order(self) -> npt.NDArray[np.int64]:
        """Sections of the input along z."""
        return self.sections_used.series.order

    @property
    def cut(self) -> Cut:
        """Columns and pieces of work: each plane of the input is read once for each column."""
        return self.blocks.cut

    @property
    def memory_bytes(self) -> int:
        """Most host memory that is held, about."""
        return self.blocks.memory_bytes

    @property
    def summary(self) -> str:
        """What is made of what, and what that takes, in one line."""
        n, rows, columns = self.planes.shape
        z_um, y_um, x_um = self.spacing.zyx_um
        text = (
            f"{n} sections to {self.shape[0]} planes of {columns} x {rows}; voxels of {x_um:g} x {y_um:g} x {z_um:g} "
            f"um; at most {size_text(self.output_bytes)} on disk and about {size_text(self.memory_bytes)} of memory"
        )
        n_columns = self.cut.n_columns
        return text if n_columns == 1 else f"{text}; sections are read {n_columns} times (`memory_bytes`)"

    def lines(self) -> Iterator[str]:
        """What the run will take, in lines for people."""
        options, planes = self.options, self.planes
        format, (n, rows, columns) = format_for(options.output, options.format), planes.shape
        stored = Stored(options.output, format, options, self.shape, planes.dtype, self.spacing, self.file_bytes)
        again = f", {self.cut.n_columns} times (`memory_bytes`)" if self.cut.n_columns > 1 else ""
        reads = f"{n:,} sections of {rows} x {columns} {planes.dtype}{again}"
        n_bytes = math.prod(planes.shape) * planes.dtype.itemsize
        return foretold.lines(reads, n_bytes, [stored], self.output_bytes, self.memory_bytes, options.memory_bytes)

    @property
    def background(self) -> tuple[int, int]:
        """Numbers of planes that are background in gaps, and that are interpolated across gaps."""
        if isinstance(self.sources, Deformation):
            return 0, 0
        origins = self.sources.plane_origin
        return int(np.isin(origins, (GAP, OUTSIDE)).sum()), int((origins == FILLED).sum())


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
        If an option is out of range, or the input holds numbers that are not rendered. Also if its voxel size is
        neither stated nor given.
    MosaicError
        If there are more or fewer positions than planes.
    InputMissingError, DamagedInputError
        If an input is not there or cannot be read.
    OutputExistsError, OutputError
        If the output exists, cannot be created, or would not fit on the disk.
    DeviceError
        If the device cannot be used.
    """
    device = choose_device(options.device, options.device_memory_bytes)
    check_output(options.output, overwrite=options.overwrite)
    check_apart(options.output, [*plane_files(options.input), options.positions])
    format = format_for(options.output, options.format)
    check_outside(options.output, options.input, is_image=format.in_order)
    n_workers = checked_workers(options.n_workers)
    if not options.max_gap > 0:
        raise ParameterError(f"`max_gap` is a number of sections above 0, not {options.max_gap}")
    given = [options.positions, *([] if options.planes else [options.input])]
    inputs = Inputs.of(given, apart=[options.output])
    planes = options.planes or open_planes(options.input, allow_missing=options.allow_missing, choice=options.choice)
    if planes.dtype.name not in RENDERED_TYPES:
        raise ParameterError(f"planes of {', '.join(RENDERED_TYPES)} are rendered; {planes.name} holds {planes.dtype}")
    spacing, step = output_spacing(planes, options.spacing, options.z_spacing_um)
    used = sections_along_z(
        options.positions, planes.shape[0], planes.name, options.leave_out, options.least_weight, planes.absent
    )
    first, last = float(used.series.positions.min()), float(used.series.positions.max())
    grid = ZGrid(first, step, planes_within(last - first, step))
    shape = (grid.n_planes, planes.shape[1], planes.shape[2])
    # Before anything is made for each plane: with a wrong unit there are billions.
    block, output_bytes = format.block(shape, planes.dtype, spacing, options.levels, options.chunk_shape)
    check_free_space(options.output, output_bytes)
    sources = _sources(options, planes, used, grid)
    making = Making(planes, used.series.order, sources, grid, options.nearest, device=device)
    blocks = cut_blocks(making, block, options.memory_bytes, n_workers)
    file_bytes = planned_file_bytes(
        format,
        options,
        shape,
        planes.dtype,
        spacing,
        blocks.cut.front_px,
        min(options.memory_bytes, MOST_UNFINISHED_BYTES),
    )
    return RenderPlan(
        options, device, planes, used, sources, grid, shape, spacing, blocks, output_bytes, file_bytes, inputs
    )


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
    for caution in () if options.planes is not None else cautions(options.input):
        progress.warn(caution)
    if missing := missing_text(plan.planes, plan.planes.name):
        progress.warn(missing)
    if asked := sorted(set(used.left_out) - plan.planes.absent):
        progress.note(f"left out as asked: sections {listed(asked)}")
    if plan.planes.absent:
        progress.warn(f"left out, as no file holds them: sections {ranges_text(plan.planes.absent)}")
    if used.doubled:
        progress.warn(f"left out, at the place of another: sections {listed(used.doubled)}")
    background, filled = plan.background
    if background:
        progress.warn(
            f"{background} of {plan.shape[0]} planes are background: they lie in gaps wider than {options.max_gap:g} "
            "sections (`fill_gaps` interpolates there)"
        )
    if filled:
        progress.warn(f"{filled} of {plan.shape[0]} planes are interpolated across gaps wider than {options.max_gap:g}")
    sidecar = _sidecar(plan)
    writing = writing_of(options, signed_too(hosted(downsample, plan.device)), plan.file_bytes, sidecar)
    with open_as(options.output, plan.shape, plan.planes.dtype, plan.spacing, writing, format=options.format) as output:
        n_read = write_blocks(
            plan.blocks, output, in_order=format_for(options.output, options.format).in_order, progress=progress
        )
        sidecar |= plan.inputs.tell(progress)
    return RenderResult(options.output, plan.shape, plan.spacing, n_read)


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


def _sidecar(plan: RenderPlan) -> dict[str, Any]:
    options = plan.options
    files = [path for path in (options.input, options.positions) if path.is_file()]
    used = shared.settled(options, plan.device, plan.blocks.n_workers)
    given = {key: value for key, value in vars(used).items() if key != "planes"}
    content = {
        **provenance(given, files),
        "first_plane_at_section": plan.grid.first,
        "plane_distance_in_sections": plan.grid.step,
        "missing": missing_text(plan.planes, plan.planes.name),
        "sections_absent": sorted(plan.planes.absent),
        "sections_left_out": sorted([*plan.sections_used.left_out, *plan.sections_used.doubled]),
    }
    if isinstance(plan.sources, ZPlan):
        content["background_planes"] = runs(np.isin(plan.sources.plane_origin, (GAP, OUTSIDE)))
        content["planes_across_gaps"] = runs(plan.sources.plane_origin == FILLED)
    return content
